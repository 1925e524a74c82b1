"""The engine's page shows what the engine actually does."""

from __future__ import annotations

import re
from pathlib import Path

import torch
from torch import nn

import rnnsearch.engine
from rnnsearch import RecurrentCell
from rnnsearch.training.compiled_model import cell_source

FOLDER = Path(rnnsearch.engine.__file__).parent
PAGE = (FOLDER / "README.md").read_text(encoding="utf-8")


def _block(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    assert found
    return found[1]


def test_the_worked_cell_becomes_the_source_on_the_page() -> None:
    names = {"RecurrentCell": RecurrentCell, "nn": nn, "torch": torch}
    exec(_block("python"), names)
    cell = names["LeakyCell"](3, 4)  # type: ignore[operator]
    assert cell_source(cell).strip() == _block("cpp").strip()


def test_every_file_of_the_engine_is_on_the_page() -> None:
    files = {path.name for path in FOLDER.glob("*.py")} - {"__init__.py"}
    assert files == set(re.findall(r"`(\w+\.py)`", PAGE.split("## Why")[0]))
