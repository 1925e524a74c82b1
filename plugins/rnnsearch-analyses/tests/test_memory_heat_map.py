"""The heat map of a known memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from rnnsearch import Analysis
from rnnsearch.testing import AnalysisConformance
from rnnsearch_analyses.memory_heat_map import MemoryHeatMap
from rnnsearch_analyses.recording import record

ONE_HOT = np.eye(3)[[[0, 2, 1, 1]]]


class TestMemoryHeatMap(AnalysisConformance):
    @pytest.fixture
    def analysis_class(self) -> type[Analysis]:
        return MemoryHeatMap


def _image(figure: Any) -> Any:
    return figure.axes[0].images[0]


def test_a_cell_s_memory_is_shown_unit_by_unit_and_step_by_step(look_at: Any, cell_of: Any) -> None:
    cell = cell_of(2, 2, lambda x, m: m + x * torch.tensor([1.0, -2.0]))
    inputs = np.array([[[1.0, 1.0], [0.0, 1.0], [2.0, 0.0]]])
    (finding,) = MemoryHeatMap().analyse(look_at(cell, inputs=inputs))
    shown = np.asarray(_image(finding.figure).get_array())
    np.testing.assert_allclose(shown, [[1, 1, 3], [-2, -4, -4]])
    assert dict(finding.numbers) == {"units": 2, "steps": 3, "largest": 4}


def test_red_is_negative_and_blue_as_far_above_zero_is_as_dark(look_at: Any, cell_of: Any) -> None:
    cell = cell_of(1, 1, lambda x, m: x)
    inputs = np.array([[[-4.0], [0.0], [4.0], [1.0]]])
    (finding,) = MemoryHeatMap().analyse(look_at(cell, inputs=inputs))
    image = _image(finding.figure)
    assert image.get_clim() == (-4.0, 4.0)
    (red, _, blue), white = image.to_rgba([[-4.0, 4.0]])[0, 0, :3], image.to_rgba([[0.0]])[0, 0]
    assert red > blue
    red, _, blue = image.to_rgba([[-4.0, 4.0]])[0, 1, :3]
    assert blue > red
    assert min(white[:3]) > 0.9


def test_padding_is_not_shown(look_at: Any, cell_of: Any) -> None:
    cell = cell_of(1, 1, lambda x, m: m + 1)
    trained = look_at(cell, inputs=np.zeros((2, 6, 1)), lengths=np.array([4, 6]))
    (finding,) = MemoryHeatMap().analyse(trained)
    assert finding.numbers["steps"] == 4
    (finding,) = MemoryHeatMap(sample=1).analyse(trained)
    assert finding.numbers["steps"] == 6


def test_steps_are_labelled_with_the_characters_read_where_the_task_names_them(
    look_at: Any, cell_of: Any
) -> None:
    cell = cell_of(3, 1, lambda x, m: x[:, :1])
    trained = look_at(cell, inputs=ONE_HOT)
    trained.task.symbols = "a$ "
    (finding,) = MemoryHeatMap().analyse(trained)
    labels = [label.get_text() for label in finding.figure.axes[0].get_xticklabels()]
    assert labels == ["a", "\u2423", "$", "$"]


def test_steps_are_labelled_with_numbers_where_one_hot_inputs_have_no_names(
    look_at: Any, cell_of: Any
) -> None:
    (finding,) = MemoryHeatMap().analyse(
        look_at(cell_of(3, 1, lambda x, m: x[:, :1]), inputs=ONE_HOT)
    )
    labels = [label.get_text() for label in finding.figure.axes[0].get_xticklabels()]
    assert labels == ["0", "2", "1", "1"]


def test_each_layer_has_a_picture_of_its_own_and_one_that_reads_backwards_its_own_time(
    look_at: Any, cell_of: Any
) -> None:
    def add(x: torch.Tensor, m: torch.Tensor) -> torch.Tensor:
        return m + x

    inputs = np.array([[[1.0], [10.0], [100.0]]])
    stacked = look_at(cell_of(1, 1, add), cell_of(1, 1, add), inputs=inputs)
    found = {f.name: f for f in MemoryHeatMap().analyse(stacked)}
    assert set(found) == {"memory_layer_1", "memory_layer_2"}
    assert found["memory_layer_2"].numbers["largest"] == 1 + 11 + 111

    both = look_at(cell_of(1, 1, add), cell_of(1, 1, add), inputs=inputs, bidirectional=True)
    recordings = {r.key: r.memory[:, 0, 0].tolist() for r in record(both, 1)}
    assert recordings == {"forwards": [1, 11, 111], "backwards": [100, 110, 111]}
