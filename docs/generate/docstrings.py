"""Lists in docstrings, as Markdown wants them: a griffe extension.

A docstring has `Shapes:`, or a line that ends in a colon, with items indented below it. Markdown
would run these items together into one paragraph.
"""

from __future__ import annotations

import re
from typing import Any

import griffe

_BLOCK = re.compile(r"^(.*:)\n((?:    \S.*\n?(?:     +\S.*\n?)*)+)", re.MULTILINE)


def with_lists(text: str) -> str:
    """A docstring whose items are Markdown lists."""

    def block(found: re.Match[str]) -> str:
        heading, items = found[1], found[2]
        if heading == "Shapes:":
            return f"{heading}\n" + re.sub(r"^    (?=\S)", "    * ", items, flags=re.MULTILINE)
        if items.startswith("    * "):
            return f"{heading}\n\n" + re.sub(r"^    ", "", items, flags=re.MULTILINE)
        return found[0]

    return _BLOCK.sub(block, text)


class Lists(griffe.Extension):
    """Rewrites every docstring as it is read."""

    def on_instance(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Make lists of the items in a docstring."""
        if obj.docstring is not None:
            obj.docstring.value = with_lists(obj.docstring.value)
