"""Escaping: every output shows any value as plain text."""

from __future__ import annotations

import csv
import io
import re
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from rnnsearch.cli.output import echo, print_json, print_table
from rnnsearch.cli.terminal import LiveView, PlainView
from rnnsearch.compare.comparison import to_csv
from rnnsearch.compare.escaping import csv_value, latex_text, markdown_text, visible_lines
from rnnsearch.compare.table import listing
from rnnsearch.errors import visible

from ..trial_records import GOOD, comparison, confirmed

# Control characters of a terminal: colours, the title, the clipboard, C1, a bell, a return, a new
# line, marks that change the direction of text, a byte order mark, and half a character.
OBEYED = [
    *("\x1b[31m", "\x1b]0;title\x07", "\x1b]52;c;eA==\x1b\\", "\x9b31m", "\x85", "\x07", "\r"),
    *("\u202e", "\u2066", "\u200f", "\u2028", "\ufeff", "\ud800", "\x00", "\x7f", "\u061c"),
]
MARKUP = ["[/usr/lib/x]", "[bold]x", "[red]", "[/]", "[link=http://x]y[/link]", "x\\", "\\[x]"]


@pytest.mark.parametrize("text", OBEYED)
def test_what_a_terminal_obeys_is_written_out(text: str) -> None:
    for shown in (visible(f"a{text}b"), visible_lines(f"a{text}b")):
        assert shown.isprintable()
        assert shown.startswith("a")
        assert shown.endswith("b")
    assert visible("a\n\tb") == "a\\n\\tb"
    assert visible_lines("a\n\tb\r\n") == "a\n\tb\n"
    assert visible("naïve 日本 Ω → ±") == "naïve 日本 Ω → ±"


@pytest.mark.parametrize("text", [*OBEYED, *MARKUP])
def test_no_way_of_printing_lets_it_through(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    echo(f"<{text}>")
    echo(f"<{text}>", err=True)
    print_table({f"<{text}>": "left"}, [[f"<{text}>"]], title=f"<{text}>")
    captured = capsys.readouterr()
    for line in (captured.out + captured.err).splitlines():
        assert visible(f"<{text}>") in line
    assert not set(OBEYED) & set(captured.out + captured.err)
    print_json({"a": text})
    assert capsys.readouterr().out.isascii()


@pytest.mark.parametrize("text", [*OBEYED, *MARKUP])
def test_the_live_view_survives_and_shows_any_reason(text: str) -> None:
    spec: Any = SimpleNamespace(
        parameters=5, training=SimpleNamespace(epochs=3), metric="accuracy", label="gru"
    )
    console = Console(file=io.StringIO(), force_terminal=True, width=200)
    with LiveView(console) as view:
        view.stage(f"<{text}>")
        view._live.refresh()
        view.phase("search", 2)
        view.trial_started(f"search/<{text}>/0", spec, None)  # type: ignore[arg-type]
        view.trial_finished(f"search/<{text}>/0", spec, "FAIL", f"ValueError: <{text}>", None)
        view._live.refresh()
    plain = io.StringIO()
    PlainView(Console(file=plain, width=200)).trial_finished(
        "search/gru/0", spec, "FAIL", f"ValueError: <{text}>", None
    )
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", console.file.getvalue())  # type: ignore[attr-defined]
    assert f"ValueError: <{visible(text)}>" in shown
    assert f"ValueError: <{visible(text)}>" in plain.getvalue()


@pytest.mark.parametrize(
    "text",
    ["=cmd|'/c calc'!A0", "+1+cmd()", "-1+cmd()", "@SUM(A1)", "\t=1", "\r=1", "=", "\uff1d1", "-x"],
)
def test_no_text_in_a_csv_file_is_a_formula(text: str) -> None:
    assert str(csv_value(text)).startswith("'")
    (row,) = list(csv.DictReader(io.StringIO(to_csv(comparison(confirmed(text, GOOD)).rows))))
    assert row["label"].startswith("'")
    assert visible(text) in row["label"]
    assert not any(
        row[name].startswith("'") for name in ("mean", "values", "seeds", "learning_rate")
    )


@pytest.mark.parametrize("value", [-0.5, 3, None, True, "-0.5", "+1e-3", "-0.5 0.25 -1", "nan"])
def test_numbers_in_a_csv_file_stay_numbers(value: object) -> None:
    assert csv_value(value) == value


def test_negative_means_are_numbers_in_the_csv_file() -> None:
    (row,) = comparison(confirmed("gru", [-1.5, -2.5, -2.0])).rows
    (read,) = csv.DictReader(io.StringIO(to_csv([row])))
    assert float(read["mean"]) == -2.0
    assert [float(value) for value in read["values"].split()] == [-1.5, -2.5, -2.0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a|b", r"a\|b"),
        ("a\\|b", r"a\\\|b"),
        ("`code`", r"\`code\`"),
        ("<script>x</script>", "&lt;script>x&lt;/script>"),
        ("<http://x>", "&lt;http://x>"),
        ("see [x](javascript:y)", r"see [x\](javascript:y)"),
        ("![x](http://y)", r"![x\](http://y)"),
        ("see [x][y]", r"see [x\][y]"),
        ("[x] done", r"\[x] done"),
        ("[a]: http://y", r"[a\]: http://y"),
        ("*a* _b_ ~~c~~ $d$", r"\*a\* \_b\_ \~\~c\~\~ \$d\$"),
        ("&lt;b&#62;", "&amp;lt;b&amp;#62;"),
        ("# a", r"\# a"),
        ("- a", r"\- a"),
        ("1. a", r"1\. a"),
        ("> a", r"\> a"),
        ("a\n\n# b", "a # b"),
        ("\x1b[31m\u202e", r"\\x1b[31m\\u202e"),
        # unchanged
        ("sm_rnn d_z", "sm_rnn d_z"),
        ("-0.5", "-0.5"),
        ("0.96 [0.95, 0.97]", "0.96 [0.95, 0.97]"),
        ("R&D", "R&D"),
    ],
)
def test_markdown_reads_text_as_text(text: str, expected: str) -> None:
    assert markdown_text(text) == expected


def test_headings_of_a_markdown_table_are_escaped_as_its_cells() -> None:
    table = listing([("a|b", True)], [["c|d"]])
    assert table.to_markdown().splitlines() == [r"| a\|b |", "| --- |", r"| c\|d |"]


def test_latex_prints_quotes_and_dashes_as_they_are() -> None:
    assert latex_text("`a` -- \\") == (r"\textasciigrave{}a\textasciigrave{} -{}- \textbackslash{}")
    for character in '&%$#_{}~^\\<>|"`[]':
        assert latex_text(character) != character


def test_a_row_with_an_evil_name_has_the_same_cells_as_any() -> None:
    for evil in ("a|b", "`", "\\", "<b>", "\x1b[2J", "[x](y)"):
        rows = comparison(confirmed(evil, GOOD)).rows
        cells = [rows[0].name, str(rows[0].n)]
        table = listing([("row", False), ("n", True)], [cells]).to_markdown().splitlines()
        assert len({len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) for line in table}) == 1
