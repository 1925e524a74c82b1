"""The report of a study: one page with all that is known of it, and its tables for a paper."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rnnsearch.compare.comparison import Comparison
from rnnsearch.compare.configurations import settled_records
from rnnsearch.compare.effort_curve import EffortCurve, effort_curves
from rnnsearch.compare.escaping import markdown_text, visible_lines
from rnnsearch.compare.ledger import describe_time
from rnnsearch.compare.table import Table
from rnnsearch.compare.wording import count, duration, enumerate_names
from rnnsearch.config.home import write_whole
from rnnsearch.config.schema import StudyConfig
from rnnsearch.config.secrets import hide, hide_all
from rnnsearch.errors import StoreError
from rnnsearch.records.store import StudyStore
from rnnsearch.records.study_info import StudyInfo
from rnnsearch.report.comparison_plot import draw_comparison, picture_of
from rnnsearch.report.curves_plot import Curve, curves_of, draw_curves
from rnnsearch.report.effort_plot import draw_effort
from rnnsearch.report.findings import FOLDER, ReportedFinding, read_findings
from rnnsearch.report.tables import latex_document, make_tables

_FEWEST_SEEDS = 6  # of which a median has an interval of 95 %
_CURVES_SAY = (
    "Learning curves of the confirmed runs. Lines are means over seeds; bands reach from the "
    "lowest seed to the highest."
)
_EFFORT_SAYS = (
    "The best validation score that the search would have found with fewer trials: the mean over "
    "all orders of those that there were. A line that still rises asks for more."
)


@dataclass(frozen=True)
class Report:
    """What the page and its companions say.

    Attributes:
        config: the study file's content.
        comparison: the confirmed rows, ranked.
        tables: results, published figures, complexity, effort, settings.
        caveats: what a reader must not overlook, the comparison's first.
        curves: what the confirmed runs measured while they trained.
        effort: what a search of any length would have found.
        findings: of analyses.
        info: `study.json`: times, environment, git state.
        study_text: the study file as it was started.
    """

    config: StudyConfig
    comparison: Comparison
    tables: tuple[Table, ...]
    caveats: tuple[str, ...]
    curves: tuple[Curve, ...]
    effort: tuple[EffortCurve, ...]
    findings: tuple[ReportedFinding, ...]
    info: StudyInfo
    study_text: str


def make_report(store: StudyStore, config: StudyConfig, comparison: Comparison) -> Report:
    """Put together what is known of a study.

    Args:
        store: the study.
        config: its configuration.
        comparison: its comparison, as `compare_study` makes it.
    """
    records = settled_records(store)
    findings, unread = read_findings(store.folder / FOLDER, comparison)
    caveats = [*comparison.caveats, *_caveats(config, comparison, store), *unread]
    return Report(
        config=config,
        comparison=comparison,
        tables=make_tables(comparison, config.published_figures),
        caveats=tuple(dict.fromkeys(caveats)),
        curves=curves_of(records, comparison),
        effort=effort_curves(records, comparison.direction),
        findings=tuple(findings),
        info=StudyInfo.parse(store.info.with_fields(state=store.state).to_json(), "study.json"),
        study_text=hide(store.study_text),
    )


def _caveats(config: StudyConfig, comparison: Comparison, store: StudyStore) -> Iterator[str]:
    """What the comparison does not say already: a study that was cut short."""
    state = store.state or "unknown"
    if state != "finished":
        yield f"The study is not finished (it is {state}); this is what it had when it was read."
    few = [row for row in comparison.ranked if row.n < _FEWEST_SEEDS]
    if few:
        names = enumerate_names(f"{row.name} ({count(row.n, 'seed')})" for row in few)
        yield f"Few seeds: {names}. Fewer than six have no interval, and seldom a verdict."
    full = config.training.epochs
    if (config.confirmation.epochs or full) < full:
        yield f"Shortened: confirmed after {config.confirmation.epochs} of {full} epochs."
    if config.search.trials and (config.search.epochs or full) < full:
        yield (
            f"The search trained for {config.search.epochs} of {full} epochs; what is best then "
            "need not be best at full length."
        )
    if comparison.unranked:
        names = enumerate_names(f"{row.name} ({row.reason})" for row in comparison.unranked)
        yield f"Not ranked: {names}."
    if config.published and config.published.note and config.published_figures:
        yield f"Published figures: {config.published.note}"
    if store.info.git.get("dirty") == "true":
        yield "The code beside the study file had uncommitted changes when the study started."


def write_report(report: Report, folder: Path) -> list[Path]:
    """Write a report into a folder, which is made if it is not there.

    `report.html` is complete in itself. Beside it: `report.md` with the pictures that it shows,
    `tables.tex`, and one CSV file for each table and for the learning curves.

    Raises:
        StoreError: the folder cannot be written.
    """
    pictures = {"comparison": picture_of(draw_comparison(report.comparison), "svg")}
    figure = draw_curves(report.curves, report.comparison.metric) if report.curves else None
    if figure is not None:
        pictures["curves"] = picture_of(figure, "svg")
    if (figure := draw_effort(report.effort, report.comparison.metric)) is not None:
        pictures["effort"] = picture_of(figure, "svg")
    files: dict[str, str | bytes] = {
        "report.html": _html(report, pictures),
        "report.md": _markdown(report, list(pictures)),
        **{_figure_name(i): f.figure for i, f in enumerate(report.findings) if f.figure},
        "tables.tex": latex_document(report.tables),
        **{f"{name}.svg": content for name, content in pictures.items()},
        **{f"{table.name}.csv": table.to_csv() for table in report.tables if table.lines},
    }
    if report.curves:
        files["curves.csv"] = _curve_table(report.curves).to_csv()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        msg = f"cannot write {folder}: {error.strerror or error}"
        raise StoreError(msg) from error
    for name, content in hide_all(files).items():
        write_whole(folder / name, content)
    return [folder / name for name in files]


def _curve_table(curves: Sequence[Curve]) -> Table:
    lines = [
        {"row": curve.name, "seed": seed, **vars(epoch)}
        for curve in curves
        for seed, run in curve.runs.items()
        for epoch in run
    ]
    return Table("curves", "Learning curves", (), tuple(lines))


def _html(report: Report, pictures: Mapping[str, bytes]) -> str:
    import jinja2

    templates = jinja2.Environment(
        loader=jinja2.PackageLoader("rnnsearch.report", "templates"),
        undefined=jinja2.StrictUndefined,
        autoescape=True,
        finalize=lambda value: visible_lines(value) if type(value) is str else value,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return templates.get_template("report.html.jinja").render(
        report=report,
        comparison=report.comparison,
        config=report.config,
        tables={table.name: table for table in report.tables},
        pictures={name: _data_uri(content) for name, content in pictures.items()},
        findings=[(f, _data_uri(f.figure) if f.figure else None) for f in report.findings],
        facts=_facts(report),
        source=report.comparison.source,
        times=[describe_time(phase) for phase in report.comparison.time],
        environment=report.info.environment,
        curves_say=_curves_say(report.curves),
        effort_says=_EFFORT_SAYS,
    )


def _data_uri(svg: bytes) -> str:
    """The address of a picture that needs no file. In an `img`, an SVG runs and fetches nothing."""
    return f"data:image/svg+xml;base64,{base64.b64encode(svg).decode()}"


def _curves_say(curves: Sequence[Curve]) -> str:
    if any(math.isfinite(e.validation_metric) for c in curves for r in c.runs.values() for e in r):
        return _CURVES_SAY
    return f"{_CURVES_SAY} No validation split was kept, so only training is shown."


def _facts(report: Report) -> dict[str, str]:
    """What identifies the run of the study, in the order in which it is read."""
    config, info = report.config, report.info
    dirty = " with uncommitted changes" if info.git.get("dirty") == "true" else ""
    facts = {
        "study": report.comparison.study,
        "task": config.task.name,
        "state": info.state or "unknown",
        "started": info.started or "",
        "wall time": "" if info.seconds is None else duration(info.seconds),
        "budget": f"{config.budget.parameters:,} parameters within "
        f"{100 * config.budget.tolerance:g} % (counting: {config.budget.counting})",
        "search": f"{count(config.search.trials, 'trial')} for each row"
        + (
            f" ({config.search.sampler}, {config.search.scheduler})" if config.search.trials else ""
        ),
        "confirmation": f"{count(config.confirmation.seeds, 'seed')}"
        + (f", {config.confirmation.at_most} until decided" if config.confirmation.until else "")
        + f", trained on {config.confirmation.train_on}",
        "seed of the study": str(config.seed),
        "code": f"{info.git['commit']}{dirty}" if info.git.get("commit") else "",
        "MLflow": " ".join(filter(None, [info.tracking_uri, info.run_id])),
    }
    return {name: value for name, value in facts.items() if value}


def _markdown(report: Report, pictures: Sequence[str]) -> str:
    """The report as Markdown; its pictures lie beside it."""
    comparison, published = report.comparison, report.config.published
    source, tables = comparison.source, {table.name: table for table in report.tables}
    parts = [f"# {markdown_text(comparison.study)}"]
    if report.config.question:
        parts.append(f"**Question.** {markdown_text(report.config.question)}")
    parts.append(f"**Answer.** {markdown_text(comparison.headline)}")
    if report.caveats:
        parts += ["## Caveats", "\n".join(f"- {markdown_text(c)}" for c in report.caveats)]
    parts += _markdown_table(tables["results"])
    parts.append("![Every seed, medians and differences from the best row](comparison.svg)")
    if "published" in tables:
        parts += _markdown_table(tables["published"])
    if published:
        where = ", ".join(filter(None, [published.source, published.where, published.url]))
        parts.append(f"Published in: {markdown_text(where)}")
    parts += _markdown_table(tables["complexity"])
    if "curves" in pictures:
        parts += [
            "## Learning curves",
            _curves_say(report.curves),
            "![Learning curves](curves.svg)",
        ]
    parts += _markdown_table(tables["effort"])
    if "effort" in pictures:
        parts += ["![Effort curves](effort.svg)", _EFFORT_SAYS]
    parts += [markdown_text(describe_time(phase)) for phase in comparison.time]
    parts += _markdown_table(tables["settings"])
    if report.findings:
        parts.append("## Findings of analyses")
        parts += [_markdown_finding(finding, i) for i, finding in enumerate(report.findings)]
    data = {
        "data set": source.dataset,
        "found in": f"{source.origin}: {source.location}",
        "sha256": source.sha256,
        "examples": ", ".join(f"{size:,} {split}" for split, size in source.sizes.items()),
    }
    for title, facts in (
        ("Data", data),
        ("Run", _facts(report)),
        ("Versions", report.info.environment),
    ):
        lines = [f"- {markdown_text(str(k))}: {markdown_text(str(v))}" for k, v in facts.items()]
        parts += [f"## {title}", "\n".join(lines)] if lines else []
    return "\n\n".join(filter(None, parts)) + "\n"


def _markdown_table(table: Table) -> list[str]:
    if not table.lines:
        return []
    return [f"## {table.title}", table.to_markdown(), markdown_text(table.note)]


def _markdown_finding(finding: ReportedFinding, index: int) -> str:
    numbers = ", ".join(f"{name} {value}" for name, value in finding.numbers.items())
    told = f"{finding.row}, {finding.analysis}, {finding.name}. {finding.caption}"
    caption = markdown_text(f"{told} ({numbers})" if numbers else told)
    picture = f"![Finding {index + 1}]({_figure_name(index)})" if finding.figure else ""
    return "\n\n".join(filter(None, [caption, picture]))


def _figure_name(index: int) -> str:
    return f"finding_{index + 1}.svg"
