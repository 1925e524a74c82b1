"""`rnnsearch trial`: lists and shows the trials of a study."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from rnnsearch.cli.output import echo, json_option, print_json, print_table

if TYPE_CHECKING:
    from rnnsearch.records.store import StudyStore
    from rnnsearch.spec.trial import TrialRecord

_STATES = ("RUNNING", "COMPLETE", "PRUNED", "FAIL")
_NAMED = 5


@click.group()
def trial() -> None:
    """Trials of a study."""


@trial.command("list")
@click.argument("study")
@click.option("--phase", type=click.Choice(["search", "confirmation"]), help="Of this phase only.")
@click.option("--row", help="Of the row with this label only.")
@click.option(
    "--state", type=click.Choice(_STATES, case_sensitive=False), help="In this state only."
)
@json_option
def list_trials(
    study: str, phase: str | None, row: str | None, state: str | None, as_json: bool
) -> None:
    """List the trials of STUDY."""
    from rnnsearch.compare.configurations import settled_records
    from rnnsearch.errors import StoreError, did_you_mean
    from rnnsearch.records.store import StudyStore

    records = settled_records(StudyStore.open(study), interrupted=True)
    labels = list(dict.fromkeys(record.label for record in records))
    if row is not None and row not in labels:
        known = ", ".join(labels) or "none"
        msg = f"study `{study}` has no row `{row}`.{did_you_mean(row, labels)} Known: {known}"
        raise StoreError(msg)
    chosen = [
        record
        for record in records
        if phase in (None, record.phase)
        and row in (None, record.label)
        and state in (None, record.state)
    ]
    if as_json:
        print_json([_summary(record) for record in chosen])
        return
    headings = {"trial": "left", "state": "left", "seed": "right", "parameters": "right"}
    headings |= {"epochs": "right", "validation": "right", "test": "right"}
    headings |= {"engine": "left", "reason": "left"}
    print_table(headings, [_line(record) for record in chosen])


def _line(record: TrialRecord) -> list[str]:
    from rnnsearch.compare.wording import number, whole

    told = _summary(record)
    return [
        told["trial"],
        record.state,
        "" if told["seed"] is None else str(told["seed"]),
        whole(told["parameters"]),
        str(told["epochs"]),
        number(told["validation_metric"]),
        number(told["test_metric"]),
        record.engine,
        told["reason"].partition("\n")[0],
    ]


def _summary(record: TrialRecord) -> dict[str, Any]:
    spec, epochs = record.spec, record.epochs
    return {
        "trial": str(record.key),
        "phase": record.phase,
        "row": record.label,
        "number": record.number,
        "state": record.state,
        "seed": spec.seed if spec else None,
        "configuration": spec.rank if spec and record.stands else None,
        "superseded": record.is_superseded,
        "parameters": spec.parameters if spec else None,
        "epochs": len(epochs),
        "validation_metric": _finite(epochs[-1].validation_metric) if epochs else None,
        "test_loss": _finite(record.test_loss),
        "test_metric": _finite(record.test_metric),
        "engine": record.engine,
        "reason": record.reason or ("superseded" if record.is_superseded else ""),
    }


@trial.command()
@click.argument("study")
@click.argument("key")
@json_option
def show(study: str, key: str, as_json: bool) -> None:
    """Show a trial of STUDY in full; KEY is as `trial list` prints it, or the beginning of one."""
    from rnnsearch.records.store import StudyStore

    record = _find(StudyStore.open(study), key)
    spec = _flat(asdict(record.spec)) if record.spec else {}
    complexity = asdict(record.complexity) if record.complexity else {}
    if as_json:
        print_json(
            {
                **_summary(record),
                "engine_reason": record.engine_reason,
                "spec": asdict(record.spec) if record.spec else None,
                "complexity": complexity or None,
                "epochs": [
                    {name: _finite(value) for name, value in asdict(epoch).items()}
                    for epoch in record.epochs
                ],
            }
        )
        return
    echo(f"Trial  {record.key} of study {study}: {record.state}")
    for title, text in (
        ("Reason", _summary(record)["reason"]),
        ("Engine", ": ".join(filter(None, [record.engine, record.engine_reason]))),
    ):
        if text:
            echo(f"{title} {text}")
    if record.test_metric is not None and record.spec:
        loss = "" if record.test_loss is None else f"loss {record.test_loss:.6g}, "
        echo(f"Test   {loss}{record.spec.metric} {record.test_metric:.6g}")
    echo("")
    if not spec:
        echo("It ended before it was known what it would train.")
    for title, facts in (("specification", spec), ("complexity", complexity)):
        if facts:
            rows = [[name, _text(value)] for name, value in facts.items()]
            print_table({title: "left", "": "left"}, rows)
            echo("")
    if not record.epochs:
        echo("It finished no epoch.")
        return
    columns = list(asdict(record.epochs[0]))
    print_table(
        {name.replace("_", " "): "right" for name in columns},
        [[_text(getattr(epoch, name)) for name in columns] for epoch in record.epochs],
    )


@trial.command()
@click.argument("study")
@click.argument("key")
def logs(study: str, key: str) -> None:
    """Print the traceback that a trial of STUDY left; KEY as for `trial show`."""
    from rnnsearch.errors import StoreError
    from rnnsearch.records.store import StudyStore

    store = StudyStore.open(study)
    record = _find(store, key)
    path = store.folder / "errors" / f"{record.key.file_name}.txt"
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        told = f" ({record.reason})" if record.reason else ""
        echo(
            f"{record.key} left no log: it is {record.state}{told}. Only a trial that breaks off "
            f"with an error in its worker leaves one, in {path.parent}"
        )
        return
    except OSError as error:
        msg = f"cannot read {path}: {error.strerror or error}"
        raise StoreError(msg) from error
    echo(text.rstrip("\n"))


def _find(store: StudyStore, key: str) -> TrialRecord:
    """The trial with a key, or the only one whose key begins so.

    Raises:
        StoreError: there is none, or there are several.
    """
    from rnnsearch.compare.configurations import settled_records
    from rnnsearch.errors import StoreError, did_you_mean

    records = {str(record.key): record for record in settled_records(store, interrupted=True)}
    if key in records:
        return records[key]
    begun = [known for known in records if known.startswith(key)]
    if len(begun) == 1:
        return records[begun[0]]
    if begun:
        more = f" and {len(begun) - _NAMED} more" if len(begun) > _NAMED else ""
        msg = (
            f"`{key}` is the beginning of {len(begun)} trials of study `{store.name}`: "
            f"{', '.join(begun[:_NAMED])}{more}"
        )
    else:
        msg = (
            f"study `{store.name}` has no trial `{key}`.{did_you_mean(key, records)} "
            f"`rnnsearch trial list {store.name}` lists its {len(records)}"
        )
    raise StoreError(msg)


def _flat(content: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Nested fields by dotted name."""
    flat: dict[str, Any] = {}
    for name, value in content.items():
        if isinstance(value, Mapping) and value:
            flat |= _flat(value, f"{before}{name}.")
        else:
            flat[before + name] = value
    return flat


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, (tuple, list, dict)) and not value:
        return "none"
    return "none" if value in (None, "") else str(value)


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
