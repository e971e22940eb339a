"""One rank of test_equality.py: writes what every engine computes to a file. `python equality_worker.py FILE`"""

import os
import sys
from functools import partial

os.environ["DS_ACCELERATOR"] = "cpu"

import torch  # noqa: E402
from search_ranks import CLIP, IMAGES, batch_of, iteration_of, network_of, run  # noqa: E402
from torch.nn.functional import cross_entropy  # noqa: E402
from torch.nn.parallel import DistributedDataParallel  # noqa: E402

from ddarts.config.ds_config import Steps, merged  # noqa: E402
from ddarts.runtime.loss_scale import LossScale  # noqa: E402
from ddarts.runtime.ranks.discovery import discover  # noqa: E402
from ddarts.runtime.ranks.group import open_group  # noqa: E402
from ddarts.runtime.ranks.statistics import Statistics  # noqa: E402


def outcome(group, dtype, recipe="paper", single_level=False, engine=None, parts=1):
    """Losses, α, weights with the common statistics, and momenta after two iterations."""
    network = network_of(dtype)
    ranks = iteration_of(network, group, recipe, engine=engine, parts=parts)

    def batches(number, rank, size):
        return batch_of(number, rank, size, dtype)

    seen = run(ranks, group.rank, group.size, single_level, batches=batches)
    group.check_same("α", ranks.alphas.logits)
    group.check_same("weights", *network.parameters())
    momenta = ranks.weights.state_dict()["state"]
    state = {**network.state_dict(), **Statistics(network, group).reduce()}
    return {
        "seen": seen,
        "alphas": ranks.alphas.logits.detach().clone(),
        **{f"weights.{name}": value.detach().clone() for name, value in state.items()},
        **{f"momenta.{i}": entry["momentum_buffer"].clone() for i, entry in momenta.items()},
    }


def overflowing(group, engine=None):
    """α and weights under a loss scale: at first, after an iteration that overflows on one rank, after one more."""
    network, scale = network_of(torch.float32), LossScale(enabled=True)
    ranks = iteration_of(network, group, "official", scale, engine=engine and partial(engine, scale=scale))

    def state():
        return torch.cat([tensor.detach().flatten().clone() for tensor in (ranks.alphas.logits, *network.parameters())])

    found = [state()]
    for step, poison in enumerate((torch.inf if group.rank == 1 else 1, 1)):
        images, labels = batch_of(step, group.rank, group.size, torch.float32)
        ranks.architecture_step((images, labels), step)
        ranks.weight_step((images * poison, labels), step)
        found.append(state())
    return {"states": torch.stack(found), "skipped": scale.skipped, "scale": scale.value}


def by_ddp(group):
    """One step of the weights by torch's own DDP, and by our engine: the parameters after it."""
    found = []
    for ours in (False, True):
        network = network_of()
        ranks = iteration_of(network, group)
        weights, (images, labels) = ranks.alphas.mixing().detach(), batch_of(0, group.rank, group.size)
        if ours:
            ranks.weight_step((images, labels), 0)
        else:
            ddp = DistributedDataParallel(network, broadcast_buffers=False)
            cross_entropy(ddp(images, weights), labels).backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), CLIP)
            ranks.weights.optimizer.step()
        found.append(torch.cat([p.detach().flatten() for p in network.parameters()]))
    return {"ddp": found[0], "ours": found[1]}


def main(path):
    """All cases in one start of the processes."""
    with open_group(discover(), torch.device("cpu"), 120) as group:
        wide, narrow = torch.float64, torch.float32
        found = {"ddp": by_ddp(group), "float32": outcome(group, narrow), "float64": outcome(group, wide)}
        found["official"] = outcome(group, wide, "official")
        found["overflow"] = overflowing(group)
        if sys.argv[2:] == ["deepspeed"]:
            from deepspeed.accelerator import get_accelerator

            from ddarts.runtime.ranks.deepspeed import DeepSpeedEngine

            # DeepSpeed leaves float64 out of what it reduces between CPUs; gloo does not.
            get_accelerator().supported_dtypes = lambda: [narrow, wide]

            def engine(network, optimizer, stage=0, parts=1, scale=None):
                settings = merged(None, Steps(IMAGES // group.size, parts, CLIP, group.size))
                settings["zero_optimization"] = {"stage": stage}
                return DeepSpeedEngine(network, optimizer, group, settings, scale=scale or LossScale(enabled=False))

            found["stage 0, float64"] = outcome(group, wide, engine=engine)
            found["stage 0, official"] = outcome(group, wide, "official", engine=engine)
            found["stage 0, single level"] = outcome(group, wide, single_level=True, engine=engine)
            for stage in (0, 1, 2):
                found[f"stage {stage}"] = outcome(group, narrow, engine=partial(engine, stage=stage))
                found[f"overflow, stage {stage}"] = overflowing(group, partial(engine, stage=stage))
            if group.size == 2:
                split = partial(engine, stage=2, parts=2)
                found["parts, stage 2"] = outcome(group, narrow, engine=split, parts=2)
                found["parts"] = outcome(group, narrow, parts=2)
                found["parts, float64"] = outcome(group, wide, parts=2)
        found["single level"] = outcome(group, wide, single_level=True)
        if group.is_first:
            torch.save(found, path)


if __name__ == "__main__":
    main(sys.argv[1])
