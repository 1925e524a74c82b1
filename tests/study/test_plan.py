"""A plan names the row and the plugin that fail, and still sizes the other rows."""

from __future__ import annotations

import copy
from typing import Any, ClassVar

import pytest
import torch
import yaml
from torch import Tensor, nn

from rnnsearch import RecurrentCell, RnnsearchError, State, Value, load_registry
from rnnsearch.config.check import check_config
from rnnsearch.config.study_file import parse_study
from rnnsearch.errors import BrokenPluginError
from rnnsearch.plugin.registry import Plugin, Registry, _Registered
from rnnsearch.study.plan import StudyPlan, make_plan

from ..command import study_content


class Failing(RecurrentCell):
    """An Elman cell with a fault in one place."""

    at: ClassVar[str] = ""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        self._fail("__init__")
        super().__init__(input_size, hidden_size)
        self.affine = nn.Linear(input_size + hidden_size, hidden_size)

    @classmethod
    def _fail(cls, place: str) -> None:
        if cls.at == place:
            msg = f"no {place}\nof mine"
            raise LookupError(msg)

    @classmethod
    def parameter_count(cls, input_size: int, hidden_size: int, **structure: Value) -> int:
        cls._fail("parameter_count")
        return hidden_size * (input_size + hidden_size + 1)

    @classmethod
    def output_size(cls, input_size: int, hidden_size: int, **structure: Value) -> int:
        cls._fail("output_size")
        return hidden_size

    @classmethod
    def width_multiple(cls, **structure: Value) -> int:
        cls._fail("width_multiple")
        return 1

    @classmethod
    def refusal(cls, input_size: int, **structure: Value) -> str | None:
        cls._fail("refusal")
        return None

    def initial_state(self, batch_size: int) -> State:
        self._fail("initial_state")
        return (self.zeros(batch_size, self.hidden_size),)

    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        self._fail("forward")
        hidden = torch.tanh(self.affine(torch.cat((inputs, state[0]), dim=-1)))
        return hidden, (hidden,)


class InFours(Failing):
    """A cell that does not declare that its widths are multiples of four."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        if hidden_size % 4:
            raise ValueError(f"{hidden_size} units")
        super().__init__(input_size, hidden_size)


class OfTheBatch(Failing):
    """A cell that normalizes over the batch."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.norm = nn.BatchNorm1d(hidden_size)

    @classmethod
    def parameter_count(cls, input_size: int, hidden_size: int, **structure: Value) -> int:
        return hidden_size * (input_size + hidden_size + 3)

    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        hidden, state = super().forward(inputs, state)
        return self.norm(hidden), state


class OddConstructor(Failing):
    """A cell whose constructor takes different arguments, so calls to it fail."""

    def __init__(self, width: int) -> None:
        super().__init__(1, width)


@pytest.fixture
def registry() -> Registry:
    """The installed plugins, and the cells of this file as a third-party plugin."""
    registry = copy.copy(load_registry())
    registry._names = {kind: dict(names) for kind, names in registry._names.items()}
    registry._classes = dict(registry._classes)
    stranger = Plugin("nets", "acme-nets", "2.0")
    for kind in (Failing, InFours, OfTheBatch, OddConstructor):
        target = _Registered(f"{kind.__module__}:{kind.__name__}", stranger)
        registry._names["architecture"][kind.__name__.lower()] = [target]
    return registry


def _plan(registry: Registry, *architectures: Any, **changes: Any) -> StudyPlan:
    content = study_content(architectures=list(architectures), engine="eager", **changes)
    file = parse_study(yaml.safe_dump(content, sort_keys=False), "my.yaml")
    return make_plan(check_config(file), file, registry)


@pytest.mark.parametrize(
    "place",
    [
        *("__init__", "parameter_count", "output_size", "width_multiple", "refusal"),
        *("initial_state", "forward"),
    ],
)
def test_a_row_whose_plugin_fails_stops_alone_and_names_row_and_plugin(
    registry: Registry, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Failing, "at", place)
    plan = _plan(registry, {"name": "failing", "label": "theirs"}, "elman")
    assert [row.space.label for row in plan.rows] == ["elman"]
    (failed,) = plan.failed
    assert failed.label == "theirs"
    assert str(failed.error) == (
        "my.yaml:6: architectures[0]: architecture `failing` failed while planning row `theirs`: "
        f"LookupError: no {place} of mine (raised by plugin `acme-nets` 2.0 (entry point "
        "`nets`))"
    )
    pointed = failed.error.__cause__
    assert pointed is not None
    assert isinstance(pointed.__cause__, LookupError), "for --debug"
    assert plan.to_dict()["failed"] == [{"label": "theirs", "reason": str(failed.error)}]
    assert plan.confirmations == 2, "of the row that runs"


def test_a_plan_of_no_row_that_runs_is_refused(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Failing, "at", "forward")
    with pytest.raises(BrokenPluginError, match="LookupError"):
        _plan(registry, "failing")


def test_a_cell_that_cannot_be_built_at_some_width_is_told_how_to_say_so(
    registry: Registry,
) -> None:
    (failed,) = _plan(registry, "elman", "infours").failed
    assert "so in `width_multiple`" in str(failed.error)
    width = int(str(failed.error).partition("ValueError: ")[2].partition(" units")[0])
    assert f"at hidden_size {width // 4 * 4} and {width // 4 * 4 + 4}:" in str(failed.error)


def test_a_cell_that_needs_two_samples_is_told_that_samples_must_not_see_each_other(
    registry: Registry,
) -> None:
    (failed,) = _plan(registry, "elman", "ofthebatch").failed
    assert "Its step takes two samples and refuses one" in str(failed.error)
    assert "`acme-nets` 2.0" in str(failed.error)


def test_a_call_that_fails_outside_of_the_plugins_code_names_it_too(registry: Registry) -> None:
    (failed,) = _plan(registry, "elman", "oddconstructor").failed
    assert "TypeError" in str(failed.error)
    assert "architecture `oddconstructor` is brought by plugin `acme-nets` 2.0" in str(failed.error)


def test_a_class_that_does_not_import_stops_its_row_alone(registry: Registry) -> None:
    registry._names["architecture"]["gone"] = [
        _Registered("no_such_module_of_theirs:Net", Plugin("gone", "acme-gone", "1.0"))
    ]
    plan = _plan(registry, "gone", "elman")
    assert "No module named 'no_such_module_of_theirs'" in str(plan.failed[0].error)


@pytest.mark.parametrize("row", ["elmann", {"name": "elman", "num_layers": 2, "options": {"a": 1}}])
def test_a_mistake_in_the_file_refuses_the_whole_study(registry: Registry, row: Any) -> None:
    with pytest.raises(RnnsearchError) as caught:
        _plan(registry, "lstm", row)
    assert not isinstance(caught.value, BrokenPluginError)
