"""Where rnnsearch keeps what it makes: studies, cached data, the local MLflow store."""

from __future__ import annotations

import os
from pathlib import Path


def home() -> Path:
    """The folder named by RNNSEARCH_HOME, or `~/.rnnsearch`."""
    return Path(os.environ.get("RNNSEARCH_HOME") or "~/.rnnsearch").expanduser().absolute()
