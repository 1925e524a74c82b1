"""The adapter describes cells as torchrecurrent computes them."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from rnnsearch.testing import run_eagerly
from rnnsearch_torchrecurrent import hooks

torchrecurrent: Any = pytest.importorskip("torchrecurrent")
cells: Any = importlib.import_module("rnnsearch_torchrecurrent.cells")

M, P, STEPS, BATCH = 3, 4, 5, 2


def _cell(name: str, seed: int = 0) -> Any:
    torch.manual_seed(seed)
    cell = getattr(cells, name)(M, P).double()
    with torch.no_grad():
        for parameter in cell.parameters():  # most biases start at zero, which hides differences
            parameter += 0.3 * torch.randn_like(parameter)
    return cell


def _outputs(cell: Any, inputs: Tensor) -> Tensor:
    return run_eagerly(cell, inputs, cell.initial_state(inputs.shape[1]))[0]


def _inputs(batch_size: int = BATCH) -> Tensor:
    return torch.randn(STEPS, batch_size, M, dtype=torch.float64)


@pytest.mark.parametrize("name", hooks.CELLS)
def test_step_by_step_it_gives_what_the_layer_of_torchrecurrent_gives(name: str) -> None:
    cell, inputs = _cell(name), _inputs()
    given = cell.input_projection(inputs) if name == "IntersectionRNNCell" else inputs
    layer = getattr(torchrecurrent, name.removesuffix("Cell"))(given.shape[-1], P).double()
    layer.cells[0].load_state_dict(cell.cell.state_dict())
    torch.testing.assert_close(_outputs(cell, inputs), layer(given)[0])


@pytest.mark.parametrize("name", hooks.CELLS)
def test_redundant_biases_are_those_that_move_the_outputs_as_others_do(name: str) -> None:
    cell, inputs = _cell(name), _inputs(batch_size=40)
    biases = {n: p for n, p in cell.named_parameters() if "bias" in n}
    if not biases:
        pytest.skip("the cell has no biases")

    def outputs(values: dict[str, Tensor]) -> Tensor:
        initial = cell.initial_state(inputs.shape[1])

        def step(*given: Tensor) -> Any:
            return torch.func.functional_call(cell, values, (given[0], given[1:]))

        state, results = initial, []
        for step_inputs in inputs:
            output, state = step(step_inputs, *state)
            results.append(output)
        return torch.stack(results)

    jacobians = torch.func.jacrev(outputs)({n: b.detach() for n, b in biases.items()})
    jacobian = torch.cat([j.flatten(0, 2).flatten(1) for j in jacobians.values()], dim=1)
    scaled = jacobian / jacobian.norm(dim=0)
    independent = int(torch.linalg.matrix_rank(scaled, rtol=1e-9))
    dependent = jacobian.shape[1] - independent
    assert cell.redundant_biases(M, P) == dependent


def _unreached(name: str) -> dict[str, Tensor]:
    """Weights that get no gradient in any draw; in one draw, a rectifier may be off."""
    unreached: dict[str, Tensor] = {}
    for seed in range(5):
        cell = _cell(name, seed)
        _outputs(cell, _inputs()).square().sum().backward()
        for key, parameter in cell.named_parameters():
            off = parameter.grad == 0
            unreached[key] = unreached.get(key, off) & off
    return {key: off for key, off in unreached.items() if off.any()}


ANTISYMMETRIC = ("AntisymmetricRNNCell", "GatedAntisymmetricRNNCell")


@pytest.mark.parametrize("name", [name for name in hooks.CELLS if name not in ANTISYMMETRIC])
def test_gradient_reaches_every_single_weight(name: str) -> None:
    assert not _unreached(name)


@pytest.mark.parametrize("name", ANTISYMMETRIC)
def test_gradient_reaches_no_weight_on_the_diagonal_of_an_antisymmetric_matrix(name: str) -> None:
    ((key, off),) = _unreached(name).items()
    assert key == "cell.weight_hh"
    assert torch.equal(off, torch.eye(P, dtype=torch.bool))


@pytest.mark.parametrize("name", ["TGRUCell", "TLSTMCell", "tauGRUCell"])
def test_memory_is_the_state_and_not_what_is_kept_beside_it(name: str) -> None:
    cell = _cell(name)
    _, state = cell(_inputs()[0], cell.initial_state(BATCH))
    assert torch.equal(cell.memory_state(state), state[0])
    assert not torch.equal(state[0], state[1][:, : state[0].shape[1]])


def test_feedback_of_the_tau_gru_is_delayed_by_a_step() -> None:
    cell = _cell("tauGRUCell")
    initial = tuple(torch.randn(BATCH, P, dtype=torch.float64) for _ in range(2))
    first, state = cell(_inputs()[0], initial)
    assert torch.equal(state[0], first)
    assert torch.equal(state[1], initial[0])


def _formula(size: Any) -> str:
    terms = ((size.inputs, "mp"), (size.recurrent, "p²"), (size.vectors, "p"), (size.scalars, ""))
    return " + ".join(
        unit if number == 1 and unit else f"{number}{unit}" for number, unit in terms if number
    )


@pytest.mark.parametrize("name", hooks.CELLS)
def test_the_readme_has_a_row_with_its_name_and_count(name: str) -> None:
    readme = Path(__file__).parents[1] / "README.md"
    rows = [
        line
        for line in readme.read_text("utf-8").splitlines()
        if line.startswith(f"| `{hooks.architecture(name)}` |")
    ]
    assert len(rows) == 1
    assert rows[0].endswith(f" | {_formula(getattr(cells, name).size)} |")
