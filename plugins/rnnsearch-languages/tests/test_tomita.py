"""Tomita's languages."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from itertools import groupby, pairwise, product

import numpy as np
import pytest

from rnnsearch import DataError
from rnnsearch_languages.tomita import GRAMMARS, Tomita, ways

SHA256 = "929180d1774e4490d45b3fc5acb5b0e3cf64981a5f610d5fb898dae5ac516a3e"


def no_odd_zeros_after_odd_ones(string: str) -> bool:
    runs = [(symbol, len(list(run))) for symbol, run in groupby(string)]
    return not any(
        first == "1" and ones % 2 and zeros % 2 for (first, ones), (_, zeros) in pairwise(runs)
    )


DEFINITIONS: dict[int, Callable[[str], object]] = {
    1: lambda s: "0" not in s,
    2: lambda s: re.fullmatch("(10)*", s),
    3: no_odd_zeros_after_odd_ones,
    4: lambda s: "000" not in s,
    5: lambda s: s.count("0") % 2 == 0 and s.count("1") % 2 == 0,
    6: lambda s: (s.count("0") - s.count("1")) % 3 == 0,
    7: lambda s: re.fullmatch("0*1*0*1*", s),
}
ALL = ["".join(s) for n in range(11) for s in product("01", repeat=n)]


def test_the_default_data_stay_what_they_are() -> None:
    assert Tomita().find().sha256 == SHA256


@pytest.mark.parametrize("grammar", GRAMMARS)
def test_an_automaton_accepts_what_the_definition_says(grammar: int) -> None:
    for string in ALL:
        assert GRAMMARS[grammar].accepts(string) == bool(DEFINITIONS[grammar](string)), string


@pytest.mark.parametrize("grammar", GRAMMARS)
def test_the_strings_of_a_length_are_counted_right(grammar: int) -> None:
    for belonging in (True, False):
        table = ways(GRAMMARS[grammar], 10, belonging=belonging)
        kind = [s for s in ALL if bool(DEFINITIONS[grammar](s)) == belonging]
        counts = Counter(map(len, kind))
        assert [row[0] for row in table] == [counts[n] for n in range(11)]


def test_strings_without_000_are_counted_by_tribonacci_numbers() -> None:
    found = [row[0] for row in ways(GRAMMARS[4], 40, belonging=True)]
    assert found[:4] == [1, 2, 4, 7]
    assert all(found[n] == sum(found[n - 3 : n]) for n in range(3, 41))


@pytest.mark.parametrize("grammar", GRAMMARS)
def test_the_length_of_a_string_does_not_tell_whether_it_belongs(grammar: int) -> None:
    task = Tomita(grammar=grammar)
    for split in ("train", "validation", "test"):
        found = task.load(task.find(), split)
        assert found.lengths is not None
        for length in set(found.lengths.tolist()):
            assert found.targets[found.lengths == length].mean() == 0.5


@pytest.mark.parametrize("grammar", GRAMMARS)
def test_targets_are_what_the_definition_says_of_the_inputs(grammar: int) -> None:
    task = Tomita(grammar=grammar, train_size=400)
    found = task.load(task.find(), "train")
    assert found.lengths is not None
    for row, length in enumerate(found.lengths):
        string = "".join(map(str, found.inputs[row, :length].argmax(axis=1)))
        assert found.targets[row] == bool(DEFINITIONS[grammar](string))


@pytest.mark.parametrize(("grammar", "belonging"), [(4, True), (3, True), (7, False), (5, False)])
def test_strings_of_a_length_and_kind_have_equal_odds(grammar: int, belonging: bool) -> None:
    task = Tomita(grammar=grammar, train_max=6, validation_max=8, test_max=10, train_size=12_000)
    kind = [s for s in ALL if len(s) == 6 and bool(DEFINITIONS[grammar](s)) == belonging]
    drawn = Counter(task.strings("train"))
    counts = np.array([drawn[string] for string in kind])
    mean = counts.mean()
    assert mean > 20
    deviation = ((counts - mean) ** 2 / mean).sum()
    # Chi-square with `len(kind) - 1` degrees of freedom, five deviations above its mean.
    assert deviation < len(kind) - 1 + 5 * (2 * (len(kind) - 1)) ** 0.5


def test_each_split_has_longer_strings_than_the_one_before() -> None:
    task = Tomita(grammar=6, train_max=5, validation_max=7, test_max=10)
    lengths = {s: {len(x) for x in task.strings(s)} for s in ("train", "validation", "test")}
    assert lengths == {"train": {2, 3, 4, 5}, "validation": {6, 7}, "test": {8, 9, 10}}


def test_lengths_that_have_no_strings_of_both_kinds_are_an_error() -> None:
    task = Tomita(grammar=2, train_max=2, validation_max=4, test_max=6)
    assert {len(string) for string in task.strings("train")} == {2}
    odd = Tomita(grammar=2, train_max=4, validation_max=5, test_max=6)
    with pytest.raises(DataError, match=r"too few different strings .* for validation"):
        odd.strings("validation")
