"""Units by time: the memory of a network while it reads."""

from __future__ import annotations

from typing_extensions import override

from rnnsearch import Analysis, Finding, IntRange, TrainedModel
from rnnsearch_analyses.drawing import (
    figure_of,
    heat_map,
    input_symbols,
    label_steps,
    named,
    who,
    width_for,
)
from rnnsearch_analyses.recording import no_layers, record


class MemoryHeatMap(Analysis):
    """Heat map of the memory while one sequence is read: units by steps.

    Red is negative, blue is positive, and darker is larger. The limits are symmetric about zero and
    set per layer. Each cell defines its memory (`RecurrentCell.memory_state`): `c` of an LSTM, `h`
    of a GRU, the marks of an SM-RNN. Where inputs are one-hot, steps are labelled with the symbols
    read.

    Source: Mohamed and Claudel, "MCRM: Mother Compact Recurrent Memory", 2018, arXiv:1808.02016,
    the figures of memory states on characters; after Karpathy, Johnson and Fei-Fei, "Visualizing
    and understanding recurrent networks", 2015, arXiv:1506.02078. Departures: any width and any
    inputs, whereas the paper has cells of one size on text.

    Numbers: `units`, `steps`, and `largest`, the largest absolute value.

    Args:
        sample: index of the sample, from 0; the last one if there are fewer.
    """

    options = {"sample": IntRange(0, 1_000_000, default=0, searched=False)}

    @override
    def refusal(self, trained: TrainedModel) -> str | None:
        return no_layers(trained)

    @override
    def analyse(self, trained: TrainedModel) -> list[Finding]:
        sample = min(int(self.chosen["sample"]), len(trained.examples) - 1)
        symbols = input_symbols(trained, sample)
        findings = []
        for recording in record(trained, sample + 1):
            memory = recording.of_sample(sample).T.numpy()
            units, steps = memory.shape
            height = min(max(2.2, 1.2 + 0.06 * units), 9.0)
            with figure_of(1, 1, width_for(steps), height) as (figure, axes):
                heat_map(figure, axes[0, 0], memory)
                backwards = recording.key.endswith("backwards")
                label_steps(axes[0, 0], symbols[::-1] if symbols and backwards else symbols)
                axes[0, 0].set_ylabel("unit")
                axes[0, 0].set_title(f"memory of {who(trained, recording.title)}", loc="left")
            findings.append(
                Finding(
                    named("memory", recording.key),
                    f"Memory of {who(trained, recording.title)} after each step of validation "
                    f"sample {sample}: one line for each unit, red negative, blue positive, the "
                    f"darker the larger (at most {abs(memory).max():.3g})."
                    + (" Steps are in the order read, last first." if backwards else ""),
                    figure,
                    {"units": units, "steps": steps, "largest": float(abs(memory).max())},
                )
            )
        return findings
