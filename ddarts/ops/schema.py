"""Schemas of every operator, declared once.

`ddarts::<op>` is what callers and graphs see; `ddarts_cpp::<op>` and `ddarts_cuda::<op>` have the same schema and are
implemented by the compiled libraries. All exist without those libraries.
"""

import functools

import torch

_TERMS = "int[] source, int[] norm, Tensor? mean, Tensor? rstd, Tensor? keep, bool logits"
SCHEMAS = {
    "mixed_sum": f"(Tensor[] inputs, Tensor weights, {_TERMS}, float eps) -> (Tensor, Tensor, Tensor)",
    "mixed_sum_backward": (
        f"(Tensor grad, Tensor[] inputs, Tensor weights, {_TERMS}, int[] wanted, bool need_weights)"
        " -> (Tensor[], Tensor)"
    ),
    "channel_sums": "(Tensor grad, Tensor[] inputs, int[] norm, Tensor? mean, Tensor? rstd) -> (Tensor, Tensor)",
    "node_sum": "(Tensor[] inputs, Tensor weights, Tensor? mean, Tensor? rstd) -> Tensor",
    "project": "(Tensor x, Tensor[] weights, int stride, float eps, int groups) -> (Tensor, Tensor, Tensor)",
    "project_backward": (
        "(Tensor[] grads, Tensor y, Tensor coefficients, Tensor x, Tensor[] weights, int stride, bool need_weights)"
        " -> (Tensor, Tensor[])"
    ),
    "stage": (
        "(Tensor x, Tensor[] depthwise, Tensor[] pointwise, int[] dilation, int stride, Tensor? mean, Tensor? rstd,"
        " float eps, int groups, ScalarType? dtype=None) -> (Tensor[], Tensor, Tensor)"
    ),
    "stage_backward": (
        "(Tensor[] grads, Tensor[] y, Tensor coefficients, Tensor x, Tensor[] depthwise, Tensor[] pointwise,"
        " int[] dilation, int stride, Tensor? mean, Tensor? rstd, bool need_weights)"
        " -> (Tensor, Tensor[], Tensor[], Tensor)"
    ),
    "pools": "(Tensor x, int stride, float eps, int groups) -> (Tensor, Tensor, Tensor, Tensor, Tensor)",
    "pools_backward": (
        "(Tensor[] grads, Tensor most, Tensor average, Tensor index, Tensor coefficients, int height, int width,"
        " int stride) -> Tensor"
    ),
    "threshold": "(Tensor alphas, int steps, int method, float threshold, bool logits) -> (Tensor, Tensor, Tensor)",
}
NAMESPACES = ("ddarts", "ddarts_cpp", "ddarts_cuda")


@functools.cache
def define_all() -> None:
    """Defines every operator in every namespace; calling it again does nothing."""
    for namespace in NAMESPACES:
        for name, schema in SCHEMAS.items():
            torch.library.define(f"{namespace}::{name}", schema, tags=(torch.Tag.pt2_compliant_tag,))
