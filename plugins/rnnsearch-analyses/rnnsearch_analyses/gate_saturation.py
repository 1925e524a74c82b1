"""How open and how shut gates are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from typing_extensions import override

from rnnsearch import Analysis, Finding, FloatRange, RecurrentCell, State, TrainedModel
from rnnsearch_analyses.drawing import COLOURS, figure_of, named, samples_in_words, who
from rnnsearch_analyses.recording import Step, layer_keys, no_layers, valid_steps, watched

_SIGMOIDS: frozenset[Callable[..., Any]] = frozenset(
    {
        torch.sigmoid,
        torch.sigmoid_,
        Tensor.sigmoid,
        Tensor.sigmoid_,
        torch.special.expit,
        functional.hardsigmoid,
    }
)


class _Sigmoids(TorchFunctionMode):
    """Keeps the output of every sigmoid computed within it."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Tensor] = []

    @override
    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if func in _SIGMOIDS and not result.is_complex():
            self.seen.append(result.detach().clone())
        return result


class GateSaturation(Analysis):
    """Share of gate activations near 0 (shut) and near 1 (open), for each gate and unit.

    A gate is the output of a sigmoid in a step of the cell. Gates are numbered in the order in
    which the step computes them, and gates computed together by one sigmoid count as one. A sigmoid
    that is not a gate (the soft clamp of an SM-RNN, a sigmoid unit) is shown as well, because
    nothing distinguishes it. Left-saturated is below `margin`, right-saturated above `1 - margin`.

    Source: Karpathy, Johnson and Fei-Fei, "Visualizing and understanding recurrent networks", 2015,
    arXiv:1506.02078, section 4.2 and figure 3, with 0.1 and 0.9. Departure: cells of any kind.

    Numbers, for each layer: `gate_1_near_0` and `gate_1_near_1`, and so on, shares over units,
    steps and samples; `near_0` and `near_1` over all gates.

    Args:
        margin: distance from 0 or 1 that counts as near.
    """

    options = {"margin": FloatRange(0.001, 0.4, default=0.1, searched=False)}

    @override
    def refusal(self, trained: TrainedModel) -> str | None:
        if reason := no_layers(trained):
            return reason
        if not any(layer for layer in _gates(trained, 1)[1]):
            return "it has no gates: no sigmoid is computed in its step"
        return None

    @override
    def analyse(self, trained: TrainedModel) -> list[Finding]:
        margin, samples = float(self.chosen["margin"]), len(trained.examples)
        keys, layers, valid = _gates(trained, samples)
        findings = []
        for key, gates in zip(keys, layers, strict=True):
            if not gates:
                continue
            opened = [gate[valid] for gate in gates]
            near_0 = [(gate < margin).double().mean(dim=0) for gate in opened]
            near_1 = [(gate > 1 - margin).double().mean(dim=0) for gate in opened]
            numbers: dict[str, float] = {}
            for number, (shut, wide) in enumerate(zip(near_0, near_1, strict=True), 1):
                numbers[f"gate_{number}_near_0"] = float(shut.mean())
                numbers[f"gate_{number}_near_1"] = float(wide.mean())
            numbers["near_0"] = float(torch.cat(near_0).mean())
            numbers["near_1"] = float(torch.cat(near_1).mean())
            title = who(trained, key.replace("_", " "))
            findings.append(
                Finding(
                    named("saturation", key),
                    f"Gates of {title}, in the order in which a step computes them, over "
                    f"{samples_in_words(samples)}: for each unit the share of steps below "
                    f"{margin:g} and above {1 - margin:g}, and the distribution of all values.",
                    _draw(opened, near_0, near_1, margin, title),
                    numbers,
                )
            )
        return findings


@torch.no_grad()
def _gates(trained: TrainedModel, samples: int) -> tuple[list[str], list[list[Tensor]], Tensor]:
    """Names of the layers, the gates `(time, batch, units)` of each, and the valid steps."""
    seen: list[list[list[Tensor]]] = [[] for _ in trained.layers]

    def listen(index: int) -> Step:
        def step(cell: RecurrentCell, inputs: Tensor, state: State) -> tuple[Tensor, State]:
            with _Sigmoids() as sigmoids:
                output, after = cell(inputs, state)
            seen[index].append([_per_sample(gate, len(inputs)) for gate in sigmoids.seen])
            return output, after

        return step

    twin = watched(trained, listen)
    inputs, lengths = twin.inputs(0, samples)
    twin.model(inputs, lengths)
    gates = [[torch.stack(gate) for gate in zip(*steps, strict=True)] for steps in seen]
    return layer_keys(twin.model, [*twin.layers]), gates, valid_steps(inputs, lengths)


def _per_sample(gate: Tensor, batch: int) -> Tensor:
    """A gate as `(batch, units)`; one made of parameters alone is the same for all samples."""
    if gate.dim() > 1 and gate.shape[0] == batch:
        return gate.flatten(1)
    return gate.flatten().expand(batch, -1)


def _draw(
    opened: list[Tensor], near_0: list[Tensor], near_1: list[Tensor], margin: float, title: str
) -> Any:
    with figure_of(1, 2, 9.0, 3.8) as (figure, axes):
        plane, histogram = axes[0]
        for number, (shut, wide) in enumerate(zip(near_0, near_1, strict=True), 1):
            colour = COLOURS[(number - 1) % len(COLOURS)]
            plane.scatter(shut, wide, s=18, color=colour, alpha=0.6, label=f"gate {number}")
        plane.plot([0, 1], [1, 0], color="#bbbbbb", linewidth=0.8)
        plane.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), aspect="equal")
        plane.set_xlabel(f"share of steps below {margin:g}")
        plane.set_ylabel(f"share of steps above {1 - margin:g}")
        plane.legend(fontsize=7, frameon=False, loc="upper right")
        plane.set_title(f"gate saturation of {title}, one dot for each unit", loc="left")
        for number, gate in enumerate(opened, 1):
            counts = torch.histc(gate.double(), bins=40, min=0.0, max=1.0) / gate.numel()
            look = {"color": COLOURS[(number - 1) % len(COLOURS)], "linewidth": 1.2}
            histogram.stairs(counts.numpy(), torch.linspace(0, 1, 41).numpy(), **look)
        histogram.set(xlabel="activation", ylabel="share", xlim=(0, 1))
        histogram.set_ylim(bottom=0)
    return figure
