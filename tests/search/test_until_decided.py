"""Confirmation until decided: seeds go where they decide, and a resumed study decides the same."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from rnnsearch.search.queue import TrialQueue
from rnnsearch.spec.trial import TrialSpec

from .test_queue import ROWS, Heard, Study, _finish

Score = Callable[[TrialSpec], float]
LEVELS = {"lstm": 0.8, "elman": 0.3, "gru": 0.79}


def _study(name: str = "small", **confirmation: Any) -> Study:
    study = Study(name, trials=0, seeds=6)
    changed = study.config.confirmation.model_copy(update={"until": "decided", **confirmation})
    study.config = study.config.model_copy(update={"confirmation": changed})
    return study


def _score(spec: TrialSpec) -> float:
    """Elman is far behind; the others overlap."""
    noise = random.Random(f"{spec.label}/{spec.seed}").gauss(0, 0.02)
    return LEVELS[spec.label] + noise


def _run(queue: TrialQueue, score: Score = _score, *, most: int = 10_000) -> list[TrialSpec]:
    """Run trials one after the other, at most so many; gives what was run."""
    done: list[TrialSpec] = []
    while len(done) < most and (asked := queue.ask()) is not None:
        key, spec = asked
        _finish(queue, key, 0.5, test_loss=0.5, test_metric=score(spec))
        done.append(spec)
    return done


def test_seeds_go_to_the_rows_that_are_not_told_apart_and_end_with_the_most() -> None:
    seeds = Counter(spec.label for spec in _run(_study(most_seeds=20).confirm()))
    assert seeds == {"lstm": 20, "gru": 20, "elman": 9}


def test_a_study_of_rows_that_are_far_apart_ends_as_soon_as_that_is_shown() -> None:
    levels = {"lstm": 0.8, "gru": 0.5, "elman": 0.2}
    heard = Heard()
    specs = _run(_study().confirm(heard), lambda spec: levels[spec.label] + spec.seed % 7 / 1e3)
    assert Counter(spec.label for spec in specs) == dict.fromkeys(ROWS, 9)
    *_, last = (event for event in heard.events if event[0] == "decided")
    assert last[1]["lstm"] == "best"
    assert last[1]["elman"] == "worse (by 0.6000)"
    assert last[2] == 0


def test_rows_that_differ_by_less_than_the_margin_end_it_too() -> None:
    # The margin is 0.5 % of the median here.
    specs = _run(_study().confirm(), lambda spec: 0.5 + 1e-4 * (spec.label == "gru"))
    assert Counter(spec.label for spec in specs) == dict.fromkeys(ROWS, 9)


@pytest.mark.parametrize("stopped_after", [3, 18, 19, 25, 31, 40])
def test_a_resumed_study_makes_the_decisions_of_an_undisturbed_one(stopped_after: int) -> None:
    undisturbed = _run(_study("undisturbed", most_seeds=30).confirm())
    study = _study("resumed", most_seeds=30)
    first = _run(study.confirm(), most=stopped_after)
    queue = study.confirm()
    assert queue.done == min(stopped_after, queue.total)
    rest = _run(queue)
    key = Counter((spec.label, spec.seed) for spec in undisturbed)
    assert Counter((spec.label, spec.seed) for spec in [*first, *rest]) == key


def test_a_trial_that_was_interrupted_in_a_later_round_is_run_again_once() -> None:
    undisturbed = _run(_study("undisturbed", most_seeds=15).confirm())
    study = _study("killed", most_seeds=15)
    queue = study.confirm()
    first = _run(queue, most=20)
    asked = queue.ask()
    assert asked is not None
    queue.interrupt_all("killed")
    rest = _run(study.confirm())
    assert Counter((s.label, s.seed) for s in [*first, *rest]) == Counter(
        (s.label, s.seed) for s in undisturbed
    )


def test_no_round_is_decided_while_a_trial_of_it_runs() -> None:
    heard = Heard()
    queue = _study().confirm(heard)
    last = _run(queue, most=17)
    asked = queue.ask()
    assert asked is not None
    assert queue.ask() is None
    assert not any(event[0] == "decided" for event in heard.events)
    _finish(queue, asked[0], 0.5, test_loss=0.5, test_metric=_score(asked[1]))
    assert queue.ask() is not None
    assert any(event[0] == "decided" for event in heard.events)
    assert len(last) == 17


def test_a_seed_that_failed_is_lacking_and_does_not_hold_the_others_up() -> None:
    queue, failed = _study(most_seeds=9).confirm(), 0
    while (asked := queue.ask()) is not None:
        key, spec = asked
        if spec.label == "gru" and not failed:
            queue.fail(key, "nan")
            failed += 1
        else:
            _finish(queue, key, 0.5, test_loss=0.5, test_metric=_score(spec))
    assert failed == 1
    assert queue.running == 0


def test_a_fixed_number_of_seeds_is_one_round_as_ever() -> None:
    study = Study(trials=0, seeds=6)
    assert Counter(s.label for s in _run(study.confirm())) == dict.fromkeys(ROWS, 6)


def test_a_study_that_ended_is_extended_until_decided() -> None:
    fixed = Study("fixed", trials=0, seeds=6)
    _run(fixed.confirm())
    changed = fixed.config.confirmation.model_copy(update={"until": "decided", "most_seeds": 20})
    fixed.config = fixed.config.model_copy(update={"confirmation": changed})
    more = Counter(spec.label for spec in _run(fixed.confirm()))
    assert more == {"lstm": 14, "gru": 14, "elman": 3}


def test_no_round_begins_after_its_minutes() -> None:
    study = _study(minutes=1.0)
    _run(study.confirm(), most=18)
    study.store.write_info(phases={"confirmation": {"seconds": 60.0, "workers": 1}})
    assert study.confirm().ask() is None


def test_when_time_is_over_what_is_decided_is_told_and_no_more_trials_are_announced() -> None:
    study, heard = _study(minutes=1.0), Heard()
    queue = study.confirm(heard)
    _run(queue, most=17)
    asked = queue.ask()
    assert asked is not None
    queue._ends_at = 0.0
    _finish(queue, asked[0], 0.5, test_loss=0.5, test_metric=_score(asked[1]))
    assert queue.ask() is None
    (decided,) = (event for event in heard.events if event[0] == "decided")
    assert (set(decided[1]), decided[2]) == (set(ROWS), 0)


def test_what_is_decided_so_far_is_kept_for_status() -> None:
    study = _study(most_seeds=9)
    _run(study.confirm())
    decided = study.store.info.decided
    assert set(decided) == set(ROWS)
    assert decided["lstm"].startswith("undecided (")
