"""One table in five renderings, each with the same headings and the same cells."""

from __future__ import annotations

import csv
import io
import re

import pytest
from rich.console import Console

from rnnsearch.cli.terminal import drawn
from rnnsearch.compare.comparison import COLUMNS, to_csv
from rnnsearch.compare.escaping import latex_text, markdown_text
from rnnsearch.compare.table import Column, Table, csv_text, integer, listing, significant, text
from rnnsearch.compare.wording import duration, percent
from rnnsearch.report.tables import make_tables

from ..trial_records import GOOD, POOR, comparison, confirmed

RESULT = comparison([*confirmed("gru", GOOD), *confirmed("elman", POOR)])
TABLES = {table.name: table for table in make_tables(RESULT, {})}


def _printed(table: Table) -> str:
    console = Console(file=io.StringIO(), width=240)
    console.print(drawn(table))
    return console.file.getvalue()  # type: ignore[attr-defined,no-any-return]


@pytest.mark.parametrize("name", TABLES)
def test_every_rendering_has_the_headings_and_the_cells(name: str) -> None:
    table = TABLES[name]
    assert table.lines
    markdown, latex, terminal = table.to_markdown(), table.to_latex(), _printed(table)
    for shown in (table.headings, *table.cells):
        assert f"| {' | '.join(map(markdown_text, shown))} |" in markdown
        assert rf"{' & '.join(map(latex_text, shown))} \\" in latex
        assert any(line.split() == " ".join(shown).split() for line in terminal.splitlines()), (
            "a line of the terminal has these cells and no others"
        )


def test_the_terminal_aligns_numbers_to_the_right() -> None:
    columns = (Column("n", integer("n")), Column("name", text("name"), numeric=False))
    table = Table("t", "Title", columns, ({"n": 1, "name": "a"}, {"n": 2000, "name": None}))
    assert [line.rstrip() for line in _printed(table).splitlines()] == [
        "Title",
        "    n  name",
        "    1  a",
        "2,000",
    ]


def test_a_table_without_lines_has_its_headings_on_a_terminal_and_nothing_in_markdown() -> None:
    table = listing([("study", False), ("trials", True)], [])
    assert _printed(table).split() == ["study", "trials"]
    assert table.to_markdown() == ""


def test_csv_leaves_out_what_a_line_lacks_and_joins_what_it_has_several_of() -> None:
    written = csv_text(["a", "b"], [{"a": (1, 2)}, {"a": None, "b": "=x"}])
    assert written == "a,b\n1 2,\n,'=x\n"


def test_the_csv_of_a_comparison_has_the_numbers_of_its_table() -> None:
    whole = list(csv.DictReader(io.StringIO(to_csv(RESULT.rows))))
    results = list(csv.DictReader(io.StringIO(TABLES["results"].to_csv())))
    assert list(whole[0]) == COLUMNS
    assert len(whole) == len(results) == 2
    for mine, theirs in zip(whole, results, strict=True):
        assert mine["name"] == theirs["row"]
        shared = set(mine) & set(theirs) - {"place"}
        assert {"median", "low", "high", "mean", "p", "ahead", "seeds"} <= shared
        assert all(mine[name] == theirs[name] for name in shared if name not in ("verdict",))


def test_a_row_its_and_its_width_have_one_word_in_every_table() -> None:
    headings = [heading for table in TABLES.values() for heading in table.headings]
    assert "label" not in headings
    assert "hidden" not in headings
    assert {"row", "width", "ahead"} <= set(headings)
    assert all(len(set(table.headings)) == len(table.headings) for table in TABLES.values())


def test_a_deviation_is_shown_as_a_signed_percentage() -> None:
    assert [percent(share) for share in (None, 0.0031, -0.02)] == ["", "+0.31%", "-2.00%"]


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.04, "0.0 s"), (119.94, "119.9 s"), (120, "2.0 minutes"), (7200, "2.0 hours")],
)
def test_a_duration_is_in_the_unit_that_suits_it(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown


def test_significant_digits_are_kept_whatever_the_size() -> None:
    show = significant("x", 3)
    assert [show({"x": x}) for x in (0.0012345, 1.2345, None)] == ["0.00123", "1.23", ""]
    assert re.fullmatch(r"1\.23e\+0?6", show({"x": 1234567.0}))
