"""Views address the same elements as numpy's strided arrays."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from rnnsearch.engine.views import View, collapse, dense_strides

AXES = st.lists(st.integers(1, 5), min_size=1, max_size=4)


def _elements(view: View[np.ndarray]) -> np.ndarray:
    """The elements of a view, from its own arithmetic."""
    found = [
        view.base.reshape(-1)[view.offset + sum(map(int.__mul__, index, view.strides))]
        for index in np.ndindex(*view.shape)
    ]
    return np.array(found, dtype=view.base.dtype).reshape(view.shape)


def _whole(shape: list[int]) -> tuple[View[np.ndarray], np.ndarray]:
    array = np.arange(math.prod(shape)).reshape(shape)
    return View.of(array, shape), array


@st.composite
def views(draw: st.DrawFn) -> tuple[View[np.ndarray], np.ndarray]:
    """A view after some operations, and the array from numpy after the same operations."""
    view, array = _whole(draw(AXES))
    for _ in range(draw(st.integers(0, 4))):
        rank = len(view.shape)
        match draw(st.sampled_from(["permute", "slice", "select", "broadcast"])):
            case "permute":
                axes = draw(st.permutations(range(rank)))
                view, array = view.permuted(axes), array.transpose(axes)
            case "slice" if rank:
                axis = draw(st.integers(0, rank - 1))
                start = draw(st.integers(0, view.shape[axis] - 1))
                step = draw(st.integers(1, 3))
                length = draw(st.integers(1, -(-(view.shape[axis] - start) // step)))
                view = view.sliced(axis, start, length, step)
                stop = start + (length - 1) * step + 1
                array = array[(slice(None),) * axis + (slice(start, stop, step),)]
            case "select" if rank > 1:
                axis = draw(st.integers(0, rank - 1))
                index = draw(st.integers(0, view.shape[axis] - 1))
                view, array = view.selected(axis, index), array.take(index, axis)
            case "broadcast":
                ahead = draw(st.lists(st.integers(1, 3), max_size=1))
                grown = [n if n > 1 else draw(st.integers(1, 3)) for n in view.shape]
                shape = (*ahead, *grown)
                view, array = view.broadcast(shape), np.broadcast_to(array, shape)
    return view, array


@given(views())
def test_changed_views_have_the_elements_of_numpys(
    both: tuple[View[np.ndarray], np.ndarray],
) -> None:
    view, array = both
    assert view.shape == array.shape
    assert view.size == array.size
    np.testing.assert_array_equal(_elements(view), array)


@given(views())
def test_a_dense_view_is_a_run_of_its_buffer(both: tuple[View[np.ndarray], np.ndarray]) -> None:
    view, array = both
    run = view.base.reshape(-1)[view.offset : view.offset + view.size]
    if view.is_dense:
        np.testing.assert_array_equal(run, array.reshape(-1))
    else:
        assert len(run) < view.size or not np.array_equal(run, array.reshape(-1))


@st.composite
def regroupings(draw: st.DrawFn, size: int) -> tuple[int, ...]:
    """A shape with a given number of elements."""
    shape = [1] * draw(st.integers(0, 1))
    while size > 1:
        divisors = [d for d in range(2, size + 1) if size % d == 0]
        shape.append(draw(st.sampled_from(divisors)))
        size //= shape[-1]
    return tuple(shape) or (1,)


@given(st.data())
def test_a_reshaped_view_keeps_elements_and_order_or_asks_for_a_copy(data: st.DataObject) -> None:
    view, array = data.draw(views())
    shape = data.draw(regroupings(view.size))
    reshaped = view.reshaped(shape)
    if reshaped is None:
        assert not view.is_dense
    else:
        assert reshaped.shape == shape
        np.testing.assert_array_equal(_elements(reshaped), array.reshape(shape))


@given(views())
def test_a_view_is_reshaped_to_its_own_shape_without_a_copy(
    both: tuple[View[np.ndarray], np.ndarray],
) -> None:
    view, array = both
    reshaped = view.reshaped(view.shape)
    assert reshaped is not None
    np.testing.assert_array_equal(_elements(reshaped), array)


def test_splitting_and_joining_an_axis_of_a_slice_needs_no_copy() -> None:
    view, array = _whole([6, 5])
    columns, expected = view.sliced(1, 1, 3), array[:, 1:4]
    split = columns.reshaped((2, 3, 3))
    assert split is not None
    np.testing.assert_array_equal(_elements(split), expected.reshape(2, 3, 3))
    joined = split.reshaped((6, 3))
    assert joined is not None
    assert joined == columns


@given(AXES)
def test_dense_strides_are_numpys(shape: list[int]) -> None:
    array = np.zeros(shape, dtype=np.int8)
    assert dense_strides(shape) == array.strides


@given(st.data())
def test_merged_axes_visit_the_same_elements_in_the_same_order(data: st.DataObject) -> None:
    first, _ = data.draw(views())
    others = [
        View.of(None, first.shape),
        View(None, first.shape, (0,) * len(first.shape)),
        View.of(None, first.shape[::-1]).permuted(range(len(first.shape))[::-1]),
    ]
    operands: list[Any] = [first, *data.draw(st.lists(st.sampled_from(others), max_size=2))]
    axes, strides = collapse(first.shape, [view.strides for view in operands])

    def walk(shape: tuple[int, ...], steps: tuple[int, ...]) -> list[int]:
        return [sum(map(int.__mul__, index, steps)) for index in np.ndindex(*shape)]

    assert 1 <= len(axes) <= max(1, len(first.shape))
    for view, merged in zip(operands, strides, strict=True):
        assert walk(tuple(axes), tuple(merged)) == walk(view.shape, view.strides)


def test_axes_of_dense_operands_merge_to_one() -> None:
    strides = dense_strides((2, 3, 4))
    assert collapse((2, 3, 4), [strides, strides]) == ([24], [[1], [1]])
    assert collapse((1, 1), [(7, 7)]) == ([1], [[0]])
    assert collapse((2, 3), [(3, 1), (0, 1)]) == ([2, 3], [[3, 1], [0, 1]])
