"""A confirmed model on disk, and how MLflow brings it back as a predictor.

A model is two files: `spec.json` (names and numbers) and `weights.pt` (a state dict). Nothing is
unpickled: the specification rebuilds the model through the plugins, and the weights are loaded with
`weights_only`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from rnnsearch.budget.model import build_model
from rnnsearch.plugin.registry import load_registry
from rnnsearch.spec.trial import TrialSpec

SPEC_FILE, WEIGHTS_FILE = "spec.json", "weights.pt"


def save_model(folder: Path, spec: TrialSpec, weights: dict[str, torch.Tensor]) -> None:
    """Write a model to a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / SPEC_FILE).write_text(spec.to_json(), encoding="utf-8")
    torch.save(weights, folder / WEIGHTS_FILE)


class Predictor:
    """A trained model that predicts from arrays.

    Shapes:
        inputs: `(batch, time, input_size)`, samples first, as the task prepares them; sequences
            that differ in length are not padded but given one length at a time
        output: `(batch, output_size)`, or `(batch, time, output_size)` for a task that reads every
            step; logits for a classification
    """

    def __init__(self, folder: Path) -> None:
        self.spec = TrialSpec.from_json((folder / SPEC_FILE).read_text(encoding="utf-8"))
        architecture = load_registry().architecture(self.spec.model.architecture)
        self.model = build_model(architecture, self.spec.model)
        weights = torch.load(folder / WEIGHTS_FILE, weights_only=True, map_location="cpu")
        self.model.load_state_dict(weights)
        self.model.eval()

    @torch.no_grad()
    def predict(self, inputs: Any, params: dict[str, Any] | None = None) -> np.ndarray:
        """Run the model over whole sequences."""
        array = np.asarray(inputs, dtype=np.float32)
        size = self.spec.model.shape.input_size
        if array.ndim != 3 or array.shape[-1] != size:
            msg = f"expected inputs of shape (batch, time, {size}), got {array.shape}"
            raise ValueError(msg)
        outputs: torch.Tensor = self.model(torch.from_numpy(array).transpose(0, 1))
        if self.spec.model.shape.readout == "every_step":
            outputs = outputs.transpose(0, 1)
        return outputs.numpy()


def _load_pyfunc(path: str) -> Predictor:
    """The hook that `mlflow.pyfunc.load_model` calls."""
    return Predictor(Path(path))
