"""DeepSpeed as the engine of the weights: ZeRO stages 0 (nothing split), 1 (optimizer state) and 2 (gradients too).

DeepSpeed sees a float32 network and a client's SGD. Autocast runs inside the module it is given, and the loss scale is
ours: α and weights must skip together, and α stay float32. Two of its engines on one module are silently wrong, so α
are not one.
"""

import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from ddarts.runtime.errors import DdartsError, UsageError
from ddarts.runtime.loss_scale import LossScale
from ddarts.runtime.ranks.group import Group

_MOMENTUM = "momentum_buffer"


class _Autocast(nn.Module):
    """The network within its autocast; DeepSpeed turns off one that is entered outside of it."""

    def __init__(self, network: nn.Module, autocast: Callable[[], AbstractContextManager]) -> None:
        super().__init__()
        self.network, self.autocast = network, autocast

    def forward(self, *inputs: Any, **options: Any) -> Any:
        with self.autocast():
            return self.network(*inputs, **options)


class DeepSpeedEngine:
    """Steps of the weights by DeepSpeed; see `engines.WeightEngine` for what each call means.

    optimizer: torch's SGD over the network's parameters. config: DeepSpeed's configuration (`ds_config.merged`).
    DdartsError where DeepSpeed is not installed, UsageError where it refuses a key.
    """

    def __init__(
        self,
        network: nn.Module,
        optimizer: torch.optim.Optimizer,
        group: Group,
        config: Mapping[str, Any],
        *,
        scale: LossScale,
        autocast: Callable[[], AbstractContextManager] = nullcontext,
    ) -> None:
        deepspeed = _import(group.device)
        self.network, self.group, self.scale = network, group, scale
        self.parameters = list(network.parameters())
        self.grad_clip = float(config["gradient_clipping"])
        self.stage = int(config["zero_optimization"]["stage"])
        self._defaults = optimizer.state_dict()
        network.to(memory_format=torch.contiguous_format)  # DeepSpeed sends and flattens parameters as rows of bytes
        # Without ZeRO DeepSpeed would clip by a norm in float32, which it takes once more; here it is at hand.
        settings = {**config, **({} if self.stage else {"gradient_clipping": 0.0})}
        module = _Autocast(network, autocast)
        with _naming_keys(deepspeed):
            self._engine, *_ = deepspeed.initialize(
                model=module, optimizer=optimizer, config=settings, dist_init_required=False
            )
        if self.parameters[0].dtype == torch.float64:
            self._engine.communication_data_type = torch.float64
        self.optimizer = optimizer
        self._zero = self._engine.optimizer if self.stage else None
        self._start_momenta()
        group.broadcast(*network.buffers())  # DeepSpeed sends parameters only

    def forward(self, *inputs: Any, **options: Any) -> Any:
        """Through DeepSpeed's engine, which prepares its hooks."""
        return self._engine(*inputs, **options)

    def backward(
        self, loss: Tensor, others: Sequence[Tensor] = (), added: Sequence[Tensor] = (), last: bool = True
    ) -> Sequence[Tensor]:
        """The reduction over the ranks happens in here: at stage 2 of every part, else of the last."""
        self._engine.set_gradient_accumulation_boundary(last)
        for parameter, gradient in zip(self.parameters, added, strict=False):
            loss = loss + (parameter * gradient).sum()  # the one way into gradients that are reduced as they come
        if self._zero is not None and self.scale.enabled:
            self._zero.override_loss_scale(self.scale.value)
        self._engine.backward(loss if self._zero is not None else self.scale.scale(loss), scale_wrt_gas=False)
        return self.scale.unscale([_taken(leaf) for leaf in others])

    def reduce(self, loss: Tensor, *observed: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Only what was observed is left to reduce."""
        if self._zero is not None:
            norm = torch.as_tensor(self._zero.scaled_global_norm(), device=self.group.device) / self.scale.value
            norm = torch.where(norm < 0, torch.full_like(norm, torch.nan), norm)  # DeepSpeed's word for not finite
        else:
            gradients = [parameter.grad for parameter in self.parameters if parameter.grad is not None]
            if self.scale.enabled:
                torch._foreach_mul_(gradients, 1 / self.scale.value)
            norm = torch.nn.utils.get_total_norm(gradients)
        return norm, self.group.step_mean(loss, *observed)

    def step(self, norm: Tensor) -> None:
        """DeepSpeed's step; it finds the norm again where gradients are split over the ranks."""
        if self._zero is None:
            torch.nn.utils.clip_grads_with_norm_(self.parameters, self.grad_clip, norm)
        self._engine.step()

    def skip(self) -> None:
        """Where DeepSpeed holds the gradient, it is spoilt on every rank, and DeepSpeed leaves the step out itself."""
        if self._zero is None:
            self._engine.zero_grad()
            return
        for gradients in self._zero.averaged_gradients.values():
            torch._foreach_mul_(list(gradients), torch.nan)
        self._engine.step()

    def state_dict(self) -> dict[str, Any]:
        """As torch's SGD has it; split momenta are gathered."""
        if self._zero is None:
            return self.optimizer.state_dict()
        from deepspeed.utils import safe_get_full_optimizer_state

        found = {i: {_MOMENTUM: safe_get_full_optimizer_state(p, _MOMENTUM)} for i, p in enumerate(self.parameters)}
        return {**self._defaults, "state": found}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Every rank keeps its part; DeepSpeed's own copy of the weights is made anew."""
        if self._zero is None:
            self.optimizer.load_state_dict(dict(state))
            return
        from deepspeed.utils import safe_set_full_optimizer_state

        for index, entry in state["state"].items():
            if entry.get(_MOMENTUM) is not None:
                safe_set_full_optimizer_state(self.parameters[index], entry[_MOMENTUM].to(self.group.device), _MOMENTUM)
        self._zero.refresh_fp32_params()

    def _start_momenta(self) -> None:
        """Momenta that start as zeros give the same steps, and can be loaded before the first."""
        if self._zero is None or not self.optimizer.defaults.get("momentum"):
            return
        for part in self._zero.single_partition_of_fp32_groups:
            self.optimizer.state[part][_MOMENTUM] = torch.zeros_like(part)
        self._zero._lazy_init_hp_params_optimizer_state()


def _taken(leaf: Tensor) -> Tensor:
    gradient, leaf.grad = leaf.grad, None
    assert gradient is not None
    return gradient


@contextmanager
def _naming_keys(deepspeed: Any) -> Iterator[None]:
    """UsageError with the keys of the configuration that DeepSpeed itself does not take."""
    from pydantic import ValidationError

    try:
        yield
    except ValidationError as error:
        lines = [f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()]
        raise UsageError(f"--ds_config: DeepSpeed refuses {'; '.join(lines)}") from None
    except deepspeed.runtime.config.DeepSpeedConfigError as error:
        raise UsageError(f"--ds_config: DeepSpeed refuses it ({error})") from None


def _import(device: torch.device) -> Any:
    """DeepSpeed, quiet and without what it would compile at its first use."""
    if device.type == "cpu":
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    try:
        import deepspeed
    except ImportError as error:
        raise DdartsError(
            f"--engine deepspeed: DeepSpeed cannot be imported ({error}); pip install deepspeed, or use --engine torch"
        ) from None
    # Shared memory between ranks is for inference; DeepSpeed would compile it for a minute.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    deepspeed.utils.logger.setLevel(logging.ERROR)
    return deepspeed
