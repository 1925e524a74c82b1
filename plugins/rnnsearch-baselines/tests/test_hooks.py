"""The names that the plugin adds."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import pytest

from rnnsearch import RecurrentCell, SequenceModel
from rnnsearch_baselines import hooks


@pytest.mark.parametrize("name", sorted(hooks.rnnsearch_architectures()))
def test_every_name_leads_to_an_architecture(name: str) -> None:
    module, _, class_name = hooks.rnnsearch_architectures()[name].partition(":")
    architecture = getattr(import_module(module), class_name)
    assert issubclass(architecture, RecurrentCell | SequenceModel)


def test_importing_the_hooks_does_not_import_torch() -> None:
    program = "import sys, rnnsearch_baselines.hooks; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
