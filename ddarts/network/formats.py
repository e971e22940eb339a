"""The forms in which a network leaves the program, each written to a file and read back to be run.

Every file computes images float32 [N, 3, S, S] → logits [N, classes] for any N, on its own: without this package, but
for safetensors, which holds weights only. All carry the description of `ddarts.network.weights`, genotype included.
"""

from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from ddarts.network.model import DerivedNetwork
from ddarts.network.trained import load_model
from ddarts.runtime.errors import DdartsError
from ddarts.runtime.weights import save_weights

INPUT, OUTPUT = "images", "logits"
Notes = Mapping[str, str]
Run = Callable[[Tensor], Tensor]


class Format(NamedTuple):
    """How a format is written, how its file is run, and the packages that takes beside torch."""

    write: Callable[[DerivedNetwork, Tensor, Notes, Path], None]
    run: Callable[[Path], Run]
    packages: tuple[str, ...] = ()


def check_packages(name: str) -> None:
    """DdartsError where a package that a format needs is not installed."""
    missing = [package for package in FORMATS[name].packages if find_spec(package) is None]
    if missing:
        raise DdartsError(f"--format {name}: needs {' and '.join(missing)}: pip install 'ddarts[export]'")


def _program(model: DerivedNetwork, example: Tensor) -> torch.export.ExportedProgram:
    return torch.export.export(model, (example,), dynamic_shapes={"x": {0: torch.export.Dim("batch")}})


def _write_onnx(model: DerivedNetwork, example: Tensor, notes: Notes, path: Path) -> None:
    exported = torch.onnx.export(
        _program(model, example),
        (example,),
        input_names=[INPUT],
        output_names=[OUTPUT],
        dynamo=True,
        verbose=False,
    )
    if exported is None:
        raise DdartsError(f"{path.name}: torch's exporter gave no ONNX model")
    exported.model.metadata_props.update(notes)
    exported.save(path, external_data=False)


def _run_onnx(path: Path) -> Run:
    import onnx
    import onnxruntime

    onnx.checker.check_model(str(path), full_check=True)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return lambda images: torch.from_numpy(session.run([OUTPUT], {INPUT: images.numpy()})[0])


def _write_pt2(model: DerivedNetwork, example: Tensor, notes: Notes, path: Path) -> None:
    torch.export.save(_program(model, example), path, extra_files=dict(notes))


def _run_pt2(path: Path) -> Run:
    return torch.export.load(path).module()


def _write_safetensors(model: DerivedNetwork, _example: Tensor, notes: Notes, path: Path) -> None:
    save_weights(path, model.state_dict(), notes)


FORMATS = {
    "onnx": Format(_write_onnx, _run_onnx, ("onnx", "onnxscript", "onnxruntime")),
    "pt2": Format(_write_pt2, _run_pt2),
    "safetensors": Format(_write_safetensors, load_model),
}
