"""From the records of a study to its comparison: who is best, how surely, and with what caveats."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, is_dataclass, replace
from typing import TYPE_CHECKING, Any

from rnnsearch.compare.configurations import (
    Superseded,
    describe_values,
    settle,
    superseded_of,
    unconfirmed_best,
)
from rnnsearch.compare.ledger import Effort, PhaseTime, add_up, describe_inequality, use_of_time
from rnnsearch.compare.ranking import Row, rank_rows, rows_of
from rnnsearch.compare.statistics import FEWEST_SEEDS
from rnnsearch.compare.table import csv_text
from rnnsearch.compare.wording import count, enumerate_names, interval, number
from rnnsearch.config.home import write_whole
from rnnsearch.spec.parameters import Value
from rnnsearch.spec.shape import DataSource, Direction
from rnnsearch.spec.trial import TrialRecord

if TYPE_CHECKING:
    from pandas import DataFrame


COLUMNS = [
    *("place", "name", "label", "architecture", "rank", "verdict", "reason"),
    *("mean", "low", "high", "std", "n", "seeds", "values", "failed_seeds"),
    *("difference", "difference_low", "difference_high", "common_seeds", "p", "p_holm"),
    *("effect_size", "seeds_needed"),
    *("parameters", "trainable", "one_bias", "frozen", "residual", "matched", "closed_by"),
    *("state_size", "flops_per_step", "step_ms", "engine"),
    *("hidden_sizes", "head", "learning_rate", "options"),
]
# Without these, a single missing value turns counts into floats, and a column of them into objects.
COLUMN_TYPES: dict[str, Any] = {
    **dict.fromkeys(
        [
            *("place", "rank", "common_seeds", "seeds_needed", "parameters", "trainable"),
            *("one_bias", "frozen", "state_size"),
        ],
        "Int64",
    ),
    **dict.fromkeys(
        [
            *("mean", "low", "high", "std", "difference", "difference_low", "difference_high"),
            *("p", "p_holm", "effect_size", "residual", "flops_per_step", "step_ms"),
            "learning_rate",
        ],
        "float",
    ),
}


@dataclass(frozen=True)
class Comparison:
    """A finished comparison, ready to be shown.

    The winner is the best row that is held to the budget (the best row where none is). Rows that
    are not held to it are ranked with the others and may stand above the winner.

    Attributes:
        study: name of the study.
        metric: name of the metric on the test split.
        direction: `maximize` or `minimize`.
        no_skill: the metric of a predictor that ignores its input.
        budget_parameters: the parameter budget.
        budget_tolerance: largest relative residual that meets it.
        source: where the data came from.
        rows: ranked rows, best first, then those without a rank.
        tests: paired tests made, which `p_holm` is corrected for.
        ledger: effort of each label, in order of first appearance.
        unequal_effort: where labels were given unequal effort, one sentence each; empty if equal.
        caveats: what a reader of the ranking must not overlook, one sentence or two each.
        time: where the wall time of each phase went.
        superseded: configurations that were confirmed before their rows had better ones; they count
            in nothing else here.
    """

    study: str
    metric: str
    direction: Direction
    no_skill: float
    budget_parameters: int
    budget_tolerance: float
    source: DataSource
    rows: tuple[Row, ...]
    tests: int
    ledger: tuple[Effort, ...]
    unequal_effort: tuple[str, ...]
    caveats: tuple[str, ...]
    time: tuple[PhaseTime, ...] = ()
    superseded: tuple[Superseded, ...] = ()

    @property
    def ranked(self) -> tuple[Row, ...]:
        """Rows with a place, best first."""
        return tuple(row for row in self.rows if row.place is not None)

    @property
    def unranked(self) -> tuple[Row, ...]:
        """Rows without a place, each with its reason."""
        return tuple(row for row in self.rows if row.place is None)

    @property
    def winner(self) -> Row | None:
        """The row that the others are compared with; None if none is ranked."""
        return next((row for row in self.rows if row.verdict == "best mean"), None)

    @property
    def headline(self) -> str:
        """The result in two sentences."""
        winner = self.winner
        if winner is None:
            return "No configuration is confirmed, so nothing is ranked."
        at_budget = f"Of the models at {self.budget_parameters:,} parameters, "
        most = "highest" if self.direction == "maximize" else "lowest"
        mean = interval(winner.mean, winner.low, winner.high, winner.decimals)
        best = (
            f"{at_budget if winner.matched else ''}{winner.name} has the {most} mean test "
            f"{self.metric}, {mean} over {count(winner.n, 'seed')}."
        )
        said = [
            f"{verdict}: {', '.join(row.name for row in rows)}"
            for verdict in ("better", "worse", "no difference shown", "too few seeds to tell")
            if (rows := [row for row in self.ranked if row.verdict == verdict])
        ]
        return f"{best} Against it, {'; '.join(said)}." if said else best

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON has it; what is not a finite number becomes None."""
        return to_plain_values(self)

    def to_dataframe(self) -> DataFrame:
        """Return the rows as a table, one column per number; see `Row` for their meaning."""
        import pandas as pd  # Takes a second: only those who want a table pay for it.

        table = pd.DataFrame([flatten(row) for row in self.rows], columns=list(COLUMNS))
        return table.astype(COLUMN_TYPES)

    def write_csv(self, path: str | os.PathLike[str]) -> None:
        """Write the columns of `to_dataframe`; a file that is there is replaced as a whole.

        Lists (seeds and their values) are joined by spaces.

        Raises:
            StoreError: the file cannot be written.
        """
        write_whole(path, to_csv(self.rows))


def compare(
    records: Sequence[TrialRecord],
    *,
    metric: str,
    direction: Direction,
    no_skill: float,
    source: DataSource,
    budget_parameters: int,
    study: str,
    budget_tolerance: float = 0.02,
    phases: Mapping[str, Mapping[str, float]] | None = None,
    left_out: Mapping[str, str] | None = None,
    best: int | None = None,
    limits: tuple[float, float] = (-math.inf, math.inf),
) -> Comparison:
    """Rank the confirmed configurations of a study by their test metric.

    Only complete confirmations with a finite test metric count, and of each row only those of the
    configurations that its search puts first. Of several for one seed, such as after a retry, the
    last counts. Nothing else of the search enters but the ledger.

    Args:
        records: all trials of the study, in any order.
        metric: name of the metric.
        direction: whether a larger metric is better.
        no_skill: the metric of a predictor that ignores its input.
        source: where the data came from.
        budget_parameters: the parameter budget.
        study: name of the study.
        budget_tolerance: largest relative residual that meets the budget.
        phases: wall `seconds` and `workers` of the phases that have ended.
        left_out: why rows of the study could not run, by label.
        best: configurations of each row that are confirmed; as many as have been if None.
        limits: smallest and largest value that the metric can take.
    """
    records = settle(records, direction, best)
    by_label: dict[str, list[TrialRecord]] = {}
    for record in records:
        by_label.setdefault(record.label, []).append(record)
    rows, tests = rank_rows(
        [row for label, mine in by_label.items() for row in rows_of(label, mine)], direction
    )
    ledger = tuple(add_up(label, mine) for label, mine in by_label.items())
    comparison = Comparison(
        study=study,
        metric=metric,
        direction=direction,
        no_skill=no_skill,
        budget_parameters=budget_parameters,
        budget_tolerance=budget_tolerance,
        source=source,
        rows=rows,
        tests=tests,
        ledger=ledger,
        unequal_effort=describe_inequality(ledger),
        caveats=(),
        time=use_of_time(records, phases or {}),
        superseded=superseded_of(records),
    )
    unconfirmed = unconfirmed_best(records, direction)
    missing = [f"Left out, as it cannot run: {why}" for why in (left_out or {}).values()]
    noted = (*_caveats(comparison, unconfirmed), *missing, *_beyond(comparison, limits))
    return replace(comparison, caveats=noted)


def _caveats(
    comparison: Comparison, unconfirmed: Mapping[str, Mapping[str, Value]]
) -> Iterator[str]:
    ranked, winner = comparison.ranked, comparison.winner
    if comparison.source.caveat:
        yield f"Data: {comparison.source.caveat}"
    if len(ranked) == 1:
        yield "Only one configuration is confirmed, so there is nothing to compare it with."
    if free := [row for row in ranked if not row.matched]:
        budget = f"the budget of {comparison.budget_parameters:,} parameters"
        sizes = enumerate_names(f"{row.name} ({row.parameters:,})" for row in free)
        yield f"Shown without being held to {budget}: {sizes}."
    kinds = {row.head.partition(" ")[0] for row in ranked if row.head}
    if len(kinds) > 1:
        heads = enumerate_names(f"{row.name} ({row.head})" for row in ranked if row.head)
        yield f"The heads differ, which may weigh as much as the cells: {heads}."
    if above := [row.name for row in free if winner and (row.place or 0) < (winner.place or 0)]:
        yield f"Ranked above the best mean, but not at the budget: {enumerate_names(above)}."
    sign = 1 if comparison.direction == "maximize" else -1
    if idle := [r.name for r in ranked if sign * (r.mean or 0.0) <= sign * comparison.no_skill]:
        skill, names = number(comparison.no_skill), enumerate_names(idle)
        yield f"No better than a predictor that ignores its input ({skill}): {names}."
    if winner and (unclear := [row for row in ranked if row.verdict == "too few seeds to tell"]):
        yield f"Too few seeds to tell from {winner.name}: {'; '.join(map(_seeds_told, unclear))}."
    for row in ranked:
        if row.failed_seeds:
            seeds = "seeds" if len(row.failed_seeds) > 1 else "seed"
            failed = enumerate_names(map(str, row.failed_seeds))
            yield f"{row.name}: failed and left out: {seeds} {failed}."
    if running := [effort.label for effort in comparison.ledger if effort.confirmation.running]:
        yield f"Confirmations are still running: {enumerate_names(running)}."
    for label, values in unconfirmed.items():
        yield (
            f"{label}: its search has found a better configuration ({describe_values(values)}), "
            f"which is not confirmed; its row shows the best that is. `rnnsearch study resume "
            f"{comparison.study}` confirms it."
        )
    for old in comparison.superseded:
        mean = f", mean {comparison.metric} {number(old.mean)}" if old.mean is not None else ""
        yield (
            f"{old.label}: superseded by a better configuration, and counted in nothing: "
            f"{old.text} ({count(len(old.seeds), 'seed')}{mean})."
        )
    yield from comparison.unequal_effort


def _beyond(comparison: Comparison, limits: tuple[float, float]) -> Iterator[str]:
    """Say of which rows the interval reaches where no value can be.

    It is not cut: a t-interval is as wide as the seeds scatter, and a cut one would look surer.
    """
    low, high = limits
    rows = [
        f"{row.name} ({row.low:.4g} to {row.high:.4g}, {count(row.n, 'seed')})"
        for row in comparison.ranked
        if row.low is not None and row.high is not None and (row.low < low or row.high > high)
    ]
    if rows:
        ends = [f"below {low:g}"] * (low > -math.inf) + [f"above {high:g}"] * (high < math.inf)
        yield (
            f"No {comparison.metric} lies {' or '.join(ends)}, but these intervals reach there, as "
            f"the seeds are too few or too far apart to bound it: {enumerate_names(rows)}."
        )


def _seeds_told(row: Row) -> str:
    against = row.against_winner
    common = against.n if against else 0
    if common < FEWEST_SEEDS:
        return f"{row.name} ({count(common, 'seed')} in common, at least {FEWEST_SEEDS} needed)"
    if against is None or against.seeds_needed is None:
        return f"{row.name} ({count(common, 'seed')}, hardly any difference)"
    return f"{row.name} ({count(common, 'seed')}, about {against.seeds_needed:,} needed)"


def flatten(row: Row) -> dict[str, Any]:
    """One row with a value for each of `COLUMNS`, in that order."""
    against = vars(row.against_winner) if row.against_winner else {}
    cells = {
        **against,
        "difference_low": against.get("low"),
        "difference_high": against.get("high"),
        "common_seeds": against.get("n"),
        **vars(row),
        "n": row.n,
        "verdict": row.verdict,
    }
    return {column: cells.get(column) for column in COLUMNS}


def to_csv(rows: Iterable[Row]) -> str:
    """Rows as CSV with a header; lists are joined by spaces."""
    return csv_text(COLUMNS, map(flatten, rows))


def to_plain_values(comparison: Comparison) -> dict[str, Any]:
    """A comparison as JSON has it; what is not a finite number becomes None."""
    rows = [{**vars(row), "n": row.n, "verdict": row.verdict} for row in comparison.rows]
    winner = comparison.winner.name if comparison.winner else None
    fields = {**vars(comparison), "rows": rows, "winner": winner, "headline": comparison.headline}
    return {name: _plain(value) for name, value in fields.items()}


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        value = vars(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
