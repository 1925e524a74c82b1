"""How long each unit remembers."""

from __future__ import annotations

import numpy as np
from typing_extensions import override

from rnnsearch import Analysis, Finding, TrainedModel
from rnnsearch_analyses.autocorrelation import autocorrelation_times
from rnnsearch_analyses.drawing import COLOURS, figure_of, named, samples_in_words, who
from rnnsearch_analyses.recording import no_layers, record

_LONG_SHARE = 0.25
_TICKS = [t * 10.0**power for power in range(-1, 5) for t in (1, 2, 5)]


class TimeConstants(Analysis):
    """Histogram of the units' autocorrelation times: is the memory long, short, or both?

    The time constant of a unit is the lag at which its autocorrelation falls to `1/e`. A unit that
    decays as `phi^l` has `-1 / ln phi`. It is measured on the memory for real inputs, so inputs
    that change slowly lengthen it, and nothing longer than half a sequence can be measured.

    Source: Murray et al., "A hierarchy of intrinsic timescales across primate cortex", Nature
    Neuroscience 17, 2014, for times from autocorrelations (they fit an exponential; this analysis
    takes the `1/e` crossing). The question whether a memory is explicitly long and short is from
    Mohamed and Claudel, "MCRM: Mother Compact Recurrent Memory", 2018, arXiv:1808.02016.

    Numbers, for each layer: `median_steps`, `shortest_steps` and `longest_steps` over units that
    move; `long_share`, the share of these units that last a quarter of the longest sequence or
    more; `idle_units`, the number that do nothing; `longest_observable_steps`.
    """

    @override
    def refusal(self, trained: TrainedModel) -> str | None:
        return no_layers(trained)

    @override
    def analyse(self, trained: TrainedModel) -> list[Finding]:
        findings = []
        samples = len(trained.examples)
        for recording in record(trained, samples):
            times, longest = autocorrelation_times(recording.memory, recording.valid)
            moving = times[~times.isnan()].numpy()
            steps = int(recording.valid.sum(dim=0).max())
            numbers = {
                "units": float(len(times)),
                "idle_units": float(len(times) - len(moving)),
                "longest_observable_steps": float(longest),
            }
            if len(moving):
                numbers |= {
                    "median_steps": float(np.median(moving)),
                    "shortest_steps": float(moving.min()),
                    "longest_steps": float(moving.max()),
                    "long_share": float((moving >= _LONG_SHARE * steps).mean()),
                }
            low = min(0.3, *moving) if len(moving) else 0.3
            bins = np.geomspace(low, max(2 * low, longest) * 1.0001, 25)
            with figure_of(1, 1, 6.0, 3.0) as (figure, axes):
                panel = axes[0, 0]
                panel.hist(np.minimum(moving, bins[-1]), bins=bins, color=COLOURS[0])
                panel.set_xscale("log")
                ticks = [t for t in _TICKS if bins[0] <= t <= bins[-1]]
                panel.set_xticks(ticks, [f"{t:g}" for t in ticks])
                panel.set_xticks([], minor=True)
                panel.axvline(_LONG_SHARE * steps, color="#888888", linestyle="--", linewidth=1)
                panel.set_xlabel("autocorrelation time [steps]; dashed: a quarter of the sequence")
                panel.set_ylabel("units")
                panel.yaxis.get_major_locator().set_params(integer=True)
                panel.set_title(f"time constants of {who(trained, recording.title)}", loc="left")
            findings.append(
                Finding(
                    named("time_constants", recording.key),
                    f"Steps after which the autocorrelation of each unit of "
                    f"{who(trained, recording.title)} has fallen to 1/e, on "
                    f"{samples_in_words(samples)}; {len(times) - len(moving)} of {len(times)} "
                    f"units do nothing, and {longest} is the longest that can be told.",
                    figure,
                    numbers,
                )
            )
        return findings
