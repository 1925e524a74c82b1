"""Traces of an SM-RNN against its equations."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from rnnsearch import Analysis
from rnnsearch.testing import AnalysisConformance, example_model
from rnnsearch_analyses.stigmergy_traces import StigmergyTraces


class TestStigmergyTraces(AnalysisConformance):
    @pytest.fixture
    def analysis_class(self) -> type[Analysis]:
        return StigmergyTraces


@torch.no_grad()
def test_deposit_less_removal_is_what_moves_a_mark_before_it_is_clamped() -> None:
    trained = example_model("sm_rnn")
    one = replace(trained, examples=_first(trained.examples))
    (finding,) = StigmergyTraces(marks=5).analyse(one)
    _, deposits, removals, marks = finding.figure.axes
    steps = int(one.examples.lengths[0])
    names = [text.get_text() for text in marks.get_legend().get_texts()]
    assert sorted(names) == [f"mark {unit}" for unit in range(5)]
    for deposit, removal, mark in zip(deposits.lines, removals.lines, marks.lines, strict=True):
        mark, before = mark.get_ydata(), np.concatenate(([0.0], mark.get_ydata()[:-1]))
        moved = before + deposit.get_ydata() - removal.get_ydata()
        assert len(mark) == steps
        # The published clamp, 10 sigmoid(0.4 s - 2).
        np.testing.assert_allclose(mark, 10 / (1 + np.exp(2 - 0.4 * moved)), rtol=1e-5)
    drawn = np.mean([line.get_ydata() for line in marks.lines])
    assert finding.numbers["mean_mark"] == pytest.approx(drawn, rel=1e-5)


def _first(examples):
    return replace(
        examples,
        inputs=examples.inputs[:1],
        targets=examples.targets[:1],
        lengths=examples.lengths[:1],
    )


@pytest.mark.parametrize("name", ["elman", "lstm", "gru"])
def test_a_cell_without_marks_is_refused_in_words(name: str) -> None:
    assert "no stigmergic memory" in str(StigmergyTraces().refusal(example_model(name)))
