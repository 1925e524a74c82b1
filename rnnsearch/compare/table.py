"""A table, defined once and rendered everywhere: terminal, Markdown, LaTeX, CSV and HTML.

Its cells are text, its lines are what they were calculated from. The terminal's rendering is in
`cli/terminal.py`, that of HTML in the template of the report.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rnnsearch.compare.escaping import csv_value, latex_text, markdown_text
from rnnsearch.compare.wording import number, whole

Line = Mapping[str, Any]


@dataclass(frozen=True)
class Column:
    """A column as it is read: a heading, and what each line shows below it.

    Attributes:
        heading: text at its top.
        show: the text of a line; an empty one for what is not known.
        numeric: whether it is aligned to the right.
    """

    heading: str
    show: Callable[[Line], str]
    numeric: bool = True


@dataclass(frozen=True)
class Table:
    """A table.

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
    def headings(self) -> list[str]:
        """The text at the top of each column."""
        return [column.heading for column in self.columns]

    @property
    def cells(self) -> list[list[str]]:
        """The text of every line, column by column."""
        return [[column.show(line) for column in self.columns] for line in self.lines]

    def to_markdown(self) -> str:
        """Return it as a Markdown table; an empty string if it has no lines."""
        if not self.lines:
            return ""
        head, *body = (list(map(markdown_text, cells)) for cells in (self.headings, *self.cells))
        rows = [head, ["---"] * len(head), *body]
        return "\n".join(f"| {' | '.join(row)} |" for row in rows)

    def to_csv(self) -> str:
        """Return the numbers behind it as CSV with a header."""
        return csv_text(dict.fromkeys(name for line in self.lines for name in line), self.lines)

    def to_latex(self) -> str:
        """Return it as a floating LaTeX table; needs the packages booktabs and graphicx."""
        spec = "".join("r" if column.numeric else "l" for column in self.columns)
        rows = [self.headings, *self.cells]
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


def listing(
    headings: Iterable[tuple[str, bool]], rows: Iterable[Sequence[str]], title: str = ""
) -> Table:
    """A table of texts.

    Args:
        headings: of each column, and whether it is numeric.
        rows: a text for each heading.
        title: what it shows.
    """
    columns = (Column(h, text(str(i)), numeric) for i, (h, numeric) in enumerate(headings))
    lines = ({str(i): cell for i, cell in enumerate(row)} for row in rows)
    return Table("", title, tuple(columns), tuple(lines))


def text(name: str) -> Callable[[Line], str]:
    """Show a value as text; nothing for None."""
    return lambda line: str(line[name] or "")


def integer(name: str) -> Callable[[Line], str]:
    """Show a number without decimals."""
    return lambda line: whole(line[name])


def significant(name: str, digits: int = 3) -> Callable[[Line], str]:
    """Show a number to some significant digits."""
    return lambda line: number(line[name], digits)


def csv_text(names: Iterable[str], lines: Iterable[Line]) -> str:
    """Lines as CSV with a header: of tuples, the values are joined by spaces.

    Args:
        names: of the columns, in their order.
        lines: what each line has by name; a missing value is left empty.
    """
    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, list(names), lineterminator="\n")
    writer.writeheader()
    for line in lines:
        joined = {n: " ".join(map(str, v)) if isinstance(v, tuple) else v for n, v in line.items()}
        writer.writerow({name: csv_value(value) for name, value in joined.items()})
    return file.getvalue()
