"""A row's configurations: which are its best now, and which confirmations count.

When a search continues after its best configuration was confirmed, it may find a better one. What
was confirmed before stays in the record, but a row is what its best configurations scored: seeds of
different configurations are never treated as seeds of one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from rnnsearch.compare.wording import number
from rnnsearch.errors import DamagedError, StudyFileError
from rnnsearch.records.store import StudyStore
from rnnsearch.spec.parameters import Value
from rnnsearch.spec.shape import Direction
from rnnsearch.spec.trial import TrialRecord, TrialSpec, configuration_of

_NOTHING_DRAWN = "{}"


@dataclass(frozen=True)
class Superseded:
    """A configuration that was confirmed before its row had better ones.

    Attributes:
        label: what the study calls the row.
        values: what was drawn for it.
        seeds: seeds of its complete confirmations.
        mean: their mean test metric; None if there are none.
    """

    label: str
    values: Mapping[str, Value]
    seeds: tuple[int, ...]
    mean: float | None

    @property
    def text(self) -> str:
        """What was drawn for it, as it is read."""
        return describe_values(self.values)


def best_first(records: Iterable[TrialRecord], direction: Direction) -> list[dict[str, Value]]:
    """The configurations of a row's complete search trials, best first, each once.

    A pruned trial's score is from fewer epochs and does not compete. Of equal scores, the trial
    that was begun first goes first.

    Args:
        records: trials of one row.
        direction: `maximize` or `minimize`.
    """
    sign = -1.0 if direction == "maximize" else 1.0
    complete = [
        (sign * record.epochs[-1].validation_metric, record.first_number, record.spec)
        for record in records
        if record.phase == "search" and record.state == "COMPLETE" and record.spec and record.epochs
    ]
    complete.sort(key=lambda trial: (math.isnan(trial[0]), *trial[:2]))
    distinct = {spec.configuration: dict(spec.values) for *_, spec in complete}
    return list(distinct.values())


def settle(
    records: Iterable[TrialRecord], direction: Direction, best: int | None = None
) -> list[TrialRecord]:
    """Assign each confirmation to the configuration of its row that it now counts for, or to none.

    A row stands by the best of its confirmed configurations: those that the search puts first. One
    whose first confirmation has not ended takes no other's place.

    Args:
        records: trials of a study.
        direction: `maximize` or `minimize`.
        best: configurations of each row that are confirmed; as many as have been if None.

    Returns:
        the same trials, in the same order.
    """
    records = list(records)
    by_label: dict[str, list[TrialRecord]] = {}
    for record in records:
        by_label.setdefault(record.label, []).append(record)
    ranks = {label: _ranks(mine, direction, best) for label, mine in by_label.items()}
    return [_settled(record, ranks[record.label]) for record in records]


def _settled(record: TrialRecord, ranks: Mapping[str, int] | None) -> TrialRecord:
    spec = record.spec
    if record.phase != "confirmation" or spec is None or ranks is None:
        return record
    if (rank := ranks.get(spec.configuration)) is None:
        return replace(record, stands=False)
    return record if spec.rank == rank else replace(record, spec=replace(spec, rank=rank))


def _ranks(
    records: Sequence[TrialRecord], direction: Direction, best: int | None
) -> dict[str, int] | None:
    """By configuration, the rank of those that a row stands by; None where nothing was drawn."""
    found = [configuration_of(values) for values in best_first(records, direction)]
    if not set(found) - {_NOTHING_DRAWN}:
        return None
    confirmations = _confirmations(records)
    if best is None:
        best = 1 + max((spec.rank for _, spec in confirmations), default=0)
    order = {configuration: place for place, configuration in enumerate(found)}
    known = sorted(
        dict.fromkeys(spec.configuration for _, spec in confirmations),
        key=lambda configuration: order.get(configuration, len(order)),
    )
    ended = {spec.configuration for record, spec in confirmations if record.state != "RUNNING"}
    first = [one for one in known if one in ended] + [one for one in known if one not in ended]
    chosen = first[:best]
    return {one: rank for rank, one in enumerate(one for one in known if one in chosen)}


def _confirmations(records: Iterable[TrialRecord]) -> list[tuple[TrialRecord, TrialSpec]]:
    return [
        (record, record.spec)
        for record in sorted(records, key=lambda record: record.number)
        if record.phase == "confirmation" and record.spec and not record.interrupted
    ]


def superseded_of(records: Iterable[TrialRecord]) -> tuple[Superseded, ...]:
    """The configurations of settled records that no longer count."""
    groups: dict[tuple[str, str], list[tuple[TrialRecord, TrialSpec]]] = {}
    for record, spec in _confirmations(records):
        if record.is_superseded:
            groups.setdefault((record.label, spec.configuration), []).append((record, spec))
    found = []
    for (label, _), trials in sorted(groups.items()):
        scores = {
            spec.seed: record.test_metric
            for record, spec in trials
            if record.state == "COMPLETE" and record.test_metric is not None
        }
        mean = math.fsum(scores.values()) / len(scores) if scores else None
        found.append(Superseded(label, trials[0][1].values, tuple(sorted(scores)), mean))
    return tuple(found)


def unconfirmed_best(
    records: Iterable[TrialRecord], direction: Direction
) -> dict[str, Mapping[str, Value]]:
    """By label, the best configuration of rows that stand by worse ones of their search.

    Args:
        records: settled trials of a study.
        direction: `maximize` or `minimize`.
    """
    by_label: dict[str, list[TrialRecord]] = {}
    for record in records:
        by_label.setdefault(record.label, []).append(record)
    found: dict[str, Mapping[str, Value]] = {}
    for label, mine in by_label.items():
        first = next(iter(best_first(mine, direction)), None)
        standing = {spec.configuration for record, spec in _confirmations(mine) if record.stands}
        if first is not None and standing and configuration_of(first) not in standing:
            found[label] = first
    return found


def describe_values(values: Mapping[str, Value]) -> str:
    """Drawn values as they are read, such as `learning_rate 0.0168, num_layers 2`."""
    told = [
        f"{name.removeprefix('options.')} "
        f"{number(value, 3) if isinstance(value, float) else str(value).lower()}"
        for name, value in values.items()
    ]
    return ", ".join(told) or "nothing was drawn"


def settled_records(store: StudyStore, *, interrupted: bool = False) -> list[TrialRecord]:
    """Every trial of a study, with the confirmations settled; see `StudyStore.records`."""
    records = list(store.records(interrupted=interrupted))
    direction = store.direction
    return records if direction is None else settle(records, direction, _confirmed_at_most(store))


def _confirmed_at_most(store: StudyStore) -> int | None:
    """How many configurations of a row a study confirms; None if its file does not say."""
    try:
        return store.config.confirmation.best
    except (StudyFileError, DamagedError):  # its trials can be looked at all the same
        return None
