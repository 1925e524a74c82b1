"""The README, the Dockerfile and CI say the same."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

from rnnsearch.cli import rnnsearch
from rnnsearch.errors import RnnsearchError

from .command import REPOSITORY

README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
ONE_LINERS = re.findall(r"^python3 -m venv .*$", README, re.MULTILINE)


def _commands(group: click.Group, path: tuple[str, ...] = ()) -> set[tuple[str, ...]]:
    found: set[tuple[str, ...]] = set()
    for name, command in group.commands.items():
        below = (*path, name)
        found |= _commands(command, below) if isinstance(command, click.Group) else {below}
    return found


def test_the_readme_opens_with_the_two_lines() -> None:
    study, tests = ONE_LINERS
    assert study.endswith("rnnsearch study start studies/mnist.yaml")
    assert tests.endswith("pytest")
    assert README.index(tests) < README.index("## ")


def test_every_command_is_in_the_readme_and_no_other() -> None:
    named = set()
    for row in re.findall(r"^\| `rnnsearch ([^|]*)\|", README, re.MULTILINE):
        noun, *verbs = (words.split() for words in row.strip().removesuffix("`").split("`, `"))
        first = noun[:1] if noun[0] == "ui" else noun[:2]
        named.add(tuple(first))
        named |= {(noun[0], verb[0]) for verb in verbs}
    assert named == _commands(rnnsearch) - {("study", "schema")}
    assert "rnnsearch study schema" in README


def test_every_exit_code_is_documented_once_for_all() -> None:
    codes = {cls.exit_code for cls in _subclasses(RnnsearchError)} | {0, 1, 2, 130}
    line = re.search(r"Exit codes: (.*?)\.", README, re.DOTALL)
    assert line is not None
    assert {int(code) for code in re.findall(r"\d+", line.group(1))} == codes
    epilog = rnnsearch.epilog or ""
    assert {int(code) for code in re.findall(r"\d+", epilog)} == codes


def _subclasses(cls: type[RnnsearchError]) -> set[type[RnnsearchError]]:
    return {cls}.union(*(_subclasses(below) for below in cls.__subclasses__()))


def test_every_file_of_the_stages_table_exists() -> None:
    table = README[README.index("| Stage |") : README.index("**The budget is")]
    files = re.findall(r"`(\w+/\w+\.py)`", table)
    assert len(files) > 10
    assert [f for f in files if not (REPOSITORY / "rnnsearch" / f).exists()] == []


def test_the_dockerfile_installs_and_runs_what_the_readme_does() -> None:
    dockerfile = (REPOSITORY / "Dockerfile").read_text(encoding="utf-8")
    install, command = ONE_LINERS[0].rsplit(" && ", 1)
    for words in re.sub(r" -q| \.$", "", install).split(" && "):
        assert words in re.sub(r" --no-cache-dir", "", dockerfile)
    entry = command.removeprefix(".venv/bin/").split()
    script = (REPOSITORY / "deploy" / "entrypoint.sh").read_text(encoding="utf-8")
    assert script.rstrip().endswith(f'exec {entry[0]} "$@"')
    assert "CMD [" + ", ".join(f'"{word}"' for word in entry[1:]) + "]" in dockerfile
    assert dockerfile.index("USER 1000") < dockerfile.index("pip install")


def test_the_dockerfile_lints_clean() -> None:
    linter = Path(sys.executable).with_name("hadolint")
    if not linter.exists():
        pytest.skip("hadolint is not installed")
    done = subprocess.run(
        [linter, REPOSITORY / "Dockerfile"], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_the_docker_context_has_what_the_dockerfile_copies() -> None:
    ignore = (REPOSITORY / ".dockerignore").read_text(encoding="utf-8").splitlines()
    kept = {line[1:] for line in ignore if line.startswith("!")}
    copied = re.findall(
        r"^COPY (?:--chmod=\d+ )?([^-].*) \S+$", (REPOSITORY / "Dockerfile").read_text(), re.M
    )
    assert {name for line in copied for name in line.split()} == kept
    assert all((REPOSITORY / name).exists() for name in kept)


def test_ci_runs_the_readmes_test_command() -> None:
    script = REPOSITORY / ".ci" / "run"
    if not script.exists():
        pytest.skip("not a checkout")
    pattern = re.search(r"grep -m1 -E '(.*?)' README", script.read_text(encoding="utf-8"))
    assert pattern is not None
    assert [line for line in README.splitlines() if re.search(pattern.group(1), line)] == [
        ONE_LINERS[1]
    ]


def test_constraints_pin_every_dependency_within_its_range() -> None:
    import tomllib

    from packaging.requirements import Requirement

    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    pins = dict(
        line.split("==")
        for line in (REPOSITORY / "constraints.txt").read_text(encoding="utf-8").splitlines()
        if "==" in line
    )
    pins = {name.lower().replace("_", "-"): version for name, version in pins.items()}
    extras = project["optional-dependencies"]
    for text in [*project["dependencies"], *extras["testing"], *extras["docs"]]:
        requirement = Requirement(text)
        assert requirement.name.lower() in pins, text
        assert requirement.specifier.contains(pins[requirement.name.lower()]), text


@pytest.mark.parametrize(
    "path", sorted((REPOSITORY / "studies").glob("*.yaml")), ids=lambda p: p.name
)
def test_each_study_opens_with_its_question_and_its_expected_time(path: Path) -> None:
    comment = path.read_text(encoding="utf-8").partition("schema_version")[0]
    assert "?" in comment.splitlines()[0]
    assert "Expect about" in comment
