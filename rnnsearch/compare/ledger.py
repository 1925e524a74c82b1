"""The effort ledger: what each label's trials took, and where that is unequal."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rnnsearch.compare.wording import count, enumerate_names
from rnnsearch.spec.trial import Phase, TrialRecord

# Pruning stops one label's trials earlier than another's: epochs may differ by this share.
EFFORT_TOLERANCE = 0.1


@dataclass(frozen=True)
class Spent:
    """What the trials of one label took in one phase, whatever became of them.

    Confirmations that no longer count are left out, so that rows compare like with like.

    Attributes:
        complete: trials that finished.
        pruned: trials that were stopped early.
        failed: trials that failed.
        running: trials that have not ended.
        epochs: finished epochs of all of them.
        updates: updates of all of them, up to their last finished epoch.
        seconds: wall time of all of them, up to their last finished epoch.
    """

    complete: int = 0
    pruned: int = 0
    failed: int = 0
    running: int = 0
    epochs: int = 0
    updates: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class Effort:
    """What one label took: a line of the ledger.

    Attributes:
        label: what the study calls it.
        search: finding its configuration.
        confirmation: training it on fresh seeds.
    """

    label: str
    search: Spent
    confirmation: Spent


@dataclass(frozen=True)
class PhaseTime:
    """Wall time of a phase, and what its workers did with it.

    Attributes:
        phase: `search` or `confirmation`.
        seconds: wall time, the wait for the first worker included.
        workers: trials at a time.
        training: seconds of training and validation of all trials together.
    """

    phase: Phase
    seconds: float
    workers: int
    training: float

    @property
    def other_share(self) -> float:
        """Share of the workers' time that went into anything else than trials: 0 to 1."""
        whole = self.seconds * self.workers
        return max(0.0, 1 - self.training / whole) if whole else 0.0


def use_of_time(
    records: Sequence[TrialRecord], phases: Mapping[str, Mapping[str, float]]
) -> tuple[PhaseTime, ...]:
    """Where the wall time of each phase went that had trials.

    Args:
        records: all trials of the study.
        phases: `seconds` and `workers` of each phase that has ended.
    """
    found = []
    for phase, known in phases.items():
        if not any(record.phase == phase for record in records):
            continue
        training = math.fsum(
            record.epochs[-1].seconds
            for record in records
            if record.phase == phase and record.epochs
        )
        found.append(
            PhaseTime(phase, known["seconds"], int(known["workers"]), training)  # type: ignore[arg-type]
        )
    return tuple(found)


def add_up(label: str, records: Sequence[TrialRecord]) -> Effort:
    """The line of a label, from all of its trials but the superseded ones."""
    return Effort(label, _spent(records, "search"), _spent(records, "confirmation"))


def _spent(records: Sequence[TrialRecord], phase: Phase) -> Spent:
    trials = [record for record in records if record.phase == phase and not record.is_superseded]
    states = [record.state for record in trials]
    last = [record.epochs[-1] for record in trials if record.epochs]
    return Spent(
        complete=states.count("COMPLETE"),
        pruned=states.count("PRUNED"),
        failed=states.count("FAIL"),
        running=states.count("RUNNING"),
        epochs=sum(len(record.epochs) for record in trials),
        updates=sum(epoch.updates for epoch in last),
        seconds=math.fsum(epoch.seconds for epoch in last if math.isfinite(epoch.seconds)),
    )


def describe_inequality(ledger: Sequence[Effort], *, only_search: bool = False) -> tuple[str, ...]:
    """Sentences on labels that were tuned or confirmed with more trials or epochs than others.

    Trials count where they gave a result: complete or pruned. Search counts every label as soon as
    one was searched; confirmation counts the labels that reached it.
    """
    reached = [e for e in ledger if e.confirmation != Spent() and not only_search]
    phases = {
        "Search": {effort.label: effort.search for effort in ledger},
        "Confirmation": {effort.label: effort.confirmation for effort in reached},
    }
    sentences = []
    for phase, spent in phases.items():
        trials = {label: s.complete + s.pruned for label, s in spent.items()}
        if len(set(trials.values())) > 1:
            told = _by_count(trials, {label: s.failed for label, s in spent.items()}, "failed")
            sentences.append(f"{phase} trials with a result are unequal: {told}.")
        epochs = {label: s.epochs for label, s in spent.items()}
        fewest, most = min(epochs.values(), default=0), max(epochs.values(), default=0)
        if most > (1 + EFFORT_TOLERANCE) * fewest:
            told = _by_count(epochs, {label: s.pruned for label, s in spent.items()}, "pruned")
            sentences.append(f"{phase} epochs are unequal: {told}.")
    return tuple(sentences)


def _by_count(counts: Mapping[str, int], causes: Mapping[str, int], cause: str) -> str:
    """Labels by count, most first: `60 (gru and lstm), 36 (elman with 3 trials pruned)`."""
    groups: dict[int, list[str]] = {}
    for label, amount in sorted(counts.items(), key=lambda item: -item[1]):
        why = f" with {count(causes[label], 'trial')} {cause}" if causes[label] else ""
        groups.setdefault(amount, []).append(label + why)
    return ", ".join(f"{n:,} ({enumerate_names(labels)})" for n, labels in groups.items())


def describe_time(phase: PhaseTime) -> str:
    """A sentence on where the wall time of a phase went."""
    return (
        f"The {phase.phase} took {phase.seconds:,.1f} s with {phase.workers} at a time: "
        f"{100 * phase.other_share:.0f} % of the workers' time was not training or validation."
    )
