"""The plan of a study, as `rnnsearch study plan` prints it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rnnsearch.cli.output import echo, show_table

if TYPE_CHECKING:
    from rnnsearch.compare.table import Table
    from rnnsearch.config.schema import StudyConfig
    from rnnsearch.spec.shape import DataSource
    from rnnsearch.study.plan import StudyPlan


def print_plan(planned: StudyPlan) -> None:
    """Print what a study would train, and how long that is expected to take."""
    from rnnsearch.compare.wording import count, duration

    config = planned.config
    echo(f"Study {config.name}. {config.question}".rstrip())
    echo(f"Task  {config.task.name} ({planned.task.metric}, no skill {planned.task.no_skill:g})")
    print_source(planned.source)
    budget = config.budget
    echo(
        f"Budget {budget.parameters:,} parameters within {100 * budget.tolerance:g}% "
        f"(counting: {budget.counting})\n"
    )
    table = _rows(planned)
    show_table(table)
    if any(not line["matched"] for line in table.lines):
        echo("†: not held to the budget")
    if _has_published_counts(config) and config.published:
        where = f", {config.published.where}" if config.published.where else ""
        echo(f"published: {config.published.source}{where}")
    if any(row.typical.closed_by for row in planned.rows):
        echo("closed by: the second size that was set to meet the budget")
    for row in planned.rows:
        if row.engine.reason:
            echo(f"engine of {row.space.label}: {row.engine.reason}")
    for failed in planned.failed:
        echo(f"CANNOT RUN {failed.label}: {failed.error}")
    estimated = "under a minute" if planned.seconds < 60 else f"about {duration(planned.seconds)}"
    more = ""
    if planned.most_confirmations > planned.confirmations:
        more = f", and more until decided ({planned.most_confirmations:,} at most)"
        estimated += f", until decided {duration(planned.most_seconds)} at most"
    echo(
        f"\nSearch        {planned.trials} trials "
        f"({config.search.sampler}, {config.search.scheduler})\n"
        f"Confirmation  {planned.confirmations} runs on fresh seeds{more}\n"
        f"Estimated     {estimated} with {count(planned.workers, 'trial')} at a time"
    )


def print_source(source: DataSource) -> None:
    sizes = ", ".join(f"{split} {size:,}" for split, size in source.sizes.items())
    echo(f"Data  {source.dataset} from {source.origin} ({sizes})")
    echo(f"      {source.location}")
    echo(f"      sha256 {source.sha256}")
    if source.caveat:
        echo(f"      CAVEAT: {source.caveat}")


def _rows(planned: StudyPlan) -> Table:
    """What each row's typical trial costs, in the columns in which the report shows it."""
    from rnnsearch.compare.table import Column, Table, text
    from rnnsearch.report.tables import cost_columns

    published = planned.config.published_figures
    lines = []
    for row in planned.rows:
        model, engine, (low, high) = row.typical.model, row.engine, row.widths
        figures = published.get(row.space.label)
        lines.append(
            {
                **vars(row.complexity),
                "row": row.space.label,
                "matched": row.space.matched,
                "hidden_sizes": f"{model.hidden_size}" + (f" ({low}-{high})" * (low != high)),
                "head": model.head + (f" {model.head_hidden_size}" * (model.head_hidden_size > 0)),
                "published_parameters": figures.parameters if figures else None,
                "residual": row.typical.residual,
                "closed_by": row.typical.closed_by,
                "step_ms": engine.step_ms,
                "engine": engine.name + (f" {engine.speedup:.1f}x" if engine.speedup else ""),
                "searched": ", ".join(n.removeprefix("options.") for n in sorted(row.space.free)),
            }
        )
    left_out = ["frozen"] if _has_published_counts(planned.config) else ["frozen", "published"]
    columns = (*cost_columns(*left_out), Column("searched", text("searched"), numeric=False))
    return Table("plan", "", columns, tuple(lines))


def _has_published_counts(config: StudyConfig) -> bool:
    return any(figures.parameters for figures in config.published_figures.values())
