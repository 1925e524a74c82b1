"""The plugin as rnnsearch meets it."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import pytest

from rnnsearch import Head, Task, load_registry
from rnnsearch.testing import HeadConformance
from rnnsearch_ptb.hooks import rnnsearch_heads, rnnsearch_tasks
from rnnsearch_ptb.tied_head import TiedHead

TASKS = rnnsearch_tasks()


@pytest.mark.parametrize("name", TASKS)
def test_every_registered_name_leads_to_a_task(name: str) -> None:
    module, _, attribute = TASKS[name].partition(":")
    task = getattr(import_module(module), attribute)()
    assert isinstance(task, Task)
    assert load_registry().task(name) is type(task)
    assert task.direction == "minimize"


def test_the_tied_head_is_registered() -> None:
    assert rnnsearch_heads() == {"tied": "rnnsearch_ptb.tied_head:TiedHead"}
    assert load_registry().head("tied") is TiedHead


def test_the_hooks_import_no_large_library() -> None:
    code = (
        f"import sys; sys.path[:] = {sys.path!r}\n"
        "import rnnsearch_ptb.hooks\n"
        "large = {'torch', 'numpy'} & set(sys.modules)\n"
        "assert not large, large"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


class TestTiedHead(HeadConformance):
    @pytest.fixture
    def head_class(self) -> type[Head]:
        return TiedHead


def test_the_tied_head_begins_as_published() -> None:
    head = TiedHead(40, 50)
    assert 0.09 < head.weight.abs().max() <= 0.1
    assert not head.bias.any()
