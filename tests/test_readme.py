"""The README, the Dockerfile and CI agree."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from rnnsearch.config.study_file import parse_study, read_study_file

from .command import REPOSITORY

README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
ONE_LINERS = re.findall(r"^python3 -m venv .*$", README, re.MULTILINE)


def test_the_readme_opens_with_the_two_lines() -> None:
    study, tests = ONE_LINERS
    assert study.endswith("rnnsearch study start studies/mnist.yaml")
    assert tests.endswith("pytest")
    assert README.index(tests) < README.index("## ")


def test_the_readmes_cell_is_that_of_the_guide() -> None:
    guide = (REPOSITORY / "docs" / "plugins" / "cell.md").read_text(encoding="utf-8")
    (cell,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert f"```python\n{cell}```" in guide


def test_the_readmes_study_is_the_first_study_in_short() -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
    short = parse_study(text, "README.md").data
    whole = read_study_file(str(REPOSITORY / "studies" / "mnist.yaml")).data
    assert short["task"] == whole["task"]["name"]
    assert short["budget"] == whole["budget"]
    assert short["architectures"] == whole["architectures"]
    for part in ("model", "training", "search", "confirmation"):
        assert short[part].items() <= whole[part].items()
    page = (REPOSITORY / "docs" / "first-study.md").read_text(encoding="utf-8")
    assert text in page


def test_a_newcomer_reads_it_in_three_minutes() -> None:
    # 250 words per minute, including code and tables.
    assert len(README.split()) <= 3 * 250


def test_the_dockerfile_installs_and_runs_what_the_readme_does() -> None:
    dockerfile = (REPOSITORY / "Dockerfile").read_text(encoding="utf-8")
    install, command = ONE_LINERS[0].rsplit(" && ", 1)
    for words in re.sub(r" -q| \. \./plugins$", "", install).split(" && "):
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
    names = {name for line in copied for name in line.split()}
    assert {name for name in names if name.partition("/")[0] not in kept} <= kept
    assert kept <= names
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
    path = REPOSITORY / "plugins" / "pyproject.toml"
    zoo = tomllib.loads(path.read_text(encoding="utf-8"))["project"]
    others = [text for text in zoo["dependencies"] if not text.startswith("rnnsearch")]
    pins = dict(
        line.split("==")
        for line in (REPOSITORY / "constraints.txt").read_text(encoding="utf-8").splitlines()
        if "==" in line
    )
    pins = {name.lower().replace("_", "-"): version for name, version in pins.items()}
    extras = project["optional-dependencies"]
    for text in [*project["dependencies"], *others, *extras["testing"], *extras["docs"]]:
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
