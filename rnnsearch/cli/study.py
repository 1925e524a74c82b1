"""`rnnsearch study`: plan, start, list, show and compare studies."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import click

from rnnsearch.cli.analyse import analyse
from rnnsearch.cli.archive import delete, export, import_
from rnnsearch.cli.detach import detach_option, run_detached
from rnnsearch.cli.lifecycle import doctor, extend, go_on, kill, resume, status, stop
from rnnsearch.cli.logged import log_to_mlflow
from rnnsearch.cli.output import browse, echo, json_option, print_json, print_table, stderr
from rnnsearch.cli.show_comparison import print_comparison, print_result
from rnnsearch.cli.show_plan import print_plan, print_source
from rnnsearch.cli.verify import verify
from rnnsearch.cli.watch import name_study, watch


@click.group()
def study() -> None:
    """Studies."""


for _command in (analyse, resume, extend, stop, kill, status, doctor):
    study.add_command(_command)
for _command in (export, import_, delete, verify):
    study.add_command(_command)


@study.command()
@click.argument("file", type=click.Path())
@click.option("--name", help="Start it under another name.")
@click.option("--resume", "or_resume", is_flag=True, help="Go on with it if it was started before.")
@detach_option
@click.option("-q", "--quiet", is_flag=True, help="Print the result only.")
@click.pass_context
def start(
    context: click.Context, file: str, name: str | None, or_resume: bool, detach: bool, quiet: bool
) -> None:
    """Run the study in FILE: search, confirm, compare."""
    if not detach:
        watch(context)
    console = stderr()
    from rnnsearch.cli.terminal import study_view
    from rnnsearch.study.run import load_study

    loaded = load_study(file)
    if name is not None:
        loaded = loaded.renamed(name)
    if or_resume and loaded.was_started():
        go_on(loaded.config.name, detach, quiet)
        return
    if detach:
        name = loaded.config.name
        run_detached(name, "study", "start", "{file}", "--name", name, file=file)
        return
    name_study(loaded.config.name)
    with study_view(console, quiet=quiet) as views:
        result = loaded.run(views)
    print_result(result, loaded.config.name)


@study.command()
@click.argument("file", type=click.Path())
@json_option
def plan(file: str, as_json: bool) -> None:
    """Show what the study in FILE would do: widths, residuals, trials, data, estimated time."""
    from rnnsearch.study.run import load_study

    planned = load_study(file).plan()
    if as_json:
        print_json(planned.to_dict())
    else:
        print_plan(planned)
    for row in planned.failed:
        raise row.error


@study.command("list")
@json_option
def list_studies(as_json: bool) -> None:
    """List studies."""
    from rnnsearch.errors import DamagedError
    from rnnsearch.records.store import list_stores
    from rnnsearch.records.study_info import StudyInfo

    rows = []
    for store in list_stores():
        damage: DamagedError | None = None
        try:
            info = store.info
            damage = store.damage(info)
        except DamagedError as error:
            info, damage = StudyInfo(), error
        if damage is not None:
            echo(f"{store.name}: {damage}", err=True)
        rows.append(
            {
                "study": store.name,
                "state": "damaged" if damage else store.state_of(info) or "never started",
                "started": info.started or "",
                "data": info.data.dataset if info.data else "",
                "folder": str(store.folder),
            }
        )
    if as_json:
        print_json(rows)
        return
    headings = dict.fromkeys(("study", "state", "started", "data", "folder"), "left")
    print_table(headings, [list(row.values()) for row in rows])


@study.command()
@click.argument("name")
@json_option
def show(name: str, as_json: bool) -> None:
    """Show a study: its state, its data, and what became of its trials."""
    from rnnsearch.compare.configurations import settled_records
    from rnnsearch.records.store import StudyStore

    store = StudyStore.open(name)
    info, records = store.info, settled_records(store)
    superseded = [str(r.key) for r in records if r.is_superseded]
    records = [record for record in records if not record.is_superseded]
    counts: dict[tuple[str, str], Counter[str]] = {}
    for record in records:
        counts.setdefault((record.phase, record.label), Counter())[record.state] += 1
    failures = [{"trial": str(r.key), "reason": r.reason} for r in records if r.state == "FAIL"]
    if as_json:
        trials: list[dict[str, Any]] = [
            {"phase": phase, "label": label, **states} for (phase, label), states in counts.items()
        ]
        found = {"trials": trials, "failures": failures, "superseded": superseded}
        print_json({**info.content(), "folder": str(store.folder), **found})
        return
    echo(f"Study {name}: {store.state or 'never started'}")
    echo(f"Folder {store.folder}")
    if info.run_id is not None:
        echo(f"Trials {browse(name, info.tracking_uri, info.experiment_id)}")
    if info.data:
        print_source(info.data)
    states = ("COMPLETE", "PRUNED", "FAIL", "RUNNING")
    print_table(
        {"phase": "left", "row": "left", **dict.fromkeys(states, "right")},
        [
            [phase, label, *(str(found[state]) for state in states)]
            for (phase, label), found in counts.items()
        ],
    )
    for failure in failures:
        echo(f"failed  {failure['trial']}: {failure['reason']}")
    for key in superseded:
        echo(f"superseded by a better configuration  {key}")


@study.command()
@click.argument("name")
@click.option("--against", metavar="ROW", help="Compare all rows with this one; writes nothing.")
@json_option
def compare(name: str, against: str | None, as_json: bool) -> None:
    """Compare what a study has confirmed; writes the table and the plot, and logs them."""
    from rnnsearch.records.store import StudyStore
    from rnnsearch.study.stored import compare_study, write_comparison

    store = StudyStore.open(name)
    comparison = compare_study(store, against=against)
    files = []
    if against is not None:
        pass  # what is kept is the comparison that the study file asks for
    elif (holder := store.holder) is None:
        with store.held("writing") as held:
            files = write_comparison(held, comparison)
    else:
        echo(f"note      nothing is written or logged: {holder} has the study", err=True)
    if as_json:
        print_json(comparison.to_dict())
    else:
        print_comparison(comparison)
    for path in files:
        echo(f"written   {path}", err=as_json)
    if files:
        log_to_mlflow(store, files)


@study.command()
@click.argument("name")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder to write to; `report` in the study's folder if absent.",
)
def report(name: str, out: Path | None) -> None:
    """Write a page with all that is known of a study, and its tables as Markdown, LaTeX and CSV."""
    from rnnsearch.records.store import StudyStore
    from rnnsearch.report.report import make_report, write_report
    from rnnsearch.study.stored import compare_study

    store = StudyStore.open(name)
    comparison = compare_study(store)
    files = write_report(
        make_report(store, store.config, comparison), out or store.folder / "report"
    )
    for path in files:
        echo(f"written   {path}")
    log_to_mlflow(store, files)


@study.command()
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write it to a file.")
def schema(output: Path | None) -> None:
    """Print the JSON Schema of study files, for editors that check YAML."""
    import json

    from rnnsearch.config.schema import json_schema

    text = json.dumps(json_schema(), indent=2) + "\n"
    if output is None:
        echo(text, end="")
    else:
        output.write_text(text, encoding="utf-8")
