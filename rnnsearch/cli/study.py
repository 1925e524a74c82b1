"""`rnnsearch study`: plan, start, list, show and compare studies."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rnnsearch.cli.analyse import analyse
from rnnsearch.cli.archive import delete, export, import_
from rnnsearch.cli.detach import detach_option, run_detached
from rnnsearch.cli.lifecycle import doctor, extend, go_on, kill, resume, status, stop
from rnnsearch.cli.logged import log_to_mlflow
from rnnsearch.cli.output import browse, echo, json_option, print_json, print_table, stderr
from rnnsearch.cli.replay import verify
from rnnsearch.cli.watch import name_study, watch

if TYPE_CHECKING:
    from rnnsearch.comparison import Comparison
    from rnnsearch.plan import StudyPlan
    from rnnsearch.spec.shape import DataSource
    from rnnsearch.study import StudyResult


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
    from rnnsearch.study import load_study
    from rnnsearch.terminal import study_view

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


def print_result(result: StudyResult, name: str) -> None:
    """Print what a finished study leaves; fails where a confirmation is missing."""
    from rnnsearch.store import StudyStore

    _print_comparison(result.comparison)
    echo("")
    for path in result.files:
        echo(f"written   {path}")
    echo(f"recorded  {result.tracking_uri}")
    info = StudyStore.open(name).info
    echo(f"next      {browse(name, info.tracking_uri, info.experiment_id)}")
    _require_confirmed(result.comparison)
    if result.left_out:
        from rnnsearch.errors import BrokenPluginError

        raise BrokenPluginError(
            f"left out, as it cannot run: {'; '.join(result.left_out.values())}"
        )


def _require_confirmed(comparison: Comparison) -> None:
    from rnnsearch.errors import TrialsFailedError

    short = [row.name for row in comparison.rows if row.place is None or row.failed_seeds]
    if short:
        msg = (
            f"not every confirmation ran to its end: {', '.join(short)}. "
            f"`rnnsearch study show {comparison.study}` gives the reasons"
        )
        raise TrialsFailedError(msg)


@study.command()
@click.argument("file", type=click.Path())
@json_option
def plan(file: str, as_json: bool) -> None:
    """Show what the study in FILE would do: widths, residuals, trials, data, estimated time."""
    from rnnsearch.study import load_study

    planned = load_study(file).plan()
    if as_json:
        print_json(planned.to_dict())
    else:
        _print_plan(planned)
    for row in planned.failed:
        raise row.error


def _print_plan(planned: StudyPlan) -> None:
    from rnnsearch.wording import whole

    config = planned.config
    echo(f"Study {config.name}. {config.question}".rstrip())
    echo(f"Task  {config.task.name} ({planned.task.metric}, no skill {planned.task.no_skill:g})")
    _print_source(planned.source)
    budget = config.budget
    echo(
        f"Budget {budget.parameters:,} parameters within {100 * budget.tolerance:g}% "
        f"(counting: {budget.counting})\n"
    )
    published = {label: p.parameters for label, p in config.published_figures.items()}
    shown = any(published.values())
    headings = {"row": "left", "width": "right", "head": "left"}
    headings |= {"published": "right"} if shown else {}
    headings |= {
        "trainable": "right",
        "one bias": "right",
        "residual": "right",
        "state": "right",
        "FLOPs/step": "right",
    }
    headings |= {"closed by": "left", "ms/update": "right", "engine": "left", "searched": "left"}
    rows = []
    for row in planned.rows:
        model, low, high = row.typical.model, *row.widths
        head = model.head + (f" {model.head_hidden_size}" if model.head_hidden_size else "")
        mark = "" if row.space.matched else " unmatched"
        rows.append(
            [
                row.space.label,
                f"{model.hidden_size}" + (f" ({low}-{high})" if low != high else ""),
                head,
                *([whole(published.get(row.space.label))] if shown else []),
                f"{row.complexity.trainable:,}",
                f"{row.complexity.one_bias:,}",
                f"{100 * row.typical.residual:+.2f}%{mark}",
                f"{row.complexity.state_size:,}",
                f"{row.complexity.flops_per_step:,.0f}",
                row.typical.closed_by,
                f"{row.engine.step_ms:.3g}",
                row.engine.name + (f" {row.engine.speedup:.1f}x" if row.engine.speedup else ""),
                ", ".join(key.removeprefix("options.") for key in sorted(row.space.free)),
            ]
        )
    print_table(headings, rows)
    if shown and config.published:
        where = f", {config.published.where}" if config.published.where else ""
        echo(f"published: {config.published.source}{where}")
    if any(row.typical.closed_by for row in planned.rows):
        echo("closed by: the second size that was set to meet the budget")
    for row in planned.rows:
        if row.engine.reason:
            echo(f"engine of {row.space.label}: {row.engine.reason}")
    for failed in planned.failed:
        echo(f"CANNOT RUN {failed.label}: {failed.error}")
    echo(
        f"\nSearch        {planned.trials} trials "
        f"({config.search.sampler}, {config.search.scheduler})\n"
        f"Confirmation  {planned.confirmations} runs on fresh seeds\n"
        f"Estimated     {_duration(planned.seconds)} with {planned.workers} trials at a time"
    )


def _print_source(source: DataSource) -> None:
    sizes = ", ".join(f"{split} {size:,}" for split, size in source.sizes.items())
    echo(f"Data  {source.dataset} from {source.origin} ({sizes})")
    echo(f"      {source.location}")
    echo(f"      sha256 {source.sha256}")
    if source.caveat:
        echo(f"      CAVEAT: {source.caveat}")


def _duration(seconds: float) -> str:
    minutes = seconds / 60
    if minutes < 1:
        return "under a minute"
    return f"about {minutes:.0f} minutes" if minutes < 90 else f"about {minutes / 60:.1f} hours"


@study.command("list")
@json_option
def list_studies(as_json: bool) -> None:
    """List studies."""
    from rnnsearch.store import list_stores
    from rnnsearch.study_info import StudyInfo

    rows = []
    for store in list_stores():
        if damage := store.damage:
            echo(f"{store.name}: {damage}", err=True)
        info = StudyInfo() if damage else store.info
        rows.append(
            {
                "study": store.name,
                "state": "damaged" if damage else store.state or "never started",
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
    from rnnsearch.configurations import settled_records
    from rnnsearch.store import StudyStore

    store = StudyStore.open(name)
    info, records = store.info, settled_records(store)
    superseded = [f"{r.phase}/{r.label}/{r.number}" for r in records if r.is_superseded]
    records = [record for record in records if not record.is_superseded]
    counts: dict[tuple[str, str], Counter[str]] = {}
    for record in records:
        counts.setdefault((record.phase, record.label), Counter())[record.state] += 1
    failures = [
        {"trial": f"{r.phase}/{r.label}/{r.number}", "reason": r.reason}
        for r in records
        if r.state == "FAIL"
    ]
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
        _print_source(info.data)
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
@json_option
def compare(name: str, as_json: bool) -> None:
    """Compare what a study has confirmed; writes the table and the plot, and logs them."""
    from rnnsearch.store import StudyStore
    from rnnsearch.study import compare_study, write_comparison

    store = StudyStore.open(name)
    comparison = compare_study(store)
    files = []
    if (holder := store.holder) is None:
        with store.held("writing") as held:
            files = write_comparison(held, comparison)
    else:
        echo(f"note      nothing is written or logged: {holder} has the study", err=True)
    if as_json:
        print_json(comparison.to_dict())
    else:
        _print_comparison(comparison)
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
    from rnnsearch.report import make_report, write_report
    from rnnsearch.store import StudyStore
    from rnnsearch.study import compare_study, stored_config

    store = StudyStore.open(name)
    comparison = compare_study(store)
    config = stored_config(store)[0]
    files = write_report(make_report(store, config, comparison), out or store.folder / "report")
    for path in files:
        echo(f"written   {path}")
    log_to_mlflow(store, files)


@study.command()
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write it to a file.")
def schema(output: Path | None) -> None:
    """Print the JSON Schema of study files, for editors that check YAML."""
    import json

    from rnnsearch.config import json_schema

    text = json.dumps(json_schema(), indent=2) + "\n"
    if output is None:
        echo(text, end="")
    else:
        output.write_text(text, encoding="utf-8")


def _print_comparison(comparison: Comparison) -> None:
    from rnnsearch.comparison_text import describe_time

    metric = comparison.metric
    echo(
        f"\n{comparison.study}: test {metric} at {comparison.budget_parameters:,} parameters "
        f"(no skill {comparison.no_skill:g})"
    )
    headings = {"": "right", "row": "left", f"mean {metric}": "right", "95% interval": "left"}
    headings |= {"seeds": "right", "against the best": "left", "p (Holm)": "right"}
    headings |= {"effect": "right", "parameters": "right", "residual": "right"}
    headings |= {"width": "right", "head": "left", "ms/update": "right"}
    rows = []
    for row in comparison.rows:
        paired = row.against_winner
        rows.append(
            [
                str(row.place or "-"),
                row.name + ("" if row.matched else " (unmatched)"),
                _decimal(row.mean),
                f"{row.low:.4f} to {row.high:.4f}" if row.low is not None else row.reason,
                str(row.n),
                row.verdict or "",
                _p_value(paired.p_holm if paired else None),
                _decimal(paired.effect_size if paired else None, 2),
                f"{row.parameters:,}" if row.parameters is not None else "",
                f"{100 * row.residual:+.2f}%" if row.residual is not None else "",
                row.hidden_sizes,
                row.head,
                _decimal(row.step_ms, 2),
            ]
        )
    print_table(headings, rows)
    echo("\nEffort")
    headings = {"row": "left", "search trials": "right", "pruned": "right", "failed": "right"}
    headings |= {"search epochs": "right", "search s": "right"}
    headings |= {"confirmed": "right", "epochs": "right", "s": "right"}
    print_table(
        headings,
        [
            [
                effort.label,
                str(effort.search.complete + effort.search.pruned + effort.search.failed),
                str(effort.search.pruned),
                str(effort.search.failed),
                str(effort.search.epochs),
                f"{effort.search.seconds:.0f}",
                str(effort.confirmation.complete),
                str(effort.confirmation.epochs),
                f"{effort.confirmation.seconds:.0f}",
            ]
            for effort in comparison.ledger
        ],
    )
    for phase in comparison.time:
        echo(describe_time(phase))
    echo("")
    echo(comparison.headline)
    _print_source(comparison.source)
    for caveat in comparison.caveats:
        if comparison.source.caveat and comparison.source.caveat in caveat:
            continue  # said with the source
        echo(f"note  {caveat}")


def _p_value(p: float | None) -> str:
    return "" if p is None else "<0.001" if p < 0.001 else f"{p:.3f}"


def _decimal(value: float | None, digits: int = 4) -> str:
    return "" if value is None else f"{value:.{digits}f}"
