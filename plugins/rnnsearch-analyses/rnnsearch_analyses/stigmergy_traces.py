"""Traces of a stigmergic memory: stimulus, deposit, removal, mark."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from typing_extensions import override

from rnnsearch import Analysis, Finding, IntRange, TrainedModel
from rnnsearch_analyses.drawing import (
    COLOURS,
    figure_of,
    heat_map,
    input_symbols,
    label_steps,
    named,
    samples_in_words,
    who,
    width_for,
)
from rnnsearch_analyses.recording import layer_keys, valid_steps, watched

_STILL = 1e-6


@runtime_checkable
class Stigmergic(Protocol):
    """A cell whose only state is a vector of marks, and which reports what changes them."""

    def stimulate(self, inputs: Tensor, marks: Tensor) -> tuple[Tensor, Tensor]:
        """Deposit and removal that a stimulus causes, each `(batch, marks)`."""


class StigmergyTraces(Analysis):
    """Stimulus, deposit, removal and mark over time, of an SM-RNN.

    Only for cells that report what they deposit and remove (`sm_rnn`). The marks that move most are
    drawn.

    Source: Galatolo, Cimino and Vaglini, "Using stigmergy as a computational memory in the design
    of recurrent neural networks", ICPRAM 2019, arXiv:1903.01341, figure 3. Departure: these are the
    marks of a trained net on a sample of the task; the figure is a sketch of one mark.

    Numbers, for each layer, over all samples: `mean_deposit`, `mean_removal`, `mean_mark`,
    `deposit_share`, the share of steps and marks with any deposit, `removal_share` likewise,
    and `largest_mark`.

    Args:
        marks: number of marks to draw.
        sample: index of the sample that is drawn, from 0.
    """

    options = {
        "marks": IntRange(1, 12, default=4, searched=False),
        "sample": IntRange(0, 1_000_000, default=0, searched=False),
    }

    @override
    def refusal(self, trained: TrainedModel) -> str | None:
        if all(_stigmergic(layer) is None for layer in trained.layers):
            return "it has no stigmergic memory: no deposit, no removal, no mark"
        return None

    @torch.no_grad()
    @override
    def analyse(self, trained: TrainedModel) -> list[Finding]:
        samples = len(trained.examples)
        sample = min(int(self.chosen["sample"]), samples - 1)
        twin = watched(trained, lambda index: lambda cell, inputs, state: cell(inputs, state))
        seen: dict[int, list[tuple[Tensor, ...]]] = {}
        for index, layer in enumerate(twin.layers):
            cell = _stigmergic(layer)
            if cell is not None:
                cell.register_forward_hook(_observer(seen.setdefault(index, [])))
        inputs, lengths = twin.inputs(0, samples)
        twin.model(inputs, lengths)
        valid = valid_steps(inputs, lengths)
        keys = layer_keys(twin.model, [*twin.layers])
        symbols = input_symbols(trained, sample)
        findings = []
        for index, steps in seen.items():
            stimulus, deposit, removal, mark = map(torch.stack, zip(*steps, strict=True))
            title = who(trained, keys[index].replace("_", " "))
            of_sample = [
                part[valid[:, sample], sample] for part in (stimulus, deposit, removal, mark)
            ]
            backwards = keys[index].endswith("backwards")
            shown = symbols[::-1] if symbols and backwards else symbols
            numbers = {
                "mean_deposit": float(deposit[valid].mean()),
                "mean_removal": float(removal[valid].mean()),
                "mean_mark": float(mark[valid].mean()),
                "largest_mark": float(mark[valid].max()),
                "deposit_share": float((deposit[valid] > _STILL).double().mean()),
                "removal_share": float((removal[valid] > _STILL).double().mean()),
            }
            findings.append(
                Finding(
                    named("traces", keys[index]),
                    f"Stimulus, deposit, removal and mark of {title} over the steps of validation "
                    f"sample {sample}, for the marks that move most; one colour for each mark. "
                    f"The numbers are over {samples_in_words(samples)}.",
                    _draw(of_sample, int(self.chosen["marks"]), shown, title),
                    numbers,
                )
            )
        return findings


def _stigmergic(layer: nn.Module) -> nn.Module | None:
    """The stigmergic cell of a layer, which may be wrapped."""
    return next((module for module in layer.modules() if isinstance(module, Stigmergic)), None)


def _observer(seen: list[tuple[Tensor, ...]]) -> Any:
    def observe(cell: Any, arguments: tuple[Any, ...], result: Any) -> None:
        stimulus, (marks,) = arguments
        deposit, removal = cell.stimulate(stimulus, marks)
        seen.append((stimulus, deposit, removal, result[1][0]))

    return observe


def _draw(parts: list[Tensor], count: int, symbols: Any, title: str) -> Any:
    stimulus, deposit, removal, mark = parts
    span = mark.amax(dim=0) - mark.amin(dim=0)
    chosen = torch.argsort(span, descending=True, stable=True)[:count].tolist()
    time = range(1, len(mark) + 1)
    ratios = {"height_ratios": [1.2, 1, 1, 1.4]}
    size = width_for(len(mark)), 6.4
    with figure_of(4, 1, *size, sharex=True, gridspec_kw=ratios) as (figure, axes):
        heat_map(figure, axes[0, 0], stimulus.T.numpy(), bar=False)
        axes[0, 0].set_ylabel("stimulus\n(input)")
        axes[0, 0].set_title(f"stigmergy of {title}", loc="left")
        named_parts = (("deposit", deposit), ("removal", removal), ("mark", mark))
        for panel, (name, part) in zip(axes[1:, 0], named_parts, strict=True):
            for place, unit in enumerate(chosen):
                look = {"color": COLOURS[place % len(COLOURS)], "linewidth": 1.2}
                panel.plot(time, part[:, unit].numpy(), label=f"mark {unit}", **look)
            panel.set_ylabel(name)
            panel.set_ylim(bottom=min(0.0, float(part.min())))
        axes[3, 0].legend(fontsize=7, frameon=False, ncols=min(4, len(chosen)), loc="best")
        label_steps(axes[3, 0], symbols)
    return figure
