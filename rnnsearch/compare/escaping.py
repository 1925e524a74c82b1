"""Escaping: text from data, archives and plugins, made fit for the place where it is shown.

A study may be somebody else's, and a reason is whatever a plugin raised. Each function takes any
text and returns one that is read there as that text and as nothing else: no command to a terminal,
no markup, no formula, no link that was not meant. What numbers, tables and documents are made of is
escaped here and nowhere else.
"""

from __future__ import annotations

import re

from rnnsearch.errors import visible

# A formula in Excel, LibreOffice and Google Sheets; the wide forms in East Asian versions.
_FORMULA = tuple("=+-@\t\r\n＝＋－＠")  # noqa: RUF001
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|[+-]?(?:nan|inf)")
_LATEX = {
    **{character: "\\" + character for character in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "`": r"\textasciigrave{}",
    "±": r"$\pm$",
    "†": r"\dag{}",
    "[": "{[}",  # after `\\` it would begin an optional argument
    "]": "{]}",
}
# Two of them would be one character in print.
_LATEX_LIGATURE = re.compile(r"(?<=[-',?!])(?=[-'`,])")
# What begins code, emphasis, a cell, a link, a tag, mathematics or an entity.
_MARKDOWN = re.compile(
    r"[\\`*|~$]"
    r"|(?<![^\W_])_|_(?![^\W_])"  # in `sm_rnn` it begins nothing
    r"|\](?=[(\[:])"
    r"|^(?:\[(?=[ xX]\])|>)"
)
_MARKDOWN_BLOCK = re.compile(r"^(#{1,6}|\+|=+|-+|\d+[.)])(?=\s|$)")
_ENTITY = re.compile(r"&(?=#?\w+;)")


def visible_lines(text: str) -> str:
    """Text as `visible` makes it, whose lines and tabs are kept."""
    if text.isprintable():
        return text
    return "".join(c if c in "\n\t" else visible(c) for c in text.replace("\r\n", "\n"))


def csv_value(value: object) -> object:
    """A value of a CSV file: text that a spreadsheet would calculate gets a `'` before it.

    Numbers stay numbers, also those that are joined by spaces.
    """
    if not isinstance(value, str):
        return value
    is_formula = value.startswith(_FORMULA)
    if is_formula and not all(_NUMBER.fullmatch(part) for part in value.split(" ")):
        return f"'{visible(value)}"
    return visible(value)


def latex_text(text: str) -> str:
    """Text on one line of LaTeX, every character of which is printed as it is."""
    plain = " ".join("".join(c for c in text if c.isprintable() or c.isspace()).split())
    pieces = _LATEX_LIGATURE.split(plain)
    return "{}".join("".join(_LATEX.get(c, c) for c in piece) for piece in pieces)


def markdown_text(text: str) -> str:
    """Text on one line of Markdown, also of a table's cell, of which nothing is read as markup."""
    plain = visible(" ".join(text.split()))
    escaped = _MARKDOWN.sub(lambda found: f"\\{found[0]}", plain)
    escaped = _MARKDOWN_BLOCK.sub(lambda found: f"{found[1][:-1]}\\{found[1][-1]}", escaped)
    return _ENTITY.sub("&amp;", escaped).replace("<", "&lt;")
