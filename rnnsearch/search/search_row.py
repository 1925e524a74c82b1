"""A row of a study that is ready to run: its search space, and what trains its trials."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from rnnsearch.budget.space import SearchSpace
from rnnsearch.config.schema import StudyConfig
from rnnsearch.spec.engine import Engine
from rnnsearch.spec.parameters import Value
from rnnsearch.spec.trial import Phase, TrialSpec


@dataclass(frozen=True)
class SearchRow:
    """One row of a running study.

    Attributes:
        space: what is fixed and what is searched.
        engine: what trains its trials.
        engine_speedup: how many times faster that was than torch, 0 where it was not measured.
        epoch_seconds: estimated time of one epoch.
    """

    space: SearchSpace
    engine: Engine
    engine_speedup: float
    epoch_seconds: float

    @property
    def label(self) -> str:
        """Name of the row."""
        return self.space.label

    def trial(
        self,
        config: StudyConfig,
        values: Mapping[str, Value],
        *,
        phase: Phase,
        number: int,
        rank: int = 0,
    ) -> TrialSpec:
        """Describe one training run for sampled values; raises as `SearchSpace.trial` does."""
        spec = self.space.trial(config, values, phase=phase, number=number, rank=rank)
        return replace(spec, engine=self.engine, engine_speedup=self.engine_speedup)
