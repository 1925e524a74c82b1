"""The structured plugin joins through the hooks."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

from rnnsearch import RecurrentCell
from rnnsearch_structured import hooks

NAMES = ["clockwork", "indrnn", "irnn", "scrn", "urnn"]


@pytest.mark.parametrize("name", NAMES)
def test_each_name_leads_to_a_cell(name: str) -> None:
    module, _, attribute = hooks.rnnsearch_architectures()[name].partition(":")
    assert issubclass(getattr(importlib.import_module(module), attribute), RecurrentCell)


def test_nothing_but_the_structured_cells_is_registered() -> None:
    assert sorted(hooks.rnnsearch_architectures()) == NAMES


def test_importing_the_hooks_does_not_import_torch() -> None:
    code = "import sys, rnnsearch_structured.hooks; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
