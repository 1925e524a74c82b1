"""`rnnsearch data`: the data sets that tasks need."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from rnnsearch.cli.output import echo, json_option, print_json, print_table

if TYPE_CHECKING:
    from rnnsearch.plugin.data import Dataset


@click.group()
def data() -> None:
    """Data sets."""


def _datasets(name: str | None) -> list[tuple[Dataset, list[str]]]:
    """Data sets with the tasks that need them, or the one that is named."""
    from rnnsearch.errors import DataError, PluginError, did_you_mean
    from rnnsearch.plugin.registry import load_registry

    registry = load_registry()
    found: dict[str, tuple[Dataset, list[str]]] = {}
    for task in registry.tasks:
        try:
            datasets = registry.task(task).datasets
        except PluginError as error:
            echo(f"left out: {error}", err=True)
            continue
        for dataset in datasets:
            found.setdefault(dataset.name, (dataset, []))[1].append(task)
    if name is None:
        return list(found.values())
    if name not in found:
        msg = f"unknown data set `{name}`.{did_you_mean(name, found)} Known: {', '.join(found)}"
        raise DataError(msg)
    return [found[name]]


@data.command("list")
@json_option
def list_data(as_json: bool) -> None:
    """List data sets, the tasks that need them, and where they are."""
    from rnnsearch.plugin.data import verify

    rows = []
    for dataset, tasks in _datasets(None):
        statuses = verify(dataset)
        states = sorted({status.state for status in statuses})
        where = statuses[0].place if states == ["ok"] else ""
        rows.append(
            {
                "dataset": dataset.name,
                "tasks": tasks,
                "state": ", ".join(states),
                "where": where,
                "terms": dataset.terms,
            }
        )
    if as_json:
        print_json(rows)
        return
    print_table(
        dict.fromkeys(("data set", "tasks", "state", "found in", "terms"), "left"),
        [
            [
                str(r["dataset"]),
                ", ".join(r["tasks"]),
                str(r["state"]),
                str(r["where"]),
                str(r["terms"]),
            ]
            for r in rows
        ],
    )


@data.command("fetch")
@click.argument("name", required=False)
def fetch_data(name: str | None) -> None:
    """Make a data set available: find it, or download and check it. All of them without NAME."""
    from rnnsearch.plugin.data import fetch

    for dataset, _ in _datasets(name):
        place = fetch(dataset)
        echo(f"{dataset.name}: {place.origin}, {place.folder}")


@data.command("verify")
@click.argument("name", required=False)
@json_option
def verify_data(name: str | None, as_json: bool) -> None:
    """Check every file of a data set against its sha256. All of them without NAME."""
    from rnnsearch.errors import DataError
    from rnnsearch.plugin.data import verify

    rows = [
        {
            "dataset": dataset.name,
            "file": status.file.path,
            "state": status.state,
            "place": status.place,
            "path": str(status.path),
            "problem": status.problem,
        }
        for dataset, _ in _datasets(name)
        for status in verify(dataset)
    ]
    if as_json:
        print_json(rows)
    else:
        headings = dict.fromkeys(("data set", "file", "state", "place", "path", "problem"), "left")
        print_table(headings, [list(row.values()) for row in rows])
    bad = [row for row in rows if row["state"] != "ok"]
    if bad:
        msg = (
            f"{len(bad)} of {len(rows)} files are not in order. `rnnsearch data fetch "
            f"{bad[0]['dataset']}` downloads what is missing, and replaces what is corrupt in the "
            f"cache; a corrupt file in RNNSEARCH_DATA_DIR is yours to replace"
        )
        raise DataError(msg)
