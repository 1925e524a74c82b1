"""The context-sensitive language with equal numbers of a, b and c."""

from __future__ import annotations

from typing import ClassVar

from rnnsearch_languages.counting import CountingTask


class AnBnCn(CountingTask):
    """Predict the next symbols of a^n b^n c^n: count once, use it twice.

    After the start only a is legal, then a or b, then b until there are n of them, then n c, then
    the end. Splits, source and departures are those of `anbn`: Gers and Schmidhuber, "LSTM
    recurrent networks learn simple context-free and context-sensitive languages", IEEE Transactions
    on Neural Networks 12, 2001 (reconstructed).

    Shapes:
        inputs: `(samples, steps, 4)` uint8, one-hot in the order `^abc`, `^` the start
        targets: `(samples, steps, 4)` float32, 1 where legal, in the order `abc$`, `$` the end;
            NaN after the end
        lengths: `(samples,)` int64, 3 n + 1

    Args:
        train_max: largest n in training.
        validation_max: largest n in validation.
        test_max: largest n in test.
        train_size: training strings, every n equally often; sets the number of updates per epoch.
    """

    letters: ClassVar[str] = "abc"
