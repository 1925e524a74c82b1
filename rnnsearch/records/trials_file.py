"""The trials of a study, read from Optuna's database without Optuna.

Optuna takes half a second to import and to connect, which a command that only lists trials would
spend on every call. What is read here are six columns of its schema; Optuna alone
writes them.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from rnnsearch.spec.model import Complexity
from rnnsearch.spec.parameters import Value
from rnnsearch.spec.shape import Direction
from rnnsearch.spec.trial import EpochMetrics, Phase, TrialRecord, TrialSpec, TrialState

_TIMEOUT_S = 60
_SCHEMA = "v3.2.0.a"  # the last one, since Optuna 3.2
_STATES: dict[str, TrialState] = {
    "RUNNING": "RUNNING",
    "WAITING": "RUNNING",
    "COMPLETE": "COMPLETE",
    "PRUNED": "PRUNED",
    "FAIL": "FAIL",
}
_DIRECTIONS: dict[str, Direction] = {"MAXIMIZE": "maximize", "MINIMIZE": "minimize"}


@dataclass(frozen=True)
class StoredTrial:
    """A trial as Optuna's database has it.

    Attributes:
        number: from 0, in its Optuna study.
        state: the name of one of Optuna's states.
        user_attrs: what was noted of it.
    """

    number: int
    state: str
    user_attrs: dict[str, Any] = field(default_factory=dict)


class _Numbered(Protocol):
    """What `StoredTrial` and Optuna's own trials have in common."""

    @property
    def number(self) -> int: ...
    @property
    def user_attrs(self) -> dict[str, Any]: ...


def read_trials(path: Path) -> dict[str, list[StoredTrial]]:
    """Every trial, by the name of its Optuna study, both in the order in which they were made.

    Raises:
        sqlite3.Error: the file is no such database.
        ValueError: neither is what it holds.
    """
    with closing(_connect(path)) as database, database:  # one snapshot for the three questions
        database.execute("BEGIN")
        _require_schema(database)
        names = dict(database.execute("SELECT study_id, study_name FROM studies ORDER BY 1"))
        rows = database.execute(
            "SELECT trial_id, study_id, number, state FROM trials ORDER BY study_id, number"
        ).fetchall()
        attributes = database.execute(
            'SELECT trial_id, "key", value_json FROM trial_user_attributes'
        ).fetchall()
    noted: dict[int, dict[str, Any]] = {}
    for trial, key, text in attributes:
        noted.setdefault(trial, {})[key] = json.loads(text)
    found: dict[str, list[StoredTrial]] = {name: [] for name in names.values()}
    for trial, study, number, state in rows:
        found[names[study]].append(StoredTrial(number, state, noted.get(trial, {})))
    return found


def read_direction(path: Path) -> Direction | None:
    """Whether a larger metric is better; None before the first trial.

    Raises:
        sqlite3.Error: the file is no such database.
    """
    with closing(_connect(path)) as database:
        row = database.execute(
            "SELECT direction FROM study_directions ORDER BY study_id LIMIT 1"
        ).fetchone()
    return _DIRECTIONS[row[0]] if row else None


def _require_schema(database: sqlite3.Connection) -> None:
    ((version,),) = database.execute("SELECT version_num FROM alembic_version")
    if version != _SCHEMA:
        msg = (
            f"expected a database of Optuna with the schema {_SCHEMA}, found {version}. "
            "Update rnnsearch and optuna"
        )
        raise ValueError(msg)


def _connect(path: Path) -> sqlite3.Connection:
    if not path.stat().st_size:
        raise sqlite3.DatabaseError("the file is empty")
    # Not read-only: what a killed driver left half written has to be rolled back first.
    uri = f"{path.absolute().as_uri()}?mode=rw"
    return sqlite3.connect(uri, uri=True, timeout=_TIMEOUT_S, isolation_level=None)


@dataclass(frozen=True)
class Unfinished:
    """A trial that a stop or a crash ended.

    Attributes:
        key: the trial.
        values: what was drawn, by name.
        spec: what it was asked to do.
        epochs: what it had measured.
        checkpoint: the epoch after which it was kept, or 0.
        workers_lost: how many workers died over it.
        first_number: the number under which it was first begun.
    """

    key: str
    values: Mapping[str, Value]
    spec: TrialSpec
    epochs: tuple[EpochMetrics, ...]
    checkpoint: int
    workers_lost: int
    first_number: int


def unfinished_of(name: str, trials: Sequence[StoredTrial]) -> list[Unfinished]:
    """Trials that were interrupted and have not been run again, by when they were first begun.

    Args:
        name: name of their Optuna study.
        trials: all of its trials.
    """
    begun = [trial for trial in trials if was_begun(trial)]
    begun_anew = {trial.user_attrs.get("anew") for trial in begun}
    first = first_numbers(name, begun)
    found = [
        Unfinished(
            f"{name}/{trial.number}",
            dict(trial.user_attrs["values"]),
            _spec_of(trial.user_attrs),
            _epochs_of(trial.user_attrs),
            trial.user_attrs.get("checkpoint", 0),
            trial.user_attrs.get("workers_lost", 0),
            first[trial.number],
        )
        for trial in begun
        if trial.user_attrs.get("interrupted") and f"{name}/{trial.number}" not in begun_anew
    ]
    return sorted(found, key=lambda one: one.first_number)


def was_begun(trial: StoredTrial) -> bool:
    """Whether a trial came further than being drawn: its specification is noted last."""
    return "spec" in trial.user_attrs


def first_numbers(name: str, trials: Sequence[_Numbered]) -> dict[int, int]:
    """By number, the number under which a trial was first begun."""
    first: dict[int, int] = {}
    for trial in trials:  # a trial that is started again has a higher number
        before = str(trial.user_attrs.get("anew", "")).removeprefix(f"{name}/")
        known = first.get(int(before)) if before.isdecimal() else None
        first[trial.number] = trial.number if known is None else known
    return first


def _spec_of(attributes: Mapping[str, Any]) -> TrialSpec:
    spec = TrialSpec.from_json(attributes["spec"])
    # In a study of an earlier version they are beside it.
    return spec if spec.values else replace(spec, values=dict(attributes.get("values", {})))


def _epochs_of(attributes: Mapping[str, Any]) -> tuple[EpochMetrics, ...]:
    return tuple(EpochMetrics(**epoch) for epoch in json.loads(attributes.get("epochs", "[]")))


def record_of(
    phase: Phase, label: str, trial: StoredTrial, first: Mapping[int, int]
) -> TrialRecord:
    """What is remembered of a stored trial.

    Args:
        phase: `search` or `confirmation`.
        label: name of the row.
        trial: the trial.
        first: as `first_numbers` gives it for all trials of the row and phase.
    """
    attributes: Mapping[str, Any] = trial.user_attrs
    complexity = attributes.get("complexity")
    return TrialRecord(
        phase=phase,
        label=label,
        number=trial.number,
        spec=_spec_of(attributes) if attributes.get("spec") else None,
        state=_STATES[trial.state],
        reason=attributes.get("reason", ""),
        epochs=_epochs_of(attributes),
        test_loss=attributes.get("test_loss"),
        test_metric=attributes.get("test_metric"),
        # Versions that did not say what they counted, counted products alone.
        complexity=Complexity(**{"flops_counted": "products", **complexity})
        if complexity
        else None,
        engine=attributes.get("engine", ""),
        engine_reason=attributes.get("engine_reason", ""),
        interrupted=bool(attributes.get("interrupted")),
        begun_as=None if first[trial.number] == trial.number else first[trial.number],
    )
