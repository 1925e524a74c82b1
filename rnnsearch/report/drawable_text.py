"""Text from data as the picture can draw it: on one line, in glyphs that its font has."""

from __future__ import annotations

import re
from functools import cache

_NAME_LENGTH = 28
# Colours and other commands to a terminal, which error messages bring along (ECMA-48, 5.4).
_TERMINAL_COMMAND = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")


def drawable(text: str) -> str:
    """The text without terminal commands and line breaks, and U+FFFD for what has no glyph.

    matplotlib warns of every character that its font lacks, such as control characters.
    """
    from matplotlib.font_manager import FontProperties

    glyphs = _glyphs(*FontProperties().get_family())
    plain = " ".join(_TERMINAL_COMMAND.sub("", text).split())
    return "".join(c if ord(c) in glyphs else "\N{REPLACEMENT CHARACTER}" for c in plain)


def shorten(name: str) -> str:
    """A name that fits; what tells long ones apart is often at their end."""
    half = _NAME_LENGTH // 2
    return name if len(name) <= _NAME_LENGTH else f"{name[:half]}…{name[1 - half :]}"


@cache
def _glyphs(*families: str) -> frozenset[int]:
    """Code points that the fonts have in both weights that are drawn."""
    from matplotlib.font_manager import FontProperties, findfont, get_font

    normal, bold = (
        {
            code
            for family in families
            for code in get_font(
                findfont(FontProperties(family=[family], weight=weight))
            ).get_charmap()
        }
        for weight in ("normal", "bold")
    )
    return frozenset(normal & bold)
