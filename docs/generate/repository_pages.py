"""Pages whose text stands elsewhere in the repository, beside what it describes.

The engine's, the studies', the deployment's and the benchmarks' README are read where the code is,
and here; so are CONTRIBUTING and the changelog. Each has one home, from which this copies it at
every build. A link to a file that is a page leads to that page, another one into the repository.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

import mkdocs_gen_files
from mkdocs_gen_files.editor import FilesEditor

REPOSITORY = Path(__file__).parents[2]

PAGES = {
    "rnnsearch/engine/README.md": "engine.md",
    "studies/README.md": "results.md",
    "deploy/README.md": "deployment.md",
    "benchmarks/README.md": "benchmarks.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    **{
        path.relative_to(REPOSITORY).as_posix(): f"architectures/families/{path.parent.name}.md"
        for path in (REPOSITORY / "plugins").glob("*/README.md")
    },
}
# What other pages say of a file or a folder; the rest of the repository is linked where it is.
ELSEWHERE = {
    "README.md": "index.md",
    "plugins/README.md": "plugins/index.md",
    "plugins": "plugins/index.md",
    "studies": "studies/index.md",
    "studies/papers": "studies/index.md",
    "studies/short": "studies/index.md",
    "benchmarks": "benchmarks.md",
    "deploy": "deployment.md",
}
_LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(([^)\s]+)\)")


def page_of(path: str) -> str | None:
    """The page about a file or folder of the repository, if there is one."""
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    if found := re.fullmatch(r"studies/(?:\w+/)?(\w+)\.yaml", path):
        return f"studies/{found[1]}.md"
    if found := re.fullmatch(r"studies/results/(\w+)(?:/report.md)?", path):
        return f"studies/{found[1]}.md"
    return PAGES.get(path) or ELSEWHERE.get(path)


def linked_from(text: str, source: str, page: str, repository_url: str) -> str:
    """A text with its links as they have to be on a page.

    Args:
        text: Markdown, with links relative to `source`.
        source: path of the text in the repository.
        page: path of the page in the site.
        repository_url: where the repository can be browsed; its files are named without a link
            where this is empty.
    """

    def link(found: re.Match[str]) -> str:
        shown, target = found[1], found[2]
        if re.match(r"[a-z]+:|#", target):
            return found[0]
        target, _, anchor = target.partition("#")
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        if not (REPOSITORY / path).exists():
            msg = f"{source}: there is no {path} to link to"
            raise FileNotFoundError(msg)
        if to := page_of(path):
            relative = posixpath.relpath(to, posixpath.dirname(page) or ".")
            return f"[{shown}]({relative}{'#' + anchor if anchor else ''})"
        if repository_url:
            return f"[{shown}]({repository_url.rstrip('/')}/blob/main/{path})"
        return shown if "`" in shown else f"`{path}`"

    return _LINK.sub(link, text)


def write_pages() -> None:
    """Write every page whose text stands elsewhere."""
    url = FilesEditor.current().config.repo_url or ""
    for source, page in PAGES.items():
        text = (REPOSITORY / source).read_text(encoding="utf-8")
        with mkdocs_gen_files.open(page, "w") as file:
            file.write(linked_from(text, source, page, url))
        mkdocs_gen_files.set_edit_path(page, source)
