"""Every command in the documentation is run by a test, or listed with the reason it cannot be."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from rnnsearch.cli import rnnsearch

from ..command import REPOSITORY, run, run_here, write_study
from .pages import PAGES, commands, read

# Pages whose commands are run here, on one study, in this order.
HERE = (
    "docs/first-study.md",
    "docs/concepts.md",
    "docs/troubleshooting.md",
)
# Pages whose commands are run by other tests.
TYPED_BY = {
    "docs/plugins/cell.md": "tests/test_stranger.py",
    "docs/plugins/generated-task.md": "tests/test_stranger.py",
    "docs/plugins/wrapper.md": "tests/test_stranger.py",
    "docs/plugins/sequence-model.md": "tests/test_stranger.py",
    "docs/plugins/head.md": "tests/test_stranger.py",
}
# Prefixes of commands that no test runs unchanged, and why.
UNTYPED = {
    r"python3 -m venv": "installs torch and Ray; .ci/run types the README's on a clean clone",
    r"\.venv/bin/pip install": "the same",
    r"\.venv/bin/pytest": "the tests are running",
    r"docker |\(umask|printf 'NAME|for volume in": "need a container engine; tests/test_deploy.py "
    "reads the files, and with -m slow runs them where `docker` answers",
    r"kubectl |sed 's#REGISTRY": "need a Kubernetes cluster; tests/test_deploy.py checks the files",
    r"rnnsearch study resume mnist": "tests/cli/test_lifecycle.py types it on studies that were "
    "killed; on one that has ended it would only start Ray once more",
    r"git pull": "an upgrade, of what is deployed",
    r"python -m benchmarks": "half an hour; tests/test_benchmarks.py runs its parts",
    r"pip install \./rnnsearch-(gestures|spread)": "as with the cell, whose plugin "
    "tests/test_stranger.py installs",
    r"rnnsearch (data list|task show gestures)": "needs that plugin installed; the task is checked "
    "from its folder in tests/test_stranger.py",
    r"rnnsearch study analyse mnist --analysis spread": "needs that plugin installed; the analysis "
    "is checked from its folder in tests/test_stranger.py",
    r"rnnsearch plugin (new|check) .*(gestures|spread)": "tests/test_stranger.py types them",
}


def _untyped(command: str) -> str | None:
    return next((begins for begins in UNTYPED if re.match(begins, command)), None)


@pytest.mark.parametrize("page", [page for page in PAGES if commands(page)])
def test_every_command_of_a_page_is_typed_by_a_test_or_listed(page: str) -> None:
    if page in TYPED_BY:
        typing = (REPOSITORY / TYPED_BY[page]).read_text(encoding="utf-8")
        assert f'"{Path(page).stem}"' in typing
    elif page not in HERE:
        assert [command for command in commands(page) if not _untyped(command)] == []


def test_what_is_listed_as_untyped_is_still_in_the_documentation() -> None:
    met = {_untyped(command) for page in PAGES for command in commands(page)}
    assert met >= set(UNTYPED)


class Reader:
    """A reader who types the commands of the pages, one after the other, in one folder.

    `studies/mnist.yaml` there is a study of the same name with less training.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {"RNNSEARCH_HOME": str(folder / "home"), "RNNSEARCH_OFFLINE": "1"}
        (folder / "studies").mkdir()
        write_study(
            folder / "studies",
            name="mnist",
            engine="torch",  # no compilation and timing
            training={"epochs": 2, "batch_size": 64, "learning_rate": [1e-3, 1e-2]},
            search={"trials": 1, "scheduler": "none"},
            confirmation={"seeds": 3},
        ).rename(folder / "studies" / "mnist.yaml")

    def type(self, command: str) -> subprocess.CompletedProcess[str]:
        """Run a command that begins with `rnnsearch`; if it trains, in a separate process."""
        program, *words = shlex.split(command)
        assert program == "rnnsearch"
        typed = run if words[1] in ("start", "resume", "extend") else run_here
        return typed(*words, **self.environment)


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    folder, before = tmp_path_factory.mktemp("reader"), Path.cwd()
    os.chdir(folder)
    yield Reader(folder)
    os.chdir(before)


def test_the_commands_of_the_first_study_do_what_they_say(reader: Reader) -> None:
    said = dict[str, str]()
    for page in HERE:
        for command in commands(page):
            if _untyped(command):
                continue
            done = reader.type(command)
            assert done.returncode == 0, f"{page}: {command}\n{done.stdout}\n{done.stderr}"
            said[command] = done.stdout
    assert "lstm" in said["rnnsearch study plan studies/mnist.yaml"]
    assert "finished" in said["rnnsearch study status mnist"]
    assert "verdict" in said["rnnsearch study compare mnist"]
    assert (reader.folder / "mnist.zip").stat().st_size > 1000
    assert (reader.folder / "home" / "studies" / "mnist" / "report" / "report.html").is_file()
    assert not (reader.folder / "home" / "studies" / "mnist-copy").exists()


def test_every_command_named_in_a_sentence_exists() -> None:
    """Also commands between backquotes in text or tables, by noun and verb."""
    unknown = []
    for page in PAGES:
        for noun, verb in re.findall(r"`rnnsearch ([a-z]+)(?: ([a-z]+))?[^`]*`", read(page)):
            command = rnnsearch.commands.get(noun)
            known = isinstance(command, click.Group) and verb in command.commands
            if not (known or (command is not None and not isinstance(command, click.Group))):
                unknown.append(f"{page}: rnnsearch {noun} {verb}")
    assert unknown == []
