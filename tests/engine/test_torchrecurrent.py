"""All cells of torchrecurrent compile and agree with the eager loop."""

from __future__ import annotations

import importlib
import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rnnsearch import State
from rnnsearch.engine.capture import Unsupported, capture
from rnnsearch.engine.source import write_source

from .agreement import Shapes, assert_layer_agrees, compiled
from .cells import SideBySide

INPUTS, HIDDEN, STEPS = 6, 6, 5  # some cells only take inputs as wide as their units
GROUPS = 4

try:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        library: Any = importlib.import_module("torchrecurrent")
except ImportError:
    library = None

pytestmark = [
    pytest.mark.skipif(library is None, reason="torchrecurrent is not installed"),
    pytest.mark.usefixtures("quick_builds"),
]


class Wrapped(nn.Module):
    """A cell of torchrecurrent as a step."""

    def __init__(self, cell: nn.Module) -> None:
        super().__init__()
        self.cell = cell

    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        new = self.cell(inputs, state if len(state) > 1 else state[0])
        if not isinstance(new, tuple):
            return new, (new,)
        return new[0], new[1] if isinstance(new[1], tuple) else new[-len(state) :]


def _names() -> list[str]:
    return sorted(n for n in dir(library) if n.endswith("Cell") and not n.startswith("Base"))


def _wrapped(name: str) -> tuple[Wrapped, int] | None:
    """A cell and the parts of its state, or None if it is not a step cell."""
    torch.manual_seed(0)
    module = Wrapped(getattr(library, name)(INPUTS, HIDDEN))
    for parts in (1, 2, 3, 4):
        try:
            _, new = module(
                torch.randn(5, INPUTS), tuple(torch.zeros(5, HIDDEN) for _ in range(parts))
            )
        except (ValueError, RuntimeError, IndexError, TypeError):
            continue
        if len(new) == parts and all(part.shape == (5, HIDDEN) for part in new):
            return module, parts
    return None


def _shapes(parts: int) -> Shapes:
    return ((HIDDEN,),) * parts


@pytest.mark.parametrize("group", range(GROUPS))
def test_cells_of_torchrecurrent_agree_with_the_eager_loop(group: int) -> None:
    taken: dict[str, tuple[Wrapped, int]] = {}
    refused: dict[str, str] = {}
    for name in _names()[group::GROUPS]:
        found = _wrapped(name)
        if found is None:
            refused[name] = "no step"
            continue
        try:
            write_source(capture(found[0], INPUTS, _shapes(found[1])), name)
            taken[name] = found
        except Unsupported as error:
            refused[name] = str(error)
    assert refused == {}
    cells = SideBySide({n: m for n, (m, _) in taken.items()}, [p for _, p in taken.values()])
    shapes = _shapes(sum(parts for _, parts in taken.values()))
    assert_layer_agrees(compiled(cells, INPUTS, shapes), cells, STEPS, 13, shapes)
