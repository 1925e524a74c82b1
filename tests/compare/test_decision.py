"""Verdicts: what they claim is true, however the values are distributed and however often asked."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from rnnsearch.compare.decision import Decision, Verdict, decide, rounds

TWO_HUMPED = [0.84, 0.85, 0.86, 0.83, 0.85, 0.87, 0.3, 0.84, 0.31, 0.86]


def _samples(rows: Mapping[str, Sequence[float]]) -> dict[str, dict[int, float]]:
    return {name: dict(enumerate(values)) for name, values in rows.items()}


def _verdicts(decision: Decision[str]) -> dict[str, Verdict]:
    return {name: standing.verdict for name, standing in decision.standings.items()}


def _apart(seeds: int, rows: int = 5) -> dict[str, dict[int, float]]:
    """Rows of which each is better than the next in every seed."""
    return _samples(
        {"abcdef"[r]: [0.9 - 0.1 * r + s / 1e3 for s in range(seeds)] for r in range(rows)}
    )


class TestTheBest:
    def test_nine_seeds_tell_five_rows_apart_that_never_cross_and_eight_do_not(self) -> None:
        found = decide(_apart(9), "maximize")
        assert _verdicts(found) == {"a": "best", **dict.fromkeys("bcde", "worse")}
        assert found.is_reached
        assert found.unsettled == []
        assert "undecided" in _verdicts(decide(_apart(8), "maximize")).values()

    def test_six_seeds_tell_two_rows_apart(self) -> None:
        assert _verdicts(decide(_apart(6, 2), "maximize")) == {"a": "best", "b": "worse"}
        assert _verdicts(decide(_apart(5, 2), "maximize")) == {"a": "undecided", "b": "undecided"}

    def test_where_less_is_better_all_is_mirrored(self) -> None:
        source = np.random.default_rng(3)
        rows = {name: source.normal(i, 1.0, 12).tolist() for i, name in enumerate("abc")}
        up = decide(_samples(rows), "maximize", margin=0.2)
        down = decide(
            _samples({n: [-v for v in values] for n, values in rows.items()}),
            "minimize",
            margin=0.2,
        )
        assert up.reference == down.reference
        for name, one in up.standings.items():
            other = down.standings[name]
            assert (one.verdict, one.ahead, one.p, one.more_seeds) == (
                *(other.verdict, other.ahead, other.p, other.more_seeds),
            )
            if one.difference is not None and one.low is not None and one.high is not None:
                assert other.difference == pytest.approx(-one.difference)
                assert (other.low, other.high) == pytest.approx((-one.high, -one.low))

    def test_a_change_of_unit_that_keeps_the_order_changes_no_verdict(self) -> None:
        # A loss and the perplexity that it is of cannot disagree.
        source = np.random.default_rng(4)
        losses = {name: source.normal(4 + i / 2, 0.5, 20).tolist() for i, name in enumerate("abcd")}
        perplexities = {name: [math.exp(v) for v in values] for name, values in losses.items()}
        assert _verdicts(decide(_samples(losses), "minimize")) == _verdicts(
            decide(_samples(perplexities), "minimize")
        )

    def test_the_order_of_the_rows_does_not_matter(self) -> None:
        source = np.random.default_rng(5)
        rows = {name: source.normal(i / 2, 1.0, 15).tolist() for i, name in enumerate("abcd")}
        forwards = decide(_samples(rows), "maximize")
        backwards = decide(_samples(dict(reversed(rows.items()))), "maximize")
        assert forwards.reference == backwards.reference
        assert forwards.standings == {n: backwards.standings[n] for n in rows}

    def test_a_row_alone_is_the_best_there_is(self) -> None:
        assert _verdicts(decide(_samples({"a": [0.5]}), "maximize")) == {"a": "best"}

    def test_seeds_that_only_some_rows_have_are_no_matches(self) -> None:
        samples = _apart(8, 2)
        for seed in range(8, 30):
            samples["a"][seed] = 0.0
        found = decide(samples, "maximize").standings
        assert found["b"].n == 8
        assert found["b"].difference == pytest.approx(-0.1)

    @pytest.mark.parametrize("value", [math.nan, math.inf])
    def test_what_is_no_number_is_refused(self, value: float) -> None:
        with pytest.raises(ValueError, match=r"finite values, got .* of a"):
            decide({"a": {0: value}}, "maximize")


class TestTheMargin:
    def test_rows_that_never_differ_by_more_are_as_good(self) -> None:
        values = [0.9 + s / 1e3 for s in range(12)]
        rows = {"a": values, "b": [v - 0.002 for v in values[::-1]], "c": [v - 0.3 for v in values]}
        found = decide(_samples(rows), "maximize", margin=0.05)
        assert _verdicts(found) == {"a": "best within margin", "b": "as good", "c": "worse"}
        assert found.margin == 0.05

    def test_a_row_that_is_worse_by_less_than_the_margin_is_as_good(self) -> None:
        samples = _samples({"a": TWO_HUMPED, "b": [v - 1e-3 for v in TWO_HUMPED]})
        assert _verdicts(decide(samples, "maximize")) == {"a": "best", "b": "worse"}
        found = decide(samples, "maximize", margin=0.005)
        assert _verdicts(found) == {"a": "best", "b": "as good"}

    def test_identical_rows_are_as_good_without_a_margin(self) -> None:
        found = decide(_samples({"a": TWO_HUMPED, "b": TWO_HUMPED}), "maximize")
        assert _verdicts(found) == {"a": "best within margin", "b": "as good"}

    def test_what_single_precision_rounds_is_no_difference(self) -> None:
        rounded = [float(np.float32(v)) for v in TWO_HUMPED]
        found = decide(_samples({"a": TWO_HUMPED, "b": rounded}), "maximize")
        assert set(_verdicts(found).values()) == {"best within margin", "as good"}

    def test_a_row_that_is_worse_by_more_is_never_called_as_good(self) -> None:
        source, claims = np.random.default_rng(6), 0
        for _ in range(300):
            a = source.normal(0.3, 1.0, 40)
            b = source.normal(0.0, 1.0, 40)
            found = decide(_samples({"a": a.tolist(), "b": b.tolist()}), "maximize", margin=0.1)
            claims += found.standings["b"].verdict == "as good"
        assert claims / 300 <= 0.05


class TestRowsOffTheBudget:
    def test_one_that_is_not_held_to_it_may_be_better_and_is_never_the_best(self) -> None:
        found = decide(_apart(12, 3), "maximize", contenders=["b", "c"])
        assert _verdicts(found) == {"a": "better", "b": "best", "c": "worse"}
        assert found.reference == "b"
        assert found.standings["a"].low == pytest.approx(0.1)

    def test_it_drops_no_row_that_is(self) -> None:
        alone = decide(_samples({"b": TWO_HUMPED, "c": TWO_HUMPED[::-1]}), "maximize")
        beside = decide(
            _samples({"a": [1.0] * 10, "b": TWO_HUMPED, "c": TWO_HUMPED[::-1]}),
            "maximize",
            contenders=["b", "c"],
        )
        for name in "bc":
            assert (beside.standings[name].verdict == "worse") == (
                alone.standings[name].verdict == "worse"
            )


class TestAgainstAControl:
    def test_rows_are_better_worse_or_as_good_as_it(self) -> None:
        values = [0.8 + s / 1e3 for s in range(12)]
        rows = {
            "control": values,
            "up": [v + 0.1 for v in values],
            "down": [v - 0.1 for v in values],
            "same": [v + 0.001 for v in values],
        }
        found = decide(_samples(rows), "maximize", margin=0.01, against="control")
        assert _verdicts(found) == {
            "control": "control",
            "up": "better",
            "down": "worse",
            "same": "as good",  # better in every seed, by too little to matter
        }
        assert found.reference == "control"
        assert found.standings["up"].ahead == 1.0

    def test_two_rows_that_are_better_need_not_be_told_apart(self) -> None:
        rows = {"control": [0.5] * 10, "a": TWO_HUMPED, "b": TWO_HUMPED[::-1]}
        rows = {**rows, "control": [0.1] * 10}
        assert decide(_samples(rows), "maximize", against="control").is_reached
        assert not decide(_samples(rows), "maximize").is_reached


class TestMoreSeeds:
    def test_as_many_more_of_the_same_give_the_verdict_that_was_announced(self) -> None:
        pattern = [1.0, 1.0, 1.0, -1.0]  # three wins in four
        a, b = pattern * 2, [0.0] * 8
        found = decide(_samples({"a": a, "b": b}), "maximize").standings["b"]
        assert found.verdict == "undecided"
        assert found.more_seeds is not None
        total = 8 + found.more_seeds
        more = (pattern * total)[: 4 * math.ceil(total / 4)]
        again = decide(_samples({"a": more, "b": [0.0] * len(more)}), "maximize")
        assert again.standings["b"].verdict == "worse"

    def test_rows_that_win_in_turn_have_no_number(self) -> None:
        found = decide(_samples({"a": [1.0, 0.0] * 8, "b": [0.0, 1.0] * 8}), "maximize")
        assert {s.more_seeds for s in found.standings.values()} == {None}


class TestErrors:
    """The short form of `python -m benchmarks --only decisions`."""

    @pytest.mark.parametrize("kind", ["normal", "two-humped", "skewed", "steps"])
    @pytest.mark.parametrize("rows", [2, 5])
    def test_equal_rows_looked_at_after_every_round_are_rarely_told_apart(
        self, kind: str, rows: int
    ) -> None:
        source, wrong, studies = np.random.default_rng(rows), 0, 200
        for _ in range(studies):
            if kind == "normal":
                values = source.normal(size=(rows, 48)) * np.arange(1, rows + 1)[:, None]
            elif kind == "two-humped":
                values = source.choice(TWO_HUMPED, (rows, 48))
            elif kind == "skewed":
                values = np.exp(2 * source.normal(size=(rows, 48)))
            else:
                values = source.integers(340, 350, (rows, 48)) / 360
            for number in rounds(6, 48):
                samples = {str(r): dict(enumerate(values[r, :number])) for r in range(rows)}
                if "worse" in _verdicts(decide(samples, "maximize")).values():
                    wrong += 1
                    break
        # 5 %, and three standard errors of 200 studies.
        assert wrong / studies <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / studies)

    def test_a_verdict_once_given_is_not_taken_back_by_more_seeds(self) -> None:
        source = np.random.default_rng(9)
        values = source.normal(size=(4, 60)) + np.array([[0.9], [0.6], [0.3], [0.0]])
        dropped: set[str] = set()
        for number in rounds(6, 60):
            samples = {str(r): dict(enumerate(values[r, :number])) for r in range(4)}
            worse = {n for n, v in _verdicts(decide(samples, "maximize")).items() if v == "worse"}
            assert dropped <= worse
            dropped = worse
        assert dropped


def test_rounds_grow_by_a_third_and_end_at_the_most() -> None:
    assert list(rounds(6, 30)) == [6, 9, 12, 16, 22, 30]
    assert list(rounds(6, 6)) == [6]
    assert list(rounds(60, 61)) == [60, 61]
