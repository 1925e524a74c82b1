"""A finished study and its comparison, as the terminal shows them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rnnsearch.cli.output import browse, echo, print_table
from rnnsearch.cli.show_plan import print_source

if TYPE_CHECKING:
    from rnnsearch.compare.comparison import Comparison
    from rnnsearch.study.run import StudyResult


def print_result(result: StudyResult, name: str) -> None:
    """Print what a finished study leaves; fails where a confirmation is missing."""
    from rnnsearch.records.store import StudyStore

    print_comparison(result.comparison)
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


def print_comparison(comparison: Comparison) -> None:
    from rnnsearch.compare.ledger import describe_time

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
    print_source(comparison.source)
    for caveat in comparison.caveats:
        if comparison.source.caveat and comparison.source.caveat in caveat:
            continue  # said with the source
        echo(f"note  {caveat}")


def _p_value(p: float | None) -> str:
    return "" if p is None else "<0.001" if p < 0.001 else f"{p:.3f}"


def _decimal(value: float | None, digits: int = 4) -> str:
    return "" if value is None else f"{value:.{digits}f}"
