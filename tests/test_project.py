"""What users and services read about the project: versions, metadata, workflows, forms."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

import rnnsearch

from .command import REPOSITORY

FORMS = ".github/ISSUE_TEMPLATE"


def _project(folder: str = ".") -> dict[str, Any]:
    text = (REPOSITORY / folder / "pyproject.toml").read_text(encoding="utf-8")
    project: dict[str, Any] = tomllib.loads(text)["project"]
    return project


def test_one_version_is_named_everywhere() -> None:
    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text(encoding="utf-8"))
    core, zoo = _project(), _project("plugins")
    version = rnnsearch.__version__
    assert {core["version"], zoo["version"], str(citation["version"])} == {version}
    assert core["optional-dependencies"]["zoo"] == [f"rnnsearch-zoo=={version}"]
    major, minor, _ = version.split(".")
    assert f"rnnsearch>={major}.{minor},<{major}.{int(minor) + 1}" in zoo["dependencies"]


def test_the_changelog_has_the_version_and_what_is_not_released() -> None:
    headings = re.findall(r"^## \[(.*?)\]", (REPOSITORY / "CHANGELOG.md").read_text(), re.M)
    assert headings[:2] == ["Unreleased", rnnsearch.__version__]


def test_the_licence_is_the_declared_one() -> None:
    assert _project()["license"] == _project("plugins")["license"] == "MIT"
    assert (REPOSITORY / "LICENSE").read_text(encoding="utf-8").startswith("MIT License")


def test_every_family_is_in_the_zoo_and_no_two_wheels_own_a_file(tmp_path: Path) -> None:
    if find_spec("build") is None or find_spec("hatchling") is None:
        pytest.skip("build is not installed")
    for folder in (REPOSITORY, REPOSITORY / "plugins"):
        command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "-o", tmp_path]
        done = subprocess.run([*command, folder], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    core, zoo = (set(zipfile.ZipFile(wheel).namelist()) for wheel in sorted(tmp_path.glob("*.whl")))
    assert "rnnsearch/study/run.py" in core
    assert not core & zoo
    families = {path.parent.name for path in REPOSITORY.glob("plugins/*/rnnsearch_*/hooks.py")}
    assert {f"{family}/hooks.py" for family in families} <= zoo
    points = _project("plugins")["entry-points"]["rnnsearch"]
    assert set(points.values()) == {f"{family}.hooks" for family in families}
    templates = {path.name for path in (REPOSITORY / "rnnsearch").rglob("*.jinja")}
    assert templates == {Path(name).name for name in core if name.endswith(".jinja")}


def test_pre_commit_runs_what_the_tests_run() -> None:
    config = yaml.safe_load((REPOSITORY / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    commands = {hook["entry"].split()[0] for repo in config["repos"] for hook in repo["hooks"]}
    testing = " ".join(_project()["optional-dependencies"]["testing"])
    installed_by = {"lint-imports": "import-linter"}
    assert commands
    for command in commands - {"python", "check-jsonschema"}:
        assert installed_by.get(command, command) in testing


def _check_schema(schema: str, *paths: Path) -> None:
    checker = shutil.which("check-jsonschema", path=str(Path(sys.executable).parent))
    if checker is None:
        pytest.skip("check-jsonschema is not installed")
    command = [checker, "--builtin-schema", schema, *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("schema", "pattern"),
    [
        ("vendor.github-workflows", ".github/workflows/*.yml"),
        ("vendor.github-issue-forms", f"{FORMS}/[!c]*.yml"),
        ("vendor.github-issue-config", f"{FORMS}/config.yml"),
        ("vendor.citation-file-format", "CITATION.cff"),
    ],
)
def test_a_file_for_a_service_is_as_the_service_wants_it(schema: str, pattern: str) -> None:
    paths = sorted(REPOSITORY.glob(pattern))
    assert paths
    _check_schema(schema, *paths)


def test_the_workflows_try_what_the_project_supports() -> None:
    text = (REPOSITORY / ".github" / "workflows" / "tests.yml").read_text(encoding="utf-8")
    jobs = yaml.safe_load(text)["jobs"]
    (classifier,) = re.findall(r">=3\.(\d+)", _project()["requires-python"])
    tried = jobs["versions"]["strategy"]["matrix"]
    assert tried["python"][0] == f"3.{classifier}"
    assert {"latest", "lowest", "pre-release"} == {
        *tried["resolution"],
        *(one["resolution"] for one in tried["include"]),
    }
    assert "pre-release" in jobs["versions"]["continue-on-error"]
    assert not any("plugins" in step.get("run", "") for step in jobs["core"]["steps"])
