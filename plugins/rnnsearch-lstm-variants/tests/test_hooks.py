"""The plugin of LSTM variants joins through the hooks."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

from rnnsearch import RecurrentCell, load_registry
from rnnsearch_lstm_variants import hooks

NAMES = {
    "conv_lstm",
    "depth_gated_lstm",
    "differential_lstm",
    "lstm_peephole",
    "lstm_projection",
    "lstm_variant",
    "mult_lstm",
}


@pytest.mark.parametrize("name", sorted(NAMES))
def test_each_name_leads_to_a_cell(name: str) -> None:
    module, _, attribute = hooks.rnnsearch_architectures()[name].partition(":")
    assert issubclass(getattr(importlib.import_module(module), attribute), RecurrentCell)


def test_nothing_but_the_variants_is_registered_and_they_are() -> None:
    assert set(hooks.rnnsearch_architectures()) == NAMES
    assert set(load_registry().architectures) >= NAMES


def test_importing_the_hooks_does_not_import_torch() -> None:
    code = "import sys, rnnsearch_lstm_variants.hooks; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
