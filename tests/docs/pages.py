"""The handwritten pages of the documentation, and the commands in them."""

from __future__ import annotations

import re
from pathlib import Path

from ..command import REPOSITORY

DOCS = REPOSITORY / "docs"
# Including pages that the site takes from elsewhere: see docs/generate/repository_pages.py.
ELSEWHERE = (
    "README.md",
    "CONTRIBUTING.md",
    "deploy/README.md",
    "studies/README.md",
    "benchmarks/README.md",
    "rnnsearch/engine/README.md",
)
PAGES = sorted(
    [path.relative_to(REPOSITORY).as_posix() for path in DOCS.rglob("*.md")] + [*ELSEWHERE]
)


def read(page: str) -> str:
    """The text of a page, by its path in the repository."""
    return (REPOSITORY / page).read_text(encoding="utf-8")


def commands(page: str) -> list[str]:
    """Every command in the shell blocks of a page, in order; a loop or continued line is one."""
    blocks: list[str] = re.findall(r"^```(?:bash|sh)\n(.*?)^```", read(page), re.DOTALL | re.M)
    text = "\n".join(blocks).replace("\\\n", " ")
    text = re.sub(r"; do\n(.*?)\ndone", r"; do \1; done", text, flags=re.DOTALL)
    lines = (re.sub(r"\s+#.*$", "", line).strip() for line in text.splitlines())
    return [" ".join(line.split()) for line in lines if line]


def relative_links(path: Path) -> list[str]:
    """Targets of the links in a Markdown file that point to another file."""
    text = re.sub(r"```.*?```|``.*?``|`[^`\n]*`", "", path.read_text("utf-8"), flags=re.DOTALL)
    found = re.findall(r"\]\(([^)\s]+)\)", text)
    return [target for target in found if not re.match(r"[a-z]+:|#", target)]
