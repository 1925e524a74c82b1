"""Any text in data can be drawn."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure

from rnnsearch.report.drawable_text import drawable, shorten


@pytest.mark.parametrize(
    ("text", "drawn"),
    [
        ("gru #1, ½ λ…", "gru #1, ½ λ…"),
        ("\x1b[1;31mRuntimeError\x1b[0m: nan", "RuntimeError: nan"),
        ("one\n\ttwo\r\n", "one two"),
        ("a\x00b\x07", "a\N{REPLACEMENT CHARACTER}b\N{REPLACEMENT CHARACTER}"),
        ("\x1b", "\N{REPLACEMENT CHARACTER}"),
        ("$\\frac{$ & % _", "$\\frac{$ & % _"),
    ],
    ids=["plain", "terminal colours", "lines", "control characters", "lone escape", "dollars"],
)
def test_only_what_cannot_be_drawn_is_replaced(text: str, drawn: str) -> None:
    assert drawable(text) == drawn


@given(st.text(), st.sampled_from(["normal", "bold"]))
def test_no_text_makes_the_drawing_warn(text: str, weight: str) -> None:
    figure = Figure()
    figure.text(0.5, 0.5, drawable(text), fontweight=weight, parse_math=False)
    figure.draw_without_rendering()


def test_long_names_keep_both_ends() -> None:
    name = shorten("sm_rnn with a slope per unit #2")
    assert len(name) == 28
    assert name.startswith("sm_rnn with a")
    assert name.endswith("per unit #2")
    assert shorten("gru") == "gru"
