"""The plugin as registered with rnnsearch."""

from __future__ import annotations

from importlib import import_module

import pytest

from rnnsearch import Task, load_registry
from rnnsearch_ptb.hooks import rnnsearch_tasks

TASKS = rnnsearch_tasks()


@pytest.mark.parametrize("name", TASKS)
def test_every_registered_name_leads_to_a_task(name: str) -> None:
    module, _, attribute = TASKS[name].partition(":")
    task = getattr(import_module(module), attribute)()
    assert isinstance(task, Task)
    assert load_registry().task(name) is type(task)
    assert task.direction == "minimize"
