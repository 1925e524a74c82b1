"""The sizes of Table 2 of the MCRM paper, as printed and corrected; nothing is built."""

from __future__ import annotations

import pytest

from rnnsearch import ModelSpec, RecurrentCell, SequenceShape, count_parameters
from rnnsearch_baselines.elman import ElmanCell
from rnnsearch_gated.gru import GRUCell
from rnnsearch_gated.lstm import LSTMCell
from rnnsearch_nested.mcrm import MCRMCell
from rnnsearch_nested.nlstm import NestedLSTMCell
from rnnsearch_nested.nlstm_concat import ConcatNestedLSTMCell

CELLS: dict[str, type[RecurrentCell]] = {
    "elman": ElmanCell,
    "gru": GRUCell,
    "lstm": LSTMCell,
    "nlstm": NestedLSTMCell,
    "nlstm_concat": ConcatNestedLSTMCell,
    "mcrm": MCRMCell,
}

SHAPES = {
    "adding": SequenceShape(input_size=2, output_size=1, length=200, readout="last_step"),
    "seq_mnist": SequenceShape(input_size=1, output_size=10, length=784, readout="last_step"),
    "copy_memory": SequenceShape(input_size=1, output_size=10, length=1020, readout="every_step"),
}

VOCABULARY = {"word_ptb": 10_000, "char_ptb": 50}


@pytest.mark.parametrize(
    ("task", "cell", "hidden_size", "expected"),
    [
        ("adding", "elman", 308, 96_405),
        ("adding", "gru", 177, 96_289),
        ("adding", "lstm", 153, 96_238),
        ("adding", "nlstm_concat", 77, 96_174),
        ("adding", "mcrm", 85, 95_541),
        ("seq_mnist", "elman", 384, 152_458),
        ("seq_mnist", "gru", 222, 152_080),
        ("seq_mnist", "lstm", 192, 151_690),
        # As printed, and with the two widths swapped back.
        ("seq_mnist", "nlstm_concat", 108, 189_010),
        ("seq_mnist", "mcrm", 97, 124_655),
        ("seq_mnist", "nlstm_concat", 97, 152_688),
        ("seq_mnist", "mcrm", 108, 154_234),
        ("copy_memory", "elman", 1800, 3_263_410),
        ("copy_memory", "gru", 1050, 3_327_460),
        ("copy_memory", "lstm", 900, 3_259_810),
        ("copy_memory", "nlstm_concat", 448, 3_221_130),
        ("copy_memory", "mcrm", 500, 3_262_010),
    ],
)
def test_printed_width_gives_the_size_of_the_row(
    task: str, cell: str, hidden_size: int, expected: int
) -> None:
    spec = ModelSpec(cell, SHAPES[task], hidden_size)
    trainable, _, _ = count_parameters(CELLS[cell], spec)
    assert trainable == expected


@pytest.mark.parametrize(
    ("task", "cell", "hidden_size", "expected"),
    [
        ("word_ptb", "elman", 125, 1_291_500),
        ("word_ptb", "gru", 119, 1_285_680),
        ("word_ptb", "lstm", 117, 1_290_448),
        ("word_ptb", "nlstm_concat", 100, 1_210_800),
        ("word_ptb", "mcrm", 109, 1_303_067),
        ("char_ptb", "elman", 2900, 16_970_850),
        ("char_ptb", "gru", 1680, 17_028_530),
        ("char_ptb", "lstm", 1050, 8_880_950),
        ("char_ptb", "nlstm_concat", 920, 16_981_410),
        ("char_ptb", "mcrm", 1000, 17_060_050),
    ],
)
def test_printed_width_gives_the_size_of_the_row_with_a_tied_embedding(
    task: str, cell: str, hidden_size: int, expected: int
) -> None:
    assert _with_tied_embedding(task, cell, hidden_size) == expected


@pytest.mark.parametrize(
    ("task", "cell", "printed", "matched", "budget"),
    [
        ("word_ptb", "nlstm_concat", 100, 106, 1_291_000),
        ("char_ptb", "lstm", 1050, 1457, 17_000_000),
    ],
)
def test_widths_that_miss_their_row_would_meet_it_when_corrected(
    task: str, cell: str, printed: int, matched: int, budget: int
) -> None:
    assert abs(_with_tied_embedding(task, cell, printed) / budget - 1) > 0.05
    assert abs(_with_tied_embedding(task, cell, matched) / budget - 1) < 0.01


def test_the_nested_lstm_of_moniz_and_krueger_does_not_give_the_printed_sizes() -> None:
    spec = ModelSpec("nlstm", SHAPES["adding"], 77)
    trainable, _, _ = count_parameters(NestedLSTMCell, spec)
    assert trainable == 72_458


def _with_tied_embedding(task: str, cell: str, hidden_size: int) -> int:
    """One embedding, shared with the output weight; an output bias; the cell on the embedding."""
    vocabulary = VOCABULARY[task]
    embedding = vocabulary * hidden_size + vocabulary
    return embedding + CELLS[cell].parameter_count(hidden_size, hidden_size)
