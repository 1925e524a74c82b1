"""The metric of next-symbol prediction, and the legal symbols of every language by enumeration."""

from __future__ import annotations

import math
import re
from itertools import product

import numpy as np
import pytest
import torch

from rnnsearch_languages.anbn import AnBn
from rnnsearch_languages.anbncn import AnBnCn
from rnnsearch_languages.dyck import Dyck
from rnnsearch_languages.embedded_reber import EmbeddedReber
from rnnsearch_languages.next_symbol import NextSymbolTask, legal_strings
from rnnsearch_languages.palindrome import Palindrome


def balanced(string: str) -> bool:
    while (shorter := re.sub(r"\(\)|\[\]", "", string)) != string:
        string = shorter
    return not string


def counts(letters: str, most: int) -> set[str]:
    return {"".join(letter * n for letter in letters) for n in range(1, most + 1)}


def palindromes(most: int) -> set[str]:
    words = ["".join(word) for n in range(1, most + 1) for word in product("ab", repeat=n)]
    return {f"{word}#{word[::-1]}" for word in words}


# Reber's grammar as a regular expression. In states: 3 is T*V and then 5, 5 is VE or P and then 4,
# 4 is SE or X and then 3.
_FROM_3 = r"T*V(PXT*V)*(VE|PSE)"
_REBER = re.compile(rf"B(TS*X(SE|X{_FROM_3})|P{_FROM_3})")


def embedded(most: int) -> set[str]:
    """All strings of a maximum length, without the frame's B and E."""
    none = set[str]()
    ends: dict[int, list[set[str]]] = {state: [none] for state in (2, 3, 4, 5)}
    for length in range(1, most):
        both = length == 2

        def after(symbol: str, state: int) -> set[str]:
            return {symbol + rest for rest in ends[state][-1]}

        longer = {
            2: after("S", 2) | after("X", 4),
            3: after("T", 3) | after("V", 5),
            4: after("X", 3) | ({"SE"} if both else none),
            5: after("P", 4) | ({"VE"} if both else none),
        }
        for state, strings in longer.items():
            ends[state].append(strings)
    inner = {"BT" + rest for strings in ends[2] for rest in strings}
    inner |= {"BP" + rest for strings in ends[3] for rest in strings}
    return {outer + i + outer for i in inner for outer in "TP" if len(i) + 2 <= most}


# A task, all strings of its language up to a length, and a length at which every continuation of
# each prefix is still within the first length.
LANGUAGES: dict[str, tuple[NextSymbolTask, set[str], int]] = {
    "anbn": (AnBn(), counts("ab", 9), 10),
    "anbncn": (AnBnCn(), counts("abc", 9), 15),
    "dyck": (
        Dyck(kinds=2, train_max=6, test_max=8),
        {
            s
            for n in (0, 2, 4, 6, 8)
            for s in map("".join, product("()[]", repeat=n))
            if balanced(s)
        },
        4,
    ),
    "palindrome": (Palindrome(), palindromes(5), 9),
    "embedded_reber": (EmbeddedReber(), embedded(17), 11),
}


@pytest.mark.parametrize("name", LANGUAGES)
def test_the_legal_symbols_are_those_that_some_string_goes_on_with(name: str) -> None:
    task, language, most = LANGUAGES[name]
    after: dict[str, set[str]] = {}
    for string in language:
        for i, symbol in enumerate(string + task.end):
            after.setdefault(string[:i], set()).add(symbol)
    tried = [string for string in language if 0 < len(string) <= most]
    assert len(tried) >= 5
    for string in tried:
        legal = task.legal(string)
        assert len(legal) == len(string) + 1
        for i, symbols in enumerate(legal):
            assert len(set(symbols)) == len(symbols)
            assert set(symbols) == after[string[:i]], (string, i)


def test_two_ways_to_write_rebers_grammar_down_agree() -> None:
    language = embedded(14)
    assert len(language) > 50
    assert all(_REBER.fullmatch(string[1:-1]) for string in language)
    walked = set(EmbeddedReber(longest=16, train_size=2000).strings("train"))
    assert walked <= language


@pytest.mark.parametrize("name", LANGUAGES)
def test_every_string_of_every_split_is_one_of_the_language(name: str) -> None:
    inside = {
        "anbn": lambda s: re.fullmatch("(a+)(b+)", s) and s.count("a") == s.count("b"),
        "anbncn": lambda s: (
            re.fullmatch("a+b+c+", s) and s.count("a") == s.count("b") == s.count("c")
        ),
        "dyck": balanced,
        "palindrome": lambda s: re.fullmatch("[ab]+#[ab]+", s) and s == s[::-1],
        "embedded_reber": lambda s: _REBER.fullmatch(s[1:-1]) and s[0] == s[-1] in "TP",
    }[name]
    task = LANGUAGES[name][0]
    for split in ("train", "validation", "test"):
        assert all(inside(string) for string in task.strings(split))


@pytest.mark.parametrize("name", LANGUAGES)
def test_inputs_are_the_start_and_the_symbols_and_targets_what_is_legal(name: str) -> None:
    task = LANGUAGES[name][0]
    found, strings = task.load(task.find(), "validation"), task.strings("validation")
    assert found.lengths is not None
    for row, string in enumerate(strings):
        length = found.lengths[row]
        read = "".join(task.symbols[i] for i in found.inputs[row, :length].argmax(axis=1))
        assert read == task.start + string
        predicted = [
            {task.predicted[i] for i in np.flatnonzero(target)}
            for target in found.targets[row, :length]
        ]
        assert predicted == [set(symbols) for symbols in task.legal(string)]
        assert np.isnan(found.targets[row, length:]).all()


@pytest.mark.parametrize("name", LANGUAGES)
def test_the_legal_symbols_most_often_seen_in_training_get_no_test_string_right(name: str) -> None:
    task = LANGUAGES[name][0]
    seen = {tuple(task.legal(string)) for string in task.strings("train")}
    assert not any(tuple(task.legal(string)) in seen for string in task.strings("test"))


def test_a_string_counts_only_if_every_symbol_of_every_step_is_right() -> None:
    nan = math.nan
    targets = torch.tensor([[[1.0, 0], [1, 1], [0, 1]], [[1, 0], [0, 1], [nan, nan]]])
    logits = torch.where(targets.nan_to_num() > 0.5, 0.1, -0.1).transpose(0, 1).contiguous()
    assert legal_strings(logits, targets).item() == 1
    logits[2, 1] = torch.tensor([3.0, -3.0])  # after the end of the second string
    assert legal_strings(logits, targets).item() == 1
    logits[1, 0, 1] = -0.1  # one of two legal symbols is missing
    assert legal_strings(logits, targets).item() == 0.5
    logits[0, 1, 1] = 0.1  # one symbol too many
    assert legal_strings(logits, targets).item() == 0


def test_the_metric_can_be_mapped_over_members() -> None:
    targets = torch.tensor([[[1.0, 0], [math.nan, math.nan]]])
    outputs = torch.tensor([[[[1.0, -1]], [[0, 0]]], [[[1.0, 1]], [[0, 0]]]])
    found = torch.vmap(legal_strings, in_dims=(0, None))(outputs, targets)
    assert found.tolist() == [1, 0]
