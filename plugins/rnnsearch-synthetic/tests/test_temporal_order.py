"""The order of widely separated symbols."""

from __future__ import annotations

import re

import numpy as np
import pytest

from rnnsearch import Examples
from rnnsearch_synthetic.temporal_order import ALPHABET, TemporalOrder

SHA256 = "1553d8219dd0c7535147ffe73a0c44e7be5ae07d2ab9195406594019f9a9c5a0"


def examples_of(**options: int) -> Examples:
    task = TemporalOrder(train_size=2000, validation_size=2, test_size=2, **options)
    return task.load(task.find(), "train")


def strings(examples: Examples) -> list[str]:
    assert examples.lengths is not None
    return [
        "".join(ALPHABET[i] for i in sequence[:length].argmax(axis=1))
        for sequence, length in zip(examples.inputs, examples.lengths, strict=True)
    ]


def test_the_default_data_stay_what_they_are() -> None:
    assert TemporalOrder().find().sha256 == SHA256


@pytest.mark.parametrize(
    ("markers", "places"),
    [(2, [(10, 20), (50, 60)]), (3, [(10, 20), (33, 43), (66, 76)])],
    ids=["two", "three"],
)
def test_the_markers_lie_where_the_paper_has_them_and_give_the_class(
    markers: int, places: list[tuple[int, int]]
) -> None:
    found = examples_of(markers=markers)
    for place, (first, last) in enumerate(places):
        steps = set()
        for string, label in zip(strings(found), found.targets, strict=True):
            assert re.fullmatch(r"E[a-dXY]+B", string)
            marks = [(i, symbol) for i, symbol in enumerate(string) if symbol in "XY"]
            assert len(marks) == markers
            steps.add(marks[place][0])
            assert "".join("01"["XY".index(s)] for _, s in marks) == f"{label:0{markers}b}"
        assert steps == set(range(first, last + 1))


def test_sequences_have_100_to_110_symbols() -> None:
    assert set(map(len, strings(examples_of()))) == set(range(100, 111))


@pytest.mark.parametrize("markers", [2, 3])
def test_all_orders_are_equally_frequent(markers: int) -> None:
    counts = np.bincount(examples_of(length=20, markers=markers).targets)
    assert (counts == 2000 / 2**markers).all()


@pytest.mark.parametrize("length", [20, 29, 57, 1000])
@pytest.mark.parametrize("markers", [2, 3])
def test_any_length_has_room_for_the_markers(length: int, markers: int) -> None:
    task = TemporalOrder(
        length=length, markers=markers, train_size=50, validation_size=2, test_size=2
    )
    for string in strings(task.load(task.find(), "train")):
        assert sum(symbol in "XY" for symbol in string) == markers
        assert string[0] + string[-1] == "EB"
        assert length <= len(string) <= length + length // 10


def test_the_distractors_are_equally_frequent() -> None:
    text = "".join(strings(examples_of()))
    shares = [text.count(symbol) for symbol in "abcd"] / np.sum([text.count(s) for s in "abcd"])
    assert shares == pytest.approx(np.full(4, 1 / 4), abs=0.01)
