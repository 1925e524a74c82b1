"""A search space holds only models that can meet the budget; everything else is an early error."""

from __future__ import annotations

import json
import random
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest
import torch
import yaml
from torch import Tensor

from rnnsearch import (
    BudgetError,
    Capabilities,
    CapabilityError,
    Choice,
    DataSource,
    Examples,
    FloatRange,
    IntRange,
    PluginError,
    RecurrentCell,
    RnnsearchError,
    SequenceShape,
    State,
    StudyFileError,
    Task,
    Value,
    build_model,
    load_registry,
)
from rnnsearch.budget.row import build_spaces
from rnnsearch.budget.space import SearchSpace
from rnnsearch.config.check import check_config
from rnnsearch.config.study_file import parse_study
from rnnsearch.plugin.registry import Registry
from rnnsearch.spec.parameters import Parameter
from rnnsearch.spec.seed import derive_seed
from rnnsearch.spec.trial import TrialSpec
from rnnsearch.study.plan import make_task
from rnnsearch.testing.probes import trained_scalars

OURS = [
    *("elman", "ff_nn", "gru", "lstm", "mcrm", "mike_rnn"),
    *("nlstm", "nlstm_concat", "prelu_rnn", "sm_rnn", "snn"),
]
# They read all steps at once, so they need sequences of a fixed length.
ALL_STEPS = ["ff_nn", "snn"]


class ProbeCell(RecurrentCell):
    """An Elman cell with one option of every kind."""

    structure = {
        "extra": IntRange(0, 3, default=0),
        "wide": FloatRange(0.5, 2.0, default=1.0),
        "slots": Choice((8, 16, 32), default=8),
    }
    hyperparameters = {
        "gain": FloatRange(0.1, 10.0, default=1.0, log=True),
        "kind": Choice(("a", "b"), default="b", searched=False),
    }

    def __init__(self, input_size: int, hidden_size: int, extra: int = 0, **options: Value) -> None:
        super().__init__(input_size, hidden_size)
        self.linear = torch.nn.Linear(input_size + hidden_size, hidden_size)
        self.extra = torch.nn.Parameter(torch.zeros(extra))

    @classmethod
    def parameter_count(
        cls, input_size: int, hidden_size: int, extra: Value = 0, **structure: Value
    ) -> int:
        return (input_size + hidden_size + 1) * hidden_size + int(extra)

    def initial_state(self, batch_size: int) -> State:
        return (self.zeros(batch_size, self.hidden_size),)

    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        hidden = torch.tanh(self.linear(torch.cat((inputs, state[0]), dim=-1)))
        return hidden, (hidden,)


class WithProbe(Registry):
    """The installed architectures plus `probe`."""

    def find(self, kind: str, name: str) -> Any:
        is_probe = (kind, name) == ("architecture", "probe")
        return ProbeCell if is_probe else load_registry().find(kind, name)


class Anything(Task):
    """A task of any shape; it has no data."""

    metric: ClassVar[str] = "error"
    direction: ClassVar[Literal["maximize", "minimize"]] = "minimize"
    no_skill: ClassVar[float] = 1.0
    own_shape = SequenceShape(3, 2, 5, "last_step")

    @property
    def shape(self) -> SequenceShape:
        return self.own_shape

    def find(self) -> DataSource:
        raise NotImplementedError

    def load(self, source: DataSource, split: str) -> Examples:
        raise NotImplementedError

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        raise NotImplementedError

    def score(self, outputs: Tensor, targets: Tensor) -> Tensor:
        raise NotImplementedError


def _text(*architectures: str, task: str = "digits", budget: int = 3200, **rest: Any) -> str:
    lines = [
        *("schema_version: 1", "name: small", f"task: {task}", "architectures:"),
        *(f"  - {architecture}" for architecture in architectures),
        f"budget: {{parameters: {budget}}}",
        *([] if "training" in rest else ["training: {epochs: 4}"]),
        *(f"{key}: {value}" for key, value in rest.items()),
    ]
    return "\n".join(lines) + "\n"


def _spaces(text: str, task: Task | None = None) -> list[SearchSpace]:
    file = parse_study(text, "my.yaml")
    config = check_config(file)
    return build_spaces(config, file, WithProbe(), task or make_task(config, file, load_registry()))


def _space(architecture: str, **rest: Any) -> SearchSpace:
    return _spaces(_text(architecture, **rest))[0]


def _refused(text: str, kind: type[RnnsearchError], task: Task | None = None) -> str:
    with pytest.raises(kind) as caught:
        _spaces(text, task)
    assert type(caught.value) is kind
    return str(caught.value)


def _draw(parameter: Parameter, source: random.Random) -> Value:
    if isinstance(parameter, Choice):
        return source.choice(parameter.options)
    if isinstance(parameter, IntRange):
        return source.randint(parameter.low, parameter.high)
    return source.uniform(parameter.low, parameter.high)


def _drawn(space: SearchSpace, source: random.Random) -> dict[str, Value]:
    return {name: _draw(parameter, source) for name, parameter in space.free.items()}


# The budget


@pytest.mark.parametrize(
    ("name", "task"),
    [
        (name, task)
        for task in ("digits", "spatial_mnist", "temporal_mnist")
        for name in OURS
        if task != "temporal_mnist" or name not in ALL_STEPS
    ],
)
def test_every_model_that_may_be_sampled_meets_the_budget(name: str, task: str) -> None:
    settings = {"num_layers": [1, 2, 3], "bidirectional": [True, False]}
    model = {**settings, "learned_initial_state": [True, False]} if name != "ff_nn" else {}
    (space,) = _spaces(_text(name, task=task, model=model))
    source = random.Random(0)
    drawn = [*space.structures(), *(_drawn(space, source) for _ in range(20))]
    for values in drawn:
        solution = space.solve(values)
        with torch.device("meta"):
            built = trained_scalars(build_model(space.architecture, solution.spec))
        assert solution.parameters == built
        assert solution.residual == built / 3200 - 1
        assert abs(solution.residual) <= 0.02


def test_structures_cover_every_choice_and_the_ends_of_every_range() -> None:
    model = {"num_layers": "{low: 1, high: 3}", "bidirectional": "[true, false]"}
    space = _space("sm_rnn", model=f"{{{', '.join(f'{k}: {v}' for k, v in model.items())}}}")
    structures = list(space.structures())
    assert {values["num_layers"] for values in structures} == {1, 2, 3}
    assert {values["bidirectional"] for values in structures} == {True, False}
    ratios = {values["options.mlp_ratio"] for values in structures}
    assert {min(ratios), max(ratios)} == {0.5, 2.0}
    assert len(structures) == 3 * 2 * len(ratios)


def test_structures_leave_alone_what_does_not_change_the_count() -> None:
    space = _space("{name: mcrm, options: {convention: [torch, paper]}}")
    assert "options.convention" in space.free
    assert len(list(space.structures())) == 1


@pytest.mark.parametrize(("counting", "biases"), [("trainable", 2), ("one_bias", 1)])
def test_parameters_are_counted_as_the_study_says(counting: str, biases: int) -> None:
    solution = _space("lstm", budget=f"2600, tolerance: 5%, counting: {counting}").solve({})
    p = solution.spec.hidden_size
    assert solution.spec.head == "linear"
    assert solution.parameters == 4 * p * (8 + p + biases) + (p + 1) * 10


def test_a_budget_that_cannot_be_met_is_refused_with_its_line_and_what_would_fit() -> None:
    assert _refused(_text("gru", "lstm", budget=160), BudgetError) == (
        "my.yaml:6: architectures[1]: architecture `lstm` cannot meet 160 parameters within 2%: "
        "the nearest models have 126 (hidden_size 2), 196 (hidden_size 3). What would fit: a "
        "budget of 126 or 196, or a tolerance of 21.3%, or remove `lstm` from `architectures`"
    )


def test_what_is_said_to_fit_does_fit() -> None:
    for fits in (126, 196):
        assert _space("lstm", budget=fits).solve({}).parameters == fits
    assert _space("lstm", budget="160, tolerance: 21.3%").solve({}).parameters == 126
    assert "cannot meet" in _refused(_text("lstm", budget="160, tolerance: 21.2%"), BudgetError)


def test_a_budget_that_is_too_small_for_one_unit_is_refused_with_the_least() -> None:
    assert _refused(_text("lstm", budget=9), BudgetError).endswith(
        "the smallest model has 64 (hidden_size 1). What would fit: a budget of 64"
    ), "and nothing of removing the only row"
    _spaces(_text("lstm", budget=64))


def test_a_budget_that_one_structure_cannot_meet_is_refused_with_that_structure() -> None:
    text = _text("gru", budget=102, model="{num_layers: [1, 2]}")
    message = _refused(text, BudgetError)
    assert "(hidden_size 2) with num_layers=2. What would fit: `num_layers: 1` for this row" in (
        message
    )
    _spaces(_text("gru", budget=102))


class BackboneCell(ProbeCell):
    """A cell whose backbone has many parameters before the first unit."""

    structure = {
        "units": IntRange(4, 64, default=16),
        "layers": IntRange(1, 3, default=1),
        "mode": Choice(("plain", "gated", "wide"), default="plain"),
        "scale": FloatRange(0.5, 2.0, default=1.0),
    }
    hyperparameters = {}

    @classmethod
    def parameter_count(  # type: ignore[override]
        cls,
        input_size: int,
        hidden_size: int,
        units: int = 16,
        layers: int = 1,
        mode: str = "plain",
        scale: float = 1.0,
    ) -> int:
        within = (input_size + hidden_size + 1) * units + (layers - 1) * (units + 1) * units
        gates = {"plain": 1, "gated": 2, "wide": 40}[mode]
        return within + gates * (units + 1) * hidden_size + int(scale * 40) * hidden_size


@pytest.mark.parametrize(
    ("budget", "settings"),
    [
        ("700, tolerance: 3%", "{}"),
        ("700, tolerance: 3%", "{mode: gated}"),
        ("900, tolerance: 2%", "{scale: 1.0, layers: [1, 3]}"),
        ("1200, tolerance: 1%", "{units: {low: 16, high: 64, log: true}}"),
    ],
)
def test_every_remedy_for_a_budget_of_many_structures_works(
    budget: str, settings: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules[__name__], "ProbeCell", BackboneCell)
    row = f"{{name: probe, options: {settings}}}"
    message = _refused(_text(row, "elman", budget=budget), BudgetError)
    _, _, advice = message.partition("What would fit: ")
    offered = re.fullmatch(
        r"`options: (?P<options>\{.*\})` for this row(, or a budget of (?P<budget>\d+))?"
        r"(, or a tolerance of (?P<tolerance>[\d.]+%))?, or remove `probe` from `architectures`",
        advice,
    )
    assert offered is not None, advice
    narrowed = {**yaml.safe_load(settings), **yaml.safe_load(offered["options"])}
    (space, _) = _spaces(
        _text(json.dumps({"name": "probe", "options": narrowed}), "elman", budget=budget)
    )
    assert set(space.changing), "it leaves something to search"
    if offered["budget"]:
        tolerance = budget.partition(", ")[2]
        _spaces(_text(row, budget=f"{offered['budget']}, {tolerance}"))
    if offered["tolerance"]:
        _spaces(_text(row, budget=f"{budget.partition(',')[0]}, tolerance: {offered['tolerance']}"))


# A width fixed by the study


def test_a_fixed_width_within_the_tolerance_is_kept() -> None:
    solution = _space("{name: lstm, hidden_size: 20}", budget=2600).solve({})
    parameters = 4 * 20 * (8 + 20 + 2) + 21 * 10
    assert (solution.spec.hidden_size, solution.parameters) == (20, parameters)
    assert solution.residual == parameters / 2600 - 1


def test_a_fixed_width_outside_the_tolerance_is_refused_with_the_choices_there_are() -> None:
    assert _refused(_text("{name: lstm, hidden_size: 10}"), BudgetError) == (
        "my.yaml:5: architectures[0]: architecture `lstm` has 910 parameters at hidden_size 10, "
        "-71.6% off the budget of 3200 (tolerance 2%). What would fit: no `hidden_size`, so that "
        "it is solved, `matched: false` to show it unmatched, or a tolerance of 71.6%"
    )


def test_a_fixed_width_that_is_not_matched_is_taken_as_it_is() -> None:
    space = _space("{name: lstm, hidden_size: 10, matched: false}")
    solution = space.solve(space.default_values())
    assert solution.parameters == 910
    assert solution.residual == 910 / 3200 - 1
    assert not space.matched


def test_a_fixed_width_takes_the_hidden_width_of_its_head_along() -> None:
    space = _space("{name: lstm, hidden_size: 15, head: prelu, matched: false}")
    assert space.solve({}).spec.head_hidden_size == 10


# Options


def test_an_option_that_the_architecture_does_not_have_is_refused_with_the_nearest() -> None:
    text = _text("lstm", "{name: sm_rnn, options: {clmp: soft}}")
    assert _refused(text, StudyFileError) == (
        "my.yaml:6: architectures[1].options.clmp: architecture `sm_rnn` has no such option. Did "
        "you mean `clamp`? Known: mlp_ratio, mlp_size, slopes, clamp."
    )


def test_an_option_of_an_architecture_without_any_is_refused() -> None:
    assert _refused(_text("{name: lstm, options: {gates: 3}}"), StudyFileError) == (
        "my.yaml:5: architectures[0].options.gates: architecture `lstm` has no such option. "
        "Known: none."
    )


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("{clamp: firm}", "clamp: expected one of soft, hard, got 'firm'"),
        ("{clamp: [soft, firm]}", "clamp: expected one of soft, hard, got 'firm'"),
        ("{clamp: 1}", "clamp: expected one of soft, hard, got 1"),
        ("{mlp_ratio: 3}", "mlp_ratio: expected 0.5 to 2, got 3"),
        ("{mlp_ratio: {low: 0.1, high: 1}}", "mlp_ratio: expected 0.5 to 2, got 0.1"),
        ("{mlp_ratio: wide}", "mlp_ratio: expected a number, got 'wide'"),
        ("{mlp_size: 2.5}", "mlp_size: expected an integer, got 2.5"),
        ("{mlp_size: {low: 1.5, high: 9}}", "mlp_size: expected an integer, got 1.5"),
        ("{mlp_size: -1}", "mlp_size: expected 0 to 4096, got -1"),
    ],
)
def test_an_option_out_of_its_range_is_refused(value: str, problem: str) -> None:
    message = _refused(_text(f"{{name: sm_rnn, options: {value}}}"), StudyFileError)
    assert message == f"my.yaml:5: architectures[0].options.{problem}"


def test_a_range_for_a_choice_is_refused_because_what_lies_between_is_no_option() -> None:
    text = _text("{name: probe, options: {slots: {low: 8, high: 32}}}")
    assert _refused(text, StudyFileError) == (
        "my.yaml:5: architectures[0].options.slots: expected one or a list of 8, 16, 32, "
        "not a range"
    )


def test_whole_bounds_of_a_real_option_do_not_make_it_whole() -> None:
    space = _space("{name: probe, options: {wide: {low: 1, high: 2}}}")
    assert space.free["options.wide"] == FloatRange(1, 2, default=1)
    assert isinstance(space.free["options.wide"], FloatRange)


def test_what_is_declared_as_searched_is_free_and_the_rest_takes_its_default() -> None:
    space = _space("probe")
    assert {name for name in space.free if name.startswith("options.")} == {
        *("options.extra", "options.wide", "options.slots", "options.gain")
    }
    assert space.fixed["options.kind"] == "b"


def test_without_a_search_everything_takes_its_default() -> None:
    text = _text("probe", search="{trials: 0}", training="{epochs: 1, learning_rate: 1e-3}")
    (space,) = _spaces(text)
    assert space.free == {}
    fixed = {name: value for name, value in space.fixed.items() if name.startswith("options.")}
    assert fixed == {
        "options.extra": 0,
        "options.wide": 1.0,
        "options.slots": 8,
        "options.gain": 1.0,
        "options.kind": "b",
    }


def test_an_option_that_the_study_fixes_is_not_searched() -> None:
    space = _space("{name: probe, options: {gain: 2.5, kind: [a, b]}}")
    assert space.fixed["options.gain"] == 2.5
    assert space.free["options.kind"] == Choice(("a", "b"), default="a")


def test_settings_of_an_architecture_go_before_those_of_the_study() -> None:
    own = "{name: gru, num_layers: 2, training: {epochs: 9, batch_size: 8, learning_rate: 0.5}}"
    first, second = _spaces(
        _text(own, "lstm", training="{epochs: 4, batch_size: 32, optimizer: sgd}")
    )
    assert (first.fixed["num_layers"], second.fixed["num_layers"]) == (2, 1)
    assert (first.fixed["batch_size"], second.fixed["batch_size"]) == (8, 32)
    assert (first.fixed["optimizer"], second.fixed["optimizer"]) == ("sgd", "sgd")
    assert (first.epochs, second.epochs) == (9, 4)
    assert (set(first.free), set(second.free)) == (set(), {"learning_rate"})


def test_default_values_are_the_middle_of_what_is_free() -> None:
    space = _space(
        "probe",
        training="{epochs: 1, learning_rate: {low: 1e-4, high: 1e-2, log: true}, "
        "batch_size: {low: 8, high: 32}, weight_decay: [0.5, 0.1]}",
    )
    values = space.default_values()
    assert values["learning_rate"] == pytest.approx(1e-3)
    assert values["batch_size"] == 20
    assert isinstance(values["batch_size"], int)
    assert values["weight_decay"] == 0.5
    assert values["options.gain"] == pytest.approx(1.0)
    assert set(values) == set(space.free)


# Refusals of whole rows


@pytest.mark.parametrize("name", ALL_STEPS)
def test_an_architecture_that_cannot_take_the_task_is_refused_with_its_line(name: str) -> None:
    assert _refused(_text("lstm", name, task="temporal_mnist"), CapabilityError) == (
        f"my.yaml:6: architectures[1]: architecture `{name}` cannot take task `temporal_mnist`: it "
        "reads all steps at once, so every sequence must have the same length"
    )


@pytest.mark.parametrize("name", ALL_STEPS)
def test_what_reads_all_steps_cannot_answer_at_every_step(name: str) -> None:
    task = Anything()
    task.own_shape = SequenceShape(3, 2, 5, "every_step")
    message = _refused(_text(name), CapabilityError, task)
    assert "cannot give an output at every step" in message


def test_an_unknown_architecture_is_refused_with_the_nearest() -> None:
    message = _refused(_text("gru", "lstn"), PluginError)
    assert message.startswith(
        "my.yaml:6: architectures[1]: unknown architecture `lstn`. Did you mean `lstm`? Installed: "
    )


def test_an_unknown_task_is_refused_with_the_nearest() -> None:
    message = _refused(_text("gru", task="digit"), PluginError)
    assert message.startswith(
        "my.yaml:3: task: unknown task `digit`. Did you mean `digits`? Installed: "
    )


def test_a_name_of_several_lines_is_refused_on_one() -> None:
    message = _refused(_text("gru", task='"di\\ngits"'), PluginError)
    assert message.startswith("my.yaml:3: task: unknown task `di\\ngits`. Did you mean")


@pytest.mark.parametrize(
    ("setting", "name"),
    [
        ("num_layers: 2", "num_layers"),
        ("bidirectional: false", "bidirectional"),
        ("learned_initial_state: true", "learned_initial_state"),
        ("head: mlp", "head"),
    ],
)
def test_what_surrounds_a_cell_is_refused_where_there_is_none(setting: str, name: str) -> None:
    assert _refused(_text(f"{{name: ff_nn, {setting}}}"), StudyFileError) == (
        f"my.yaml:5: architectures[0].{name}: architecture `ff_nn` is no step cell: `{name}` does "
        "not apply"
    )


@pytest.mark.parametrize(
    ("setting", "name"),
    [
        ("num_layers: 2", "num_layers"),
        ("num_layers: [1, 2]", "num_layers"),
        ("bidirectional: true", "bidirectional"),
        ("learned_initial_state: true", "learned_initial_state"),
        ("wrappers: [slow_layers]", "wrappers"),
    ],
)
def test_what_surrounds_every_cell_is_refused_where_a_row_has_none(setting: str, name: str) -> None:
    text = _text("ff_nn", "gru", model=f"{{{setting}}}")
    assert _refused(text, StudyFileError) == (
        f"my.yaml:9: model.{name}: `ff_nn` (architectures[0]) is no step cell, so `{name}` would "
        f"have no effect on it. Give `{name}` to each step cell in `architectures` instead"
    )


def test_defaults_and_the_head_of_a_study_leave_its_models_without_cells_alone() -> None:
    ff_nn, gru = _spaces(_text("ff_nn", "{name: gru, num_layers: 2}", model="{head: mlp}"))
    assert ff_nn.solve({}).spec.num_layers == 1
    assert (ff_nn.solve({}).spec.head, gru.solve({}).spec.head) == ("", "mlp")
    assert gru.solve({}).spec.num_layers == 2
    _spaces(_text("ff_nn", model="{num_layers: 1, bidirectional: false, wrappers: []}"))


def test_what_is_solved_in_closed_form_has_no_rate_to_search() -> None:
    esn, lstm = _spaces(
        _text("esn", "lstm", budget=1000, training="{epochs: 3, batch_size: [8, 16]}")
    )
    assert not {"learning_rate", "batch_size"} & set(esn.free)
    assert {"learning_rate", "batch_size"} <= set(lstm.free)
    assert "options.ridge" in esn.free


@pytest.mark.parametrize(
    "setting", ["learning_rate: 0.1", "optimizer: sgd", "batch_size: 8", "epochs: 9"]
)
def test_training_of_its_own_is_refused_for_what_is_solved_in_closed_form(setting: str) -> None:
    name = setting.partition(":")[0]
    text = _text(f"{{name: esn, training: {{{setting}}}}}", budget=1000)
    assert _refused(text, StudyFileError) == (
        f"my.yaml:5: architectures[0].training.{name}: architecture `esn` is solved in closed "
        f"form, so `{name}` would have no effect; remove it"
    )


# Wrappers that would change nothing


@pytest.mark.parametrize(
    ("row", "reason", "remedy"),
    [
        ("residual], num_layers: 1", "are not equally wide", "num_layers: 2"),
        ("residual], bidirectional: true, num_layers: 2", "equally wide", "bidirectional: false"),
        ("residual], bidirectional: true", "wide", "num_layers: 2`, `bidirectional: false"),
        ("slow_layers]", "the first layer of a stack steps always", "num_layers: 2"),
        ("{name: slow_layers, options: {period: 4}}]", "the first layer of", "num_layers: 2"),
    ],
)
def test_a_wrapper_that_would_change_nothing_is_refused_with_what_helps(
    row: str, reason: str, remedy: str
) -> None:
    text = _text(f"{{name: lstm, label: w, wrappers: [{row}}}")
    message = _refused(text, StudyFileError)
    assert message.startswith("my.yaml:5: architectures[0].wrappers[0]: wrapper `")
    assert "would change nothing around `w` with num_layers=" in message
    assert reason in message
    ending = f" With `{remedy}` it would change something; or remove the wrapper"
    assert message.endswith(ending)
    settings = {"num_layers": 2, **yaml.safe_load(f"{{{remedy.replace('`', '')}}}")}
    text = ", ".join(f"{n}: {str(v).lower()}" for n, v in settings.items())
    _spaces(_text(f"{{name: lstm, wrappers: [{row.partition(']')[0]}], {text}}}"))


def test_a_wrapper_of_the_whole_study_is_refused_where_it_stands() -> None:
    text = _text("gru", model="{num_layers: [1, 2], wrappers: [residual]}")
    message = _refused(text, StudyFileError)
    assert message.startswith("my.yaml:8: model.wrappers[0]: wrapper `residual`")
    assert "with num_layers=1" in message


def test_a_wrapper_that_changes_something_in_one_layer_is_taken() -> None:
    two, narrow = _spaces(
        _text(
            "{name: lstm, num_layers: 2, wrappers: [residual, slow_layers]}",
            # As wide as the task's inputs, so one layer is enough.
            "{name: lstm, label: as-wide, hidden_size: 8, matched: false, wrappers: [residual]}",
        )
    )
    assert [name for name, _ in two.wrappers] == ["residual", "slow_layers"]
    assert narrow.hidden_size == 8


def test_the_last_layer_gets_no_width_of_its_own_at_which_a_residual_connection_is_lost() -> None:
    """Two layers of different widths would leave nothing to add."""
    at = {"budget": "2450, tolerance: 0.5%", "model": "{num_layers: 2}"}
    bare = _space("lstm", **at).solve({})
    assert bare.closed_by == "last_hidden_size"
    wrapped = _space("{name: lstm, wrappers: [residual]}", **at).solve({})
    assert wrapped.closed_by == "head_hidden_size"
    assert len(set(wrapped.spec.widths)) == 1


# Widths that are multiples


class HeadsCell(ProbeCell):
    """A probe cell whose attention heads share its units."""

    structure = {"heads": Choice((4, 6), default=4)}
    hyperparameters = {}

    def __init__(self, input_size: int, hidden_size: int, heads: int = 4) -> None:
        if hidden_size % heads:
            raise ValueError(f"{hidden_size} units for {heads} heads")
        super().__init__(input_size, hidden_size)

    @classmethod
    def width_multiple(cls, heads: Value = 4, **structure: Value) -> int:
        return int(heads)


@pytest.fixture
def heads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "ProbeCell", HeadsCell)


@pytest.mark.usefixtures("heads")
@pytest.mark.parametrize("layers", [1, 2, 3])
def test_every_solved_width_is_a_multiple_of_what_a_cell_declares(layers: int) -> None:
    (space,) = _spaces(
        _text("probe", budget="3000, tolerance: 2%", model=f"{{num_layers: {layers}}}")
    )
    found = {}
    for values in space.structures():
        solution = space.solve(values)
        found[values["options.heads"]] = solution
        assert not [w for w in solution.spec.widths if w % int(values["options.heads"])]
        assert abs(solution.residual) <= 0.02
        with torch.device("meta"):
            built = trained_scalars(build_model(HeadsCell, solution.spec))
        assert solution.parameters == built
    assert set(found) == {4, 6}


@pytest.mark.usefixtures("heads")
def test_a_fixed_width_that_is_no_multiple_is_refused_with_the_nearest() -> None:
    row = "{name: probe, hidden_size: 30, matched: false}"
    assert _refused(_text(row), StudyFileError) == (
        "my.yaml:5: architectures[0].hidden_size: the widths of `probe` with heads=4 are multiples "
        "of 4: expected 28 or 32, found 30"
    )
    _spaces(_text("{name: probe, hidden_size: 30, matched: false, options: {heads: 6}}"))


def test_something_free_without_a_search_is_refused() -> None:
    assert _refused(_text("lstm", search="{trials: 0}"), StudyFileError) == (
        "my.yaml:8: search.trials: `learning_rate` is to be searched, but `search.trials` is 0. "
        "Fix its value, or give the search some trials"
    )


@pytest.mark.parametrize(
    ("head", "problem"),
    [
        ("{name: linear, hidden_size: 3}", "hidden_size: head `linear` has no hidden layer"),
        (
            "{name: prelu, options: {slope: shared}}",
            "options.slope: head `prelu` has no such option. Did you mean `slopes`? Known: slopes.",
        ),
        (
            "{name: mlp, options: {slopes: shared}}",
            "options.slopes: head `mlp` has no such option. Known: none.",
        ),
        (
            "{name: linear, options: {output: tanh}}",
            "options.output: expected one of identity, sigmoid, got 'tanh'",
        ),
    ],
)
@pytest.mark.parametrize("where", ["model", "architecture"])
def test_a_head_that_cannot_be_is_refused(head: str, problem: str, where: str) -> None:
    if where == "model":
        message = _refused(_text("lstm", model=f"{{head: {head}}}"), StudyFileError)
        assert message == f"my.yaml:8: model.head.{problem}"
    else:
        message = _refused(_text(f"{{name: lstm, head: {head}}}"), StudyFileError)
        assert message == f"my.yaml:5: architectures[0].head.{problem}"


def test_a_head_that_the_study_names_is_not_replaced() -> None:
    space = _space("lstm", budget="3200, tolerance: 0.1%", model="{head: prelu}")
    assert space.solve({}).spec.head == "prelu"
    message = _refused(
        _text("lstm", budget="3200, tolerance: 0.1%", model="{head: linear}"), BudgetError
    )
    assert "cannot meet 3200 parameters" in message


# Trials


def test_a_trial_is_what_was_fixed_sampled_and_solved() -> None:
    text = _text(
        "{name: sm_rnn, label: ours, options: {clamp: hard}}",
        seed=5,
        search="{trials: 3, epochs: 2}",
        training="{epochs: 4, batch_size: 8, gradient_clip: 0.5, optimizer: rmsprop}",
    )
    (space,) = _spaces(text)
    config = check_config(parse_study(text, "my.yaml"))
    values: Mapping[str, Value] = {"learning_rate": 0.25, "options.mlp_ratio": 1.5}
    spec = space.trial(config, values, phase="search", number=3)
    assert (spec.label, spec.task, spec.metric, spec.rank) == ("ours", "digits", "accuracy", 0)
    assert spec.model.architecture == "sm_rnn"
    assert spec.model.options == {
        **{"mlp_ratio": 1.5, "clamp": "hard", "mlp_size": 0, "slopes": "per_unit"}
    }
    training = spec.training
    assert (training.epochs, training.batch_size, training.learning_rate) == (2, 8, 0.25)
    assert (training.optimizer, training.gradient_clip) == ("rmsprop", 0.5)
    assert training.train_on == "train"
    assert spec.parameters == space.solve(values).parameters
    assert spec.seed == derive_seed(5, "search", 3)


@pytest.mark.parametrize(
    ("search", "confirmation", "epochs"),
    [
        ("{trials: 1}", "{seeds: 1}", (4, 4)),
        ("{trials: 1, epochs: 2}", "{seeds: 1, epochs: 9}", (2, 9)),
    ],
    ids=["as in training", "their own"],
)
def test_search_and_confirmation_may_have_epochs_of_their_own(
    search: str, confirmation: str, epochs: tuple[int, int]
) -> None:
    text = _text("lstm", search=search, confirmation=confirmation)
    (space,) = _spaces(text)
    config = check_config(parse_study(text, "my.yaml"))
    values = space.default_values()
    searched = space.trial(config, values, phase="search", number=0)
    confirmed = space.trial(config, values, phase="confirmation", number=0, rank=1)
    assert (searched.training.epochs, confirmed.training.epochs) == epochs
    assert confirmed.rank == 1


def test_only_a_confirmation_may_train_on_validation() -> None:
    text = _text("lstm", confirmation="{train_on: train+validation}")
    (space,) = _spaces(text)
    config = check_config(parse_study(text, "my.yaml"))
    values = space.default_values()
    searched = space.trial(config, values, phase="search", number=0)
    confirmed = space.trial(config, values, phase="confirmation", number=0)
    assert searched.training.train_on == "train"
    assert confirmed.training.train_on == "train+validation"


@pytest.mark.parametrize("name", OURS)
def test_a_trial_survives_json(name: str) -> None:
    head = "" if name == "ff_nn" else ", head: {name: prelu, options: {slopes: shared}}"
    text = _text(
        f"{{name: {name}, label: a+b{head}}}", task="{name: spatial_mnist, options: {pixels: grey}}"
    )
    (space,) = _spaces(text)
    config = check_config(parse_study(text, "my.yaml"))
    values = _drawn(space, random.Random(1))
    spec = space.trial(config, values, phase="confirmation", number=2, rank=1)
    line = spec.to_json()
    assert "\n" not in line
    again = TrialSpec.from_json(line)
    assert again == spec
    assert again.to_json() == line
    assert again.training.learning_rate == values["learning_rate"]


def test_a_trial_of_sequences_of_any_length_survives_json() -> None:
    text = _text("lstm", task="temporal_mnist")
    (space,) = _spaces(text)
    config = check_config(parse_study(text, "my.yaml"))
    spec = space.trial(config, space.default_values(), phase="search", number=0)
    assert spec.model.shape.length is None
    assert TrialSpec.from_json(spec.to_json()) == spec


# Seeds


def test_every_architecture_gets_the_same_seeds() -> None:
    text = _text(*OURS, task="spatial_mnist", seed=11)
    config = check_config(parse_study(text, "my.yaml"))
    spaces = _spaces(text)
    for phase in ("search", "confirmation"):
        for number in range(3):
            seeds = {
                space.trial(config, space.default_values(), phase=phase, number=number).seed  # type: ignore[arg-type]
                for space in spaces
            }
            assert len(seeds) == 1


def test_no_seed_of_a_search_is_one_of_its_confirmation() -> None:
    for study_seed in range(20):
        searched = {derive_seed(study_seed, "search", number) for number in range(20_000)}
        confirmed = {derive_seed(study_seed, "confirmation", number) for number in range(20_000)}
        assert not searched & confirmed


def test_a_seed_depends_on_the_study_and_on_the_number() -> None:
    seeds = [
        derive_seed(study_seed, phase, number)
        for study_seed in range(5)
        for phase in ("search", "confirmation")
        for number in range(50)
    ]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**31 for seed in seeds)


# Studies that come with the library


@pytest.mark.parametrize(
    "path", sorted((Path(__file__).parents[2] / "studies").glob("*.yaml")), ids=lambda p: p.stem
)
def test_every_row_of_a_study_in_the_repository_can_be_built(path: Path) -> None:
    text = path.read_text("utf-8")
    spaces = _spaces(text)
    assert len(spaces) == len(yaml.safe_load(text)["architectures"])
    for space in spaces:
        solution = space.solve(space.default_values())
        assert not space.matched or abs(solution.residual) <= space.budget.tolerance


@pytest.mark.parametrize("given", ["{model: {head: big}}", "{model: {wrappers: [big]}}"])
def test_an_unknown_head_or_wrapper_is_refused_where_it_stands(given: str) -> None:
    kind = "head" if "head" in given else "wrapper"
    message = _refused(_text("lstm", model=given[8:-1]), PluginError)
    assert message.startswith(f"my.yaml:8: model.{kind}")
    assert f"unknown {kind} `big`" in message


class NextSymbol(Anything):
    needs_causal = True
    own_shape = SequenceShape(3, 2, 5, "every_step")


def test_a_task_whose_answers_come_later_refuses_a_net_that_reads_backwards() -> None:
    message = _refused(_text("{name: lstm, bidirectional: true}"), CapabilityError, NextSymbol())
    assert message.startswith("my.yaml:5: architectures[0]: architecture `lstm` cannot take task")
    assert "depend on later inputs" in message
    assert _spaces(_text("lstm"), NextSymbol())


@pytest.mark.parametrize("kind", ["tree", "grid", "nonsense"])
def test_no_word_names_data_that_no_task_can_hand_over(kind: str) -> None:
    with pytest.raises(ValueError, match="data: expected some of sequence, got"):
        Capabilities(data=frozenset({"sequence", kind}))
    task = Anything()
    task.data = kind  # type: ignore[misc]
    with pytest.raises(CapabilityError, match=f"reads sequence data, and the task's are {kind}"):
        _spaces(_text("lstm"), task)
