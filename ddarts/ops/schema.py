"""Schemas of every operator, declared once.

`ddarts::<op>` is what callers and graphs see; `ddarts_cpp::<op>` has the same schema and is implemented by the
compiled library. Both exist without that library.
"""

import functools

import torch

SCHEMAS = {
    "mixed_sum": "(Tensor[] inputs, Tensor weights) -> Tensor",
    "mixed_sum_backward": (
        "(Tensor grad, Tensor[] inputs, Tensor weights, bool need_inputs, bool need_weights) -> (Tensor[], Tensor)"
    ),
}
NAMESPACES = ("ddarts", "ddarts_cpp")


@functools.cache
def define_all() -> None:
    """Defines every operator in every namespace; calling it again does nothing."""
    for namespace in NAMESPACES:
        for name, schema in SCHEMAS.items():
            torch.library.define(f"{namespace}::{name}", schema, tags=(torch.Tag.pt2_compliant_tag,))
