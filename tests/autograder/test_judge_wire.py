"""What crosses the wire arrives as it was; what is not of the right form is refused."""

from __future__ import annotations

import json
import socket
import struct
import threading

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings

from autograder.judge.wire import Channel, ChannelClosed, Opaque, WireError, crossed, pack, unpack

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: (
        st.lists(inner)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text() | st.integers() | st.tuples(st.integers()), inner)
    ),
    max_leaves=20,
)


def laid_out(value):
    """Across the wire with its layout in memory, as arguments go."""
    buffers: list = []
    packed = json.loads(json.dumps(pack(value, buffers, strides=True)))
    return unpack(packed, [bytes(b) for b in buffers], strides=True)


def same(a, b) -> bool:
    if type(a) is not type(b):
        return False
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    return a == b or a != a


@given(plain)
@settings(max_examples=150, deadline=None)
def test_plain_data_crosses_exactly(value):
    arrived = crossed(value)
    if same(arrived, value):
        return
    assert "\\ud" in ascii(value), "only half surrogates may change"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int64, torch.bool])
def test_tensors_keep_shape_dtype_and_layout(dtype):
    x = torch.arange(24).reshape(2, 3, 4).to(dtype)
    for view in (x, x.permute(2, 0, 1), x[:, ::2, 1:], x[0, :1].expand(5, 4), x[:0], x[1, 2, 3]):
        arrived = laid_out(view)
        assert type(arrived) is torch.Tensor
        assert arrived.dtype == dtype
        assert torch.equal(arrived, view)
        if view.numel():
            assert arrived.stride() == view.stride()


@pytest.mark.parametrize("send", [crossed, laid_out])
def test_a_single_number_crosses_whatever_its_stride(send):
    for view in (torch.arange(8.0)[4::4], torch.ones(3, 5)[:1, 2:3], torch.zeros(2, 0)[:, ::3]):
        assert view.is_contiguous()
        assert torch.equal(send(view), view)


def test_a_view_does_not_bring_its_neighbours_along():
    secret = torch.tensor([[1.0, 42.0], [2.0, 42.0]])
    arrived = laid_out(secret[:, 0])
    assert 42.0 not in arrived.as_strided((3,), (1,)).tolist()


def test_the_wish_for_gradients_crosses_to_the_student_only():
    leaf = torch.ones(3, requires_grad=True)
    inner = leaf * 2
    assert laid_out(leaf).is_leaf
    assert laid_out(leaf).requires_grad
    assert not laid_out(inner).is_leaf
    assert laid_out(inner).requires_grad
    assert not crossed(inner).requires_grad


@pytest.mark.parametrize(
    "make", [lambda a: a, lambda a: a[::-1], lambda a: a.T, lambda a: a[:, ::2]]
)
def test_arrays_keep_steps_and_rights(make):
    array = make(np.arange(12.0).reshape(3, 4))
    arrived = laid_out(array)
    assert np.array_equal(arrived, array)
    assert arrived.strides == array.strides
    fixed = laid_out(np.broadcast_to(array[0], (4, *array[0].shape)))
    assert not fixed.flags.writeable
    assert fixed.strides[0] == 0


def test_numbers_of_numpy_arrive_as_pythons_and_odd_byte_orders_as_ours():
    assert crossed(np.float32(0.5)) == 0.5
    assert type(crossed(np.float32(0.5))) is float
    assert crossed(np.arange(3, dtype=">i4")).tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    "value", [object(), lambda: 0, torch.nn.Linear(1, 1), type("List", (list,), {})([1]), np]
)
def test_what_is_no_data_is_refused_or_arrives_as_nothing(value):
    with pytest.raises(TypeError, match="is no data"):
        pack(value, [])
    arrived = crossed(value, other=lambda v: ["other", type(v).__name__])
    assert isinstance(arrived, Opaque)
    assert arrived != value
    assert type(arrived).__name__ == type(value).__name__
    with pytest.raises(AttributeError):
        arrived.anything = 1


def test_subclasses_of_tensors_and_numbers_do_not_pass_as_them():
    class Sly(torch.Tensor):
        @classmethod
        def __torch_function__(cls, *_, **__):
            return torch.tensor(True)

    class Equal(float):
        def __eq__(self, other):
            return True

        __hash__ = float.__hash__

    for value in (Sly([1.0]), Equal(3)):
        assert isinstance(crossed(value, other=lambda v: ["other", "sly"]), Opaque)


def test_too_deep_too_many_and_too_large_values_stay_where_they_are():
    deep: list = []
    for _ in range(100):
        deep = [deep]
    ring: list = []
    ring.append(ring)
    for value in (deep, ring, [0] * 3_000_000, torch.zeros(1).expand(2**28)):
        with pytest.raises(WireError):
            pack(value, [])


BAD = [
    None,
    [],
    ["v"],
    ["v", [1]],
    ["v", 1, 2],
    ["f", "one"],
    ["f", 1.0],
    ["c", "0x1p0"],
    ["list", {}],
    ["list", [["list"]]],
    ["dict", [[["list", []], ["v", 1]]]],
    ["dict", [["v"]]],
    ["bytes", 3],
    ["bytes", -1],
    ["bytes", True],
    ["dtype", "object"],
    ["dtype", ["float32"]],
    ["tensor", "float32", [4], 0, None, 0],
    ["tensor", "float32", [-1], 0, None, 0],
    ["tensor", "float32", [2**62, 2**62], 0, None, 0],
    ["tensor", "float32", [1.0], 0, None, 0],
    ["tensor", "float32", ["1"], 0, None, 0],
    ["tensor", "float32", [True], 0, None, 0],
    ["tensor", "float32", [float("inf")], 0, None, 0],
    ["tensor", "object", [1], 0, None, 0],
    ["tensor", "float32", [1], 7, None, 0],
    ["tensor", "float32", [1], 0],
    ["tensor", "float32", [1] * 99, 0, None, 0],
    ["array", "object", [1], 0, None],
    ["array", "float32", [2], 0, None],
    ["array", "<U9", [1], 0, None],
    ["callback", 0, "f"],
    ["eval", "1"],
    [["v"], 1],
]


@pytest.mark.parametrize("packed", BAD, ids=[str(i) for i in range(len(BAD))])
def test_values_of_wrong_form_are_refused(packed):
    with pytest.raises(WireError):
        unpack(packed, [b"\0\0\x80?"])


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=12))
@settings(max_examples=200, deadline=None)
def test_no_json_makes_the_reader_fall(packed):
    for value in (packed, ["tensor", "int8", packed, 0, None, 0], ["dict", packed]):
        try:
            unpack(value, [b"\0\0\0\0"])
        except WireError:
            continue


def test_strides_are_believed_only_where_that_was_asked_for():
    wide = ["tensor", "uint8", [1000], 0, [0], 0]
    with pytest.raises(WireError):
        unpack(wide, [b"\0"])
    assert unpack(wide, [b"\0"], strides=True).shape == (1000,)
    with pytest.raises(WireError):
        unpack(["tensor", "uint8", [2], 0, [4], 0], [b"\0\0"], strides=True)


def test_bits_of_a_truth_value_are_zero_or_one():
    assert unpack(["tensor", "bool", [2], 0, None, 0], [b"\x07\0"]).tolist() == [True, False]
    assert unpack(["array", "bool", [2], 0, None], [b"\x07\0"]).view(np.uint8).tolist() == [1, 0]


def frame(header: bytes, total: int = 0, size: int | None = None) -> bytes:
    return struct.pack("!IQ", len(header) if size is None else size, total) + header


@pytest.mark.parametrize(
    "data",
    [
        frame(b"{}"),
        frame(b"[1, [5]]"),
        frame(b"[1, [-1]]"),
        frame(b"[1, [true]]", 1),
        frame(b"[NaN, []]"),
        frame(b"\xff\xfe"),
        frame(b"[" * 100_000),
        frame(b"[1, [" + b"9" * 10_000 + b"]]"),
        frame(b"", 0, 2**32 - 1),
        frame(b"[1, []]", 2**63),
    ],
)
def test_frames_of_wrong_form_are_refused(data):
    here, there = socket.socketpair()
    threading.Thread(target=there.sendall, args=(data,), daemon=True).start()
    with here, pytest.raises(WireError):
        Channel(here).receive(5)
    there.close()


def test_half_a_frame_ends_in_time():
    here, there = socket.socketpair()
    with here, there:
        there.sendall(frame(b"[1, []]")[:-2])
        with pytest.raises(TimeoutError):
            Channel(here).receive(0.05)
        there.close()
        with pytest.raises(ChannelClosed):
            Channel(here).receive(5)


def test_nobody_reading_ends_in_time():
    here, there = socket.socketpair()
    with here, there, pytest.raises(TimeoutError):
        Channel(here).send("x" * 10_000_000, timeout=0.05)
