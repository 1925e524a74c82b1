"""Windows over the text: which tokens are read, which are scored, and the score of a guess."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from rnnsearch import DataError, DataSource, Examples, StudyFileError, Task, Value
from rnnsearch.testing import TaskConformance
from rnnsearch_ptb.characters import ALPHABET, CharPTB, join_lines
from rnnsearch_ptb.corpus import SPLITS, Split, read_lines
from rnnsearch_ptb.next_token import LEFT_OUT, NextTokenTask
from rnnsearch_ptb.words import WordPTB

from .conftest import FILES, sentences

SMALL: dict[str, Value] = {"window": 20, "scored": 12}
CASES = [
    pytest.param(CharPTB, {}, id="characters"),
    pytest.param(CharPTB, {"convention": "stripped", "embedding": "separate"}, id="stripped"),
    pytest.param(WordPTB, {}, id="words"),
    pytest.param(WordPTB, {"scored": 40}, id="words without history"),
]


@pytest.mark.parametrize(("kind", "options"), CASES)
class TestTask(TaskConformance):
    @pytest.fixture(autouse=True)
    def corpus(self, small: Path) -> None:
        """The small text."""

    @pytest.fixture
    def task(self, kind: type[NextTokenTask], options: dict[str, Value]) -> Task:
        # Long enough not to occur twice in a text of few words.
        return kind(**{"window": 40, "scored": 24, **options})

    def test_no_skill_is_the_score_of_who_never_looks_at_the_inputs(
        self, task: Task, source: DataSource
    ) -> None:
        pytest.skip("a made-up text has other frequencies; those of the real one are checked below")


def scored(task: NextTokenTask, folder: Path, split: Split) -> np.ndarray:
    """Targets that count, in order."""
    examples = task.load(task.find(), split)
    return examples.targets[examples.targets != LEFT_OUT]


@pytest.mark.parametrize("kind", [CharPTB, WordPTB])
@pytest.mark.parametrize("split", SPLITS)
def test_every_token_after_the_first_history_is_scored_once(
    kind: type[NextTokenTask], split: Split, small: Path
) -> None:
    task = kind(**SMALL)
    tokens = task.read(small, split)
    assert len(tokens) == task.lengths[split]
    expected = tokens[1 + 20 - 12 :]
    found = scored(task, small, split)
    if split == "train":  # whole windows only
        assert 0 <= len(expected) - len(found) < 12
        expected = expected[: len(found)]
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("kind", [CharPTB, WordPTB])
def test_a_window_has_the_token_before_each_target_and_follows_its_stride(
    kind: type[NextTokenTask], small: Path
) -> None:
    task = kind(**SMALL)
    examples, tokens = task.load(task.find(), "train"), task.read(small, "train")
    for i in (0, 1, len(examples) - 1):
        np.testing.assert_array_equal(examples.inputs[i, :, 0], tokens[12 * i : 12 * i + 20])
        np.testing.assert_array_equal(examples.targets[i, 8:], tokens[12 * i + 9 : 12 * i + 21])
        assert (examples.targets[i, :8] == LEFT_OUT).all()
    assert task.shape.stride == 12


def test_the_last_window_of_an_evaluated_text_is_filled_up(small: Path) -> None:
    task = CharPTB(**SMALL)
    short = [
        split
        for split in ("validation", "test")
        if (task.load(task.find(), split).targets[-1, 8:] == LEFT_OUT).any()
    ]
    assert short, "neither text of noise comes out even"
    for split in short:
        last = task.load(task.find(), split)  # type: ignore[arg-type]
        left = last.targets[-1, 8:] == LEFT_OUT
        assert not left[0]
        assert (np.diff(left.astype(int)) >= 0).all(), "only at the end"
        assert (last.inputs >= 0).all()


def test_both_conventions_end_lines_in_their_way(small: Path) -> None:
    lines = [" a <unk> N ", " b "]
    assert join_lines(lines, "text") == "a <unk> N \nb \n"
    assert join_lines(lines, "stripped") == "a <unk> N\nb\n"
    text = "".join(ALPHABET[i] for i in CharPTB().read(small, "test"))
    assert text == join_lines(sentences("test"), "text")


def test_words_are_numbered_as_they_first_occur_in_training(small: Path) -> None:
    numbers = WordPTB().read(small, "train").tolist()
    first = list(dict.fromkeys(numbers))
    assert first == list(range(len(first)))
    names = {n: w for n, w in zip(numbers, _words("train"), strict=True)}
    again = [names[n] for n in WordPTB().read(small, "validation").tolist()]
    assert again == _words("validation")


def _words(split: str) -> list[str]:
    return [word for line in sentences(split) for word in (*line.split(), "<eos>")]


def test_a_word_that_training_has_not_is_an_error(
    small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = {"train": ["a b"], "test": ["a c"]}
    monkeypatch.setattr("rnnsearch_ptb.words.read_lines", lambda _, split: lines[split])
    with pytest.raises(DataError, match="the test text has a word that training has not: c"):
        WordPTB().read(small, "test")


@pytest.mark.parametrize("split", ["train", "validation"])
def test_the_test_text_is_not_opened_for_another_split(split: Split, small: Path) -> None:
    for kind in (CharPTB, WordPTB):
        task = kind(**SMALL)
        source = task.find()
        path = small / "ptb" / FILES["test"]
        content = path.read_bytes()
        path.unlink()
        task.load(source, split)
        path.write_bytes(content)


def test_a_shortened_text_says_so(small: Path) -> None:
    task = CharPTB(**SMALL, train_characters=200, evaluation_characters=100)
    source = task.find()
    assert source.caveat.startswith("shortened: the first 200 of ")
    assert "train characters, 100 of" in source.caveat
    assert source.caveat.endswith("not comparable with published results")
    assert source.sizes == {"train": 15, "validation": 8, "test": 8}
    for split in SPLITS:
        whole = CharPTB(**SMALL).load(source, split)
        part = task.load(source, split)
        assert len(part) == source.sizes[split]
        np.testing.assert_array_equal(part.inputs[:7], whole.inputs[:7])
    assert CharPTB(**SMALL).find().caveat == ""


@pytest.mark.parametrize(
    ("options", "key", "problem"),
    [
        ({"window": 10, "scored": 11}, "scored", "at most the window of 10 steps, got 11"),
        ({"train_words": 80}, "train_words", "more than a window of 80 words, or 0 for all"),
        ({"evaluation_words": 1}, "evaluation_words", "or 0 for all, got 1"),
        ({"train_characters": 5}, "train_characters", "unknown option"),
    ],
)
def test_an_option_that_cannot_be_met_is_refused(
    options: dict[str, Value], key: str, problem: str
) -> None:
    with pytest.raises(StudyFileError, match=problem) as caught:
        WordPTB(**options)
    assert caught.value.key == key


def test_scores_become_bits_and_perplexity() -> None:
    assert CharPTB().metric_of(math.log(50)) == pytest.approx(math.log2(50))
    assert WordPTB().metric_of(math.log(10_000)) == pytest.approx(10_000)
    assert WordPTB().metric_of(1e6) == math.inf
    assert math.isnan(WordPTB().metric_of(math.nan))


def unigram(task: NextTokenTask, folder: Path) -> float:
    """Metric on the scored test text of a guess by the token frequencies in training."""
    seen = Counter(task.read(folder, "train").tolist())
    log = torch.tensor([seen[token] for token in range(task.vocabulary)]).double().log()
    examples: Examples = task.load(task.find(), "test")
    targets = torch.from_numpy(examples.targets).long()
    losses = log.logsumexp(dim=0) - log[targets[targets != LEFT_OUT]]
    return task.metric_of(losses.mean().item())


@pytest.mark.parametrize(
    "task",
    [CharPTB(), CharPTB(convention="stripped"), WordPTB()],
    ids=["text", "stripped", "words"],
)
def test_no_skill_is_the_metric_of_the_frequencies_in_training(
    task: NextTokenTask, real: Path
) -> None:
    assert unigram(task, real) == pytest.approx(task.no_skill, rel=2e-5)


def test_the_level_of_the_class_is_that_of_its_defaults() -> None:
    assert CharPTB().no_skill == CharPTB.no_skill == 4.3306
    assert CharPTB(convention="stripped").no_skill == 4.3459


@pytest.mark.parametrize("split", SPLITS)
def test_the_licensed_text_has_the_published_numbers_of_tokens(split: Split, real: Path) -> None:
    lines = read_lines(real, split)
    for convention in ("text", "stripped"):
        task = CharPTB(convention=convention)
        text = join_lines(lines, convention)
        assert len(text) == task.lengths[split] == len(task.read(real, split))
        assert set(text) <= set(ALPHABET)
    words = WordPTB().read(real, split)
    assert len(words) == WordPTB().lengths[split]
    assert words.max() < 10_000
    if split == "train":
        assert len(np.unique(words)) == 10_000
        assert set(text) == set(ALPHABET)


def test_the_stripped_convention_is_that_of_the_character_files(real: Path) -> None:
    """Their layout: symbols separated, `_` for a space, a line end for one more symbol."""
    lines = read_lines(real, "validation")
    symbols = sum(len(line.strip(" ").replace(" ", "_")) + 1 for line in lines)
    assert symbols == 393_042 == CharPTB(convention="stripped").lengths["validation"]


def test_the_windows_of_the_licensed_text_are_those_of_the_source(real: Path) -> None:
    assert CharPTB().find().sizes == {"train": 15_810, "validation": 1_239, "test": 1_395}
    assert WordPTB().find().sizes == {"train": 23_238, "validation": 1_843, "test": 2_060}
