"""The Penn Treebank word by word."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np
from typing_extensions import override

from rnnsearch import DataError
from rnnsearch_ptb.corpus import Split, find_corpus, read_lines
from rnnsearch_ptb.next_token import NextTokenTask, options_of

END = "<eos>"
LENGTHS: dict[Split, int] = {"train": 929_589, "validation": 73_760, "test": 82_430}


class WordPTB(NextTokenTask):
    """Predict the next of 10,000 words of the Penn Treebank.

    A line end is the word `<eos>`, and rare words are `<unk>` in the text itself. Windows of 80
    words, the last 40 of which are scored, with a tied embedding. `batch_size` is the number of
    places at which the text is read in parallel.

    The metric is the perplexity: the exponential of the mean cross-entropy. The no-skill level
    comes from the words' frequencies in training, 639 (equal odds would give 10,000).

    Source: Mikolov et al., "Recurrent neural network based language model", Interspeech 2010, for
    the text; Bai, Kolter and Koltun, 2018, arXiv:1803.01271, section 5 and code, for the windows;
    Mohamed and Claudel, "MCRM: Mother Compact Recurrent Memory", 2018, arXiv:1808.02016, and code,
    for the tied embedding. The paper trains with gradient descent at 30 and a clip of 0.35; its
    code has 16 places and 50 epochs, and halves the rate when the validation loss stops falling;
    its results are for the validation text.
    Departure: the state is carried in all models (in the source only in the baselines, which also
    read a window's history again, starting from the state after it).

    There are 929,589 words for training, 73,760 for validation and 82,430 for test, including line
    ends; all occur in training. They are numbered in the order of their first occurrence there.

    Args:
        window: steps of a window.
        scored: scored steps of a window, at its end; the next window begins this many steps later.
        embedding: `tied` to the output weight, or `separate`, with the head that the study sets.
        train_words: maximum number of words read for training; 0 for all. The vocabulary stays.
        evaluation_words: maximum number read for validation and for test, each; 0 for all.
    """

    options = options_of("words", 80, 40)
    unit: ClassVar[str] = "words"
    vocabulary: ClassVar[int] = 10_000
    metric: ClassVar[str] = "perplexity"
    # Perplexity on the scored test text, from the word frequencies in training alone.
    no_skill: ClassVar[float] = 639.25
    # A passage of the training text, seven windows of 1,843, is also in the validation text.
    may_repeat: ClassVar[float] = 0.004

    @property
    @override
    def symbols(self) -> list[str]:  # type: ignore[override]
        """The words, by number."""
        return list(dict.fromkeys(words_of(read_lines(find_corpus().folder, "train"))))

    @property
    @override
    def lengths(self) -> Mapping[Split, int]:
        """Words in the whole text of each split."""
        return LENGTHS

    @override
    def metric_of(self, score: float) -> float:
        """Cross-entropy to perplexity."""
        try:
            return math.exp(score)
        except OverflowError:
            return math.inf

    @override
    def read(self, folder: Path, split: Split) -> np.ndarray:
        """Indices of the words of a split."""
        train = words_of(read_lines(folder, "train"))
        number = {word: i for i, word in enumerate(dict.fromkeys(train))}
        words = train if split == "train" else words_of(read_lines(folder, split))
        try:
            return np.array([number[word] for word in words], np.int16)
        except KeyError as error:
            msg = f"the {split} text has a word that training has not: {error.args[0]}"
            raise DataError(msg) from error


def words_of(lines: list[str]) -> list[str]:
    """The words of sentences, with a line end after each."""
    return [word for line in lines for word in (*line.split(), END)]
