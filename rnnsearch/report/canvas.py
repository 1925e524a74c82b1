"""Figures without a screen: matplotlib whatever MPLBACKEND or a `matplotlibrc` asks for.

No `pyplot`: its global state would clash with that of a notebook or a thread that plots too.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# matplotlib takes a second to import, so the functions that need it do it.


@contextmanager
def style(settings: Mapping[Any, Any]) -> Iterator[None]:
    """Draw for a while with matplotlib's defaults and these settings."""
    _import_matplotlib()
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(settings)
        yield


def new_figure(width: float, height: float, **options: Any) -> Figure:
    """An empty white figure, in inches, that is drawn in memory."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), facecolor="white", **options)
    FigureCanvasAgg(figure)
    return figure


def _import_matplotlib() -> None:
    """Import it where MPLBACKEND names what is not there, as a notebook's does for its children."""
    asked = os.environ.pop("MPLBACKEND", None)
    try:
        import matplotlib
    finally:
        if asked is not None:
            os.environ["MPLBACKEND"] = asked
    if asked:
        with suppress(ValueError):  # a later import of `pyplot` gets it, if it is available
            matplotlib.rcParams["backend"] = asked
