"""A comparison written out: as plain values, as CSV and as Markdown."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import is_dataclass
from typing import TYPE_CHECKING, Any

from rnnsearch.escaping import csv_value, markdown_text
from rnnsearch.ledger import Effort, PhaseTime, Spent
from rnnsearch.ranking import Row
from rnnsearch.statistics import PairedComparison
from rnnsearch.wording import count, interval, number, whole

if TYPE_CHECKING:
    from rnnsearch.comparison import Comparison

COLUMNS = [
    *("place", "name", "label", "architecture", "rank", "verdict", "reason"),
    *("mean", "low", "high", "std", "n", "seeds", "values", "failed_seeds"),
    *("difference", "difference_low", "difference_high", "common_seeds", "p", "p_holm"),
    *("effect_size", "seeds_needed"),
    *("parameters", "trainable", "one_bias", "frozen", "residual", "matched", "closed_by"),
    *("state_size", "flops_per_step", "step_ms", "engine"),
    *("hidden_sizes", "head", "learning_rate", "options"),
]
# Without these, a single missing value turns counts into floats, and a column of them into objects.
COLUMN_TYPES: dict[str, Any] = {
    **dict.fromkeys(
        [
            *("place", "rank", "common_seeds", "seeds_needed", "parameters", "trainable"),
            *("one_bias", "frozen", "state_size"),
        ],
        "Int64",
    ),
    **dict.fromkeys(
        [
            *("mean", "low", "high", "std", "difference", "difference_low", "difference_high"),
            *("p", "p_holm", "effect_size", "residual", "flops_per_step", "step_ms"),
            "learning_rate",
        ],
        "float",
    ),
}


def flatten(row: Row) -> dict[str, Any]:
    """One row with a value for each of `COLUMNS`, in that order."""
    against = vars(row.against_winner) if row.against_winner else {}
    cells = {
        **against,
        "difference_low": against.get("low"),
        "difference_high": against.get("high"),
        "common_seeds": against.get("n"),
        **vars(row),
        "n": row.n,
        "verdict": row.verdict,
    }
    return {column: cells.get(column) for column in COLUMNS}


def to_csv(rows: Iterable[Row]) -> str:
    """Rows as CSV with a heading; lists are joined by spaces."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows:
        cells = flatten(row).values()
        joined = (" ".join(map(str, c)) if isinstance(c, tuple) else c for c in cells)
        writer.writerow(map(csv_value, joined))
    return text.getvalue()


def to_plain_values(comparison: Comparison) -> dict[str, Any]:
    """A comparison as JSON has it; what is not a finite number becomes None."""
    rows = [{**vars(row), "n": row.n, "verdict": row.verdict} for row in comparison.rows]
    winner = comparison.winner.name if comparison.winner else None
    fields = {**vars(comparison), "rows": rows, "winner": winner, "headline": comparison.headline}
    return {name: _plain(value) for name, value in fields.items()}


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        value = vars(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def to_markdown(comparison: Comparison) -> str:
    """A comparison as a Markdown document: ranking, effort, caveats and data."""
    source = comparison.source
    better = "higher" if comparison.direction == "maximize" else "lower"
    parts = [
        f"# {markdown_text(comparison.study)}",
        markdown_text(comparison.headline),
        f"Test {markdown_text(comparison.metric)}, {better} is better; no skill is "
        f"{number(comparison.no_skill)}. "
        "Intervals are 95 % t-intervals over seeds; p-values are from paired t-tests by seed, "
        f"Holm-corrected for {count(comparison.tests, 'test')} between all rows.",
        markdown_table([_ranking_cells(row) for row in comparison.ranked]),
        "† Not held to the budget." if not all(row.matched for row in comparison.ranked) else "",
        *_section("Not ranked", [f"{row.name}: {row.reason}" for row in comparison.unranked]),
    ]
    if comparison.ledger:
        parts += [
            "## Effort",
            markdown_table([c for e in comparison.ledger for c in _effort_cells(e)]),
        ]
    parts += [markdown_text(describe_time(phase)) for phase in comparison.time]
    sizes = ", ".join(f"{amount:,} {split}" for split, amount in source.sizes.items())
    parts += [
        *_section("Caveats", comparison.caveats),
        "## Data",
        markdown_text(
            f"{source.dataset} ({sizes or 'sizes unknown'}), from {source.origin}: "
            f"{source.location}; sha256 {source.sha256}"
        ),
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


def describe_time(phase: PhaseTime) -> str:
    """A sentence on where the wall time of a phase went."""
    return (
        f"The {phase.phase} took {phase.seconds:,.1f} s with {phase.workers} at a time: "
        f"{100 * phase.other_share:.0f} % of the workers' time was not training or validation."
    )


def _ranking_cells(row: Row) -> dict[str, str]:
    against = row.against_winner or PairedComparison(0)
    residual = f" ({100 * row.residual:+.1f} %)" if row.matched and row.residual else ""
    p = against.p_holm
    return {
        "": str(row.place),
        "model": row.name + ("" if row.matched else " †"),
        "test metric [95 %]": interval(row.mean, row.low, row.high, row.decimals),
        "seeds": str(row.n),
        "difference [95 %]": interval(against.difference, against.low, against.high, row.decimals),
        "p (Holm)": "" if p is None else "<0.001" if p < 0.001 else f"{p:.3f}",
        "d_z": number(against.effect_size, 2),
        "verdict": against.verdict,
        "parameters": whole(row.parameters) + residual,
        "state": whole(row.state_size),
        "FLOPs/step": whole(row.flops_per_step),
        "ms/update": number(row.step_ms, 3),
        "hidden": row.hidden_sizes,
        "learning rate": number(row.learning_rate, 3),
        "options": row.options,
    }


def _effort_cells(effort: Effort) -> list[dict[str, str]]:
    phases = {"search": effort.search, "confirmation": effort.confirmation}
    return [
        {
            "label": effort.label,
            "phase": phase,
            "complete": str(spent.complete),
            "pruned": str(spent.pruned),
            "failed": str(spent.failed),
            "epochs": whole(spent.epochs),
            "updates": whole(spent.updates),
            "seconds": f"{spent.seconds:,.1f}",
        }
        for phase, spent in phases.items()
        if spent != Spent()
    ]


def markdown_table(lines: Sequence[Mapping[str, str]]) -> str:
    """A Markdown table of lines with the same headings; nothing for no lines."""
    if not lines:
        return ""
    rows = [list(map(markdown_text, cells)) for cells in (lines[0], *(m.values() for m in lines))]
    rows.insert(1, ["---"] * len(lines[0]))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _section(title: str, items: Sequence[str]) -> list[str]:
    """A heading and a list below it; nothing for no items."""
    return [f"## {title}", "\n".join(f"- {markdown_text(item)}" for item in items)] if items else []
