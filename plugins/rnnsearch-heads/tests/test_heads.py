"""Heads count the parameters they build and compute their equations."""

from __future__ import annotations

import pytest
import torch

from rnnsearch import Choice, Head, Value
from rnnsearch.testing import HeadConformance
from rnnsearch_heads.prelu import PReLUHead

HEADS = {"prelu": PReLUHead}

SETTINGS: list[tuple[str, int, dict[str, Value]]] = [
    ("prelu", 4, {}),
    ("prelu", 4, {"slopes": "shared"}),
]


def _ids(value: object) -> str | None:
    return ",".join(f"{k}={v}" for k, v in value.items()) if isinstance(value, dict) else None


@pytest.mark.parametrize(("name", "hidden_size", "options"), SETTINGS, ids=_ids)
@pytest.mark.parametrize(("features", "output_size"), [(1, 1), (7, 3), (30, 10)])
def test_parameter_count_equals_the_parameters_built(
    name: str, hidden_size: int, options: dict[str, Value], features: int, output_size: int
) -> None:
    head = HEADS[name](features, output_size, hidden_size, **options)
    built = sum(p.numel() for p in head.parameters())
    counted = HEADS[name].parameter_count(features, output_size, hidden_size, **options)
    assert counted == built


@pytest.mark.parametrize("name", HEADS)
def test_every_declared_option_is_one_that_the_settings_above_cover(name: str) -> None:
    for option, parameter in HEADS[name].options.items():
        assert isinstance(parameter, Choice)
        covered = {o.get(option, parameter.default) for n, _, o in SETTINGS if n == name}
        assert covered == set(parameter.options)


@pytest.mark.parametrize(("name", "hidden_size", "options"), SETTINGS, ids=_ids)
def test_every_step_gets_what_it_would_get_alone(
    name: str, hidden_size: int, options: dict[str, Value]
) -> None:
    head = HEADS[name](6, 3, hidden_size, **options).double()
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.normal_()
    features = torch.randn(5, 2, 6, dtype=torch.float64)
    together = head(features)
    assert together.shape == (5, 2, 3)
    torch.testing.assert_close(together, torch.stack([head(step) for step in features]))


@pytest.mark.parametrize("slopes", ["per_unit", "shared"])
def test_prelu_head_scales_negative_values_by_the_slope_of_their_unit(slopes: str) -> None:
    head = PReLUHead(6, 3, 4, slopes=slopes).double()
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.normal_()
    features = torch.randn(5, 2, 6, dtype=torch.float64)
    hidden = features @ head.hidden.weight.T + head.hidden.bias
    hidden = torch.where(hidden > 0, hidden, head.hidden_slope.weight * hidden)
    output = hidden @ head.output.weight.T + head.output.bias
    output = torch.where(output > 0, output, head.output_slope.weight * output)
    torch.testing.assert_close(head(features), output)
    assert head.hidden_slope.weight.numel() == (4 if slopes == "per_unit" else 1)
    assert head.output_slope.weight.numel() == (3 if slopes == "per_unit" else 1)


@pytest.mark.parametrize(
    ("features", "hidden_size", "expected"),
    # Totals of the paper: 160 + 10 + 110, without the 10 slopes of the output, and
    # 620 + 20 + 210 + 10, with them.
    [(15, 10, 280 + 10), (30, 20, 860)],
)
def test_prelu_head_counts_as_the_sm_rnn_paper_does(
    features: int, hidden_size: int, expected: int
) -> None:
    assert PReLUHead.parameter_count(features, 10, hidden_size) == expected


class TestHeads(HeadConformance):
    @pytest.fixture(params=[PReLUHead])
    def head_class(self, request: pytest.FixtureRequest) -> type[Head]:
        return request.param
