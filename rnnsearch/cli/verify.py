"""`rnnsearch study verify`: trains a confirmed seed again and compares."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from rnnsearch.cli.output import echo

if TYPE_CHECKING:
    from rnnsearch.spec.trial import EpochMetrics, TrialSpec
    from rnnsearch.study.verify import Difference

_TOLERANCE = 1e-3


@click.command()
@click.argument("name")
@click.option("--row", help="Label of a row; the best one if unset.")
@click.option("--seed", type=int, help="A seed of its confirmation; the first one if unset.")
@click.option(
    "--tolerance",
    type=click.FloatRange(0),
    default=_TOLERANCE,
    show_default=True,
    help="Largest relative difference of a number; numbers below 0.01 count as 0.01.",
)
def verify(name: str, row: str | None, seed: int | None, tolerance: float) -> None:
    """Train one confirmed seed of the study NAME again, and compare every number with the record.

    On the same machine, with the same versions and engine, all are identical. Fails if one differs
    by more than the tolerance.
    """
    from rnnsearch.errors import RnnsearchError
    from rnnsearch.records.store import StudyStore
    from rnnsearch.study.verify import replay

    done = replay(StudyStore.open(name), row, seed, _show_epoch)
    spec = done.spec
    echo(f"trial      {done.key}, seed {spec.seed}, {spec.training.epochs} epochs")
    engine = done.engine
    if engine != done.recorded_engine:
        engine = f"{engine}, where the record has {done.recorded_engine}"
    echo(f"engine     {engine}")
    for change in done.changes:
        echo(f"changed    {change}")
    echo(f"test       loss {done.test_loss:.6g}, {spec.metric} {done.test_metric:.6g}")
    if done.worst is None:
        echo(f"verified   all {done.numbers} numbers are identical to the record")
        return
    worst = done.worst
    told = (
        f"{worst.what} is {worst.replayed!r}, {worst.recorded!r} in the record: "
        f"{_size(worst)}, the largest difference of {done.numbers} numbers"
    )
    if not worst.size <= tolerance:
        msg = f"{done.key} was not reproduced within the tolerance of {tolerance:g}: {told}"
        raise RnnsearchError(msg)
    echo(f"verified   within the tolerance of {tolerance:g}: {told}")


def _show_epoch(spec: TrialSpec, metrics: EpochMetrics, worst: Difference | None) -> None:
    told = "identical" if worst is None else f"differs by {_size(worst)}"
    done = f"epoch {metrics.epoch}/{spec.training.epochs}"
    echo(f"{done}  train loss {metrics.train_loss:.4g}  {told}", err=True)


def _size(difference: Difference) -> str:
    return f"{difference.size:.2g}"
