"""The second-order network against its sum, automata that it can hold, and those it learns."""

from __future__ import annotations

import itertools
import math
import re

import pytest
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy, one_hot

from rnnsearch import RecurrentCell
from rnnsearch.testing import CellConformance, run_eagerly
from rnnsearch_classic.second_order import SecondOrderCell


class TestSecondOrderCell(CellConformance):
    @pytest.fixture
    def cell_class(self) -> type[RecurrentCell]:
        return SecondOrderCell


def seeded_cell(input_size: int, hidden_size: int) -> SecondOrderCell:
    torch.manual_seed(0)
    return SecondOrderCell(input_size, hidden_size).double()


def test_a_step_is_the_sum_over_units_and_inputs_written_out() -> None:
    cell = seeded_cell(3, 4)
    weight, bias = cell.weight.tolist(), cell.bias.tolist()
    inputs = torch.randn(1, 3, dtype=torch.float64)
    units = torch.rand(1, 4, dtype=torch.float64)
    output, (state,) = cell(inputs, (units,))
    x, s = inputs[0].tolist(), units[0].tolist()
    sums = [
        bias[i] + sum(weight[i][j][k] * s[j] * x[k] for j in range(4) for k in range(3))
        for i in range(4)
    ]
    assert output[0].tolist() == pytest.approx([1 / (1 + math.exp(-a)) for a in sums], abs=1e-14)
    assert torch.equal(output, state)


def test_a_symbol_picks_its_own_matrix() -> None:
    cell = seeded_cell(3, 4)
    units = torch.rand(2, 4, dtype=torch.float64)
    for symbol in range(3):
        coded = one_hot(torch.tensor([symbol, symbol]), 3).double()
        expected = torch.sigmoid(units @ cell.weight[:, :, symbol].T + cell.bias)
        torch.testing.assert_close(cell(coded, (units,))[0], expected)


def test_a_step_with_no_input_forgets_the_state() -> None:
    cell = seeded_cell(3, 4)
    inputs = torch.zeros(2, 3, dtype=torch.float64)
    output, _ = cell(inputs, (torch.rand(2, 4, dtype=torch.float64),))
    assert torch.equal(output, torch.sigmoid(cell.bias).expand(2, -1))


def test_the_first_unit_alone_is_on_at_the_start() -> None:
    (start,) = seeded_cell(3, 4).initial_state(2)
    assert start.tolist() == [[1, 0, 0, 0], [1, 0, 0, 0]]


# Automata built in (Omlin and Giles)

PARITY = [[0, 1], [1, 0]]  # the next state, by state and symbol


def automaton(transitions: list[list[int]], strength: float, leaving: float) -> SecondOrderCell:
    """One unit for each state: weights `strength` into the next state, `leaving` from others."""
    cell = SecondOrderCell(len(transitions[0]), len(transitions)).double()
    with torch.no_grad():
        cell.weight.zero_()
        cell.bias.fill_(-strength / 2)
        for state, row in enumerate(transitions):
            for symbol, following in enumerate(row):
                cell.weight[state, state, symbol] = leaving
                cell.weight[following, state, symbol] = strength
    return cell


def parity_over_time(cell: SecondOrderCell) -> tuple[float, float]:
    """Smallest value of the unit that should be on, and largest of the other, in 1000 steps."""
    generator = torch.Generator().manual_seed(0)
    symbols = torch.randint(0, 2, (1000, 64), generator=generator)
    outputs, _ = run_eagerly(cell, one_hot(symbols, 2).double(), cell.initial_state(64))
    parity = (symbols.cumsum(0) % 2).unsqueeze(-1)
    on, off = outputs.gather(-1, parity), outputs.gather(-1, 1 - parity)
    return on.min().item(), off.max().item()


@pytest.mark.parametrize(("strength", "level"), [(5, 0.8552), (6, 0.9293), (8, 0.9788)])
def test_parity_is_kept_for_1000_steps_at_the_fixed_point_of_the_sigmoid(
    strength: float, level: float
) -> None:
    on, off = parity_over_time(automaton(PARITY, strength, leaving=0))
    assert (on, off) == pytest.approx((level, 1 - level), abs=1e-4)
    # The level is the fixed point of a unit with feedback to itself.
    assert level == pytest.approx(1 / (1 + math.exp(-strength * (level - 0.5))), abs=1e-4)


def test_parity_fades_with_weights_of_four_where_the_fixed_points_meet() -> None:
    # Near one half a = 1/2 + u follows u' = u - 4/3 u^3, so that u tends to (8/3 t)^(-1/2).
    on, off = parity_over_time(automaton(PARITY, 4, leaving=0))
    assert on - 0.5 == pytest.approx((8 / 3 * 1000) ** -0.5, rel=0.02)
    assert off == pytest.approx(1 - on)
    on, _ = parity_over_time(automaton(PARITY, 3.9, leaving=0))
    assert on == pytest.approx(0.5, abs=1e-9)


@pytest.mark.parametrize(("strength", "holds"), [(4, False), (5, False), (6, True), (8, True)])
def test_parity_needs_stronger_weights_where_a_state_that_is_left_is_inhibited(
    strength: float, holds: bool
) -> None:
    on, off = parity_over_time(automaton(PARITY, strength, leaving=-strength))
    assert (on > 0.5 and off < 0.5) is holds


# Automata learned (Giles et al.)

GRAMMARS = {
    1: re.compile(r"1*"),
    2: re.compile(r"(10)*"),
    4: re.compile(r"(?!.*000)[01]*"),
}
END = 2


def strings(grammar: int, length: int) -> tuple[Tensor, Tensor]:
    """All strings of a length, coded one-hot with an end symbol, and whether each is a member."""
    words = ["".join(word) for word in itertools.product("01", repeat=length)]
    symbols = torch.tensor([[*map(int, word), END] for word in words])
    members = [GRAMMARS[grammar].fullmatch(word) is not None for word in words]
    return one_hot(symbols.T, 3).float(), torch.tensor(members).float()


def answers(cell: SecondOrderCell, inputs: Tensor) -> Tensor:
    """The first unit after the end symbol, as in the paper."""
    return run_eagerly(cell, inputs, cell.initial_state(inputs.shape[1]))[0][-1, :, 0]


def errors(cell: SecondOrderCell, grammar: int, lengths: range) -> int:
    """Number of wrongly judged strings, among all strings of some lengths."""
    wrong = 0
    for length in lengths:
        inputs, members = strings(grammar, length)
        with torch.no_grad():
            wrong += int(((answers(cell, inputs) > 0.5) != (members > 0.5)).sum())
    return wrong


def test_grammars_are_those_of_tomita() -> None:
    assert [int(strings(grammar, 4)[1].sum()) for grammar in (1, 2, 4)] == [1, 1, 13]
    assert [int(strings(grammar, 3)[1].sum()) for grammar in (1, 2, 4)] == [1, 0, 7]


@pytest.mark.slow
@pytest.mark.parametrize("hidden_size", [4, 5])
@pytest.mark.parametrize("grammar", [1, 2, 4])
def test_a_tomita_grammar_is_learned_on_short_strings_and_holds_on_all_up_to_15(
    grammar: int, hidden_size: int
) -> None:
    torch.manual_seed(0)
    cell = SecondOrderCell(3, hidden_size)
    optimizer = torch.optim.Adam(cell.parameters(), lr=0.05)
    seen = range(9)
    sets = [strings(grammar, length) for length in seen]
    for update in range(1, 4001):
        inputs, members = sets[int(torch.randint(len(sets), ()))]
        # Equal numbers of members and non-members: few long strings are members.
        sides = [side for side in (members.nonzero(), (1 - members).nonzero()) if len(side)]
        chosen = torch.cat([side[torch.randint(len(side), (32,)), 0] for side in sides])
        loss = binary_cross_entropy(answers(cell, inputs[:, chosen]), members[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if update % 500 == 0 and loss < 0.05 and errors(cell, grammar, seen) == 0:
            break
    assert errors(cell, grammar, range(16)) == 0
