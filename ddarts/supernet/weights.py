"""Reading search weights under the published names."""

from pathlib import Path

from torch import nn

from ddarts.runtime.errors import DdartsError
from ddarts.runtime.torch_file import read_weights
from ddarts.supernet.network import load_published


def load_search_weights(network: nn.Module, path: str | Path) -> None:
    """Load a search network's weights from safetensors or a published checkpoint (tensors only, nothing is unpickled).

    Raises DdartsError naming the file where it is damaged, foreign, or of another architecture.
    """
    state = read_weights(path, "--init_from")
    try:
        load_published(network, state)
    except ValueError as error:
        raise DdartsError(f"--init_from {path}: not the weights of this search network: {error}") from None
