"""One cause gives one failure, and every verdict says what was expected and found, and the fix."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import pytest

from rnnsearch import testing
from rnnsearch.plugin.check import Verdict, _Collector, _reason
from rnnsearch.plugin.remedies import FOLLOWS, REMEDIES


def _checks() -> set[str]:
    suites = [getattr(testing, name) for name in testing.__all__]
    return {n.removeprefix("test_") for suite in suites for n in dir(suite) if n[:5] == "test_"}


def test_every_remedy_is_of_a_check_that_there_is() -> None:
    checks = _checks()
    assert set(REMEDIES) <= checks
    assert set(FOLLOWS) | {check for several in FOLLOWS.values() for check in several} <= checks


def test_every_check_of_cells_heads_and_models_has_a_remedy() -> None:
    for suite in (testing.CellConformance, testing.HeadConformance, testing.AnalysisConformance):
        mine = {n.removeprefix("test_") for n in dir(suite) if n[:5] == "test_"}
        assert mine - set(REMEDIES) <= {
            "no_method_looks_like_one_of_the_contract_and_is_never_called"  # its message says it
        }, suite


def _judged(*failed: tuple[str, Any], name: str = "lstm") -> list[Verdict]:
    """Verdicts of failed checks, each with the plugin's line that raised, if any."""
    heard: list[Verdict] = []
    collector = _Collector(heard.append)
    for check, cause in failed:
        nodeid = f"registered.py::TestCells::test_{check}[{name}]"
        collector._causes[nodeid] = cause
        report = SimpleNamespace(
            when="call",
            outcome="failed",
            skipped=False,
            failed=True,
            passed=False,
            nodeid=nodeid,
            duration=0.1,
            longreprtext="E   AssertionError: said\nE   assert 1 == 2\n",
        )
        collector.pytest_runtest_logreport(report)
    verdicts = collector.judge()
    assert heard == verdicts
    return verdicts


LINE = ("ValueError", "/theirs/cell.py", 12)


def test_checks_that_one_line_of_a_plugin_stops_are_one_failure() -> None:
    verdicts = _judged(
        ("parameter_count_equals_the_parameters_built", LINE),
        ("gradient_reaches_every_parameter", LINE),
        ("builds_and_steps_without_storage", LINE),
        ("the_same_seed_gives_the_same_weights", ("KeyError", "/theirs/cell.py", 12)),
    )
    assert [v.result for v in verdicts] == ["failed", "not judged", "not judged", "failed"]
    assert "/theirs/cell.py:12" in verdicts[0].remedy
    assert "`width_multiple`" in verdicts[0].remedy
    assert verdicts[1].detail.endswith("parameter count equals the parameters built")


def test_what_follows_from_a_failure_is_not_judged_whichever_comes_first() -> None:
    drawn = "nothing_is_drawn_at_random_inside_the_step"
    after, left = (
        "carrying_the_state_across_a_split_changes_nothing",
        "a_run_leaves_nothing_on_the_module",
    )
    results = {v.check: v.result for v in _judged((after, None), (left, None), (drawn, None))}
    assert list(results.values()) == ["not judged", "failed", "not judged"]
    alone = _judged((after, None))
    assert [v.result for v in alone] == ["failed"]
    assert "state that it returns" in alone[0].remedy


def test_unrelated_failures_are_each_one() -> None:
    verdicts = _judged(
        ("parameter_count_equals_the_parameters_built", None),
        ("output_size_equals_the_width_of_the_output", None),
    )
    assert [v.result for v in verdicts] == ["failed", "failed"]
    assert {v.detail for v in verdicts} == {"said"}, "words in place of the expression"


@pytest.mark.parametrize(
    ("shown", "reason"),
    [
        ("E   AssertionError: 2 declared, 3 built\nE   assert 2 == 3", "2 declared, 3 built"),
        ("E   assert 2 == 3", "assert 2 == 3"),
        ("E   ValueError: 5 is odd", "ValueError: 5 is odd"),
        (
            "E   ValueError: odd\nE   Falsifying example: f(\nE   sizes=Sizes(inputs=1, # or any "
            "other generated value\nE   hidden=5,\nE   ),",
            "ValueError: odd\nat inputs=1, hidden=5",
        ),
    ],
)
def test_a_reason_is_the_error_in_its_words_and_the_sizes_that_show_it(
    shown: str, reason: str
) -> None:
    assert _reason(shown) == reason


def test_of_several_errors_the_first_is_the_reason() -> None:
    assert _reason("E   ExceptionGroup", "AssertionError: a step changed x") == "a step changed x"


def test_no_remedy_speaks_in_a_bare_assert() -> None:
    for remedy in REMEDIES.values():
        assert not re.search(r"\bassert\b", remedy)
