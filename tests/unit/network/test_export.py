"""`ddarts export`: the file computes what the network does, for any number of images, and says what it is."""

import json
import subprocess
import sys

import pytest
import torch
from made_genotypes import PLAIN, genotype
from published_layout import forward, layout

import ddarts
from ddarts.config import ExportConfig
from ddarts.genotype.files import from_dict, write
from ddarts.genotype.zoo import resolve
from ddarts.network import export as exporting
from ddarts.network import formats
from ddarts.network.model import DerivedNetwork
from ddarts.network.weights import read_network, save_network
from ddarts.runtime.errors import DdartsError, UsageError
from tests.command_line import ENVIRONMENT

SIZE = 8


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A file of weights of a network whose statistics have moved."""
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    return str(trained(genotype(PLAIN, PLAIN, PLAIN, reductions=(1,)), path, SIZE))


def trained(made, path, size=32, channels=4):
    """Save a network that has seen a few images."""
    model = DerivedNetwork(made, 10, channels)
    for _ in range(3):
        model(torch.randn(16, 3, size, size) * 2 + 1)
    save_network(path, model.eval(), "digits", image_size=size)
    return path


def exported(small, tmp_path, name, **options):
    if name.endswith(".onnx"):
        for package in ("onnx", "onnxscript", "onnxruntime"):
            pytest.importorskip(package)
    return ddarts.export(ExportConfig(model_path=small, output=str(tmp_path / name), **options))


@pytest.mark.parametrize("form", formats.FORMATS)
def test_every_format_computes_what_the_network_does(form, small, tmp_path):
    found = exported(small, tmp_path, f"out.{form}")
    assert found["format"] == form and found["path"] == str(tmp_path / f"out.{form}")
    assert found["max_difference"] == max(found["max_difference_random"], found["max_difference_real"]) <= 1e-4
    assert [entry.name for entry in tmp_path.iterdir()] == [f"out.{form}"]  # nothing else is left
    run, model = formats.FORMATS[form].run(tmp_path / f"out.{form}"), ddarts.load_model(small)
    for images in (1, 2, 9):
        x = torch.randn(images, 3, SIZE, SIZE)
        torch.testing.assert_close(run(x), model(x), rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arch", "layers"),
    [("DD-cifar10-edge", None), ("DD-cifar100", 11), ("ResNet18_cifar10_threshold_sparse_0.85", None)],
)
def test_published_genotypes_as_onnx_lie_within_a_ten_thousandth(arch, layers, tmp_path):
    from ddarts.network.registry import architecture

    weights = str(trained(architecture(arch, layers), tmp_path / "w.safetensors"))
    found = exported(weights, tmp_path, "out.onnx")
    assert found["max_difference_random"] <= 1e-4 and found["max_difference_real"] <= 1e-4


def test_every_file_says_which_network_it_holds_and_how_its_images_are_normalised(small, tmp_path):
    exported(small, tmp_path, "out.safetensors")
    exported(small, tmp_path, "out.pt2")
    notes = dict.fromkeys(("genotype", "num_classes", "image_size", "dataset", "mean"), "")
    torch.export.load(tmp_path / "out.pt2", extra_files=notes)
    notes = {name: value if isinstance(value, str) else value.decode() for name, value in notes.items()}
    assert from_dict(json.loads(notes["genotype"]), "notes") == ddarts.load_model(small).genotype
    assert (notes["num_classes"], notes["image_size"], notes["dataset"]) == ("10", str(SIZE), "digits")
    assert notes["mean"].startswith("0.305354,")
    assert read_network(tmp_path / "out.safetensors")[1] == read_network(small)[1]


def test_onnx_carries_the_same_notes_and_a_batch_of_any_size(small, tmp_path):
    onnx = pytest.importorskip("onnx")
    exported(small, tmp_path, "out.onnx")
    model = onnx.load(tmp_path / "out.onnx")
    notes = {entry.key: entry.value for entry in model.metadata_props}
    assert from_dict(json.loads(notes["genotype"]), "notes") == ddarts.load_model(small).genotype
    (images,) = model.graph.input
    batch, *rest = images.type.tensor_type.shape.dim
    assert images.name == "images" and batch.dim_param and [side.dim_value for side in rest] == [3, SIZE, SIZE]


def test_a_published_checkpoint_is_exported_without_saying_its_sizes(tmp_path):
    made = resolve("ResNet18_cifar10_threshold_sparse_0.85")
    state = layout(made, 7, 4)
    torch.save({"state_dict": state}, tmp_path / "best.pth.tar")
    found = exported(
        str(tmp_path / "best.pth.tar"),
        tmp_path,
        "out.pt2",
        arch="ResNet18_cifar10_threshold_sparse_0.85",
        image_size=16,
    )
    assert found["max_difference"] <= 1e-4
    x = torch.randn(3, 3, 16, 16)
    out = torch.export.load(tmp_path / "out.pt2").module()(x)
    torch.testing.assert_close(out, forward(state, made, x), rtol=1e-4, atol=1e-4)


def test_a_file_that_computes_something_else_is_not_written(small, tmp_path, monkeypatch):
    wrong = formats.FORMATS["pt2"]._replace(run=lambda path: lambda x: ddarts.load_model(small)(x) + 0.01)
    monkeypatch.setitem(formats.FORMATS, "pt2", wrong)
    with pytest.raises(DdartsError, match=r"out\.pt2: not written: .* differs from the network by 0\.01"):
        exported(small, tmp_path, "out.pt2")
    nan = wrong._replace(run=lambda path: lambda x: ddarts.load_model(small)(x) * float("nan"))
    monkeypatch.setitem(formats.FORMATS, "pt2", nan)
    with pytest.raises(DdartsError, match="not written"):
        exported(small, tmp_path, "out.pt2")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_package_and_a_wrong_request_are_one_line_before_any_work(small, tmp_path, monkeypatch):
    monkeypatch.setattr(formats, "find_spec", lambda name: None if name == "onnxruntime" else 1)
    monkeypatch.setattr(exporting, "read_trained", lambda path: pytest.fail("work was begun"))
    with pytest.raises(DdartsError, match=r"--format onnx: needs onnxruntime: pip install 'ddarts\[export\]'"):
        ddarts.export(ExportConfig(model_path=small, output=str(tmp_path / "out.onnx")))
    (tmp_path / "there.pt2").touch()
    for options, message in (
        ({}, "--model_path is missing"),
        ({"model_path": "nowhere"}, "--model_path nowhere: no such file"),
        ({"model_path": small, "output": "a.onnx", "format": "pt2"}, r"--output a\.onnx: must end in \.pt2"),
        ({"model_path": small, "output": str(tmp_path / "there.pt2")}, "is there already"),
    ):
        with pytest.raises(UsageError, match=message):
            ddarts.export(ExportConfig(**options))


# --- models by name and from files --------------------------------------------------------------------------------


def test_a_model_takes_its_weights_from_a_file(small, tmp_path):
    path = write(ddarts.load_model(small).genotype, tmp_path / "genotype.json")
    model = ddarts.create_model(path, weights=small)
    x = torch.randn(2, 3, SIZE, SIZE)
    assert torch.equal(model(x), ddarts.load_model(small)(x)) and not model.training
    fine_tuned = ddarts.create_model(path, weights=small, drop_path_prob=0.3).train()
    assert fine_tuned.drop_path_prob == 0.3
    for options, message in (
        ({"num_classes": 3}, "--num_classes 3: the weights in .* have 10"),
        ({"init_channels": 8}, "--init_channels 8: the weights in .* have 4"),
        ({"stem": "imagenet"}, "--imagenet_stem published: .* have the stem cifar"),
    ):
        with pytest.raises(DdartsError, match=message):
            ddarts.create_model(path, weights=small, **options)
    with pytest.raises(DdartsError, match="--arch DD-4: .* belong to another architecture, 'made'"):
        ddarts.create_model("DD-4", weights=small)


def test_an_almost_right_name_is_corrected_and_pretrained_says_what_to_do():
    with pytest.raises(UsageError, match="did you mean DD-cifar10 or DD-cifar100"):
        ddarts.create_model("dd-cifar_10")
    with pytest.raises(DdartsError, match=r"no trained weights.*weights=FILE"):
        ddarts.create_model("DD-4", pretrained=True)


@pytest.mark.parametrize(("ending", "runner"), [("onnx", "onnxruntime"), ("pt2", "torch.export.load")])
def test_what_was_exported_as_a_program_is_not_taken_for_weights(ending, runner, tmp_path):
    path = tmp_path / f"net.{ending}"
    path.write_bytes(b"PK")
    with pytest.raises(
        DdartsError, match=rf"net\.{ending}: an exported network, which {runner}.* weights are expected"
    ):
        ddarts.load_model(path)


def test_loading_a_model_needs_no_search_no_data_and_no_drawing(small):
    code = (
        f"import sys, ddarts; ddarts.load_model({small!r})\n"
        "heavy = {'sklearn', 'torchvision', 'matplotlib', 'PIL', 'onnx', 'tensorboard'}\n"
        "parts = {f'ddarts.{part}.' for part in ('search', 'supernet', 'data', 'train', 'evaluate')}\n"
        "print([name for name in sys.modules if name in heavy or any(name.startswith(part) for part in parts)])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=ENVIRONMENT, timeout=60)
    assert done.returncode == 0 and done.stdout.strip() == "[]", done.stderr + done.stdout


def test_a_network_travels_by_the_hub(small, tmp_path):
    pytest.importorskip("huggingface_hub")
    from ddarts.network.hub import HubNetwork

    model = ddarts.load_model(small)
    HubNetwork.of(model).save_pretrained(tmp_path / "hub")
    assert {entry.name for entry in (tmp_path / "hub").iterdir()} >= {"config.json", "model.safetensors"}
    back = HubNetwork.from_pretrained(tmp_path / "hub").eval()
    x = torch.randn(2, 3, SIZE, SIZE)
    assert torch.equal(back(x), model(x)) and back.genotype == model.genotype
    config = json.loads((tmp_path / "hub" / "config.json").read_text())
    config["genotype"]["cells"][0][0][0] = "rm_rf"
    (tmp_path / "hub" / "config.json").write_text(json.dumps(config))
    with pytest.raises(DdartsError, match=r"config\.json: genotype: cell 0: node 2: unknown operation 'rm_rf'"):
        HubNetwork.from_pretrained(tmp_path / "hub")
