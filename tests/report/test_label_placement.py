"""Rows move sideways until they are apart, in order, and no further than needed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnnsearch.report.label_placement import overlapping, spread


class TestSpread:
    @given(st.lists(st.floats(0, 1000), min_size=1, max_size=12))
    def test_positions_end_up_apart_in_order_and_in_bounds(self, wanted: list[float]) -> None:
        placed = spread(wanted, 17.0, 0.0, 1000.0)
        order = sorted(range(len(wanted)), key=lambda index: wanted[index])
        sorted_places = [placed[index] for index in order]
        assert min(np.diff(sorted_places), default=17.0) >= 17.0 - 1e-6
        assert sorted_places[0] >= -1e-6
        assert sorted_places[-1] <= 1000 + 1e-6

    def test_positions_that_are_apart_stay(self) -> None:
        assert spread([30.0, 10.0, 80.0], 17.0, 0.0, 100.0) == pytest.approx([30.0, 10.0, 80.0])

    def test_equal_positions_are_spread_around_their_place(self) -> None:
        assert spread([50.0, 50.0, 50.0], 10.0, 0.0, 100.0) == pytest.approx([40.0, 50.0, 60.0])

    def test_more_than_fit_are_spread_evenly(self) -> None:
        assert spread([5.0] * 3, 10.0, 0.0, 10.0) == pytest.approx([0.0, 5.0, 10.0])


@pytest.mark.parametrize(
    ("intervals", "groups"),
    [
        ([], []),
        ([(0, 1), (2, 3)], [[0], [1]]),
        ([(2, 5), (0, 3), (9, 10)], [[0, 1], [2]]),
        ([(0, 2), (6, 8), (1, 7)], [[0, 1, 2]]),
    ],
    ids=["none", "apart", "two of three", "a chain"],
)
def test_intervals_that_overlap_are_grouped(
    intervals: list[tuple[float, float]], groups: list[list[int]]
) -> None:
    assert overlapping(intervals) == groups
