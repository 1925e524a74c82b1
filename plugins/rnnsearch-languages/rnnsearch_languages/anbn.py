"""The context-free language of equally many a and b."""

from __future__ import annotations

from typing import ClassVar

from rnnsearch_languages.counting import CountingTask


class AnBn(CountingTask):
    """Predict the next symbols of a^n b^n: count the a, then give as many b.

    After the start only a may come, then a or b, then b until there are n of them, then the end.
    Trained on n from 1 to `train_max`, validated on the next ones to `validation_max`, tested on
    the next to `test_max`, each n there once; so the test metric is the share of larger n that are
    mastered.

    Source: Gers and Schmidhuber, "LSTM recurrent networks learn simple context-free and
    context-sensitive languages", IEEE Transactions on Neural Networks 12, 2001 (reconstructed):
    one-hot symbols, all legal next symbols as targets, a string accepted where every one of its
    predictions is right. Departures: inputs 0 and 1 instead of -1 and 1, cross-entropy instead of
    the squared error, n at least 1, and validation strings, which they do not have.

    Shapes:
        inputs: `(samples, steps, 3)` uint8, one-hot in the order `^ab`, `^` the start
        targets: `(samples, steps, 3)` float32, 1 where legal, in the order `ab$`, `$` the end; not
            a number after the end
        lengths: `(samples,)` int64, 2 n + 1

    Args:
        train_max: largest n in training.
        validation_max: largest n in validation.
        test_max: largest n in test.
        train_size: training strings, every n equally often: it sets how many updates an epoch has.
    """

    letters: ClassVar[str] = "ab"
