"""An architecture: a step cell, or a model of whole sequences."""

from __future__ import annotations

from typing import TypeAlias

from rnnsearch.plugin.cell import RecurrentCell
from rnnsearch.plugin.sequence_model import SequenceModel

Architecture: TypeAlias = type[RecurrentCell] | type[SequenceModel]
