"""Marked palindromes."""

from __future__ import annotations

import numpy as np
import pytest

from rnnsearch import DataError
from rnnsearch_languages.palindrome import Palindrome

SHA256 = "c4a50029661a9d04f4bd1e3d01d2c3d5c2e7956e6d3a69e841c89b581e2e149f"


def test_the_default_data_stay_what_they_are() -> None:
    assert Palindrome().find().sha256 == SHA256


def test_what_is_legal_after_each_prefix() -> None:
    assert Palindrome().legal("ab#ba") == ["ab", "ab#", "ab#", "b", "a", "$"]


def test_words_have_all_lengths_and_letters_with_equal_odds() -> None:
    task = Palindrome(symbols=3, longest=20, train_size=4000)
    words = [string.partition("#")[0] for string in task.strings("train")]
    lengths = np.bincount([len(word) for word in words], minlength=21)
    # Lengths 1 and 2 have few words, whose shares of the splits are coarse.
    assert lengths[3:] / 4000 == pytest.approx(np.full(18, 1 / 20), abs=0.015)
    text = "".join(word for word in words if len(word) > 5)
    shares = [text.count(letter) / len(text) for letter in "abc"]
    assert shares == pytest.approx(np.full(3, 1 / 3), abs=0.01)


def test_too_few_words_are_an_error_that_says_what_to_do() -> None:
    task = Palindrome(symbols=2, longest=2)  # six words, too few for three splits
    with pytest.raises(DataError, match=r"too few different strings .* allow longer ones"):
        task.find()
