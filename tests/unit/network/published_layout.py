"""The published derived network, written down from its behaviour: names of its weights, and what it computes with them.

Independent of the package's own modules and of its table of names: `layout` makes random weights under published
names, `forward` evaluates (in evaluation mode) straight from that dictionary.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

State = dict[str, Tensor]


class Maker:
    """Random weights under published names."""

    def __init__(self) -> None:
        self.state: State = {}

    def conv(self, name: str, out: int, into: int, *kernel: int) -> None:
        fan = into * kernel[0] * kernel[1]
        self.state[f"{name}.weight"] = torch.randn(out, into, *kernel) / fan**0.5

    def bn(self, name: str, channels: int) -> None:
        self.state[f"{name}.weight"] = torch.rand(channels) + 0.5
        self.state[f"{name}.bias"] = torch.randn(channels) / 4
        self.state[f"{name}.running_mean"] = torch.randn(channels) / 4
        self.state[f"{name}.running_var"] = torch.rand(channels) + 0.5
        self.state[f"{name}.num_batches_tracked"] = torch.tensor(7)

    def linear(self, name: str, out: int, into: int) -> None:
        self.state[f"{name}.weight"] = torch.randn(out, into) / into**0.5
        self.state[f"{name}.bias"] = torch.randn(out)

    def one_by_one(self, name: str, out: int, into: int) -> None:
        self.conv(f"{name}.op.1", out, into, 1, 1)
        self.bn(f"{name}.op.2", out)

    def reduce(self, name: str, out: int, into: int) -> None:
        self.conv(f"{name}.conv_1", out // 2, into, 1, 1)
        self.conv(f"{name}.conv_2", out // 2, into, 1, 1)
        self.bn(f"{name}.bn", out)

    def operation(self, name: str, op: str, c: int, stride: int) -> None:
        kind, size = op.rsplit("_", 1)
        if op == "skip_connect":
            if stride == 2:
                self.reduce(name, c, c)
            return
        k = int(size[-1])
        if kind in ("sep_conv", "dil_conv"):
            for first in (1, 5) if kind == "sep_conv" else (1,):
                self.conv(f"{name}.op.{first}", c, 1, k, k)
                self.conv(f"{name}.op.{first + 1}", c, c, 1, 1)
                self.bn(f"{name}.op.{first + 2}", c)
        elif kind == "simple_conv":
            self.conv(f"{name}.op.1", c, c, k, k)
            self.bn(f"{name}.op.2", c)
        elif op in ("conv_3x1_1x3", "conv_7x1_1x7"):
            inner = f"{name}.op" if op == "conv_3x1_1x3" else name  # the 7x7 one is a bare sequence
            self.conv(f"{inner}.1", c, c, 1, k)
            self.conv(f"{inner}.2", c, c, k, 1)
            self.bn(f"{inner}.3", c)
        elif op == "bottleneck_1x3x1":
            for number, (out, into, side) in {1: (c, c, 1), 3: (c, c, 3), 5: (4 * c, c, 1), 8: (c, 4 * c, 1)}.items():
                self.conv(f"{name}.op.{number}", out, into, side, side)
                self.bn(f"{name}.op.{number + 1}", out)


def edge_names(cell, flat: bool) -> list[str]:
    """Published name of each gene's operation below its cell: TO.FROM.J, or for two-edge cells its number."""
    if flat:
        return [f"_ops.{number}" for number in range(len(cell))]
    counts: dict[tuple[int, int], int] = {}
    names = []
    for _, to, source in cell:
        counts[to, source] = counts.get((to, source), -1) + 1
        names.append(f"_ops.{to}.{source}.{counts[to, source]}")
    return names


def layout(genotype, classes: int, channels: int, stem: str = "cifar", head: bool = True, flat: bool = False) -> State:
    """Random weights of the published network of `genotype`, every gene of every position included."""
    make, c = Maker(), channels
    if stem == "cifar":
        make.conv("stem.0", 3 * c, 3, 3, 3)
        make.bn("stem.1", 3 * c)
        before = last = 3 * c
    else:
        make.conv("stem0.0", c // 2, 3, 3, 3)
        make.bn("stem0.1", c // 2)
        make.conv("stem0.3", c, c // 2, 3, 3)
        make.bn("stem0.4", c)
        make.conv("stem1.1", c, c, 3, 3)
        make.bn("stem1.2", c)
        before = last = c
    halved = stem != "cifar"
    for i in range(genotype.layers):
        cell, reduction = genotype.position(i), i in genotype.reductions
        c *= 2 if reduction else 1
        (make.reduce if halved else make.one_by_one)(f"cells.{i}.preprocess0", c, before)
        make.one_by_one(f"cells.{i}.preprocess1", c, last)
        for (op, _, source), name in zip(cell, edge_names(cell, flat), strict=True):
            make.operation(f"cells.{i}.{name}", op, c, 2 if reduction and source < 2 else 1)
        before, last, halved = last, c * len({to for _, to, _ in cell}), reduction
        if i == genotype.reductions[-1] and head:
            make.conv("auxiliary_head.features.2", 128, last, 1, 1)
            make.bn("auxiliary_head.features.3", 128)
            make.conv("auxiliary_head.features.5", 768, 128, 2, 2)
            make.bn("auxiliary_head.features.6", 768)
            make.linear("auxiliary_head.classifier", classes, 768)
    make.linear("classifier", classes, last)
    return make.state


def forward(state: State, genotype, x: Tensor, stem: str = "cifar") -> Tensor:
    """Logits of the published network in evaluation mode (global average pooling; TO.FROM.J names)."""

    def conv(y, name, stride=1, dilation=1):
        w = state[f"{name}.weight"]
        padding = tuple(dilation * (side // 2) for side in w.shape[2:])
        return F.conv2d(y, w, None, stride, padding, dilation, groups=y.shape[1] if w.shape[1] == 1 else 1)

    def bn(y, name):
        mean, var, weight, bias = (state[f"{name}.{k}"] for k in ("running_mean", "running_var", "weight", "bias"))
        return F.batch_norm(y, mean, var, weight, bias)

    def reduce(y, name):
        y = y.relu()
        halves = conv(y, f"{name}.conv_1", 2), conv(y[:, :, 1:, 1:], f"{name}.conv_2", 2)
        return bn(torch.cat(halves, 1), f"{name}.bn")

    def operation(y, name, op, s):
        if op == "skip_connect":
            return y if s == 1 else reduce(y, name)
        if op == "max_pool_3x3":
            return F.max_pool2d(y, 3, s, 1)
        if op == "avg_pool_3x3":
            return F.avg_pool2d(y, 3, s, 1, count_include_pad=False)
        if op.startswith("sep_conv"):
            y = bn(conv(conv(y.relu(), f"{name}.op.1", s), f"{name}.op.2"), f"{name}.op.3")
            return bn(conv(conv(y.relu(), f"{name}.op.5"), f"{name}.op.6"), f"{name}.op.7")
        if op.startswith("dil_conv"):
            return bn(conv(conv(y.relu(), f"{name}.op.1", s, 2), f"{name}.op.2"), f"{name}.op.3")
        if op.startswith("simple_conv"):
            return bn(conv(y.relu(), f"{name}.op.1", s), f"{name}.op.2")
        if op.startswith("bottleneck"):
            y = bn(conv(y.relu(), f"{name}.op.1"), f"{name}.op.2")
            y = bn(conv(y, f"{name}.op.3", s), f"{name}.op.4")
            y = bn(conv(y, f"{name}.op.5"), f"{name}.op.6").relu()
            return bn(conv(y, f"{name}.op.8"), f"{name}.op.9")
        inner = f"{name}.op" if op == "conv_3x1_1x3" else name
        return bn(conv(conv(y.relu(), f"{inner}.1", (1, s)), f"{inner}.2", (s, 1)), f"{inner}.3")

    if stem == "cifar":
        before = last = bn(conv(x, "stem.0"), "stem.1")
    else:
        before = bn(conv(bn(conv(x, "stem0.0", 2), "stem0.1").relu(), "stem0.3"), "stem0.4")
        last = bn(conv(before.relu(), "stem1.1", 2), "stem1.2")
    halved = stem != "cifar"
    for i in range(genotype.layers):
        cell, name, reduction = genotype.position(i), f"cells.{i}", i in genotype.reductions
        if halved:
            first = reduce(before, f"{name}.preprocess0")
        else:
            first = bn(conv(before.relu(), f"{name}.preprocess0.op.1"), f"{name}.preprocess0.op.2")
        second = bn(conv(last.relu(), f"{name}.preprocess1.op.1"), f"{name}.preprocess1.op.2")
        states = {0: first, 1: second}
        for node in dict.fromkeys(to for _, to, _ in cell):  # in the order in which the genes name them
            terms = [
                operation(states[source], f"{name}.{edge}", op, 2 if reduction and source < 2 else 1)
                for (op, to, source), edge in zip(cell, edge_names(cell, flat=False), strict=True)
                if to == node and source in states
            ]
            states[node] = sum(terms)
        before, last, halved = last, torch.cat(list(states.values())[2:], 1), reduction
    return F.linear(last.mean((2, 3)), state["classifier.weight"], state["classifier.bias"])
