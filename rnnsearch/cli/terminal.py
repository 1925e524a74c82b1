"""What a person sees of a running study: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Literal

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table as RichTable
from rich.text import Text

from rnnsearch.compare.table import Table
from rnnsearch.compare.wording import count
from rnnsearch.config.secrets import hide, hide_all
from rnnsearch.errors import visible
from rnnsearch.spec.model import Complexity
from rnnsearch.spec.trial import EpochMetrics, Outcome, TrialSpec, TrialState

_STYLES = {"COMPLETE": "green", "PRUNED": "yellow", "FAIL": "red", "running": "cyan"}
_RECENT = 8


class PlainView:
    """One line for each thing that happens; for logs and pipes."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._started = time.monotonic()
        self._done = self._total = 0
        self._heard = False

    def _line(self, text: str) -> None:
        seconds = int(time.monotonic() - self._started)
        line = f"[{seconds // 60:02d}:{seconds % 60:02d}] {text}"
        self._console.print(visible(hide(line)), markup=False)

    def stage(self, text: str) -> None:
        self._line(f"{text} ...")

    def phase(self, name: str, trials: int) -> None:
        self._done, self._total = 0, trials
        if trials:
            self._line(f"{name}: {trials} trials")

    def trial_started(self, key: str, spec: TrialSpec, complexity: Complexity) -> None:
        pass

    def epochs_finished(self, key: str, spec: TrialSpec, epochs: Sequence[EpochMetrics]) -> None:
        # The first sign of life; after that a line for each trial is enough.
        if not self._heard:
            first = epochs[0]
            self._line(f"{key}: epoch {first.epoch}/{spec.training.epochs}, {_score(spec, first)}")
        self._heard = True

    def trial_finished(
        self, key: str, spec: TrialSpec, state: TrialState, reason: str, outcome: Outcome | None
    ) -> None:
        self._done += 1
        result = ""
        if outcome is not None and outcome.test_metric is not None:
            result = f" test {spec.metric} {outcome.test_metric:.4f}"
        why = f" ({reason})" if reason else ""
        self._line(f"{self._done}/{self._total} {key}: {state}{result}{why}")

    def decided(self, verdicts: Mapping[str, str], more: int) -> None:
        self._total += more
        self._line(_decided(verdicts, more))


class LiveView:
    """A table of the trials that run or ended last, and a bar with the time left."""

    def __init__(self, console: Console) -> None:
        self._trials: dict[str, tuple[TrialSpec, EpochMetrics | None, str, str]] = {}
        self._stage = self._decided = ""
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
        )
        self._bar = self._progress.add_task("", total=None, visible=False)
        self._live = Live(
            console=console, get_renderable=self._render, refresh_per_second=4, transient=True
        )

    def __enter__(self) -> LiveView:
        self._live.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._live.stop()

    def stage(self, text: str) -> None:
        self._stage = f"{text} ..."

    def phase(self, name: str, trials: int) -> None:
        self._stage = ""
        self._trials.clear()
        self._progress.remove_task(self._bar)
        self._bar = self._progress.add_task(name, total=trials, visible=trials > 0)

    def trial_started(self, key: str, spec: TrialSpec, complexity: Complexity) -> None:
        self._trials[key] = (spec, None, "running", "")
        ended = [k for k, (_, _, state, _) in self._trials.items() if state != "running"]
        for old in ended[:-_RECENT]:
            del self._trials[old]

    def epochs_finished(self, key: str, spec: TrialSpec, epochs: Sequence[EpochMetrics]) -> None:
        # A trial counts by its epochs, so that the bar moves and the time left is worth reading.
        self._progress.advance(self._bar, len(epochs) / spec.training.epochs)
        self._trials[key] = (spec, epochs[-1], "running", "")

    def trial_finished(
        self, key: str, spec: TrialSpec, state: TrialState, reason: str, outcome: Outcome | None
    ) -> None:
        metrics = self._trials[key][1]
        epochs = metrics.epoch if metrics else 0
        self._progress.advance(self._bar, 1 - epochs / spec.training.epochs)
        note = reason
        if outcome is not None and outcome.test_metric is not None:
            note = f"test {outcome.test_metric:.4f}"
        self._trials[key] = (spec, metrics, state, note)

    def decided(self, verdicts: Mapping[str, str], more: int) -> None:
        task = next(task for task in self._progress.tasks if task.id == self._bar)
        self._progress.update(self._bar, total=(task.total or 0) + more)
        self._decided = _decided(verdicts, more)

    def _render(self) -> RenderableType:
        if self._stage:
            return Group(_text(self._stage))
        table = RichTable(box=None, pad_edge=False)
        for column in ("trial", "epoch", "validation", "parameters", "step"):
            table.add_column(column, justify="left" if column == "trial" else "right")
        table.add_column("state")
        for key, (spec, metrics, state, note) in self._trials.items():
            table.add_row(
                _text(key.partition("/")[2]),
                f"{metrics.epoch if metrics else 0}/{spec.training.epochs}",
                _number(metrics.validation_metric) if metrics else "",
                f"{spec.parameters:,}",
                f"{metrics.step_ms:.1f} ms" if metrics else "",
                Text.assemble((state, _STYLES[state]), " ", _text(note)),
            )
        told = [_text(self._decided)] if self._decided else []
        return Group(table, *told, self._progress)


def _decided(verdicts: Mapping[str, str], more: int) -> str:
    told = ", ".join(f"{name}: {verdict}" for name, verdict in verdicts.items())
    return f"{told}; {count(more, 'more trial')}" if more else told


def _text(text: str) -> Text:
    """A text of a study: in it, brackets are no markup."""
    return Text(visible(hide(text)))


def _score(spec: TrialSpec, metrics: EpochMetrics) -> str:
    return f"validation {spec.metric} {_number(metrics.validation_metric)}"


def _number(value: float) -> str:
    return "-" if value != value else f"{value:.4f}"


@contextmanager
def study_view(console: Console, *, quiet: bool = False) -> Iterator[list[PlainView | LiveView]]:
    """The view that fits where the output goes; none if `quiet`."""
    if quiet:
        yield []
    elif console.is_terminal:
        with LiveView(console) as view:
            yield [view]
    else:
        yield [PlainView(console)]


def drawn(table: Table) -> RichTable:
    """A table as the terminal shows it."""
    found = RichTable(
        title=_text(table.title) if table.title else None,
        title_justify="left",
        box=None,
        pad_edge=False,
    )
    for column in table.columns:
        side: Literal["left", "right"] = "right" if column.numeric else "left"
        found.add_column(_text(column.heading), justify=side, overflow="fold")
    for cells in hide_all(table.cells):
        found.add_row(*(Text(visible(cell)) for cell in cells))
    return found
