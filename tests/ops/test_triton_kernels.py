"""What only Triton's kernels can get wrong: addresses in a table, tiles and their edges, rounding in the interpreter.

Without a GPU they run in the interpreter, on the CPU (tests/conftest.py). The contract of all backends is elsewhere.
"""

import pytest
import torch
from torch import Tensor

from tests.ops.op_cases import normal

pytest.importorskip("triton")
from ddarts_kernels.mixed_sum import reference, triton_impl, triton_tiles  # noqa: E402
from ddarts_kernels.mixed_sum.triton_plan import plan  # noqa: E402
from ddarts_kernels.triton_launch import listed  # noqa: E402
from ddarts_kernels.triton_table import device_table  # noqa: E402

pytestmark = pytest.mark.usefixtures("poisoned_memory")
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def both_ways(impl: object, inputs: list[Tensor], keep: Tensor | None = None) -> list[Tensor]:
    """All results of forward and backward, with a batch norm on every second input."""
    every, norm = list(range(len(inputs))), [u % 2 for u in range(len(inputs))]
    weights = torch.linspace(-1, 1, len(inputs), dtype=inputs[0].dtype, device=DEVICE)
    out, *statistics = impl.forward(inputs, weights, every, norm, None, None, keep, True, 1e-5)
    mean, rstd = statistics if out.dim() > 1 and statistics[0].dim() == 2 else (None, None)
    grads, of_weights = impl.backward(inputs[-1], inputs, weights, every, norm, mean, rstd, keep, True, every, True)
    return [out, *statistics, *grads, of_weights]


def check(inputs: list[Tensor], keep: Tensor | None = None) -> None:
    """Float64 in and out: nothing but the order of sums may differ from the reference."""
    want = both_ways(reference, inputs, keep)
    for k, r in zip(both_ways(triton_impl, inputs, keep), want, strict=True):
        torch.testing.assert_close(k, r, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("count", [1, 16, 17, 255, 256, 257, 600])
def test_a_table_of_any_length(count: int) -> None:
    values = [(7919 * i) % 40 if i % 3 else 2**47 + i for i in range(count)]
    assert device_table(values, count, DEVICE)[:count].tolist() == values


@pytest.mark.parametrize(
    ("shape", "layout"),
    [
        ((1, 1, 1, 255), torch.contiguous_format),  # a tile of float64 has 256 elements
        ((1, 1, 1, 257), torch.contiguous_format),
        ((3, 2, 16, 17), torch.contiguous_format),
        ((513, 1, 1, 1), torch.contiguous_format),
        ((2, 127, 1, 1), torch.contiguous_format),  # and at most 128 channels
        ((3, 129, 1, 1), torch.contiguous_format),
        ((1, 129, 3, 1), torch.channels_last),
        ((2, 3, 9, 15), torch.channels_last),
        ((5, 16, 4, 4), torch.channels_last),
    ],
    ids=str,
)
def test_edges_of_tiles(shape: tuple[int, ...], layout: torch.memory_format) -> None:
    check([normal(torch.float64, u)(shape).to(DEVICE, memory_format=layout) for u in range(3)])


def test_offsets_of_64_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triton_tiles, "_WIDE_FROM", 0)
    for layout in (torch.contiguous_format, torch.channels_last):
        check([normal(torch.float64, u)((3, 5, 9, 11)).to(DEVICE, memory_format=layout) for u in range(2)])


def test_more_inputs_than_one_launch_can_name() -> None:
    keep = torch.arange(90, device=DEVICE) % 4 != 1
    check([normal(torch.float64, u)((2, 3, 2, 2)).to(DEVICE) for u in range(90)], keep)


def test_large_tiles_read_one_input_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triton_tiles, "_PROGRAMS", 1)
    for shape, layout in (((3, 2, 33, 17), torch.contiguous_format), ((3, 17, 9, 15), torch.channels_last)):
        inputs = [normal(torch.float64, u)(shape).to(DEVICE, memory_format=layout) for u in range(3)]
        assert triton_tiles.tiling_of(inputs[0], layout, by_channel=True).unroll == 1
        check(inputs)


def test_inputs_that_nothing_reads_are_not_on_the_list() -> None:
    """The kernels loop over row ORDER; the addresses here are not even valid."""
    weights, keep = torch.tensor([1.0, 2.0, 4.0, 8.0], device=DEVICE), torch.tensor([True, False, False, True])
    table, totals, length = plan(
        [1, 2, 3], [0] * 3, weights, [0, 1, 2, 0], [0, 1, 1], keep.to(DEVICE), False, torch.float32
    )
    rows = table[: triton_tiles.ROWS * length].view(triton_tiles.ROWS, length).tolist()
    assert rows[triton_tiles.COUNT.value][0] == 1 and rows[triton_tiles.ORDER.value][0] == 0
    assert rows[triton_tiles.KIND.value][:3] == [0, -1, -1]
    assert totals.tolist() == [9.0, 0.0, 0.0]


def test_only_what_needs_its_input_is_summed_over() -> None:
    """Without the gradient of the weights: inputs with a batch norm whose own gradient is wanted."""
    table, _, length = plan(
        [16] * 4,
        [0, 16, 16, 0],
        torch.ones(4, device=DEVICE),
        [0, 1, 2, 3],
        [1, 1, 0, 1],
        None,
        False,
        torch.float32,
        sum_all=False,
    )
    rows = table[: triton_tiles.ROWS * length].view(triton_tiles.ROWS, length).tolist()
    assert rows[triton_tiles.COUNT.value][0] == 1 and rows[triton_tiles.ORDER.value][0] == 1


def test_few_launches() -> None:
    inputs = [torch.empty(2, 16, 4, 4, device=DEVICE) for _ in range(35)]
    weights, statistics = torch.empty(35, device=DEVICE), torch.empty(35, 16, device=DEVICE)
    terms = inputs, weights, list(range(35)), [1] * 35
    with listed() as forward:
        triton_impl.forward(*terms, None, None, None, True, 1e-5)
    with listed() as backward:
        triton_impl.backward(inputs[0], *terms, statistics, statistics, None, True, list(range(35)), True)
    assert len(forward) <= 6 and len(backward) <= 8


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # numpy's, in the interpreter
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=lambda d: str(d)[6:])
def test_results_are_rounded_to_the_nearest(dtype: torch.dtype) -> None:
    """Every number of 16 bits times weights whose products fall between two of them, or halfway, or overflow."""
    bits = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16)
    x = bits.view(dtype).to(DEVICE)
    for weight in (1.0, 1.001953125, 1.00390625, 1.4, 2.0**-7):
        w = torch.tensor([weight], device=DEVICE)
        got = triton_impl.forward([x], w, [0], [0], None, None, None, False, 1e-5)[0]
        torch.testing.assert_close(got, (x.float() * w).to(dtype), rtol=0, atol=0, equal_nan=True)
