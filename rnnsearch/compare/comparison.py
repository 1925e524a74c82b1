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
from rnnsearch.compare.leaderboard import Row, Terms, group_by_label, rank_records
from rnnsearch.compare.ledger import Effort, PhaseTime, add_up, describe_inequality, use_of_time
from rnnsearch.compare.table import csv_text
from rnnsearch.compare.wording import (
    count,
    enumerate_names,
    interval,
    number,
    share_text,
    verdict_text,
)
from rnnsearch.config.home import write_whole
from rnnsearch.spec.margin import DEFAULT_MARGIN, Margin
from rnnsearch.spec.parameters import Value
from rnnsearch.spec.shape import DataSource, Direction
from rnnsearch.spec.trial import TrialRecord

if TYPE_CHECKING:
    from pandas import DataFrame


COLUMNS = [
    *("place", "name", "label", "architecture", "rank", "verdict", "reason"),
    *("median", "low", "high", "mean", "iqm", "std", "n", "seeds", "values", "failed_seeds"),
    *("untrained_count", "untrained_low", "untrained_high"),
    *("difference", "difference_low", "difference_high", "common_seeds", "ahead", "p"),
    "more_seeds",
    *("parameters", "trainable", "one_bias", "frozen", "residual", "matched", "closed_by"),
    *("state_size", "flops_per_step", "step_ms", "engine"),
    *("hidden_sizes", "head", "learning_rate", "options"),
]
# Without these, a single missing value turns counts into floats, and a column of them into objects.
COLUMN_TYPES: dict[str, Any] = {
    **dict.fromkeys(
        [
            *("place", "rank", "common_seeds", "more_seeds", "parameters", "trainable"),
            *("one_bias", "frozen", "state_size", "untrained_count"),
        ],
        "Int64",
    ),
    **dict.fromkeys(
        [
            *("median", "low", "high", "mean", "iqm", "std", "difference", "difference_low"),
            *("difference_high", "ahead", "p", "residual", "flops_per_step", "step_ms"),
            *("untrained_low", "untrained_high", "learning_rate"),
        ],
        "float",
    ),
}


@dataclass(frozen=True)
class Comparison:
    """A finished comparison, ready to be shown.

    The reference is the control, if the study names one, or else the best of the rows that may be
    the best: those that are held to the budget (all where none is). Rows that are not held to it
    are ranked with the others and may stand above it.

    Attributes:
        study: name of the study.
        metric: name of the metric on the test split.
        direction: `maximize` or `minimize`.
        no_skill: the metric of a predictor that ignores its input.
        budget_parameters: the parameter budget.
        budget_tolerance: largest relative residual that meets it.
        source: where the data came from.
        rows: ranked rows, best first, then those without a rank.
        reference: name of the row that the others are compared with; None if none is ranked.
        margin: differences up to this are of no interest, in the unit of the metric.
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
    reference: str | None
    margin: float
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
    def compared_with(self) -> Row | None:
        """The row that the others are compared with; None if none is ranked."""
        return next((row for row in self.ranked if row.name == self.reference), None)

    @property
    def winner(self) -> Row | None:
        """The best row, or the one that leads; None against a control, and if none is ranked."""
        row = self.compared_with
        return None if row is None or row.verdict == "control" else row

    def verdict(self, row: Row) -> str:
        """What may be said of a row, in words; why it is not ranked where it is not."""
        return verdict_text(row.standing, self.margin, row.decimals) if row.standing else row.reason

    @property
    def headline(self) -> str:
        """The result in two or three sentences."""
        first = self.compared_with
        if first is None or first.standing is None:
            return "No configuration is confirmed, so nothing is ranked."
        middle = interval(first.median, first.low, first.high, first.decimals)
        scored = f"a median test {self.metric} of {middle} over {count(first.n, 'seed')}"
        at_budget = f" of the models at {self.budget_parameters:,} parameters"
        by_verdict = {
            verdict: enumerate_names(row.name for row in rows)
            for verdict in ("better", "as good", "worse", "undecided")
            if (rows := [r for r in self.ranked if r.verdict == verdict and r is not first])
        }
        said = [f"{verdict}: {names}" for verdict, names in by_verdict.items()]
        if first.verdict == "control":
            told = f"The control {first.name} has {scored}."
            return f"{told} Against it, {'; '.join(said)}." if said else told
        place = at_budget if first.matched else ""
        within = f", to within {self.margin:.3g}" if first.verdict == "best within margin" else ""
        told = f"{first.name} is the best{place}{within}, with {scored}."
        if first.verdict == "undecided":
            told = f"{first.name} is not told apart yet, but leads with {scored}."
        return f"{told} The others, {'; '.join(said)}." if said else told

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
    margin: Margin = DEFAULT_MARGIN,
    against: str | None = None,
    order: Sequence[int] = (),
    until_decided: bool = False,
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
        margin: differences up to this are of no interest.
        against: label of the control, if there is one.
        order: seeds in the order in which they were drawn.
        until_decided: whether rows get unequal numbers of seeds on purpose.
    """
    terms = Terms(direction, no_skill, limits, margin, against)
    records = settle(records, direction, best)
    by_label = group_by_label(records)
    rows, decision = rank_records(by_label, terms, order)
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
        reference=decision.reference if decision else None,
        margin=decision.margin if decision else 0.0,
        ledger=ledger,
        unequal_effort=describe_inequality(ledger, only_search=until_decided),
        caveats=(),
        time=use_of_time(records, phases or {}),
        superseded=superseded_of(records),
    )
    unconfirmed = unconfirmed_best(records, direction)
    missing = [f"Left out, as it cannot run: {why}" for why in (left_out or {}).values()]
    noted = [*_caveats(comparison, unconfirmed), *missing]
    if against is not None and comparison.winner is not None:
        noted.insert(0, f"The control {against} is not confirmed: compared with the best instead.")
    return replace(comparison, caveats=tuple(noted))


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
    if winner and (above := [r.name for r in free if (r.place or 0) < (winner.place or 0)]):
        yield f"Ranked above {winner.name}, but not at the budget: {enumerate_names(above)}."
    skill = number(comparison.no_skill)
    if idle := [row for row in ranked if row.untrained and row.untrained.count]:
        shares = enumerate_names(f"{row.name} ({share_text(row.untrained)})" for row in idle)
        yield f"Failed to train: seeds no better than ignoring the input ({skill}): {shares}."
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


def flatten(row: Row) -> dict[str, Any]:
    """One row with a value for each of `COLUMNS`, in that order."""
    standing = vars(row.standing) if row.standing else {}
    cells = {
        **standing,
        "difference_low": standing.get("low"),
        "difference_high": standing.get("high"),
        "common_seeds": standing.get("n"),
        **({f"untrained_{k}": v for k, v in vars(row.untrained).items()} if row.untrained else {}),
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
