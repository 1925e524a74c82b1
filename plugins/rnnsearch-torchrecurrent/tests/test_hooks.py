"""The plugin registers the cells of torchrecurrent, or nothing if it is not installed."""

from __future__ import annotations

import importlib
import importlib.util
import subprocess
import sys

import pytest

from rnnsearch import RecurrentCell
from rnnsearch_torchrecurrent import hooks

installed = pytest.mark.skipif(
    importlib.util.find_spec("torchrecurrent") is None, reason="torchrecurrent is not installed"
)


@installed
@pytest.mark.parametrize("cell", hooks.CELLS)
def test_each_name_leads_to_the_cell_of_that_name(cell: str) -> None:
    target = hooks.rnnsearch_architectures()[hooks.architecture(cell)]
    module, _, attribute = target.partition(":")
    found = getattr(importlib.import_module(module), attribute)
    assert issubclass(found, RecurrentCell)
    assert found.upstream is getattr(importlib.import_module("torchrecurrent"), cell)


@installed
def test_every_cell_that_torchrecurrent_exports_is_registered() -> None:
    exported = importlib.import_module("torchrecurrent").__all__
    assert sorted(hooks.CELLS) == sorted(name for name in exported if name.endswith("Cell"))
    assert len(hooks.rnnsearch_architectures()) == len(hooks.CELLS) == 41


def test_names_are_prefixed_and_in_lower_case() -> None:
    assert hooks.architecture("MGUCell") == "torchrecurrent_mgu"
    assert hooks.architecture("tauGRUCell") == "torchrecurrent_taugru"


def test_without_torchrecurrent_nothing_is_registered_and_nothing_fails() -> None:
    code = (
        "import sys; sys.modules['torchrecurrent'] = None\n"
        "from rnnsearch_torchrecurrent import hooks\n"
        "sys.exit(hooks.rnnsearch_architectures() != {})"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_asking_for_the_names_imports_neither_torch_nor_torchrecurrent() -> None:
    code = (
        "import sys; from rnnsearch_torchrecurrent import hooks\n"
        "hooks.rnnsearch_architectures()\n"
        "sys.exit(bool({'torch', 'torchrecurrent'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
