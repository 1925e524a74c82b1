"""Cells that torchrecurrent and rnnsearch share compute the same with the same weights.

Where they differ, the paper decides, and the name of the test says how they differ from it.
"""

from __future__ import annotations

import importlib
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rnnsearch.testing import run_eagerly
from rnnsearch_baselines.elman import ElmanCell
from rnnsearch_gated.gru import GRUCell
from rnnsearch_gated.lstm import LSTMCell
from rnnsearch_gru_variants.gru_reset_before import ResetBeforeGRUCell
from rnnsearch_gru_variants.mgu import MGUCell
from rnnsearch_lstm_variants.lstm_peephole import PeepholeLSTMCell
from rnnsearch_lstm_variants.lstm_variant import LSTMVariantCell
from rnnsearch_lstm_variants.mult_lstm import MultiplicativeLSTMCell
from rnnsearch_structured.indrnn import IndRNNCell
from rnnsearch_structured.scrn import SCRNCell

pytest.importorskip("torchrecurrent")
cells: Any = importlib.import_module("rnnsearch_torchrecurrent.cells")

M, P = 3, 4


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def _theirs(name: str) -> Any:
    """A cell of torchrecurrent with nonzero biases."""
    cell = getattr(cells, name)(M, P).double()
    with torch.no_grad():
        for key, parameter in cell.named_parameters():
            if "bias" in key:
                parameter.normal_()
    return cell


def _outputs(cell: Any, inputs: Tensor) -> Tensor:
    return run_eagerly(cell, inputs, cell.initial_state(inputs.shape[1]))[0].detach()


def _inputs() -> Tensor:
    return torch.randn(7, 4, M, dtype=torch.float64)


def _assert_same(theirs: Any, ours: nn.Module) -> None:
    inputs = _inputs()
    outputs = _outputs(theirs, inputs)
    assert outputs.std() > 0.01
    torch.testing.assert_close(_outputs(ours.double(), inputs), outputs)


def _assert_different(theirs: Any, ours: nn.Module) -> None:
    inputs = _inputs()
    assert not torch.allclose(_outputs(theirs, inputs), _outputs(ours.double(), inputs))


def _set(target: Tensor, value: Tensor) -> None:
    with torch.no_grad():
        target.copy_(value)


def _affine(cell: Any, rows: list[int], maps: int) -> tuple[Tensor, Tensor]:
    """Some of a cell's maps of inputs and state, side by side, and the sum of their biases."""
    weight = torch.cat((cell.weight_ih, cell.weight_hh), dim=1).chunk(maps)
    bias = (cell.bias_ih + cell.bias_hh).chunk(maps)
    return torch.cat([weight[i] for i in rows]), torch.cat([bias[i] for i in rows])


def _set_affine(layer: nn.Linear, cell: Any, rows: list[int], maps: int) -> None:
    weight, bias = _affine(cell, rows, maps)
    _set(layer.weight, weight)
    _set(layer.bias, bias)


def _set_torch_layer(layer: nn.RNNBase, cell: Any, rows: list[int], maps: int) -> None:
    weight, bias = _affine(cell, rows, maps)
    _set(layer.weight_ih_l0, weight[:, :M])
    _set(layer.weight_hh_l0, weight[:, M:])
    _set(layer.bias_ih_l0, bias)
    _set(layer.bias_hh_l0, torch.zeros_like(bias))


# The same cell


def test_mgu() -> None:
    theirs, ours = _theirs("MGUCell"), MGUCell(M, P)
    _set_affine(ours.gate, theirs.cell, [0], maps=2)
    _set_affine(ours.candidate, theirs.cell, [1], maps=2)
    _assert_same(theirs, ours)


def test_lstm_with_peepholes() -> None:
    theirs, ours = _theirs("PeepholeLSTMCell"), PeepholeLSTMCell(M, P)
    _set_affine(ours.gates, theirs.cell, [0, 1, 2, 3], maps=4)
    peepholes = (ours.input_peephole, ours.forget_peephole, ours.output_peephole)
    for peephole, value in zip(peepholes, theirs.cell.weight_ph.chunk(3), strict=True):
        _set(peephole, value)
    _assert_same(theirs, ours)


def test_lstm_without_a_forget_gate() -> None:
    theirs, ours = _theirs("OriginalLSTMCell"), LSTMVariantCell(M, P, variant="nfg")
    _set_affine(ours.affine, theirs.cell, [1, 0, 2], maps=3)
    for peephole in ours.peepholes.values():
        _set(peephole, torch.zeros(P))
    _assert_same(theirs, ours)


# Equal when one of them is restricted


def _mult_lstm(theirs: Any) -> MultiplicativeLSTMCell:
    ours, cell = MultiplicativeLSTMCell(M, P), theirs.cell
    _set(ours.input_factor.weight, cell.weight_ih[:P])
    _set(ours.hidden_factor.weight, cell.weight_hh)
    _set(ours.gates.weight, torch.cat((cell.weight_ih[P:], cell.weight_mh), dim=1))
    _set(ours.gates.bias, cell.bias_ih[P:] + cell.bias_mh)
    return ours


def test_multiplicative_lstm_has_two_biases_more_than_the_paper() -> None:
    theirs = _theirs("MultiplicativeLSTMCell")
    _assert_different(theirs, _mult_lstm(theirs))
    _set(theirs.cell.bias_hh, torch.zeros(P))
    _set(theirs.cell.bias_ih[:P], torch.zeros(P))
    _assert_same(theirs, _mult_lstm(theirs))


def test_independently_recurrent_network_has_tanh_where_the_paper_has_a_rectifier() -> None:
    theirs, ours = _theirs("IndRNNCell"), IndRNNCell(M, P)
    theirs.cell.vector_u.data.clamp_(-1, 1)  # the bound of ours
    _set(ours.input_map.weight, theirs.cell.weight_ih)
    _set(ours.input_map.bias, theirs.cell.bias_ih + theirs.cell.bias_hh)
    _set(ours.unbounded_recurrent_weight, theirs.cell.vector_u)
    _assert_different(theirs, ours)
    theirs.cell.act = nn.ReLU()
    _assert_same(theirs, ours)


def test_structurally_constrained_network_feeds_back_its_output_instead_of_its_hidden_units() -> (
    None
):
    theirs = _theirs("SCRNCell")
    ours = SCRNCell(M, P, context_size=P, bias=True, context_decay=0.5).double()
    cell = theirs.cell
    b, a = cell.weight_ih.chunk(2)
    r, u = cell.weight_hh.chunk(2)
    p, v = cell.weight_ch.chunk(2)
    biases = [bias.chunk(2) for bias in (cell.bias_ih, cell.bias_hh, cell.bias_ch)]
    _set(ours.context_map.weight, b)
    _set(ours.context_map.bias, biases[0][0])
    _set(ours.hidden_map.weight, torch.cat((p, a, r), dim=1))
    _set(ours.hidden_map.bias, biases[0][1] + biases[1][0] + biases[2][0])
    inputs = _inputs()
    hidden, context = _outputs(ours, inputs).split(P, dim=-1)
    read = torch.tanh(hidden @ u.T + biases[1][1] + context @ v.T + biases[2][1])
    outputs = _outputs(theirs, inputs)
    torch.testing.assert_close(outputs[0], read[0])
    assert not torch.allclose(outputs[1:], read[1:])


def test_mut2_is_a_gru_that_resets_before_the_product() -> None:
    theirs, ours = _theirs("MUT2Cell"), ResetBeforeGRUCell(M, P)
    _set_affine(ours.gates, theirs.cell, [1, 0], maps=3)
    _set_affine(ours.candidate, theirs.cell, [2], maps=3)
    _assert_same(theirs, ours)


def test_minion_unit_1_is_a_gru_that_resets_before_the_product_and_always_updates_by_half() -> None:
    theirs, ours = _theirs("MiRU1Cell"), ResetBeforeGRUCell(M, P)
    _set_affine(ours.gates, theirs.cell, [0, 0], maps=2)
    _set(ours.gates.weight[P:], torch.zeros(P, M + P))
    _set(ours.gates.bias[P:], torch.zeros(P))
    _set_affine(ours.candidate, theirs.cell, [1], maps=2)
    _assert_same(theirs, ours)


def test_update_gate_network_is_a_gru_with_an_open_reset_gate() -> None:
    theirs, ours = _theirs("UGRNNCell"), GRUCell(M, P)
    _set_torch_layer(ours.gru, theirs.cell, [1, 1, 0], maps=2)
    _set(ours.gru.bias_ih_l0[:P], torch.full((P,), 1000.0))
    _assert_same(theirs, ours)


def test_fast_rnn_that_takes_all_of_the_candidate_is_elmans_network() -> None:
    theirs, ours = _theirs("FastRNNCell"), ElmanCell(M, P)
    _set(theirs.cell.alpha, torch.tensor([1000.0]))
    _set(theirs.cell.beta, torch.tensor([-1000.0]))
    _set_torch_layer(ours.rnn, theirs.cell, [0], maps=1)
    _assert_same(theirs, ours)


def _lstm(theirs: Any, rows: list[int], maps: int = 4) -> LSTMCell:
    ours = LSTMCell(M, P)
    _set_torch_layer(ours.lstm, theirs.cell, rows, maps)
    return ours


def test_peephole_lstm_without_its_peepholes_is_an_lstm() -> None:
    theirs = _theirs("PeepholeLSTMCell")
    _assert_different(theirs, _lstm(theirs, [0, 1, 2, 3]))
    _set(theirs.cell.weight_ph, torch.zeros(3 * P))
    _assert_same(theirs, _lstm(theirs, [0, 1, 2, 3]))


def test_working_memory_lstm_without_its_connections_is_an_lstm() -> None:
    theirs = _theirs("WMCLSTMCell")
    _assert_different(theirs, _lstm(theirs, [0, 1, 2, 3]))
    _set(theirs.cell.weight_mh, torch.zeros(3 * P, P))
    _set(theirs.cell.bias_mh, torch.zeros(3 * P))
    _assert_same(theirs, _lstm(theirs, [0, 1, 2, 3]))


def test_residual_lstm_with_an_identity_for_its_projection_and_no_shortcut_is_an_lstm() -> None:
    theirs = _theirs("ResLSTMCell")
    _assert_different(theirs, _lstm(theirs, [0, 1, 2, 3]))
    _set(theirs.cell.weight_ph, torch.zeros(3 * P))
    _set(theirs.cell.weight_proj, torch.eye(P))
    _set(theirs.cell.weight_res, torch.zeros(P, M))
    _assert_same(theirs, _lstm(theirs, [0, 1, 2, 3]))


def test_memory_controller_lstm_whose_control_is_its_output_is_an_lstm() -> None:
    theirs, rows = _theirs("MCLSTMCell"), [1, 0, 4, 2]  # f, i, o, control, candidate
    _assert_different(theirs, _lstm(theirs, rows, maps=5))
    for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
        parameter = getattr(theirs.cell, name)
        _set(parameter[3 * P : 4 * P], parameter[2 * P : 3 * P])
    _assert_same(theirs, _lstm(theirs, rows, maps=5))
