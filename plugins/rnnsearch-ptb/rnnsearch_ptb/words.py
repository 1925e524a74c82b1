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
    words, of which the last 40 are scored, with a tied embedding. `batch_size` is the number of
    places at which the text is read side by side.

    The metric is the perplexity: the exponential of the mean cross-entropy. The no-skill level is
    that of the words' frequencies in training, 639 (equal odds would have 10,000).

    Source: Mikolov et al., "Recurrent neural network based language model", Interspeech 2010, for
    the text; Bai, Kolter and Koltun, 2018, arXiv:1803.01271, section 5 and code, for the windows;
    Mohamed and Claudel, "MCRM: Mother Compact Recurrent Memory", 2018, arXiv:1808.02016, and code,
    for the tied embedding. The paper trains with gradient descent at 30 and a clip of 0.35; its
    code has 16 places and 50 epochs, and halves the rate where the validation loss no longer
    falls; its results are those of the validation text.
    Departure: the state is carried in all models (there only in the baselines, which moreover read
    a window's history again, in the state after it).

    The words are 929,589 for training, 73,760 for validation and 82,430 for test, line ends
    included; all occur in training. They are numbered in the order of their first occurrence there.

    Args:
        window: steps of a window.
        scored: steps of it that are scored, the last ones; the next window begins so much later.
        embedding: `tied` to the output weight, or `separate`, with the head that the study asks
            for.
        train_words: read only this many for training; 0 for all. The vocabulary stays.
        evaluation_words: read only this many for validation and for test each; 0 for all.
    """

    options = options_of("words", 80, 40)
    unit: ClassVar[str] = "words"
    vocabulary: ClassVar[int] = 10_000
    metric: ClassVar[str] = "perplexity"
    # Of who knows how frequent each word is in training, on what is scored of test.
    no_skill: ClassVar[float] = 639.25
    # A passage of the training text, seven windows of 1,843, stands in the validation text too.
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
        """Numbers of the words of a split."""
        train = words_of(read_lines(folder, "train"))
        number = {word: i for i, word in enumerate(dict.fromkeys(train))}
        words = train if split == "train" else words_of(read_lines(folder, split))
        try:
            return np.array([number[word] for word in words], np.int16)
        except KeyError as error:
            msg = f"the {split} text has a word that training has not: {error.args[0]}"
            raise DataError(msg) from error


def words_of(lines: list[str]) -> list[str]:
    """The words of sentences, a line end after each."""
    return [word for line in lines for word in (*line.split(), END)]
