"""`ddarts evaluate` and `ddarts cost` up to the numbers: which file, which stem, which messages, which progress."""

import pytest
import torch
from PIL import Image

from ddarts.config import CostConfig, EvaluateConfig, TrainConfig
from ddarts.evaluate.accuracy import evaluate
from ddarts.evaluate.cost import cost
from ddarts.genotype.schema import Gene, Genotype
from ddarts.network.model import DerivedNetwork
from ddarts.network.weights import save_network
from ddarts.runtime.errors import DdartsError, UsageError
from ddarts.train.build import build

TINY = Genotype("tiny", "ddarts", 1, (2,), (), ((Gene("skip_connect", 2, 0), Gene("skip_connect", 2, 1)),))
SIZE = 8


@pytest.fixture
def run_folder(tmp_path):
    """A folder as a training leaves it, with the weights of an untrained network in it."""
    folder = tmp_path / "run"
    folder.mkdir()
    save_network(folder / "best.safetensors", DerivedNetwork(TINY, 10, 4), "digits", image_size=SIZE)
    return folder


@pytest.fixture
def pets(tmp_path):
    """Class folders with four images each."""
    for split in ("train", "test"):
        for name, colour in (("cat", 40), ("dog", 200)):
            (tmp_path / "pets" / split / name).mkdir(parents=True)
            for number in range(4):
                Image.new("RGB", (32, 32), (colour, number * 9, 0)).save(
                    tmp_path / "pets" / split / name / f"{number}.png"
                )
    return str(tmp_path / "pets")


def test_a_run_folder_stands_for_its_best_weights(run_folder):
    inside = evaluate(EvaluateConfig(model_path=str(run_folder / "best.safetensors"), dataset="digits"))
    assert evaluate(EvaluateConfig(model_path=str(run_folder), dataset="digits")) == inside
    (run_folder / "best.safetensors").rename(run_folder / "last.safetensors")
    with pytest.raises(UsageError, match=r"run: this folder has no best\.safetensors; give a run folder"):
        evaluate(EvaluateConfig(model_path=str(run_folder), dataset="digits"))


def test_what_is_no_file_of_weights_is_said_before_the_architecture_is_asked_for(tmp_path):
    (tmp_path / "notes.pth").write_text("not weights")
    with pytest.raises(DdartsError, match=r"notes\.pth: ") as caught:
        evaluate(EvaluateConfig(model_path=str(tmp_path / "notes.pth"), dataset="digits"))
    assert "--arch" not in str(caught.value)
    torch.save({"state_dict": {"a": torch.zeros(1)}}, tmp_path / "real.pth")
    with pytest.raises(UsageError, match="name it with --arch"):
        evaluate(EvaluateConfig(model_path=str(tmp_path / "real.pth"), dataset="digits"))


@pytest.mark.parametrize(("report_freq", "lines"), [(2, ["2/4", "4/4"]), (50, ["4/4"])])
def test_progress_is_shown_every_report_freq_batches(run_folder, capsys, report_freq, lines):
    evaluate(EvaluateConfig(model_path=str(run_folder), dataset="digits", batch_size=90, report_freq=report_freq))
    out, err = capsys.readouterr()
    assert out == ""
    shown = [line for line in err.splitlines() if line.startswith("evaluate")]
    assert [line.split()[1] for line in shown] == lines


def test_an_imagenet_stem_that_is_asked_for_applies_to_a_folder_of_images(pets, tmp_path, monkeypatch):
    made = TrainConfig(
        arch="DD-cifar10", dataset="folder", data=pets, image_size=32, init_channels=2, batch_size=4, device="cpu"
    )
    assert build(made)[1].model.stem_name == "cifar"
    asked = TrainConfig(**{**vars(made), "imagenet_stem": "published"})
    model = build(asked)[1].model
    assert model.stem_name == "imagenet"
    save_network(tmp_path / "pets.safetensors", model, "folder", image_size=32)
    measure = EvaluateConfig(model_path=str(tmp_path / "pets.safetensors"), dataset="folder", data=pets, image_size=32)
    assert evaluate(measure)["images"] == 8
    assert evaluate(EvaluateConfig(**{**vars(measure), "imagenet_stem": "published"}))["images"] == 8
    with pytest.raises(DdartsError, match="--imagenet_stem darts: .* have the stem imagenet"):
        evaluate(EvaluateConfig(**{**vars(measure), "imagenet_stem": "darts"}))


def test_the_cost_of_a_folder_s_network_depends_on_the_stem_only_where_it_is_asked_for():
    def macs(dataset, stem=None):
        options = {"arch": "DD-cifar10", "init_channels": 4, "num_classes": 10, "image_size": 64}
        return cost(CostConfig(dataset=dataset, imagenet_stem=stem, **options))["macs"]

    assert macs("folder") == macs("digits") == macs("digits", "darts")
    assert macs("folder", "published") == macs("imagenet") == macs("imagenet", "published") != macs("folder")
    assert macs("folder", "darts") == macs("imagenet", "darts") != macs("imagenet")


def test_cost_counts_a_network_that_has_no_auxiliary_head(tmp_path):
    from ddarts.genotype.files import write

    found = cost(CostConfig(arch=str(write(TINY, tmp_path / "tiny.json")), dataset="digits", auxiliary=True))
    assert found["params"] > 0 and found["params_auxiliary"] is None and found["macs_auxiliary"] is None
