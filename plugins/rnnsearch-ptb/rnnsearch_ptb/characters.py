"""The Penn Treebank character by character."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np
from typing_extensions import override

from rnnsearch import Choice, Value
from rnnsearch_ptb.corpus import Split, read_lines
from rnnsearch_ptb.next_token import NextTokenTask, options_of

ALPHABET = "\n #$&'*-./0123456789<>N\\abcdefghijklmnopqrstuvwxyz"
LENGTHS: dict[str, dict[Split, int]] = {
    "text": {"train": 5_059_550, "validation": 396_412, "test": 446_184},
    "stripped": {"train": 5_017_482, "validation": 393_042, "test": 442_423},
}
# Bits per character on the scored test text, from the character frequencies in training alone.
NO_SKILL = {"text": 4.3306, "stripped": 4.3459}


class CharPTB(NextTokenTask):
    """Predict the next of 50 characters of the Penn Treebank.

    Windows of 400 characters, the last 320 of which are scored, with a tied embedding. `batch_size`
    is the number of places at which the text is read in parallel.

    The metric is bits per character: the mean cross-entropy divided by ln 2. The no-skill level
    comes from the characters' frequencies in training, 4.33 bits (equal odds would give log2 50,
    5.64).

    Source: Mikolov et al., "Subword language modeling with neural networks", 2012, for the text;
    Bai, Kolter and Koltun, 2018, arXiv:1803.01271, section 5 and code, for the windows; Mohamed and
    Claudel, "MCRM: Mother Compact Recurrent Memory", 2018, arXiv:1808.02016, and code, for the
    tied embedding. That code trains with Adam at 0.001, a clip of 0.15 and 32 places for 100
    epochs, and divides the rate by ten when the validation loss stops falling; its results are for
    the validation text.
    Departures: the state is carried in all models (in the source only in the baselines, which also
    read a window's history again, starting from the state after it); the text is evaluated from ten
    places, not one.

    Two ways of counting are in use. `text`, used by Bai et al. and by MCRM: a line is its words,
    each followed by a space, and a line end. `stripped`, used by Mikolov's `ptb.char` files: no
    space after the last word; this is one easy prediction fewer per line, so bits are not
    comparable.

    | `convention` | train | validation | test |
    |---|---|---|---|
    | `text` | 5,059,550 | 396,412 | 446,184 |
    | `stripped` | 5,017,482 | 393,042 | 442,423 |

    Args:
        convention: how lines end, `text` or `stripped`.
        window: steps of a window.
        scored: scored steps of a window, at its end; the next window begins this many steps later.
        embedding: `tied` to the output weight, or `separate`, with the head that the study sets.
        train_characters: maximum number of characters read for training; 0 for all.
        evaluation_characters: maximum number read for validation and for test, each; 0 for all.
    """

    options = {
        "convention": Choice(("text", "stripped"), default="text", searched=False),
        **options_of("characters", 400, 320),
    }
    unit: ClassVar[str] = "characters"
    vocabulary: ClassVar[int] = len(ALPHABET)
    symbols = ALPHABET
    metric: ClassVar[str] = "bits_per_character"
    no_skill: ClassVar[float] = NO_SKILL["text"]

    def __init__(self, **options: Value) -> None:
        super().__init__(**options)
        self.no_skill = NO_SKILL[str(self.chosen["convention"])]  # type: ignore[misc]

    @property
    @override
    def lengths(self) -> Mapping[Split, int]:
        """Characters in the whole text of each split."""
        return LENGTHS[str(self.chosen["convention"])]

    @override
    def metric_of(self, score: float) -> float:
        """Nats to bits."""
        return score / math.log(2)

    @override
    def read(self, folder: Path, split: Split) -> np.ndarray:
        """Indices of the characters of a split, in the order of `ALPHABET`."""
        text = join_lines(read_lines(folder, split), str(self.chosen["convention"]))
        number = np.zeros(128, np.int16)
        number[np.frombuffer(ALPHABET.encode(), np.uint8)] = np.arange(len(ALPHABET))
        return number[np.frombuffer(text.encode(), np.uint8)]


def join_lines(lines: list[str], convention: str) -> str:
    """Join sentences into text by a convention."""
    end = " \n" if convention == "text" else "\n"
    return "".join(line.strip(" ") + end for line in lines)
