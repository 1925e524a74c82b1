"""The solver finds the nearest width, closes the remaining gap, or says what would fit."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from rnnsearch import Budget, ModelSpec, RecurrentCell, SequenceShape, solve
from rnnsearch.budget.budget import count
from rnnsearch.budget.model import build_model
from rnnsearch.errors import BudgetError
from rnnsearch.testing.probes import trained_scalars
from rnnsearch_baselines.elman import ElmanCell
from rnnsearch_baselines.ff_nn import FFNN
from rnnsearch_gated.lstm import LSTMCell
from rnnsearch_nested.mcrm import MCRMCell

CELLS: dict[str, type[RecurrentCell]] = {"elman": ElmanCell, "lstm": LSTMCell, "mcrm": MCRMCell}
ROWS = SequenceShape(input_size=28, output_size=10, length=28, readout="last_step")
LOOSE, TIGHT = 1e9, 0.0

quick = settings(max_examples=60, deadline=None, database=None, derandomize=True)
names = st.sampled_from(sorted(CELLS))
rules = st.sampled_from(["trainable", "one_bias"])
shapes = st.builds(
    SequenceShape,
    input_size=st.integers(1, 64),
    output_size=st.integers(1, 16),
    length=st.just(28),
    readout=st.just("last_step"),
)


# The nearest width


@quick
@given(
    name=names,
    shape=shapes,
    parameters=st.integers(100, 10**7),
    rule=rules,
    num_layers=st.integers(1, 3),
    bidirectional=st.booleans(),
    head=st.sampled_from(["linear", "mlp", "prelu"]),
)
def test_no_other_width_comes_nearer_to_the_budget(
    name: str,
    shape: SequenceShape,
    parameters: int,
    rule: Any,
    num_layers: int,
    bidirectional: bool,
    head: str,
) -> None:
    wanted = ModelSpec(
        name, shape, 0, num_layers=num_layers, bidirectional=bidirectional, head=head
    )
    solved = solve(CELLS[name], wanted, Budget(parameters, LOOSE, rule))
    assert solved.closed_by == ""
    assert solved.parameters == count(CELLS[name], solved.spec, rule)
    assert solved.residual == solved.parameters / parameters - 1

    width = solved.spec.hidden_size
    for other in {max(1, width - 1), width + 1}:
        # The full count at the other width, with the head that the solver would choose for it.
        at_other = replace(solved.spec, hidden_size=other)
        if head != "linear":
            ratio = {"mlp": 1, "prelu": 2 / 3}[head]
            at_other = replace(at_other, head_hidden_size=max(1, int(ratio * other + 0.5)))
        gap = abs(count(CELLS[name], at_other, rule) - parameters)
        assert abs(solved.parameters - parameters) <= gap


@pytest.mark.parametrize(
    ("name", "shape", "parameters", "width"),
    [
        # The widths of Table 2 of the MCRM paper, each from the size printed there.
        ("elman", SequenceShape(2, 1, 200, "last_step"), 96_405, 308),
        ("lstm", SequenceShape(2, 1, 200, "last_step"), 96_238, 153),
        ("mcrm", SequenceShape(2, 1, 200, "last_step"), 95_541, 85),
        ("mcrm", SequenceShape(1, 10, 784, "last_step"), 154_234, 108),
        ("lstm", SequenceShape(1, 10, 1020, "every_step"), 3_259_810, 900),
    ],
)
def test_the_size_of_a_published_model_gives_back_its_width(
    name: str, shape: SequenceShape, parameters: int, width: int
) -> None:
    solved = solve(CELLS[name], ModelSpec(name, shape, 0), Budget(parameters, TIGHT))
    assert (solved.spec.hidden_size, solved.residual, solved.closed_by) == (width, 0.0, "")


def test_one_bias_rule_leaves_room_for_a_wider_lstm() -> None:
    spec = ModelSpec("lstm", ROWS, 0)
    # 4p(m + p + 1) + 10(p + 1) at p = 20, and the same with a second bias.
    papers, torchs = 4 * 20 * 49 + 210, 4 * 20 * 50 + 210
    assert solve(LSTMCell, spec, Budget(papers, TIGHT, "one_bias")).spec.hidden_size == 20
    assert solve(LSTMCell, spec, Budget(torchs, TIGHT, "trainable")).spec.hidden_size == 20
    with pytest.raises(BudgetError):
        solve(LSTMCell, spec, Budget(papers, TIGHT, "trainable"), may_add_head=False)


@pytest.mark.parametrize("rule", ["trainable", "one_bias"])
def test_parameters_reported_are_those_of_the_model_built(rule: Any) -> None:
    solved = solve(LSTMCell, ModelSpec("lstm", ROWS, 0), Budget(3000, 0.02, rule))
    built = trained_scalars(build_model(LSTMCell, solved.spec))
    redundant = 4 * solved.spec.hidden_size if rule == "one_bias" else 0
    assert solved.parameters == built - redundant


def test_given_head_hidden_size_and_options_are_kept() -> None:
    wanted = ModelSpec(
        "mcrm", ROWS, 0, head="mlp", head_hidden_size=7, options={"convention": "torch"}
    )
    solved = solve(MCRMCell, wanted, Budget(50_000))
    assert solved.spec == replace(wanted, hidden_size=solved.spec.hidden_size)


# Closing the gap


@quick
@given(
    name=names,
    shape=shapes,
    parameters=st.integers(100, 30_000),
    tolerance=st.sampled_from([0.0, 0.005, 0.02]),
    rule=rules,
    num_layers=st.integers(1, 3),
    head=st.sampled_from(["linear", "mlp", "prelu"]),
)
def test_a_solution_lies_within_the_tolerance_and_names_what_closed_it(
    name: str,
    shape: SequenceShape,
    parameters: int,
    tolerance: float,
    rule: Any,
    num_layers: int,
    head: str,
) -> None:
    wanted = ModelSpec(name, shape, 0, num_layers=num_layers, head=head)
    try:
        solved = solve(CELLS[name], wanted, Budget(parameters, tolerance, rule))
    except BudgetError as error:
        solved, nearest = None, error.nearest
    if solved is None:
        assert all(abs(n / parameters - 1) > tolerance for n in nearest)
        return
    assert abs(solved.residual) <= tolerance
    assert solved.parameters == count(CELLS[name], solved.spec, rule)
    changed = solved.spec.last_hidden_size > 0
    assert changed == (solved.closed_by == "last_hidden_size")
    if solved.closed_by == "":
        assert solved.spec.head == head
    if solved.closed_by == "head_hidden_size":
        assert solved.spec.head == ("mlp" if head == "linear" else head)
        assert solved.spec.head_hidden_size >= shape.output_size
    assert solved.closed_by in ("", "last_hidden_size", "head_hidden_size")


def test_a_linear_head_grows_a_hidden_layer_where_whole_widths_are_too_coarse() -> None:
    spec = ModelSpec("mcrm", ROWS, 0)
    solved = solve(MCRMCell, spec, Budget(1200))
    assert (solved.closed_by, solved.spec.head) == ("head_hidden_size", "mlp")
    assert abs(solved.residual) <= 0.02


def test_a_linear_head_stays_where_the_study_forbids_another() -> None:
    with pytest.raises(BudgetError):
        solve(MCRMCell, ModelSpec("mcrm", ROWS, 0), Budget(1200), may_add_head=False)


def test_a_linear_head_with_options_stays() -> None:
    wanted = ModelSpec("mcrm", ROWS, 0, head_options={"output": "sigmoid"})
    with pytest.raises(BudgetError):
        solve(MCRMCell, wanted, Budget(1200))


def test_the_last_layer_closes_the_gap_of_a_stack_before_the_head_does() -> None:
    wanted = ModelSpec("lstm", ROWS, 0, num_layers=2, head="mlp")
    solved = solve(LSTMCell, wanted, Budget(3000, 0.01))
    assert solved.closed_by == "last_hidden_size"
    assert solved.spec.widths == [solved.spec.hidden_size, solved.spec.last_hidden_size]


def test_a_given_last_hidden_size_is_not_touched() -> None:
    wanted = ModelSpec("lstm", ROWS, 0, num_layers=2, last_hidden_size=4)
    solved = solve(LSTMCell, wanted, Budget(3010, 0.01))
    assert solved.spec.last_hidden_size == 4
    assert solved.closed_by != "last_hidden_size"


def test_a_sequence_model_closes_the_gap_by_the_size_it_names() -> None:
    solved = solve(FFNN, ModelSpec("ff_nn", ROWS, 0, head=""), Budget(3450))
    assert solved.closed_by == FFNN.fine_size == "second_size"
    assert abs(solved.residual) <= 0.02
    built = build_model(FFNN, solved.spec)
    assert trained_scalars(built) == solved.parameters


def test_a_sequence_model_whose_fine_size_is_given_keeps_it() -> None:
    wanted = ModelSpec("ff_nn", ROWS, 0, head="", options={"second_size": 3})
    with pytest.raises(BudgetError):
        solve(FFNN, wanted, Budget(1200))


# Refusals


def test_refusal_says_what_was_asked_what_there_is_and_what_would_fit() -> None:
    message = re.escape(
        "architecture `mcrm` cannot meet 1200 parameters within 2%: the nearest models have 995 "
        "(hidden_size 5), 1270 (hidden_size 6). What would fit: a budget of 995 or 1270, or a "
        "tolerance of 5.9%"
    )
    with pytest.raises(BudgetError, match=f"^{message}$") as caught:
        solve(MCRMCell, ModelSpec("mcrm", ROWS, 0), Budget(1200), may_add_head=False)
    error = caught.value
    assert (error.architecture, error.budget, error.tolerance) == ("mcrm", 1200, 0.02)
    assert error.nearest == (995, 1270)
    assert error.exit_code == 5


def test_budget_below_the_smallest_model_names_the_cell_and_the_minimum() -> None:
    message = re.escape(
        "architecture `lstm` cannot meet 100 parameters within 2%: the smallest model has 144 "
        "(hidden_size 1). What would fit: a budget of 144"
    )
    with pytest.raises(BudgetError, match=f"^{message}$") as caught:
        solve(LSTMCell, ModelSpec("lstm", ROWS, 0), Budget(100))
    assert caught.value.nearest == (144,)


@quick
@given(name=names, shape=shapes, parameters=st.integers(20, 3000), rule=rules)
def test_what_a_refusal_advises_does_fit(
    name: str, shape: SequenceShape, parameters: int, rule: Any
) -> None:
    wanted = ModelSpec(name, shape, 0)
    budget = Budget(parameters, 0.001, rule)
    try:
        solve(CELLS[name], wanted, budget, may_add_head=False)
    except BudgetError as error:
        advised = re.search(r"a tolerance of ([\d.]+)%", str(error))
        if advised:
            tolerance = float(advised[1]) / 100
            solve(CELLS[name], wanted, replace(budget, tolerance=tolerance), may_add_head=False)
        for parameters in error.nearest:
            solved = solve(
                CELLS[name], wanted, replace(budget, parameters=parameters), may_add_head=False
            )
            assert solved.residual == 0


# Cost


class NoTensors(TorchDispatchMode):
    """Forbids every operation on tensors, allocation included."""

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        msg = f"{func} was called"
        raise AssertionError(msg)


def test_solving_touches_no_tensor() -> None:
    with NoTensors():
        solve(MCRMCell, ModelSpec("mcrm", ROWS, 0), Budget(1200))
        solve(LSTMCell, ModelSpec("lstm", ROWS, 0, num_layers=2), Budget(10**9))
        with pytest.raises(AssertionError, match="was called"):
            torch.zeros(1)


def test_a_budget_of_a_billion_takes_a_few_counts() -> None:
    calls = 0

    class Counting(LSTMCell):
        @classmethod
        def parameter_count(cls, input_size: int, hidden_size: int, **structure: Any) -> int:
            nonlocal calls
            calls += 1
            return super().parameter_count(input_size, hidden_size, **structure)

    solve(Counting, ModelSpec("lstm", ROWS, 0), Budget(10**9))
    assert calls < 60
