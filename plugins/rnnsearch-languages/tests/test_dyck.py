"""Balanced brackets."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from numpy.random import RandomState

from rnnsearch import StudyFileError
from rnnsearch_languages.dyck import Dyck, draw_balanced

SHA256 = "1cfc86651ea4dc48b155918e9bdb7d219d6497d83b5e659e651b8c0a310bfc7e"


def test_the_default_data_stay_what_they_are() -> None:
    assert Dyck().find().sha256 == SHA256


def test_what_is_legal_after_each_prefix() -> None:
    assert Dyck(kinds=2).legal("([])") == ["([$", "([)", "([]", "([)", "([$"]
    assert Dyck(kinds=1).legal("()") == ["($", "()", "($"]


@pytest.mark.parametrize(("pairs", "kinds", "different"), [(4, 1, 14), (3, 2, 40), (1, 4, 4)])
def test_all_strings_of_a_length_have_equal_odds(pairs: int, kinds: int, different: int) -> None:
    random, draws = RandomState(0), 400 * different
    counts = Counter(draw_balanced(random, pairs, pairs, kinds) for _ in range(draws))
    assert len(counts) == different  # Catalan numbers 14, 5, 1 times kinds ** pairs
    deviation = sum((n - 400) ** 2 / 400 for n in counts.values())
    # Chi-square with `different - 1` degrees of freedom, five deviations above its mean.
    assert deviation < different - 1 + 5 * (2 * (different - 1)) ** 0.5


def test_all_even_lengths_of_a_split_occur_and_no_others() -> None:
    task = Dyck(kinds=2, train_max=8, test_max=12, train_size=500, test_size=500)
    lengths = {s: {len(x) for x in task.strings(s)} for s in ("train", "validation", "test")}
    assert lengths["train"] == {2, 4, 6, 8}
    assert lengths["validation"] <= {2, 4, 6, 8}
    assert lengths["test"] == {10, 12}


def test_lengths_have_equal_odds() -> None:
    random = RandomState(0)
    counts = Counter(len(draw_balanced(random, 2, 5, 1)) for _ in range(2000))
    shares = [counts[n] / 2000 for n in (4, 6, 8, 10)]
    assert shares == pytest.approx(np.full(4, 1 / 4), abs=0.04)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"train_max": 7}, "expected an even length, got 7"),
        ({"test_max": 50}, "expected more than `train_max`, 50, got 50"),
    ],
    ids=["odd", "not longer"],
)
def test_lengths_that_make_no_split_are_refused(options: dict[str, int], problem: str) -> None:
    with pytest.raises(StudyFileError, match=problem):
        Dyck(**options)
