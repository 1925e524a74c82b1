"""Runs the `rnnsearch` command like a user."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest
import yaml

from rnnsearch.__main__ import main

REPOSITORY = Path(__file__).parents[1]


def run(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end in a separate process, for at most five minutes."""
    return subprocess.run(
        [sys.executable, "-m", "rnnsearch", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={**os.environ, **environment},
    )


def run_here(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command that starts no cluster in this process, which has already imported torch."""
    output, errors = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        # Set first, so that it is restored: MLflow sets it when it opens a store.
        patch.setenv("MLFLOW_TRACKING_URI", "")
        patch.delenv("MLFLOW_TRACKING_URI")
        for name, value in environment.items():
            patch.setenv(name, value)
        with redirect_stdout(output), redirect_stderr(errors), pytest.raises(SystemExit) as stop:
            main([str(argument) for argument in arguments])
    code = stop.value.code
    assert isinstance(code, int)
    return subprocess.CompletedProcess(arguments, code, output.getvalue(), errors.getvalue())


def study_content(**changes: Any) -> dict[str, Any]:
    """A small study on scikit-learn's digits that runs one trial at a time."""
    content: dict[str, Any] = {
        "schema_version": 1,
        "name": "small",
        "seed": 7,
        "task": "digits",
        "architectures": ["lstm", "elman"],
        "budget": {"parameters": 1500, "tolerance": "3%"},
        "training": {"epochs": 4, "batch_size": 64, "learning_rate": {"low": 1e-3, "high": 3e-2}},
        "search": {"trials": 3, "grace_epochs": 1, "reduction_factor": 2},
        "confirmation": {"seeds": 2},
        "resources": {"workers": 1},
    }
    return {**content, **changes}


def write_study(folder: Path, **changes: Any) -> Path:
    """Write a small study file; `changes` replaces top-level keys."""
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(study_content(**changes), sort_keys=False), encoding="utf-8")
    return path
