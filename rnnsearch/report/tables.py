"""The tables of a study, each defined once: what the report, the terminal and papers show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rnnsearch.compare.comparison import Comparison
from rnnsearch.compare.decision import Standing
from rnnsearch.compare.leaderboard import Row
from rnnsearch.compare.ledger import Spent
from rnnsearch.compare.table import Column, Line, Table, integer, significant, text
from rnnsearch.compare.wording import interval, number, percent, percent_of, share_text
from rnnsearch.config.schema import PublishedFigures


def make_tables(
    comparison: Comparison, published: Mapping[str, PublishedFigures]
) -> tuple[Table, ...]:
    """The tables of a study: results, published figures if any, complexity, effort, settings."""
    tables = [_results(comparison), _complexity(comparison, published), _effort(comparison)]
    if published:
        tables.insert(1, _published(comparison, published))
    tables.append(_settings(comparison))
    return tuple(tables)


def named(line: Line) -> str:
    """The name of a row, with a dagger if it is not held to the budget."""
    return f"{line['row']}{'' if line['matched'] else ' †'}"


def _results(comparison: Comparison) -> Table:
    lines = tuple(map(_result_line, comparison.rows))
    better = "higher" if comparison.direction == "maximize" else "lower"
    against = f"from {comparison.reference}, in the same seeds" if comparison.reference else ""
    note = (
        f"{better.capitalize()} is better; no skill is {number(comparison.no_skill)}; failed: no "
        f"better than that. The median is a typical run. Differences are {against}; ahead: the "
        "share of these seeds in which it was better. Each interval holds with 95%, and so do all "
        "verdicts together, however often they are looked at. The margin is "
        f"{comparison.margin:.3g}."
    )
    if not all(row.matched for row in comparison.rows):
        note += " †: not held to the budget."
    decimals = {row.name: row.decimals for row in comparison.rows}
    verdicts = {row.name: comparison.verdict(row) for row in comparison.rows}
    shares = {row.name: row.untrained for row in comparison.rows}

    def median(line: Line) -> str:
        return interval(line["median"], line["low"], line["high"], decimals[line["row"]])

    def mean(line: Line) -> str:
        return interval(line["mean"], None, None, decimals[line["row"]])

    def difference(line: Line) -> str:
        ends = line["difference_low"], line["difference_high"]
        return interval(line["difference"], *ends, decimals[line["row"]])

    columns = (
        Column("place", integer("place")),
        Column("row", named, numeric=False),
        Column(f"median test {comparison.metric} [95%]", median),
        Column("mean", mean),
        Column("seeds", integer("n")),
        Column("failed", lambda line: share_text(shares[line["row"]])),
        Column("difference [95%]", difference),
        Column("ahead", lambda line: percent_of(line["ahead"])),
        Column("verdict", lambda line: verdicts[line["row"]], numeric=False),
    )
    return Table("results", "Confirmed results on the test split", columns, lines, note)


def _result_line(row: Row) -> Line:
    standing = row.standing or Standing("undecided", 0)
    estimates = ("median", "low", "high", "mean", "iqm", "std", "n")
    return {
        "place": row.place,
        "row": row.name,
        "architecture": row.architecture,
        "matched": row.matched,
        **{name: getattr(row, name) for name in estimates},
        "failed": row.untrained.count if row.untrained else None,
        "difference": standing.difference,
        "difference_low": standing.low,
        "difference_high": standing.high,
        "ahead": standing.ahead,
        "p": standing.p,
        "more_seeds": standing.more_seeds,
        "verdict": row.verdict or row.reason,
        "seeds": " ".join(map(str, row.seeds)),
        "values": " ".join(map(str, row.values)),
    }


def _published(comparison: Comparison, published: Mapping[str, PublishedFigures]) -> Table:
    lines = []
    for row in comparison.rows:
        figures = published.get(row.label)
        if figures is None:
            continue
        known = figures.value is not None and row.mean is not None
        lines.append(
            {
                "row": row.name,
                "matched": row.matched,
                "published_parameters": figures.parameters,
                "trainable": row.trainable,
                "one_bias": row.one_bias,
                "published": figures.value,
                "published_interval": figures.interval,
                "mean": row.mean,
                "std": row.std,
                "n": row.n,
                "difference": row.mean - figures.value if known else None,  # type: ignore[operator]
                "decimals": row.decimals,
                "note": figures.note,
            }
        )

    def printed(line: Line) -> str:
        half = line["published_interval"]
        return number(line["published"], 6) + ("" if half is None else f" ± {half:g}")

    def measured(line: Line) -> str:
        spread = "" if line["std"] is None else f" ± {line['std']:.{line['decimals']}f}"
        return interval(line["mean"], None, None, line["decimals"]) + spread

    def difference(line: Line) -> str:
        value = line["difference"]
        return "" if value is None else f"{value:+.{line['decimals']}f}"

    columns = (
        Column("row", named, numeric=False),
        Column("parameters, published", integer("published_parameters")),
        Column("trainable", integer("trainable")),
        Column("one bias", integer("one_bias")),
        Column(f"{comparison.metric}, published", printed),
        Column("measured", measured),
        Column("measured - published", difference),
        Column("note", text("note"), numeric=False),
    )
    note = "Measured: mean ± standard deviation over seeds, on the test split."
    return Table("published", "Published figures beside ours", columns, tuple(lines), note)


def _complexity(comparison: Comparison, published: Mapping[str, PublishedFigures]) -> Table:
    lines = []
    for row in comparison.rows:
        figures = published.get(row.label)
        line: dict[str, Any] = {"row": row.name, "architecture": row.architecture}
        line |= {"matched": row.matched, "hidden_sizes": row.hidden_sizes, "head": row.head}
        line |= {"published_parameters": figures.parameters} if figures else {}
        for name in ("parameters", "trainable", "one_bias", "frozen", "residual", "closed_by"):
            line[name] = getattr(row, name)
        for name in ("state_size", "flops_per_step", "step_ms", "engine"):
            line[name] = getattr(row, name)
        lines.append({"published_parameters": None, **line} if published else line)

    columns = cost_columns("closed by", *([] if published else ["published"]))
    note = (
        "Trainable: every scalar that training changes, as torch counts; one bias: one bias per "
        f"affine map; residual: off the budget of {comparison.budget_parameters:,}; state and "
        "FLOPs: for each sample, FLOPs of a time step in evaluation, an elementwise operation or "
        "function counting one (left out for trials of versions that counted less); ms/update: "
        "median wall time of one training update."
    )
    return Table("complexity", "What the models cost", columns, tuple(lines), note)


def cost_columns(*without: str) -> tuple[Column, ...]:
    """The columns that say how large a row's model is and what it costs.

    Args:
        without: headings of those to leave out.
    """
    columns = (
        Column("row", named, numeric=False),
        Column("width", text("hidden_sizes")),
        Column("head", text("head"), numeric=False),
        Column("published", integer("published_parameters")),
        Column("trainable", integer("trainable")),
        Column("one bias", integer("one_bias")),
        Column("frozen", integer("frozen")),
        Column("residual", lambda line: percent(line["residual"])),
        Column("closed by", text("closed_by"), numeric=False),
        Column("state", integer("state_size")),
        Column("FLOPs/step", integer("flops_per_step")),
        Column("ms/update", significant("step_ms")),
        Column("engine", text("engine"), numeric=False),
    )
    return tuple(column for column in columns if column.heading not in without)


def _effort(comparison: Comparison) -> Table:
    lines = tuple(
        {"row": effort.label, "phase": phase, **vars(spent)}
        for effort in comparison.ledger
        for phase, spent in (("search", effort.search), ("confirmation", effort.confirmation))
        if spent != Spent()
    )
    columns = (
        Column("row", text("row"), numeric=False),
        Column("phase", text("phase"), numeric=False),
        *(Column(name, integer(name)) for name in ("complete", "pruned", "failed")),
        *(Column(name, integer(name)) for name in ("epochs", "updates")),
        Column("seconds", lambda line: f"{line['seconds']:,.1f}"),
    )
    note = "Trials by how they ended, and what all of them took, failed ones included."
    return Table("effort", "What was spent on each", columns, lines, note)


def _settings(comparison: Comparison) -> Table:
    lines = tuple(
        {"row": row.name, "learning_rate": row.learning_rate, "settings": row.options}
        for row in comparison.rows
        if row.learning_rate is not None
    )
    columns = (
        Column("row", text("row"), numeric=False),
        Column("learning rate", significant("learning_rate", 4)),
        Column("other settings", text("settings"), numeric=False),
    )
    return Table("settings", "How they were confirmed", columns, lines)


def latex_document(tables: Sequence[Table]) -> str:
    """All tables for one `\\input`."""
    head = "% Needs \\usepackage{booktabs} and \\usepackage{graphicx}."
    return "\n\n".join([head, *(table.to_latex() for table in tables if table.lines)]) + "\n"
