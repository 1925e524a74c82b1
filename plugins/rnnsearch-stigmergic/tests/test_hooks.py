"""The names that the plugin adds."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import pytest

from rnnsearch import RecurrentCell
from rnnsearch_stigmergic import hooks


@pytest.mark.parametrize("name", sorted(hooks.rnnsearch_architectures()))
def test_every_name_leads_to_a_recurrent_cell(name: str) -> None:
    module, _, class_name = hooks.rnnsearch_architectures()[name].partition(":")
    assert issubclass(getattr(import_module(module), class_name), RecurrentCell)


def test_importing_the_hooks_does_not_import_torch() -> None:
    program = "import sys, rnnsearch_stigmergic.hooks; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
