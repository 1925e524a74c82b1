"""The eight LSTM variants against the vanilla LSTM with one term forced, and against numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from rnnsearch import RecurrentCell
from rnnsearch.testing import CellConformance, run_eagerly
from rnnsearch_lstm_variants.lstm_peephole import PeepholeLSTMCell
from rnnsearch_lstm_variants.lstm_variant import LSTMVariantCell

VARIANTS = ("vanilla", "nig", "nfg", "nog", "niaf", "noaf", "cifg", "np", "fgr")
M, P = 3, 4


class TestLSTMVariantCell(CellConformance):
    @pytest.fixture
    def cell_class(self) -> type[RecurrentCell]:
        return LSTMVariantCell


def drawn(variant: str) -> LSTMVariantCell:
    torch.manual_seed(0)
    cell = LSTMVariantCell(M, P, variant=variant).double()
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter.normal_()
    return cell


def randn(*sizes: int) -> Tensor:
    return torch.randn(*sizes, dtype=torch.float64)


def run(cell: RecurrentCell, inputs: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
    return run_eagerly(cell, inputs, cell.initial_state(inputs.shape[1]))


def copy_what_both_have(source: LSTMVariantCell, target: LSTMVariantCell) -> None:
    """Copy `z` and every gate that both cells have."""
    with torch.no_grad():
        for k, name in enumerate(["z", *target.gates]):
            if name not in ["z", *source.gates]:
                continue
            rows, theirs = block(k), block(["z", *source.gates].index(name))
            target.affine.weight[rows] = source.affine.weight[theirs]
            target.affine.bias[rows] = source.affine.bias[theirs]
            if name != "z" and source.variant != "np" and target.variant != "np":
                target.peepholes[name].copy_(source.peepholes[name])


def block(k: int) -> slice:
    return slice(k * P, (k + 1) * P)


def set_gate(cell: LSTMVariantCell, gate: str, *, weight: Tensor, bias: Tensor, peephole: Tensor):
    rows = block(1 + cell.gates.index(gate))
    with torch.no_grad():
        cell.affine.weight[rows] = weight
        cell.affine.bias[rows] = bias
        cell.peepholes[gate].copy_(peephole)


@pytest.mark.parametrize(("m", "p"), [(1, 1), (2, 77), (28, 10)])
def test_the_counts_are_those_of_the_vanilla_lstm_less_or_more_what_a_variant_changes(
    m: int, p: int
) -> None:
    vanilla = 4 * p * (m + p + 1) + 3 * p
    gate = p * (m + p + 1) + p
    expected = {name: vanilla for name in VARIANTS}
    expected |= {name: vanilla - gate for name in ("nig", "nfg", "nog", "cifg")}
    expected |= {"np": vanilla - 3 * p, "fgr": vanilla + 9 * p**2}
    counts = {name: LSTMVariantCell.parameter_count(m, p, variant=name) for name in VARIANTS}
    assert counts == expected


def test_the_default_is_the_peephole_lstm() -> None:
    torch.manual_seed(0)
    cell, reference = LSTMVariantCell(M, P).double(), PeepholeLSTMCell(M, P).double()
    with torch.no_grad():
        for theirs, name in ((0, "i"), (1, "f"), (2, "z"), (3, "o")):
            rows = block(["z", *cell.gates].index(name))
            reference.gates.weight[block(theirs)] = cell.affine.weight[rows]
            reference.gates.bias[block(theirs)] = cell.affine.bias[rows]
        reference.input_peephole.copy_(cell.peepholes["i"])
        reference.forget_peephole.copy_(cell.peepholes["f"])
        reference.output_peephole.copy_(cell.peepholes["o"])
    inputs = randn(7, 2, M)
    torch.testing.assert_close(run(cell, inputs), run(reference, inputs))


@pytest.mark.parametrize(("variant", "gate"), [("nig", "i"), ("nfg", "f"), ("nog", "o")])
def test_without_a_gate_it_is_the_vanilla_lstm_with_that_gate_forced_open(
    variant: str, gate: str
) -> None:
    cell, vanilla = drawn(variant), drawn("vanilla")
    copy_what_both_have(cell, vanilla)
    zeros = torch.zeros(P, dtype=torch.float64)
    set_gate(vanilla, gate, weight=torch.zeros(()), bias=zeros + 1000, peephole=zeros)
    inputs = randn(7, 2, M)
    torch.testing.assert_close(run(cell, inputs), run(vanilla, inputs))


def test_with_coupled_gates_it_is_the_vanilla_lstm_whose_forget_gate_has_the_negated_weights() -> (
    None
):
    cell, vanilla = drawn("cifg"), drawn("vanilla")
    copy_what_both_have(cell, vanilla)
    rows = block(1 + cell.gates.index("i"))
    set_gate(
        vanilla,
        "f",
        weight=-cell.affine.weight[rows],
        bias=-cell.affine.bias[rows],
        peephole=-cell.peepholes["i"],
    )
    inputs = randn(7, 2, M)
    torch.testing.assert_close(run(cell, inputs), run(vanilla, inputs))


def test_without_peepholes_it_is_the_torch_lstm() -> None:
    cell, lstm = drawn("np"), nn.LSTM(M, P).double()
    with torch.no_grad():
        for theirs, name in enumerate("ifzo"):  # torch calls z g
            rows = block(["z", *cell.gates].index(name))
            lstm.weight_ih_l0[block(theirs)] = cell.affine.weight[rows, :M]
            lstm.weight_hh_l0[block(theirs)] = cell.affine.weight[rows, M:]
            lstm.bias_ih_l0[block(theirs)] = cell.affine.bias[rows]
        lstm.bias_hh_l0.zero_()
    inputs = randn(7, 2, M)
    outputs, (hidden, memory) = run(cell, inputs)
    expected, (last_hidden, last_memory) = lstm(inputs)
    torch.testing.assert_close(outputs, expected)
    torch.testing.assert_close((hidden, memory), (last_hidden[0], last_memory[0]))


def test_full_gate_recurrence_without_weights_is_the_vanilla_lstm() -> None:
    cell, vanilla = drawn("fgr"), drawn("vanilla")
    copy_what_both_have(cell, vanilla)
    inputs = randn(7, 2, M)
    expected, state = run(vanilla, inputs)
    assert not torch.allclose(run(cell, inputs)[0], expected)
    with torch.no_grad():
        cell.gate_recurrence.weight.zero_()
    outputs, found = run(cell, inputs)
    torch.testing.assert_close(outputs, expected)
    torch.testing.assert_close(found[:2], state)


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_cell_computes_the_variant_s_equations_in_numpy(variant: str) -> None:
    cell = drawn(variant)
    weight, bias = cell.affine.weight.detach().numpy(), cell.affine.bias.detach().numpy()
    rows = {name: block(k) for k, name in enumerate(["z", *cell.gates])}
    peepholes = {
        name: np.zeros(P) if variant == "np" else cell.peepholes[name].detach().numpy()
        for name in cell.gates
    }
    recurrence = np.zeros((3 * P, 3 * P))
    if variant == "fgr":
        recurrence = cell.gate_recurrence.weight.detach().numpy()
    inputs = randn(6, 2, M)

    def sigmoid(a: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-a))

    def identity(a: np.ndarray) -> np.ndarray:
        return a

    g = identity if variant == "niaf" else np.tanh
    h = identity if variant == "noaf" else np.tanh
    expected = np.zeros((6, 2, P))
    for sample in range(2):
        y, c, before = np.zeros(P), np.zeros(P), np.zeros(3 * P)
        for step in range(6):
            x = inputs[step, sample].numpy()
            between = recurrence @ before
            net = {
                name: weight[rows[name], :M] @ x + weight[rows[name], M:] @ y + bias[rows[name]]
                for name in rows
            }

            def gate(
                name: str,
                seen: np.ndarray,
                net: dict[str, np.ndarray] = net,
                between: np.ndarray = between,
            ) -> np.ndarray:
                k = "ifo".index(name)
                return sigmoid(net[name] + peepholes[name] * seen + between[block(k)])

            i = np.ones(P) if variant == "nig" else gate("i", c)
            f = np.ones(P) if variant == "nfg" else 1 - i if variant == "cifg" else gate("f", c)
            c = g(net["z"]) * i + c * f
            o = np.ones(P) if variant == "nog" else gate("o", c)
            y = h(c) * o
            before = np.concatenate([i, f, o])
            expected[step, sample] = y
    outputs, _ = run(cell, inputs)
    np.testing.assert_allclose(outputs.detach().numpy(), expected, rtol=0, atol=1e-12)


def test_no_two_variants_compute_the_same() -> None:
    inputs = randn(6, 2, M)
    vanilla, outputs = drawn("vanilla"), {}
    for variant in VARIANTS:
        cell = drawn(variant)
        copy_what_both_have(vanilla, cell)
        outputs[variant] = run(cell, inputs)[0]
    for one in VARIANTS:
        for two in VARIANTS:
            assert one == two or not torch.allclose(outputs[one], outputs[two]), (one, two)


@pytest.mark.parametrize("variant", ["vanilla", "fgr"])
def test_its_memory_is_c(variant: str) -> None:
    """With `i` and `f` open and `z` forced to 1, `c` counts the steps."""
    cell = drawn(variant)
    zeros = torch.zeros(P, dtype=torch.float64)
    for gate in ("i", "f"):
        set_gate(cell, gate, weight=torch.zeros(()), bias=zeros + 1000, peephole=zeros)
    with torch.no_grad():
        cell.affine.weight[:P] = 0
        cell.affine.bias[:P] = 1000
    _, state = run(cell, randn(5, 2, M))
    torch.testing.assert_close(
        cell.memory_state(state), torch.full((2, P), 5.0, dtype=torch.float64)
    )
