"""Which study answers my question: every study file of the repository, with what it asks."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import mkdocs_gen_files

from rnnsearch.config.study_file import read_study_file

from .tables import table

REPOSITORY = Path(__file__).parents[2]
_PLACE = "<!-- studies: {} -->"


def _row(path: Path) -> list[str]:
    text = path.read_text(encoding="utf-8")
    data = read_study_file(str(path)).data
    task = data["task"] if isinstance(data["task"], str) else data["task"]["name"]
    comment = " ".join(
        line.lstrip("# ") for line in text.partition("schema_version")[0].split("\n")
    )
    question = data.get("question") or comment.partition("?")[0] + "?"
    expected = re.search(r"Expect (about .*?)(?:[.;(]| with| on)", comment)
    ran = (REPOSITORY / "studies" / "results" / path.stem).is_dir()
    return [
        f"[{path.stem}]({path.stem}.md)",
        question,
        f"[{task}](../tasks/{task}.md)",
        str(len(data["architectures"])),
        f"{data['budget']['parameters']:,}" if "budget" in data else "",
        expected[1] if expected else "",
        f"[yes]({path.stem}.md#results)" if ran else "",
    ]


def _page(path: Path) -> str:
    where = path.relative_to(REPOSITORY).as_posix()
    parts = [
        f"# {where}\n",
        f"```yaml\n{path.read_text(encoding='utf-8').rstrip()}\n```\n",
        f"Start it with `rnnsearch study start {where}`.\n",
    ]
    report = REPOSITORY / "studies" / "results" / path.stem / "report.md"
    if report.is_file():
        text = re.sub(r"^(#+) ", r"#\1 ", report.read_text(encoding="utf-8"), flags=re.MULTILINE)
        text = re.sub(r"!\[[^\]]*\]\([^)]*\)\n*", "", text)
        parts += ["## Results\n", f"From `studies/results/{path.stem}/report.md`:\n", text]
    return "\n".join(parts)


def write_pages() -> None:
    """Fill the tables of the page, and write a page for each study file."""
    folder = REPOSITORY / "studies"
    page = REPOSITORY / "docs" / "studies" / "index.md"
    text = page.read_text(encoding="utf-8")
    headings = ["study", "question", "task", "rows", "parameters", "expect", "run?"]
    navigation = ["* [All studies](index.md)"]
    for name, found in {
        "top": folder.glob("*.yaml"),
        "papers": (folder / "papers").glob("*.yaml"),
        "short": (folder / "short").glob("*.yaml"),
    }.items():
        paths: Iterable[Path] = sorted(found)
        mark = _PLACE.format(name)
        if mark not in text:
            msg = f"{page} has no place for the studies of {name}: {mark}"
            raise ValueError(msg)
        text = text.replace(mark, table(headings, map(_row, paths)))
        for path in paths:
            with mkdocs_gen_files.open(f"studies/{path.stem}.md", "w") as file:
                file.write(_page(path))
            navigation.append(f"* [{path.stem}]({path.stem}.md)")
    with mkdocs_gen_files.open("studies/index.md", "w") as file:
        file.write(text)
    with mkdocs_gen_files.open("studies/SUMMARY.md", "w") as file:
        file.write("\n".join(navigation) + "\n")
