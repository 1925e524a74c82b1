"""The tables of a report, each once: shown as HTML and Markdown, and written as LaTeX and CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rnnsearch.compare.comparison import Comparison
from rnnsearch.compare.escaping import csv_value, latex_text, markdown_text
from rnnsearch.compare.ledger import Spent
from rnnsearch.compare.ranking import Row
from rnnsearch.compare.statistics import PairedComparison
from rnnsearch.compare.wording import interval, number, whole
from rnnsearch.config.schema import PublishedFigures

Line = Mapping[str, Any]


@dataclass(frozen=True)
class Column:
    """A column as it is read: a heading, and what a line shows below it.

    Attributes:
        heading: text at its top.
        show: the text of a line; an empty one for what is not known.
        numeric: whether it is set to the right.
    """

    heading: str
    show: Callable[[Line], str]
    numeric: bool = True


@dataclass(frozen=True)
class Table:
    """A table of a report.

    Attributes:
        name: what its files are called.
        title: what it shows, in a few words.
        columns: as it is read.
        lines: as it is calculated with: CSV holds these, unrounded.
        note: what its columns mean, where their headings do not say it.
    """

    name: str
    title: str
    columns: tuple[Column, ...]
    lines: tuple[Line, ...]
    note: str = ""

    @property
    def cells(self) -> list[list[str]]:
        """The text of every line, column by column."""
        return [[column.show(line) for column in self.columns] for line in self.lines]

    def to_markdown(self) -> str:
        """Return it as a Markdown table; nothing for no lines."""
        headings = [column.heading for column in self.columns]
        return markdown_table([dict(zip(headings, cells, strict=True)) for cells in self.cells])

    def to_csv(self) -> str:
        """Return the numbers behind it as CSV with a heading."""
        text = io.StringIO(newline="")
        names = list(dict.fromkeys(name for line in self.lines for name in line))
        writer = csv.DictWriter(text, names, lineterminator="\n")
        writer.writeheader()
        for line in self.lines:
            writer.writerow({name: csv_value(value) for name, value in line.items()})
        return text.getvalue()

    def to_latex(self) -> str:
        """Return it as a floating LaTeX table; needs the packages booktabs and graphicx."""
        spec = "".join("r" if column.numeric else "l" for column in self.columns)
        rows = [[column.heading for column in self.columns], *self.cells]
        head, *body = (" & ".join(map(latex_text, row)) + r" \\" for row in rows)
        caption = f"{self.title}. {self.note}" if self.note else f"{self.title}."
        return "\n".join(
            [
                r"\begin{table}[htbp]",
                r"\centering",
                rf"\caption{{{latex_text(caption)}}}",
                rf"\label{{tab:{self.name}}}",
                r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
                rf"\begin{{tabular}}{{{spec}}}",
                *(r"\toprule", head, r"\midrule", *body, r"\bottomrule"),
                r"\end{tabular}}",
                r"\end{table}",
            ]
        )


def make_tables(
    comparison: Comparison, published: Mapping[str, PublishedFigures]
) -> tuple[Table, ...]:
    """The tables of a study: results, published figures if it has any, complexity and effort."""
    tables = [_results(comparison), _complexity(comparison, published), _effort(comparison)]
    if published:
        tables.insert(1, _published(comparison, published))
    tables.append(_settings(comparison))
    return tuple(tables)


def text(name: str) -> Callable[[Line], str]:
    """Show a value as it is."""
    return lambda line: str(line[name] or "")


def _whole(name: str) -> Callable[[Line], str]:
    return lambda line: whole(line[name])


def _number(name: str, digits: int = 3) -> Callable[[Line], str]:
    return lambda line: number(line[name], digits)


def _p(line: Line) -> str:
    p = line["p_holm"]
    return "" if p is None else "<0.001" if p < 0.001 else f"{p:.3f}"


def _name(line: Line) -> str:
    return f"{line['row']}{'' if line['matched'] else ' †'}"


def _results(comparison: Comparison) -> Table:
    lines = tuple(_result_line(row) for row in comparison.rows)
    better = "higher" if comparison.direction == "maximize" else "lower"
    note = (
        f"{better.capitalize()} is better; no skill is {number(comparison.no_skill)}. Intervals "
        "are 95 % t-intervals over seeds; differences are from the best mean, paired by seed; p "
        f"from paired t-tests, Holm-corrected for {comparison.tests}; effect is Cohen's d_z."
    )
    if not all(row.matched for row in comparison.rows):
        note += " †: not held to the budget."
    decimals = {row.name: row.decimals for row in comparison.rows}

    def mean(line: Line) -> str:
        return interval(line["mean"], line["low"], line["high"], decimals[line["row"]])

    def difference(line: Line) -> str:
        ends = line["difference_low"], line["difference_high"]
        return interval(line["difference"], *ends, decimals[line["row"]])

    columns = (
        Column("place", _whole("place")),
        Column("row", _name, numeric=False),
        Column(f"test {comparison.metric} [95 %]", mean),
        Column("seeds", _whole("n")),
        Column("difference [95 %]", difference),
        Column("p (Holm)", _p),
        Column("effect", _number("effect_size", 2)),
        Column("verdict", text("verdict"), numeric=False),
    )
    return Table("results", "Confirmed results on the test split", columns, lines, note)


def _result_line(row: Row) -> Line:
    against = row.against_winner or PairedComparison(0)
    return {
        "place": row.place,
        "row": row.name,
        "architecture": row.architecture,
        "matched": row.matched,
        **{name: getattr(row, name) for name in ("mean", "low", "high", "std", "n")},
        "difference": against.difference,
        "difference_low": against.low,
        "difference_high": against.high,
        "p": against.p,
        "p_holm": against.p_holm,
        "effect_size": against.effect_size,
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
                "low": row.low,
                "high": row.high,
                "difference": row.mean - figures.value if known else None,  # type: ignore[operator]
                "decimals": row.decimals,
                "note": figures.note,
            }
        )

    def printed(line: Line) -> str:
        half = line["published_interval"]
        return number(line["published"], 6) + ("" if half is None else f" ± {half:g}")

    def measured(line: Line) -> str:
        return interval(line["mean"], line["low"], line["high"], line["decimals"])

    def difference(line: Line) -> str:
        value = line["difference"]
        return "" if value is None else f"{value:+.{line['decimals']}f}"

    columns = (
        Column("row", _name, numeric=False),
        Column("parameters, published", _whole("published_parameters")),
        Column("trainable", _whole("trainable")),
        Column("one bias", _whole("one_bias")),
        Column(f"{comparison.metric}, published", printed),
        Column("measured [95 %]", measured),
        Column("measured less published", difference),
        Column("note", text("note"), numeric=False),
    )
    note = "The measured values are of the test split."
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

    def residual(line: Line) -> str:
        return "" if line["residual"] is None else f"{100 * line['residual']:+.2f} %"

    columns = [
        Column("row", _name, numeric=False),
        Column("width", text("hidden_sizes")),
        Column("head", text("head"), numeric=False),
        Column("published", _whole("published_parameters")),
        Column("trainable", _whole("trainable")),
        Column("one bias", _whole("one_bias")),
        Column("frozen", _whole("frozen")),
        Column("residual", residual),
        Column("state", _whole("state_size")),
        Column("FLOPs/step", _whole("flops_per_step")),
        Column("ms/update", _number("step_ms")),
        Column("engine", text("engine"), numeric=False),
    ]
    if not published:
        del columns[3]
    note = (
        "Trainable: every scalar that training changes, as torch counts; one bias: one bias per "
        f"affine map; residual: off the budget of {comparison.budget_parameters:,}; state and "
        "FLOPs: for each sample, FLOPs of a time step in evaluation, an elementwise operation or "
        "function counting one (left out for trials of versions that counted less); ms/update: "
        "median wall time of one training update."
    )
    return Table("complexity", "What the models cost", tuple(columns), tuple(lines), note)


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
        *(Column(name, _whole(name)) for name in ("complete", "pruned", "failed")),
        *(Column(name, _whole(name)) for name in ("epochs", "updates")),
        Column("seconds", lambda line: f"{line['seconds']:,.1f}"),
    )
    note = "Trials by what became of them, and what they took together, those that failed included."
    return Table("effort", "What was spent on each", columns, lines, note)


def _settings(comparison: Comparison) -> Table:
    lines = tuple(
        {"row": row.name, "learning_rate": row.learning_rate, "settings": row.options}
        for row in comparison.rows
        if row.learning_rate is not None
    )
    columns = (
        Column("row", text("row"), numeric=False),
        Column("learning rate", _number("learning_rate", 4)),
        Column("other settings", text("settings"), numeric=False),
    )
    return Table("settings", "How they were confirmed", columns, lines)


def latex_document(tables: Sequence[Table]) -> str:
    """All tables for one `\\input`."""
    head = "% Needs \\usepackage{booktabs} and \\usepackage{graphicx}."
    return "\n\n".join([head, *(table.to_latex() for table in tables if table.lines)]) + "\n"


def markdown_table(lines: Sequence[Mapping[str, str]]) -> str:
    """A Markdown table of lines with the same headings; nothing for no lines."""
    if not lines:
        return ""
    rows = [list(map(markdown_text, cells)) for cells in (lines[0], *(m.values() for m in lines))]
    rows.insert(1, ["---"] * len(lines[0]))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
