"""The most interesting units, and what they do."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from rnnsearch import Analysis, Finding, IntRange, TrainedModel
from rnnsearch_analyses.autocorrelation import autocorrelation_times, ranges
from rnnsearch_analyses.drawing import (
    DIVERGING,
    figure_of,
    input_symbols,
    label_steps,
    named,
    samples_in_words,
    who,
    width_for,
)
from rnnsearch_analyses.recording import no_layers, record

_SMALL = 0.1


def scores(memory: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Long-term and short-term score of each unit; zero for an idle unit.

    With the autocorrelation time `tau` and the share `s` of steps in which a unit moves by less
    than a tenth of its range, the long-term score is `tau s` and the short-term score
    `(1 - s) / tau`.

    Shapes:
        memory: `(time, batch, units)`
        valid: `(time, batch)`
        output: `(units,)` each
    """
    times, _ = autocorrelation_times(memory, valid)
    span = ranges(memory, valid)
    moved = (memory[1:] - memory[:-1]).abs()[valid[1:]]
    small = (moved < _SMALL * span).to(memory).mean(dim=0)
    long, short = times * small, (1 - small) / times
    return torch.nan_to_num(long, nan=0.0), torch.nan_to_num(short, nan=0.0)


class NeuronsOfInterest(Analysis):
    """Activation traces of the units that hold their values longest or most briefly.

    Units that change slowly and by little (counters, latches) lead the long-term list; units that
    jump at most steps lead the short-term list. Each trace is drawn over a strip of its own values,
    red for negative and blue for positive. Where inputs are one-hot, steps are labelled with the
    symbols read, as in the coloured texts of the source.

    Source: Karpathy, Johnson and Fei-Fei, "Visualizing and understanding recurrent networks", 2015,
    arXiv:1506.02078, section 4.2, interpretable cells. Departure: the paper picks units by eye;
    here they are picked by two scores of our own, see `scores`.

    Numbers, for each layer: `long_1_unit` and `long_1_score`, the unit (from 0) with the largest
    long-term score, and so on; `short_1_unit`, `short_1_score`, and so on.

    Args:
        units: number of units in each list.
        sample: index of the sample that is drawn, from 0; the scores are over all samples.
    """

    options = {
        "units": IntRange(1, 20, default=4, searched=False),
        "sample": IntRange(0, 1_000_000, default=0, searched=False),
    }

    @override
    def refusal(self, trained: TrainedModel) -> str | None:
        if reason := no_layers(trained):
            return reason
        inputs, _ = trained.inputs()
        return "its sequences have a single step" if len(inputs) < 2 else None

    @override
    def analyse(self, trained: TrainedModel) -> list[Finding]:
        samples = len(trained.examples)
        sample = min(int(self.chosen["sample"]), samples - 1)
        symbols = input_symbols(trained, sample)
        findings = []
        for recording in record(trained, samples):
            picked: list[tuple[str, int]] = []
            numbers: dict[str, float] = {}
            both = zip(("long", "short"), scores(recording.memory, recording.valid), strict=True)
            for kind, score in both:
                best = torch.argsort(score, descending=True, stable=True)
                for place, unit in enumerate(best[: int(self.chosen["units"])].tolist(), 1):
                    if score[unit] > 0:
                        picked.append((kind, unit))
                        numbers[f"{kind}_{place}_unit"] = unit
                        numbers[f"{kind}_{place}_score"] = float(score[unit])
            memory = recording.of_sample(sample)
            backwards = recording.key.endswith("backwards")
            shown = symbols[::-1] if symbols and backwards else symbols
            title = who(trained, recording.title)
            findings.append(
                Finding(
                    named("neurons", recording.key),
                    f"Units of {title} with the largest long-term score (slow, small changes) and "
                    f"the largest short-term score (jumps at most steps) over "
                    f"{samples_in_words(samples)}, and what they do on sample {sample}; units "
                    f"count from 0.",
                    _draw(memory, picked, shown, title) if picked else None,
                    numbers or {"idle_units": float(memory.shape[1])},
                )
            )
        return findings


def _draw(memory: Tensor, picked: list[tuple[str, int]], symbols: Any, title: str) -> Any:
    steps = len(memory)
    time = range(1, steps + 1)
    size = width_for(steps), 0.8 + 0.62 * len(picked)
    with figure_of(len(picked), 1, *size, sharex=True) as (figure, axes):
        for panel, (kind, unit) in zip(axes[:, 0], picked, strict=True):
            values = memory[:, unit].numpy()
            limit = float(abs(values).max()) or 1.0
            low, high = float(values.min()), float(values.max())
            margin = 0.1 * (high - low) or 0.1 * limit
            panel.imshow(
                values[None],
                aspect="auto",
                interpolation="nearest",
                cmap=DIVERGING,
                vmin=-limit,
                vmax=limit,
                alpha=0.75,
                extent=(0.5, steps + 0.5, low - margin, high + margin),
            )
            panel.plot(time, values, color="black", linewidth=1, marker=".", markersize=2)
            panel.set_ylim(low - margin, high + margin)
            panel.set_ylabel(f"{kind}\nunit {unit}", rotation=0, ha="right", va="center")
            panel.tick_params(axis="y", labelsize=6)
        axes[0, 0].set_title(f"neurons of interest of {title}", loc="left")
        label_steps(axes[-1, 0], symbols)
    return figure
