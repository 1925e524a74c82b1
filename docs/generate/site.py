"""Writes every page that is not written by hand; mkdocs-gen-files runs it at each build."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from generate import (
    architectures,
    commands,
    python,
    repository_pages,
    studies,
    study_file,
    tasks,
)

for _pages in (repository_pages, architectures, tasks, studies, commands, study_file, python):
    _pages.write_pages()
