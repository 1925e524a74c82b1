"""The Triton kernels agree with the eager loop, and compile for a GPU."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from rnnsearch import RecurrentCell, State
from rnnsearch.engine.capture import Unsupported
from rnnsearch.engine.triton_kernel import TritonLayer
from rnnsearch.engine.triton_source import TritonSource, header, padded
from rnnsearch_baselines.elman import ElmanCell
from rnnsearch_gated.lstm import LSTMCell
from rnnsearch_stigmergic.snn import SNNCell
from tests.engine.triton_cases import CASES, EveryWordCell, captured

needs_triton = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="Triton is not installed"
)


@pytest.fixture(scope="module")
def measured() -> dict[str, dict[str, float]]:
    """Errors of all cases, from a process that uses Triton's interpreter."""
    run = subprocess.run(
        [sys.executable, "-m", "tests.engine.triton_cases"],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    errors: dict[str, dict[str, float]] = json.loads(run.stdout)
    return errors


@needs_triton
@pytest.mark.parametrize("case", [*CASES, "members"])
def test_outputs_and_all_gradients_are_those_of_the_eager_loop(
    case: str, measured: dict[str, dict[str, float]]
) -> None:
    assert max(measured[case].values()) < 1e-12, measured[case]


@needs_triton
@pytest.mark.parametrize("kind", ["fp32", "fp64"])
def test_the_kernels_compile_for_a_gpu_where_there_is_none(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    if triton.knobs.runtime.interpret:
        pytest.skip("Triton's interpreter is on")
    for cell in (EveryWordCell(3, 5), LSTMCell(16, 16)):
        layer = TritonLayer(captured(cell))
        for phase in ("forward", "backward"):
            kernel = getattr(layer.source, phase)
            signature = {name: f"*{kind}" for name in kernel.arguments} | {"T": "i32", "B": "i32"}
            built = triton.compile(
                ASTSource(layer._module[phase], signature, {}),
                target=GPUTarget("cuda", 80, 32),
                options={"num_stages": 1},
            )
            assert built.asm["cubin"]


def test_products_below_the_least_size_of_the_matrix_units_are_sums() -> None:
    small = TritonSource(captured(LSTMCell(3, 5)), 16).forward.text
    large = TritonSource(captured(LSTMCell(17, 17)), 16).forward.text
    assert "small_product(" in small
    assert "large_product(" not in small
    assert "large_product(" in large


def test_what_is_not_wanted_is_not_computed() -> None:
    cell = LSTMCell(3, 5)
    assert "of_inputs" in TritonSource(captured(cell), 4).backward.arguments
    without = TritonSource(captured(cell, input_gradient=False), 4).backward
    assert "of_inputs" not in without.arguments
    assert without.text.count("_product(") < TritonSource(captured(cell), 4).backward.text.count(
        "_product("
    )


def test_a_block_is_the_power_of_two_that_holds_its_columns() -> None:
    assert [padded(n) for n in (1, 2, 3, 4, 5, 64, 65)] == [1, 2, 4, 4, 8, 64, 128]


def test_the_source_is_python_for_the_interpreter_and_for_a_device() -> None:
    source = TritonSource(captured(LSTMCell(3, 5)), 4)
    for interpreted in (False, True):
        text = header(interpreted=interpreted) + source.forward.text + source.backward.text
        compile(text, "source", "exec")


# Refused steps


class ProductCell(ElmanCell):
    """Has an operator that the kernels do not support."""

    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        output, (hidden,) = super().forward(inputs, state)
        return output, (hidden.cumprod(dim=-1),)


class MatrixCell(ElmanCell):
    """Has a matrix of features within the step."""

    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        output, (hidden,) = super().forward(inputs, state)
        outer = hidden.unsqueeze(1) * hidden.unsqueeze(2)
        return output, (outer.sum(dim=1),)


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        (ProductCell(3, 4), "no `cumprod`"),
        (MatrixCell(3, 4), r"`mul` of features \(4, 4\)"),
        (SNNCell(3, 4), "of features"),
    ],
    ids=["operator", "matrix", "state"],
)
def test_a_step_that_the_kernels_lack_an_operator_for_is_refused_by_its_name(
    cell: RecurrentCell, reason: str
) -> None:
    with pytest.raises(Unsupported, match=reason):
        TritonLayer(captured(cell))


@needs_triton
def test_a_layer_without_a_gpu_or_a_wanted_gradient_is_refused() -> None:
    cell = ElmanCell(3, 4)
    layer = TritonLayer(captured(cell, input_gradient=False))
    state, held = [torch.zeros(2, 4)], list(cell.parameters())
    if os.environ.get("TRITON_INTERPRET", "0") != "1":
        with pytest.raises(Unsupported, match="need a GPU"):
            layer(torch.zeros(5, 2, 3), state, held)
    with pytest.raises(Unsupported, match="gradient of the inputs"):
        layer(torch.zeros(5, 2, 3, requires_grad=True), state, held)
