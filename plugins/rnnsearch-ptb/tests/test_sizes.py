"""The sizes that the MCRM paper prints for its nets on the Penn Treebank."""

from __future__ import annotations

import pytest

from rnnsearch import Budget, ModelSpec, build_model, count_parameters, load_registry, solve

# Sizes at the printed widths, with torch's two biases: 17.1 and 1.3 million in the paper.
PRINTED = [
    ("char_ptb", "elman", 2900, 16_970_850),
    ("char_ptb", "gru", 1680, 17_028_530),
    ("char_ptb", "lstm", 1050, 8_880_950),
    ("char_ptb", "nlstm_concat", 920, 16_981_410),
    ("char_ptb", "mcrm", 1000, 17_060_050),
    ("word_ptb", "elman", 125, 1_291_500),
    ("word_ptb", "gru", 119, 1_285_680),
    ("word_ptb", "lstm", 117, 1_290_448),
    ("word_ptb", "nlstm_concat", 100, 1_210_800),
    ("word_ptb", "mcrm", 109, 1_303_067),
]


def spec_of(task: str, name: str, width: int = 1) -> ModelSpec:
    return ModelSpec(name, load_registry().task(task)().shape, width)


@pytest.mark.parametrize(("task", "name", "width", "expected"), PRINTED)
def test_the_printed_width_has_the_printed_size(
    task: str, name: str, width: int, expected: int
) -> None:
    architecture = load_registry().architecture(name)
    counted, _, frozen = count_parameters(architecture, spec_of(task, name, width))
    assert (counted, frozen) == (expected, 0)


@pytest.mark.parametrize(("task", "name", "width", "expected"), PRINTED[5:])
def test_what_is_built_has_the_printed_size(
    task: str, name: str, width: int, expected: int
) -> None:
    model = build_model(load_registry().architecture(name), spec_of(task, name, width))
    assert sum(p.numel() for p in model.parameters()) == expected


@pytest.mark.parametrize(("task", "name", "width", "expected"), PRINTED)
def test_the_printed_size_is_solved_for_the_printed_width(
    task: str, name: str, width: int, expected: int
) -> None:
    solution = solve(load_registry().architecture(name), spec_of(task, name), Budget(expected))
    assert (solution.spec.hidden_size, solution.parameters) == (width, expected)
    assert solution.spec.head == "tied"


@pytest.mark.parametrize(
    ("task", "name", "budget", "width"),
    [
        # The two rows that miss the paper's stated size, and the widths that would meet it.
        ("char_ptb", "lstm", 17_060_050, 1457),
        ("word_ptb", "nlstm_concat", 1_290_448, 106),
    ],
)
def test_a_row_off_its_size_would_need_another_width(
    task: str, name: str, budget: int, width: int
) -> None:
    solution = solve(load_registry().architecture(name), spec_of(task, name), Budget(budget))
    assert abs(solution.spec.hidden_size - width) <= 1
    assert abs(solution.residual) < 0.01
