"""The plugin as registered with rnnsearch."""

from __future__ import annotations

from importlib import import_module

import pytest

from rnnsearch_languages.hooks import rnnsearch_tasks

TASKS = rnnsearch_tasks()


@pytest.mark.parametrize("name", TASKS)
def test_tasks_whose_answers_must_not_see_later_inputs_say_so(name: str) -> None:
    module, _, attribute = TASKS[name].partition(":")
    task = getattr(import_module(module), attribute)
    assert task.needs_causal == (task().shape.readout == "every_step")
