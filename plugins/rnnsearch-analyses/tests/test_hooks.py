"""The analyses plugin joins through the hooks."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

from rnnsearch import Analysis
from rnnsearch_analyses import hooks

NAMES = {
    "gate_saturation",
    "gradient_flow",
    "memory_heat_map",
    "neurons_of_interest",
    "stigmergy_traces",
    "time_constants",
}


@pytest.mark.parametrize("name", sorted(NAMES))
def test_each_name_leads_to_an_analysis(name: str) -> None:
    module, _, attribute = hooks.rnnsearch_analyses()[name].partition(":")
    assert issubclass(getattr(importlib.import_module(module), attribute), Analysis)


def test_nothing_but_the_analyses_is_registered() -> None:
    assert set(hooks.rnnsearch_analyses()) == NAMES


def test_importing_the_hooks_imports_neither_torch_nor_matplotlib() -> None:
    code = (
        "import sys, rnnsearch_analyses.hooks; "
        "sys.exit('torch' in sys.modules or 'matplotlib' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
