"""Derived networks on the Hugging Face hub. Needs huggingface_hub (`pip install 'ddarts[hub]'`).

    HubNetwork.of(ddarts.load_model("logs/eval/tour")).push_to_hub("someone/digits")
    model = HubNetwork.from_pretrained("someone/digits").eval()

config.json holds the arguments of `DerivedNetwork`, the genotype among them, and model.safetensors the weights: nothing
that is downloaded is unpickled or run.
"""

from typing import Any

from ddarts.genotype.files import from_dict, to_dict
from ddarts.network.model import DerivedNetwork
from ddarts.runtime.errors import DdartsError

try:
    from huggingface_hub import PyTorchModelHubMixin
except ImportError as error:
    raise DdartsError(f"the hub needs huggingface_hub ({error}): pip install 'ddarts[hub]'") from None


class HubNetwork(DerivedNetwork, PyTorchModelHubMixin, library_name="ddarts"):  # type: ignore[misc]
    """A `DerivedNetwork` with save_pretrained, from_pretrained and push_to_hub. `genotype`: as its file has it."""

    def __init__(
        self,
        genotype: dict[str, Any],
        num_classes: int,
        init_channels: int,
        stem: str = "cifar",
        wiring: str = "increasing",
    ) -> None:
        read = from_dict(genotype, "config.json: genotype")
        super().__init__(read, num_classes, init_channels, stem=stem, wiring=wiring)

    @classmethod
    def of(cls, model: DerivedNetwork) -> "HubNetwork":
        """The same network with the same weights, without an auxiliary head."""
        made = cls(to_dict(model.genotype), model.num_classes, model.init_channels, model.stem_name, model.wiring)
        own = made.state_dict()
        made.load_state_dict({name: value for name, value in model.state_dict().items() if name in own})
        return made.train(model.training)
