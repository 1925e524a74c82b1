"""Draws what a command printed as an SVG, without web fonts.

Such as:

    rnnsearch study compare mnist | python docs/pictures/terminal.py "TITLE" >picture.svg
"""

from __future__ import annotations

import io
import re
import sys

from rich.console import Console
from rich.terminal_theme import DIMMED_MONOKAI
from rich.text import Text


def drawn(printed: str, title: str) -> str:
    """Return the SVG of a text that a terminal showed.

    Args:
        printed: the text, with its colours if it has any.
        title: what stands above it, such as the command.
    """
    lines = printed.rstrip().splitlines()
    width = max(len(Text.from_ansi(line).plain.rstrip()) for line in lines)
    console = Console(record=True, width=width, file=io.StringIO(), highlight=False)
    for line in lines:
        console.print(Text.from_ansi(line.rstrip()), no_wrap=True)
    svg = console.export_svg(title=title, theme=DIMMED_MONOKAI, unique_id="terminal")
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)
    return "\n".join(line.rstrip() for line in svg.replace("Fira Code", "monospace").splitlines())


if __name__ == "__main__":
    print(drawn(sys.stdin.read(), sys.argv[1]))
