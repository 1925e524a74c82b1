"""The plan of a study, as `rnnsearch study plan` prints it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rnnsearch.cli.output import echo, print_table

if TYPE_CHECKING:
    from rnnsearch.spec.shape import DataSource
    from rnnsearch.study.plan import StudyPlan


def print_plan(planned: StudyPlan) -> None:
    from rnnsearch.compare.wording import whole

    config = planned.config
    echo(f"Study {config.name}. {config.question}".rstrip())
    echo(f"Task  {config.task.name} ({planned.task.metric}, no skill {planned.task.no_skill:g})")
    print_source(planned.source)
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


def print_source(source: DataSource) -> None:
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
