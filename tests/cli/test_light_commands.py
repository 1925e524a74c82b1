"""Commands that only inspect studies work without the libraries that run them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

from ..command import REPOSITORY, run_here

HEAVY = ("torch", "ray", "mlflow", "optuna", "sqlalchemy", "numpy", "scipy", "pandas", "matplotlib")
PROGRAM = """
import json, sys
from rnnsearch.__main__ import main
code = 0
try:
    main(sys.argv[2:])
except SystemExit as done:
    code = done.code
loaded = sorted({*sys.argv[1].split()} & {*sys.modules})
sys.stderr.write("\\n" + json.dumps([code or 0, loaded]))
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a finished study made by an earlier version."""
    home = tmp_path_factory.mktemp("home")
    with ZipFile(REPOSITORY / "tests" / "stored" / "study.zip") as archive:
        archive.extractall(home / "studies")
    return home


@pytest.mark.parametrize(
    "command",
    [
        ("study", "list"),
        ("study", "list", "--json"),
        ("study", "show", "digits"),
        ("study", "status", "digits"),
        ("trial", "list", "digits"),
        ("--help",),
    ],
    ids=" ".join,
)
def test_it_loads_no_large_library(command: tuple[str, ...], home: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, " ".join(HEAVY), *command],
        env={"RNNSEARCH_HOME": str(home), "PATH": "", "HOME": str(home)},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert json.loads(done.stderr.splitlines()[-1]) == [0, []]
    assert "elman" in done.stdout or "digits" in done.stdout or command == ("--help",)


@pytest.mark.parametrize("command", [("study", "show", "digits"), ("trial", "list", "digits")])
@pytest.mark.parametrize("content", [None, b"", b"name: [", b"\xff"])
def test_trials_can_be_looked_at_whatever_became_of_the_study_file(
    command: tuple[str, ...], content: bytes | None, own_home: Path
) -> None:
    with ZipFile(REPOSITORY / "tests" / "stored" / "study.zip") as archive:
        archive.extractall(own_home / "studies")
    path = own_home / "studies" / "digits" / "study.yaml"
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    done = run_here(*command)
    assert done.returncode == 0, done.stderr
    assert "COMPLETE" in done.stdout
