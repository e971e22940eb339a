"""A cell's forward pass by source state. Legend: see fused_plan.py; T lines of a node's sum, its edges times K."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ddarts.ops.staging import run
from ddarts.space.topology import INPUTS, node_edges, nodes
from ddarts.supernet import fused_reduce
from ddarts.supernet.fused_plan import FIRST, SECOND, CellPlan, Stacks, Visit, images, pixels

Statistics = tuple[Tensor, Tensor]
Others = Callable[[int, Tensor], Sequence[Sequence[Tensor]]]  # (state's number, state) → Visit.other


def forward(
    plan: CellPlan,
    inputs: Sequence[Tensor | Visit],
    weights: Tensor,
    stacks: Stacks,
    given: Statistics | None,
    others: Others,
    eps: float,
    *,
    keep: bool,
) -> tuple[Tensor, list[Visit]]:
    """Both input states [N, C, H, W], or their visits where they are known, and mixing weights [E, K] (edges as α has
    them) → the cell's output images and the visits of all states that edges leave. given: BN statistics [E, K + 2, C];
    None: those of the batch. keep: whether a backward pass may follow; without, what no node reads is freed at once."""
    states = [x.state if isinstance(x, Visit) else pixels(x) for x in inputs]
    visits: list[Visit] = []
    outputs: list[list[Sequence[Tensor]]] = []
    for source in range(plan.states - 1):
        if source >= INPUTS:
            states.append(_node(plan, source, visits, outputs, weights, given is None, eps))
        known = inputs[source] if source < INPUTS else None
        visit = known if isinstance(known, Visit) else _visit(plan, source, states[source], stacks, given, others, eps)
        outputs.append(plan.outputs(source, visit))
        visits.append(visit if keep else replace(visit, first=(), second=(), index=visit.most))
    states.append(_node(plan, nodes(plan.steps)[-1], visits, outputs, weights, given is None, eps))
    return images(torch.cat(states[-plan.multiplier :], dim=3)), visits


def terms(
    plan: CellPlan, node: int, visits: Sequence[Visit], outputs: Sequence[Sequence[Sequence[Tensor]]], batch: bool
) -> tuple[list[Tensor], list[int], Tensor, Tensor]:
    """What a node sums: T images, how they are normalised, and their statistics [T, C]."""
    inputs, norms, mean, rstd = [], [], [], []
    for source in range(node):
        edge = node - plan.targets(source).start
        inputs += [output[edge] for output in outputs[source]]
        norms += plan.norms(source, batch)
        mean.append(visits[source].mean[edge, : len(plan.operations)])
        rstd.append(visits[source].rstd[edge, : len(plan.operations)])
    return inputs, norms, torch.cat(mean), torch.cat(rstd)


def _node(plan, node, visits, outputs, weights, batch, eps) -> Tensor:
    inputs, norms, mean, rstd = terms(plan, node, visits, outputs, batch)
    values = weights[node_edges(node)].reshape(-1)
    lines = list(range(len(inputs)))
    found, _, _ = run("mixed_sum", values.device, inputs, values, lines, norms, mean, rstd, None, False, eps)
    return pixels(found)


def _visit(
    plan: CellPlan, source: int, x: Tensor, stacks: Stacks, given: Statistics | None, others: Others, eps: float
) -> Visit:
    rows, stride = plan.rows(source), plan.stride(source)
    depthwise, pointwise = ([w[rows] for w in group] for group in (stacks.depthwise, stacks.pointwise))
    cut, inner = len(FIRST), len(plan.operations)
    most, average, index, *pooled = run("pools", x.device, x, stride, eps)
    first, *opened = run(
        "stage",
        x.device,
        *(x[None], depthwise[:cut], pointwise[:cut], [kind.dilation for kind in FIRST], stride, None, None, eps),
    )
    second, closed = [], []
    for s, kind in enumerate(SECOND):
        mean, rstd = (v[s] for v in opened) if given is None else (v[rows, inner + s].contiguous() for v in given)
        stage = (first[s], depthwise[cut + s : cut + s + 1], pointwise[cut + s : cut + s + 1], [kind.dilation], 1)
        (y,), *found = run("stage", x.device, *stage, mean, rstd, eps)
        second.append(y)
        closed.append(found)
    skips = [w[rows] for w in stacks.reduce] if stride > 1 else []
    reduced, *skipped = fused_reduce.forward(x, skips, eps) if skips else (None, None, None)
    if given is None:
        mean, rstd = (
            _table(plan, pooled[i], skipped[i], [found[i] for found in closed], opened[i], neutral)
            for i, neutral in enumerate((0.0, 1.0))
        )
    else:
        mean, rstd = (v[rows] for v in given)
    return Visit(x, most, average, index, first, second, reduced, mean, rstd, others(source, x))


def _table(
    plan: CellPlan,
    pooled: Tensor,
    skipped: Tensor | None,
    closed: Sequence[Tensor],
    opened: Tensor,
    neutral: float,
) -> Tensor:
    """Means (or rstd) of the pools [2, C], of strided skip connections [e, C], of the second stages (each [1, e, C])
    and of the first [4, e, C] → [e, K + 2, C]."""
    edges, channels = opened.shape[1:]
    plain = opened.new_full((1, edges, channels), neutral)
    skip = plain if skipped is None else skipped[None]
    lines = torch.cat([plain, pooled[:, None].expand(-1, edges, -1), skip, *closed, opened])
    return lines[plan.columns].transpose(0, 1)
