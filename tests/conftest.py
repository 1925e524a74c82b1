"""What every test starts from: a home of its own, and no server of the user's."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

# Other processes are sent cells that are defined in tests, and import them by name.
if (_ROOT := str(Path(__file__).parents[1])) not in sys.path:
    sys.path.append(_ROOT)


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let studies, caches and runs of a test lie in its own folder."""
    monkeypatch.setenv("RNNSEARCH_HOME", str(tmp_path / "home"))
    for name in ("MLFLOW_TRACKING_URI", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "home"
