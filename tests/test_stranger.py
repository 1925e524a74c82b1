"""A plugin by a stranger: really built, really installed, used by name like our own.

The cell is the one of `plugins/README.md`, file by file, so that the guide is tested too.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from rnnsearch.store import StudyStore

from .command import REPOSITORY, run, write_study

_TASK = '''
"""A task that notes when each of its splits is read."""
import os
import time
from pathlib import Path

from rnnsearch import load_registry

Digits = load_registry().task("digits")


class WatchedDigits(Digits):
    """scikit-learn's digits, watched."""

    def load(self, source, split):
        with Path(os.environ["WATCHED"]).open("a") as file:
            file.write(f"{split} {time.time()}\\n")
        return super().load(source, split)
'''


def _files_of_the_guide() -> dict[str, str]:
    text = (REPOSITORY / "plugins" / "README.md").read_text(encoding="utf-8")
    files = {"rnnsearch_leaky/__init__.py": ""}
    for name in ("pyproject.toml", "rnnsearch_leaky/hooks.py", "rnnsearch_leaky/cell.py"):
        _, _, after = text.partition(f"`rnnsearch-leaky/{name}`")
        block = re.search(r"```\w+\n(.*?)```", after, re.DOTALL)
        assert block is not None, f"the guide shows no {name}"
        files[name] = block.group(1)
    test = re.search(r"```python\n(import pytest\n.*?)```", text, re.DOTALL)
    assert test is not None
    files["tests/test_cell.py"] = test.group(1)
    return files


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The guide's plugin, and a task beside it."""
    folder = tmp_path_factory.mktemp("stranger") / "rnnsearch-leaky"
    for name, text in _files_of_the_guide().items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    (folder / "rnnsearch_leaky" / "task.py").write_text(_TASK, encoding="utf-8")
    with (folder / "rnnsearch_leaky" / "hooks.py").open("a") as hooks:
        hooks.write(
            "\n\n@hookimpl\ndef rnnsearch_tasks():\n"
            '    return {"watched_digits": "rnnsearch_leaky.task:WatchedDigits"}\n'
        )
    return folder


@pytest.fixture(scope="module")
def installed(project: Path) -> str:
    """The plugin built as a wheel and installed with pip; a PYTHONPATH that has it."""
    wheels, site = project.parent / "wheels", project.parent / "site"
    build = [
        sys.executable,
        "-m",
        "build",
        "--wheel",
        "--no-isolation",
        "--outdir",
        wheels,
        project,
    ]
    subprocess.run(build, check=True, capture_output=True, timeout=120)
    (wheel,) = wheels.glob("*.whl")
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--no-deps",
        "--no-index",
        "--target",
        site,
        wheel,
    ]
    subprocess.run(pip, check=True, capture_output=True, timeout=120)
    return str(site)


def test_the_plugin_is_listed_with_its_distribution_and_what_it_brings(installed: str) -> None:
    listed = json.loads(run("plugin", "list", "--json", PYTHONPATH=installed).stdout)
    (plugin,) = (p for p in listed if p["name"] == "leaky")
    assert (plugin["distribution"], plugin["version"]) == ("rnnsearch-leaky", "0.1.0")
    assert (plugin["architectures"], plugin["tasks"]) == (["leaky"], ["watched_digits"])
    assert plugin["error"] == ""


def test_its_cell_is_sized_to_a_budget(installed: str) -> None:
    done = run(
        "architecture", "size", "leaky", "--input-size", "8", "--output-size", "10",
        "--parameters", "1500", "--json", PYTHONPATH=installed,
    )  # fmt: skip
    size = json.loads(done.stdout)
    width = size["hidden_size"]
    assert size["parameters"] == width * (8 + width + 1) + (width + 1) * 10
    assert abs(size["residual"]) <= 0.02


def test_its_cell_and_its_task_take_part_in_a_study(installed: str, tmp_path: Path) -> None:
    path = write_study(tmp_path, architectures=["leaky", "elman"], task="watched_digits")
    watched = tmp_path / "watched"
    done = run(
        "study", "start", path,
        PYTHONPATH=installed, RNNSEARCH_HOME=str(tmp_path), WATCHED=str(watched),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    store = StudyStore(tmp_path / "studies" / "small")
    assert {r.label for r in store.records() if r.state == "COMPLETE"} == {"leaky", "elman"}
    assert store.info["environment"]["plugin leaky"] == "rnnsearch-leaky 0.1.0"
    assert "leaky" in (store.folder / "comparison.csv").read_text()
    # The test split was read once, when every trial of the search had ended.
    reads = [line.split() for line in watched.read_text().splitlines()]
    assert sorted(split for split, _ in reads) == ["test", "train", "validation"]
    (read_at,) = (float(at) for split, at in reads if split == "test")
    for label in ("leaky", "elman"):
        for trial in store.optuna_study("search", label, "maximize").trials:
            assert trial.datetime_complete is not None
            assert trial.datetime_complete.timestamp() <= read_at


def test_its_own_tests_pass_as_the_guide_writes_them(project: Path, installed: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", project / "tests"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=project,
        env={**os.environ, "PYTHONPATH": installed},
    )
    assert done.returncode == 0, done.stdout


def test_a_plugin_that_fails_to_import_stops_only_studies_that_name_what_it_brings(
    installed: str, project: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "site"
    (broken / "broken_plugin-1.0.dist-info").mkdir(parents=True)
    info = broken / "broken_plugin-1.0.dist-info"
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken-plugin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[rnnsearch]\nbroken = broken_plugin.hooks\n")
    (broken / "broken_plugin").mkdir()
    (broken / "broken_plugin" / "hooks.py").write_text("import no_such_module_anywhere\n")
    good = write_study(tmp_path)
    assert run("study", "plan", good, PYTHONPATH=str(broken)).returncode == 0
    bad = write_study(tmp_path, architectures=["lstm", "brokn"])
    done = run("study", "plan", bad, PYTHONPATH=str(broken))
    assert done.returncode == 6
    assert "`broken-plugin` 1.0" in done.stderr
    assert "no_such_module_anywhere" in done.stderr
    assert "Traceback" not in done.stderr
