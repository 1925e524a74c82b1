"""The embedded Reber grammar."""

from __future__ import annotations

from collections import Counter

import pytest

from rnnsearch_languages.embedded_reber import EmbeddedReber

SHA256 = "0628505396ebd1b088c2865ade5cb61571126a0190ed413496270c54c77bac55"
# Listed in the course notes of N. Schraudolph and G. Orr.
REBER = ["BTSSXXTVVE", "BPVVE", "BTXXVPSE", "BPVPXVPXVPXVVE", "BTSXXVPSE"]
OTHERS = ["BTSSPXSE", "BPTVVB", "BTXXVVSE", "BPVSPSE", "BTSSSE"]


def accepts(inner: str) -> bool:
    """Whether every symbol is among those legal before it, and the grammar's end is reached."""
    task = EmbeddedReber()
    try:
        legal = task.legal(f"T{inner}T")[1:-2]
    except KeyError:
        return False
    return all(symbol in symbols for symbol, symbols in zip(inner, legal, strict=True))


def test_the_default_data_stay_what_they_are() -> None:
    source = EmbeddedReber().find()
    assert source.sha256 == SHA256
    assert source.sizes == {"train": 256, "validation": 256, "test": 256}


@pytest.mark.parametrize("string", REBER)
def test_a_published_string_of_the_grammar_is_legal_to_its_end(string: str) -> None:
    assert accepts(string)


@pytest.mark.parametrize("string", OTHERS)
def test_a_published_string_that_is_not_of_the_grammar_is_not_legal(string: str) -> None:
    assert not accepts(string)


def test_what_is_legal_after_each_prefix_of_the_shortest_string() -> None:
    expected = ["TP", "B", "TP", "SX", "SX", "E", "P", "E"]
    assert [set(s) for s in EmbeddedReber().legal("PBTXSEP")] == [set(s) for s in expected]


def test_both_ways_have_equal_odds_at_every_fork() -> None:
    task = EmbeddedReber(longest=200, train_size=8000)
    counts = Counter(task.strings("train"))
    # The fork of the frame, and those inside. Three of every five strings are for training.
    forks = {"BTXSE": 4, "BPVVE": 4, "BTSXSE": 5, "BPTVVE": 5, "BPVPSE": 5, "BTXXVVE": 6}
    strings = {outer + inner + outer: n for inner, n in forks.items() for outer in "TP"}
    scaled = [counts[string] * 2**n for string, n in strings.items() if string in counts]
    assert len(scaled) >= 5
    assert max(scaled) < 1.35 * min(scaled)


def test_no_string_is_longer_than_allowed() -> None:
    task = EmbeddedReber(longest=12, train_size=300)
    assert max(len(string) + 2 for string in task.strings("train")) == 12
