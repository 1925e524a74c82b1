"""The context-free language with equal numbers of a and b."""

from __future__ import annotations

from typing import ClassVar

from rnnsearch_languages.counting import CountingTask


class AnBn(CountingTask):
    """Predict the next symbols of a^n b^n: count the a, then give the same number of b.

    After the start only a is legal, then a or b, then b until there are n of them, then the end.
    Training has n from 1 to `train_max`, validation continues up to `validation_max`, and test
    continues up to `test_max`, with each n once. So the test metric is the share of larger n that
    the model has mastered.

    Source: Gers and Schmidhuber, "LSTM recurrent networks learn simple context-free and
    context-sensitive languages", IEEE Transactions on Neural Networks 12, 2001 (reconstructed):
    one-hot symbols, all legal next symbols as targets, a string is accepted if all its predictions
    are right. Departures: inputs 0 and 1 instead of -1 and 1, cross-entropy instead of the squared
    error, n at least 1, and validation strings, which the source does not have.

    Shapes:
        inputs: `(samples, steps, 3)` uint8, one-hot in the order `^ab`, `^` the start
        targets: `(samples, steps, 3)` float32, 1 where legal, in the order `ab$`, `$` the end; NaN
            after the end
        lengths: `(samples,)` int64, 2 n + 1

    Args:
        train_max: largest n in training.
        validation_max: largest n in validation.
        test_max: largest n in test.
        train_size: training strings, every n equally often; sets the number of updates per epoch.
    """

    letters: ClassVar[str] = "ab"
