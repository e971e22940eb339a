"""A state goes to JSON + tensors and back without losing a bit."""

import json
import math
import struct

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ddarts.runtime.errors import DdartsError
from ddarts.runtime.state_tree import is_dense, pack, unpack

DTYPES = [
    torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.uint16, torch.uint32,
    torch.uint64, torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex64, torch.complex128,
    torch.float8_e4m3fn, torch.float8_e5m2,
]  # fmt: skip


def through_files(state):
    """What a checkpoint does with a state, in memory."""
    tree, tensors = pack(state)
    return unpack(
        json.loads(json.dumps(tree, allow_nan=False)), safetensors.torch.load(safetensors.torch.save(tensors))
    )


def bits(value):
    """A comparable description of a value: types, shapes, strides of dense tensors and every bit."""
    if isinstance(value, torch.Tensor):
        plain = value.clone(memory_format=torch.contiguous_format)
        stride = (value if is_dense(value.shape, value.stride()) else plain).stride()
        return ("tensor", value.dtype, tuple(value.shape), stride, plain.reshape(-1).view(torch.uint8).tolist())
    if isinstance(value, np.generic):
        return ("numpy scalar", value.dtype.str, value.tobytes())
    if isinstance(value, np.ndarray):
        return ("array", value.dtype.str, value.shape, value.tobytes())
    if isinstance(value, float):
        return ("float", struct.pack(">d", value))
    if isinstance(value, dict):
        return ("dict", [((type(key), key), bits(item)) for key, item in value.items()])
    if isinstance(value, (list, tuple)):
        return (type(value), [bits(item) for item in value])
    return (type(value), value)


def random_tensor(dtype, shape, form, seed):
    generator = torch.Generator().manual_seed(seed)
    count = math.prod(shape) * dtype.itemsize
    raw = torch.randint(0, 2 if dtype == torch.bool else 256, (count,), dtype=torch.uint8, generator=generator)
    value = raw.view(dtype).reshape(shape)  # any bit pattern: NaN payloads, subnormals, -0.0
    if form == "transposed" and value.dim() >= 2:
        value = value.transpose(0, -1)
    if form == "channels_last" and value.dim() == 4:
        value = value.contiguous(memory_format=torch.channels_last)
    if form == "strided" and value.dim():
        value = value[..., ::2]
    if form == "expanded":
        value = value.expand(3, *value.shape)
    return value


shapes = st.lists(st.integers(0, 3), max_size=2).map(tuple) | st.tuples(*[st.integers(1, 3)] * 4)
forms = st.sampled_from(["plain", "transposed", "channels_last", "strided", "expanded"])
tensors = st.builds(random_tensor, st.sampled_from(DTYPES), shapes, forms, st.integers(0, 9))
arrays = st.builds(
    lambda dtype, shape, seed: np.frombuffer(
        np.random.Generator(np.random.Philox(seed)).bytes(math.prod(shape) * np.dtype(dtype).itemsize), dtype
    ).reshape(shape),
    st.sampled_from(["u1", "i8", "u4", "f2", "f4", "f8", "c16"]), st.lists(st.integers(0, 3), max_size=3).map(tuple),
    st.integers(0, 9),
)  # fmt: skip
leaves = (
    st.none() | st.booleans() | st.integers(-(2**80), 2**80) | st.floats() | st.text(max_size=8) | tensors | arrays
    | st.floats(width=32).map(np.float32) | st.floats().map(np.float64) | st.integers(0, 2**63 - 1).map(np.int64)
)  # fmt: skip
keys = st.text(max_size=4) | st.integers(-3, 3) | st.sampled_from(["__metadata__", "a/b", "a", "b", "~", "~1", "0", ""])
states = st.dictionaries(
    keys,
    st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=3) | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(keys, inner, max_size=3),
        max_leaves=8,
    ),
    max_size=4,
)  # fmt: skip


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(states)
def test_any_state_comes_back_bit_for_bit(state):
    assert bits(through_files(state)) == bits(state)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(), (0,), (2, 0, 3), (5,), (2, 3, 4, 5)], ids=str)
def test_every_dtype_and_awkward_shape(dtype, shape):
    value = random_tensor(dtype, shape, "plain", 1)
    assert bits(through_files({"x": value})["x"]) == bits(value)


def test_special_floats_keep_their_bits():
    payload = struct.unpack(">d", bytes.fromhex("fff8000000001234"))[0]
    values = [0.1, -0.0, math.inf, -math.inf, math.nan, payload, 5e-324, 1.7976931348623157e308]
    assert bits(through_files({"x": values})["x"]) == bits(values)


def test_memory_format_survives_so_kernels_choose_alike():
    image = torch.randn(2, 3, 4, 5).contiguous(memory_format=torch.channels_last)
    one_channel = torch.randn(2, 1, 4, 4).contiguous(memory_format=torch.channels_last)
    part = torch.randn(4, 3, 4, 5).contiguous(memory_format=torch.channels_last)[2:]  # an offset into its storage
    back = through_files({"a": image, "b": one_channel, "c": image.permute(3, 0, 2, 1), "d": part})
    assert back["a"].is_contiguous(memory_format=torch.channels_last) and not back["a"].is_contiguous()
    assert back["b"].stride() == one_channel.stride()
    assert back["c"].stride() == image.permute(3, 0, 2, 1).stride()
    assert back["d"].stride() == part.stride() and torch.equal(back["d"], part)


def test_aliased_tensors_become_separate_copies():
    x = torch.arange(4.0)
    back = through_files({"x": x, "same": x, "part": x[1:3]})
    back["x"].zero_()
    assert back["same"].tolist() == [0, 1, 2, 3] and back["part"].tolist() == [1, 2]


def test_tensors_are_stored_under_their_paths():
    x = torch.ones(1)
    tensors = pack({"net": {"a/b": x, "a~b": x, 0: x, "0": x}, "list": [None, x], "__metadata__": x, "": x})[1]
    assert set(tensors) == {"net/a~1b", "net/a~0b", "net/0", "net/0~", "list/1", "__metadata__~", "~"}


def test_gradients_and_parameters_are_saved_as_plain_values():
    back = through_files({"w": torch.nn.Parameter(torch.ones(2))})
    assert type(back["w"]) is torch.Tensor and not back["w"].requires_grad


def test_an_optimizer_comes_back_whole():
    weights = [torch.nn.Parameter(torch.randn(3, generator=torch.Generator().manual_seed(i))) for i in range(2)]
    adam = torch.optim.Adam(weights, lr=1e-3, betas=(0.5, 0.999))
    sum((w**2).sum() for w in weights).backward()
    adam.step()
    state = adam.state_dict()
    back = through_files({"adam": state})["adam"]
    assert bits(back) == bits(state) and back["param_groups"][0]["betas"] == (0.5, 0.999)
    torch.optim.Adam(weights).load_state_dict(back)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (object(), "'a/0': a object cannot be saved"),
        (torch.float32, "a dtype cannot be saved"),
        ({None: 1}, "key None"),
        ({True: 1}, "key True"),
        (np.array(["x"]), "numpy array of <U1"),
        (np.zeros(2, dtype=">f4"), "numpy array of >f4"),
        (np.array([object()]), "numpy array of |O"),
        (torch.eye(2).to_sparse(), "only dense tensors"),
        (torch.empty(2, device="meta"), "only dense tensors"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_what_cannot_be_saved_is_named(value, words):
    with pytest.raises(DdartsError, match="checkpoint entry 'a/0'") as error:
        pack({"a": [value]})
    assert words in str(error.value) and "\n" not in str(error.value)


def test_endless_nesting_is_refused():
    loop: dict = {}
    loop["again"] = loop
    with pytest.raises(DdartsError, match="nested deeper than 64"):
        pack(loop)


@pytest.mark.parametrize(
    "tree",
    [
        [],
        {"dict": [[None, 1]]},
        {"dict": [["a", 1.5]]},
        {"dict": [["a", {"call": "os.system"}]]},
        {"dict": [["a", {"tensor": "x", "shape": [2, 2], "stride": [1, 1]}]]},
        {"dict": [["a", {"tensor": "x", "shape": [9], "stride": [2]}]]},
        {"dict": [["a", {"tensor": "x", "shape": [-2, -2], "stride": [2, 1]}]]},
        {"dict": [["a", {"tensor": "missing"}]]},
        {"dict": [["a", {"tensor": "x", "dtype": "torch.nothing", "shape": [4]}]]},
    ],
    ids=str,
)
def test_a_made_up_tree_is_refused(tree):
    with pytest.raises((ValueError, KeyError, RuntimeError)):
        unpack(tree, {"x": torch.zeros(4)})
