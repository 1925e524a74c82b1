"""The documentation builds without warnings and has a page for everything registered."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from html import unescape
from importlib.util import find_spec
from pathlib import Path

import click
import pytest

from rnnsearch.cli import rnnsearch as command_line
from rnnsearch.plugin.registry import load_registry

from ..command import REPOSITORY

pytestmark = pytest.mark.skipif(
    find_spec("mkdocs") is None or find_spec("material") is None,
    reason="mkdocs is not installed: pip install -e '.[docs]'",
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site as built by `mkdocs build --strict`, which also runs the notebook."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder / "site"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        env={
            **os.environ,
            "RNNSEARCH_HOME": str(folder / "home"),
            # An announcement of future plans is not a warning about these pages.
            "NO_MKDOCS_2_WARNING": "1",
            "DISABLE_MKDOCS_2_WARNING": "true",
        },
    )
    assert done.returncode == 0, done.stderr
    assert not re.search(r"^WARNING +-", done.stderr, re.MULTILINE), done.stderr
    return folder / "site"


def _text(page: Path) -> str:
    return unescape(re.sub(r"<[^>]*>", "", page.read_text("utf-8")))


@pytest.mark.parametrize("kind", ["architectures", "tasks"])
def test_everything_registered_has_a_page_and_a_place_in_the_index(kind: str, site: Path) -> None:
    names = getattr(load_registry(), kind)
    index = (site / kind / "index.html").read_text("utf-8")
    for name in names:
        assert f'href="{name}/"' in index
        page = _text(site / kind / name / "index.html")
        assert "source and departures" in page
        assert load_registry().plugin_of(kind[:-1], name).distribution in page


def test_the_page_of_an_architecture_has_its_equations_and_its_counts(site: Path) -> None:
    page = _text(site / "architectures" / "sm_rnn" / "index.html")
    assert "M_t = clamp(M_{t-1} + D_t - R_t)" in page
    assert "arXiv:1903.01341" in page
    # The paper's spatial net: 15 marks, 3,200 parameters with its head.
    assert re.search(r"3,200\s+15\s+3,200 \(\+0\.0 %\)", page)
    # Another package's cell, with that package's equations.
    assert "(1 - \\mathbf{g}_n) \\circ" in _text(
        site / "architectures" / "torchrecurrent_taugru" / "index.html"
    )
    assert re.search(r"m p \+ 2 p", _text(site / "architectures" / "elman" / "index.html"))


def test_the_notebook_was_run(site: Path) -> None:
    page = _text(site / "tutorial" / "index.html")
    told = r"\w+ is (the best of the models at 1,500|not told apart yet).* with a median test "
    assert re.search(told, page)
    assert "data:image/png;base64" in (site / "tutorial" / "index.html").read_text("utf-8")


def test_every_command_is_in_the_reference(site: Path) -> None:
    page = (site / "reference" / "commands" / "index.html").read_text("utf-8")
    for noun, group in command_line.commands.items():
        verbs = group.commands if isinstance(group, click.Group) else {}
        for anchor in (f"rnnsearch-{noun}" if verbs else noun, *(f"{noun}-{v}" for v in verbs)):
            assert f'id="{anchor}"' in page


def test_every_key_of_a_study_file_is_in_the_reference(site: Path) -> None:
    from rnnsearch.config.schema import json_schema

    page = _text(site / "reference" / "study-file" / "index.html")
    schema = json_schema()
    for part in (schema, *schema["$defs"].values()):
        for key in part["properties"]:
            assert re.search(rf"\b{key}\b", page), key


def test_a_reader_needs_no_other_host(site: Path) -> None:
    for page in site.rglob("*.html"):
        text = page.read_text("utf-8")
        assert not re.search(r"<(?:script|img|iframe)[^>]*\ssrc=\"(?:https?:)?//", text), page
        assert not re.search(r"<link[^>]*stylesheet[^>]*href=\"(?:https?:)?//", text), page
        assert "fonts.googleapis" not in text
