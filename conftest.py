"""Sees that the tests test this folder, and not a copy of it as it once was."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

_ROOT = Path(__file__).parent
_FIND = """
import json, sys
from importlib.util import find_spec
found = {name: find_spec(name) for name in sys.argv[1:]}
print(json.dumps({n: list(s.submodule_search_locations) for n, s in found.items() if s}))
"""


def pytest_configure(config: pytest.Config) -> None:
    """Refuse an installed copy whose content differs: an edit here would not be tested."""
    if hasattr(config, "workerinput"):
        return
    packages = {path.name: path for path in _ROOT.glob("plugins/*/rnnsearch_*") if path.is_dir()}
    packages["rnnsearch"] = _ROOT / "rnnsearch"
    # What the other processes import that tests start, whatever this one has on its path.
    done = subprocess.run(
        [sys.executable, "-P", "-c", _FIND, *packages],
        capture_output=True,
        check=True,
        cwd=_ROOT.anchor,
    )
    for name, (found, *_) in json.loads(done.stdout).items():
        if changed := differing(packages[name], Path(found)):
            msg = (
                f"{found} is not as it is in this folder ({changed[0]} differs), and would be "
                "tested. Type: "
                "python -m pip install -c constraints.txt -e '.[testing]' -e ./plugins"
            )
            raise pytest.UsageError(msg)


def differing(tree: Path, installed: Path) -> list[str]:
    """Names of the files that are not the same in both folders."""
    if tree.samefile(installed):
        return []
    ours, theirs = _files(tree), _files(installed)
    return sorted(name for name in ours | theirs if ours.get(name) != theirs.get(name))


def _files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".pyc" and not path.name.startswith(".")
    }
