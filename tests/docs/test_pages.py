"""The statements on the handwritten pages of the documentation are true."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from rnnsearch.cli import rnnsearch
from rnnsearch.errors import RnnsearchError

from ..command import REPOSITORY
from .pages import DOCS, PAGES, read, relative_links

LIBRARY = sorted((REPOSITORY / "rnnsearch").rglob("*.py"))


@pytest.mark.parametrize("page", PAGES)
def test_every_link_to_a_file_leads_to_one(page: str) -> None:
    # Pages generated when the site is built; the strict build checks links to them.
    generated = re.compile(
        r"(architectures|tasks|studies)/[\w-]+\.md$|reference/(commands|study-file|python|testing)\.md$"
        r"|(engine|results|deployment|benchmarks|contributing|changelog)\.md$"
    )
    path = REPOSITORY / page
    missing = [
        target
        for target in relative_links(path)
        if not (there := path.parent / target.partition("#")[0]).exists()
        and not (there.resolve().is_relative_to(DOCS) and generated.search(there.as_posix()))
        and not (page.startswith("docs/studies") and target.endswith(".md"))
    ]
    assert missing == []


def test_every_file_of_ours_that_is_named_exists() -> None:
    path = re.compile(r"`((?:rnnsearch|tests|docs|studies|deploy|benchmarks)/[\w/.-]+)`")
    named = [(page, found) for page in PAGES for found in path.findall(read(page))]
    assert len(named) > 10
    assert [one for one in named if not (REPOSITORY / one[1]).exists()] == []


def test_every_name_of_the_library_in_a_docstring_or_on_a_page_exists() -> None:
    source = {path: path.read_text("utf-8") for path in LIBRARY}
    texts = [*source.values(), *map(read, PAGES)]
    names = {
        name for text in texts for name in re.findall(r"(?<!tags\.)`(rnnsearch(?:\.\w+)+)`", text)
    }
    tags = {name for name in names if any(f'"{name}"' in text for text in source.values())}
    assert names - tags
    for name in sorted(names - tags):
        module, _, attribute = name.rpartition(".")
        try:
            import_module(name)
        except ModuleNotFoundError:
            assert hasattr(import_module(module), attribute), name


# Messages


def _texts(path: Path) -> Iterator[str]:
    """The strings in a Python file, with each substituted value as `…`."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.JoinedStr):
            yield "".join(
                str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values
            )
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def _messages() -> list[str]:
    page = read("docs/error-messages.md")
    return [found[2].strip() for found in re.finditer(r"^\*\*(`+)(.*?)\1\*\*$", page, re.M)]


def test_every_error_message_of_the_faq_is_one_that_the_library_says() -> None:
    said = {text for path in LIBRARY for text in _texts(path)}
    messages = _messages()
    assert len(messages) > 30
    never = [
        message
        for message in messages
        # A substituted ending matches any ending.
        if not any(message.removesuffix("…") in text for text in said)
    ]
    assert never == []


def test_every_message_of_the_faq_stands_in_it_once_and_under_an_exit_code() -> None:
    messages = _messages()
    assert len(set(messages)) == len(messages)
    codes = re.findall(r"^## .*\(exit code (\d+)\)$", read("docs/error-messages.md"), re.M)
    assert codes == sorted(codes)
    assert {int(code) for code in codes} <= {cls.exit_code for cls in _subclasses(RnnsearchError)}


# Reference


def _subclasses(cls: type[RnnsearchError]) -> set[type[RnnsearchError]]:
    return {cls}.union(*(_subclasses(below) for below in cls.__subclasses__()))


def test_every_exit_code_is_documented_once_for_all() -> None:
    codes = {cls.exit_code for cls in _subclasses(RnnsearchError)} | {0, 1, 2, 130}
    rows = re.findall(r"^\| (\d+) \|.*?\|(.*?)\|$", read("docs/reference/exit-codes.md"), re.M)
    assert {int(code) for code, _ in rows} == codes
    by_name = {cls.__name__: cls.exit_code for cls in _subclasses(RnnsearchError)}
    found = {n: int(code) for code, errors in rows for n in re.findall(r"`(\w+)`", errors)}
    assert found == by_name
    epilog = rnnsearch.epilog or ""
    assert {int(code) for code in re.findall(r"\d+", epilog)} == codes


def test_every_environment_variable_is_documented_and_no_other() -> None:
    source = "\n".join(path.read_text("utf-8") for path in LIBRARY)
    # Variables that our processes use to communicate with each other.
    internal = {"RNNSEARCH_CHECK", "RNNSEARCH_JOB"}
    read_there = set(re.findall(r"[\"'](RNNSEARCH_[A-Z_]*[A-Z])[\"']", source)) - internal
    page = read("docs/reference/environment.md")
    documented = set(
        re.findall(r"`([A-Z][A-Z_]+)`", "\n".join(re.findall(r"^\| (`.*?) \|", page, re.M)))
    )
    assert {name for name in documented if name.startswith("RNNSEARCH_")} == read_there
    for name in documented - read_there:
        assert name in source, name


def test_the_folders_of_the_concepts_and_of_the_map_exist() -> None:
    folders = {p.parent.name for p in (REPOSITORY / "rnnsearch").glob("*/__init__.py")}
    map_of_folders = read("CONTRIBUTING.md").partition("## The map")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)/` \|.*\| `([\w.]+)` \|$", map_of_folders, re.M)
    assert {folder for folder, _ in rows} == folders
    for folder, file in rows:
        assert (REPOSITORY / "rnnsearch" / folder / file).is_file(), (folder, file)
    stages = read("docs/concepts.md").partition("| stage |")[2].partition("\n## ")[0]
    assert set(re.findall(r"`(\w+)/`", stages)) <= folders


def test_the_glossary_defines_every_term_once_in_alphabetical_order() -> None:
    page = read("docs/reference/glossary.md")
    terms = re.findall(r"^(\w[\w ]*) \{ #([\w-]+) \}\n:   \S", page, re.M)
    names = [name for name, _ in terms]
    assert names == sorted(set(names), key=str.lower)
    assert [anchor for _, anchor in terms] == [name.lower().replace(" ", "-") for name in names]
    wanted = (
        "budget cell architecture head wrapper row label trial configuration confirmation seed "
        "leaderboard verdict engine study home"
    )
    assert set(wanted.split()) <= set(names)


def test_pictures_say_what_was_run() -> None:
    for page in ("docs/index.md", "docs/first-study.md", "README.md"):
        text = read(page)
        assert "leaderboard.svg" in text
        caption = text.partition("leaderboard.svg")[2].partition("\n\n")[2].partition("\n\n")[0]
        assert "5,000" in caption, page


def test_a_picture_fetches_nothing() -> None:
    for picture in (DOCS / "pictures").glob("*.svg"):
        text = picture.read_text("utf-8")
        assert not re.search(
            r"url\(\s*[\"']?https?:|href=\"https?:|<script|@import|@font-face", text
        )
