"""Training in closed form: a model that solves for its weights instead of descending to them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn

from rnnsearch.plugin.losses import Objective
from rnnsearch.plugin.sequence_model import Batch, SequenceModel
from rnnsearch.spec.trial import TrainingConfig
from rnnsearch.training.batches import Batches
from rnnsearch.training.engines import EVALUATION_BATCH, AutogradUpdates, contract_of


def is_closed_form(model: nn.Module) -> TypeGuard[SequenceModel]:
    """Whether a model is trained by its own `fit`."""
    return isinstance(model, SequenceModel) and model.capabilities.trained_by[0] == "closed_form"


class ClosedFormUpdates:
    """Solves in the first epoch; the later ones find nothing left to do.

    It takes the place of an engine (see `engines.Updates`).
    """

    name = "closed form"

    def __init__(self, model: SequenceModel, config: TrainingConfig, objective: Objective) -> None:
        self._model, self._objective = model, objective
        self._evaluation = AutogradUpdates(self.name, model, config, objective)
        self._solved = False

    def train(
        self, data: Batches, order: Tensor, noise: tuple[int, int] = (0, 0)
    ) -> tuple[float, float, float]:
        """Fit, and measure on what was fitted; see `engines.Updates`."""
        if not self._solved:
            data.meet(contract_of(self._model, self._objective))
            with torch.no_grad():
                self._model.fit(_in_order(data))
            self._solved = True
        loss, score = self.measure(data)
        totals = data.total(self._objective.loss), data.total(self._objective.score)
        return loss * totals[0], score * totals[1], 0.0

    def scale_rate(self, factor: float) -> None:
        """Nothing: there is no rate."""

    def measure(self, data: Batches) -> tuple[float, float]:
        """Mean loss and mean metric over a split."""
        return self._evaluation.measure(data)

    def state_dict(self) -> dict[str, Any]:
        """Whether it has solved."""
        return {"solved": self._solved}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue where `state_dict` was taken."""
        self._solved = bool(state["solved"])


def _in_order(data: Batches) -> Iterator[Batch]:
    for index in torch.arange(len(data)).split(EVALUATION_BATCH):
        yield data.take(index.to(data.device))
