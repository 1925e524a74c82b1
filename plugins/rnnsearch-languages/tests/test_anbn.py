"""The counting languages."""

from __future__ import annotations

import pytest

from rnnsearch import StudyFileError
from rnnsearch_languages.anbn import AnBn

SHA256 = "c9e93e705c5f6c6321034be13ce6b18f23e3840e455632d03368a25e5fb881db"


def test_the_default_data_stay_what_they_are() -> None:
    source = AnBn().find()
    assert source.sha256 == SHA256
    assert source.sizes == {"train": 1_000, "validation": 10, "test": 30}
    assert source.location == "no seed"


def test_what_is_legal_after_each_prefix_of_aabb() -> None:
    assert AnBn().legal("aabb") == ["a", "ab", "ab", "b", "$"]


def test_each_split_counts_further_than_the_one_before() -> None:
    task = AnBn(train_max=3, validation_max=5, test_max=9, train_size=7)
    numbers = {s: [len(x) // 2 for x in task.strings(s)] for s in ("train", "validation", "test")}
    assert numbers == {
        "train": [1, 2, 3, 1, 2, 3, 1],
        "validation": [4, 5],
        "test": [6, 7, 8, 9],
    }


@pytest.mark.parametrize(
    ("options", "key", "problem"),
    [
        ({"validation_max": 10}, "validation_max", "expected more than `train_max`, 10, got 10"),
        ({"test_max": 15}, "test_max", "expected more than `validation_max`, 20, got 15"),
    ],
    ids=["validation", "test"],
)
def test_splits_that_do_not_grow_are_refused(
    options: dict[str, int], key: str, problem: str
) -> None:
    with pytest.raises(StudyFileError, match=problem) as error:
        AnBn(**options)
    assert error.value.key == key
