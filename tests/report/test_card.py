"""An architecture's card states facts, and caches measurements."""

from __future__ import annotations

from pathlib import Path

import pytest

from rnnsearch import load_registry
from rnnsearch.plugin.check import Verdict
from rnnsearch.report import card

from ..command import run


@pytest.mark.parametrize(
    ("name", "formula"),
    [
        ("lstm", "4 p^2 + 4 m p + 8 p"),
        ("mcrm", "13 p^2 + 4 m p + 10 p"),
        ("nlstm", "12 p^2 + 4 m p + 8 p"),
        ("nlstm_concat", "16 p^2 + 4 m p + 8 p"),
        ("second_order", "m p^2 + p"),
        ("indrnn", "m p + 2 p"),
        ("mike_rnn", "2 p^2 + 2 m p + 2 p"),
        ("ff_nn", None),
    ],
)
def test_the_formula_is_the_published_one(name: str, formula: str | None) -> None:
    assert card.count_formula(load_registry().architecture(name)) == formula


def test_a_formula_that_holds_for_some_widths_only_says_for_which() -> None:
    formula = card.count_formula(load_registry().architecture("lstm_projection"))
    assert formula is not None
    assert formula.endswith("for p a multiple of 4")


def test_a_card_shows_equations_source_count_and_widths() -> None:
    shown = run("architecture", "show", "mcrm", "--quick")
    assert shown.returncode == 0, shown.stderr
    for part in ("c_t = (1 - z) * c_{t-1} + z * n", "arXiv:1808.02016", "13 p^2 + 4 m p + 10 p"):
        assert part in shown.stdout
    assert "11 (-0.3%) at 3,200" in shown.stdout


def test_what_was_measured_once_is_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RNNSEARCH_HOME", str(tmp_path))
    asked = []

    def check(subjects: list[tuple[str, str]]) -> list[Verdict]:
        asked.append(subjects)
        return [Verdict("elman", "a promise", "failed", "why", 0.1)]

    monkeypatch.setattr("rnnsearch.plugin.check.check", check)
    told: list[str] = []
    first = card.measure("elman", told.append)
    assert first == card.measure("elman", told.append)
    assert asked == [[("architecture", "elman")]]
    assert len(told) == 2
    assert first.checks == {"failed": 1}
    assert first.failed == ["a promise"]
    assert first.step_ms > 0
