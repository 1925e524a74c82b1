"""Calls a function in a process of its own, where nothing is imported or built yet."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parents[1]
_PYTHON = (
    sys.executable,
    "-c",
    "import json, sys; from importlib import import_module; "
    "module, name, arguments = sys.argv[1:]; "
    "print(json.dumps(getattr(import_module(module), name)(**json.loads(arguments))))",
)


def call(function: Callable[..., Any], *, home: Path | None = None, **arguments: Any) -> Any:
    """Call a function of a module; what it takes and returns goes as JSON.

    Args:
        function: a module's function.
        home: its RNNSEARCH_HOME; this process's if None.
        arguments: its arguments.
    """
    done = subprocess.run(
        [*_PYTHON, function.__module__, function.__name__, json.dumps(arguments)],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        cwd=REPOSITORY,
        env=environment(home),
    )
    return json.loads(done.stdout.splitlines()[-1])


def environment(home: Path | None = None) -> dict[str, str]:
    """Environment of a child that trains here, on the digits that come with the packages.

    Args:
        home: its RNNSEARCH_HOME; this process's if None.
    """
    elsewhere = ("RNNSEARCH_DATA_DIR", "RAY_ADDRESS", "MLFLOW_TRACKING_URI")
    found = {name: value for name, value in os.environ.items() if name not in elsewhere}
    found["RNNSEARCH_OFFLINE"] = "1"
    if home is not None:
        found["RNNSEARCH_HOME"] = str(home)
    return found
