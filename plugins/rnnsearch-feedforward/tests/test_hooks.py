"""The feed-forward plugin joins through the hooks."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

from rnnsearch import SequenceModel
from rnnsearch_feedforward import hooks

NAMES = ["fsmn", "fsmn_bidirectional", "highway", "tcn"]


@pytest.mark.parametrize("name", NAMES)
def test_each_name_leads_to_a_model(name: str) -> None:
    module, _, attribute = hooks.rnnsearch_architectures()[name].partition(":")
    assert issubclass(getattr(importlib.import_module(module), attribute), SequenceModel)


def test_nothing_but_the_feed_forward_models_is_registered() -> None:
    assert sorted(hooks.rnnsearch_architectures()) == NAMES


def test_importing_the_hooks_does_not_import_torch() -> None:
    code = "import sys, rnnsearch_feedforward.hooks; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
