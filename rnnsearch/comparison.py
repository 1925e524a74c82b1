"""From the records of a study to its comparison: who is best, how surely, and at what cost."""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from rnnsearch.errors import StoreError
from rnnsearch.parameters import Value
from rnnsearch.statistics import (
    FEWEST_SEEDS,
    PairedComparison,
    Verdict,
    compare_with_winner,
    estimate,
)
from rnnsearch.task import DataSource, Direction
from rnnsearch.trial import Phase, TrialRecord, TrialSpec

if TYPE_CHECKING:
    from pandas import DataFrame

# Pruning stops one label's trials earlier than another's: epochs may differ by this share.
EFFORT_TOLERANCE = 0.1

Json: TypeAlias = bool | int | float | str | list["Json"] | dict[str, "Json"] | None
Cell: TypeAlias = bool | int | float | str | tuple[int, ...] | tuple[float, ...] | None


@dataclass(frozen=True)
class Row:
    """One configuration of one label, ranked by its confirmations.

    Attributes:
        name: the label, with `#1`, `#2` after it where several of its configurations are confirmed.
        label: what the study calls it.
        architecture: registered name; empty if no trial of it got as far as a specification.
        rank: which of its label's best configurations of the search this is, from 0; None if it
            has no confirmation.
        place: in the ranking, from 1, equal means sharing one; None if it is not ranked.
        reason: why it is not ranked, or an empty string.
        seeds: seeds of its complete confirmations, ascending.
        values: test metric of each of the `seeds`.
        failed_seeds: seeds whose confirmation failed, ascending; the mean leaves them out.
        mean: mean of `values`.
        low: lower end of the mean's 95 % t-interval; None for one seed.
        high: upper end of the mean's 95 % t-interval; None for one seed.
        std: standard deviation of `values`; None for one seed.
        against_winner: the paired comparison with the winner; None if it is not ranked.
        parameters: scalars that count against the budget.
        trainable: trainable scalars as torch counts them.
        one_bias: the same with one bias per affine map.
        frozen: scalars kept but not trained.
        residual: `parameters / budget - 1`.
        matched: false for a model that is shown without being held to the budget.
        closed_by: second size that met the budget, or an empty string.
        state_size: scalars of recurrent state per sample.
        flops_per_step: floating-point operations of one time step of one sample.
        step_ms: median wall time of one training update over the epochs of its complete
            confirmations, in milliseconds.
        engine: what ran it over time.
        hidden_sizes: width of each layer, such as `15` or `20, 18`.
        learning_rate: of the optimizer.
        options: its other choices, such as `clamp=soft, optimizer=adam, batch_size=20`.
    """

    name: str
    label: str
    architecture: str = ""
    rank: int | None = None
    place: int | None = None
    reason: str = ""
    seeds: tuple[int, ...] = ()
    values: tuple[float, ...] = ()
    failed_seeds: tuple[int, ...] = ()
    mean: float | None = None
    low: float | None = None
    high: float | None = None
    std: float | None = None
    against_winner: PairedComparison | None = None
    parameters: int | None = None
    trainable: int | None = None
    one_bias: int | None = None
    frozen: int | None = None
    residual: float | None = None
    matched: bool = True
    closed_by: str = ""
    state_size: int | None = None
    flops_per_step: float | None = None
    step_ms: float | None = None
    engine: str = ""
    hidden_sizes: str = ""
    learning_rate: float | None = None
    options: str = ""

    @property
    def key(self) -> tuple[str, int | None]:
        """Label and rank, which no other row has; names may clash with a label like `gru #1`."""
        return self.label, self.rank

    @property
    def n(self) -> int:
        """Complete confirmations."""
        return len(self.seeds)

    @property
    def decimals(self) -> int:
        """Decimal places that show four significant digits of the mean."""
        return max(0, 3 - math.floor(math.log10(abs(self.mean)))) if self.mean else 4

    @property
    def verdict(self) -> Verdict | None:
        """What may be said of it against the winner; None if it is not ranked."""
        return self.against_winner.verdict if self.against_winner else None


@dataclass(frozen=True)
class Spent:
    """What the trials of one label took in one phase, whatever became of them.

    Attributes:
        complete: trials that finished.
        pruned: trials that were stopped early.
        failed: trials that failed.
        running: trials that have not ended.
        epochs: finished epochs of all of them.
        updates: updates of all of them, up to their last finished epoch.
        seconds: wall time of all of them, up to their last finished epoch.
    """

    complete: int = 0
    pruned: int = 0
    failed: int = 0
    running: int = 0
    epochs: int = 0
    updates: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class Effort:
    """What one label took: a line of the ledger.

    Attributes:
        label: what the study calls it.
        search: finding its configuration.
        confirmation: training it on fresh seeds.
    """

    label: str
    search: Spent
    confirmation: Spent


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
        return next((row for row in self.rows if row.verdict == "winner"), None)

    @property
    def headline(self) -> str:
        """The result in two sentences."""
        winner = self.winner
        if winner is None:
            return "No configuration is confirmed, so nothing is ranked."
        most = "highest" if self.direction == "maximize" else "lowest"
        best = (
            f"{winner.name} has the {most} mean test {self.metric}, "
            f"{_interval(winner, winner.decimals)} over {_count(winner.n, 'seed')}"
        )
        if winner.matched:
            best = f"Of the models at {self.budget_parameters:,} parameters, {best}"
        said = [
            f"{verdict}: {', '.join(row.name for row in rows)}"
            for verdict in ("better", "worse", "no difference shown", "too few seeds to tell")
            if (rows := [row for row in self.ranked if row.verdict == verdict])
        ]
        return best + "." + (f" Against it, {'; '.join(said)}." if said else "")

    def to_dict(self) -> dict[str, Json]:
        """Return everything as JSON has it; what is not a finite number becomes None."""
        plain = replace(self, source=replace(self.source, sizes=dict(self.source.sizes)))
        rows = [{**asdict(row), "n": row.n, "verdict": row.verdict} for row in self.rows]
        winner = self.winner.name if self.winner else None
        return {
            key: _jsonable(value)
            for key, value in {
                **asdict(plain),
                "rows": rows,
                "winner": winner,
                "headline": self.headline,
            }.items()
        }

    def to_dataframe(self) -> DataFrame:
        """Return the rows as a table, one column per number; see `Row` for their meaning."""
        import pandas as pd  # Takes a second: only those who want a table pay for it.

        table = pd.DataFrame([_flat(row) for row in self.rows], columns=_COLUMNS)
        # Without this, a single missing value turns counts into floats, and a column of them into
        # objects.
        return table.astype({**dict.fromkeys(_COUNTS, "Int64"), **dict.fromkeys(_REALS, "float")})

    def write_csv(self, path: str | os.PathLike[str]) -> None:
        """Write the columns of `to_dataframe`; a file that is there is replaced as a whole.

        Lists (seeds and their values) are joined by spaces.

        Raises:
            StoreError: the file cannot be written.
        """
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(_COLUMNS)
        for row in self.rows:
            writer.writerow(
                " ".join(map(str, cell)) if isinstance(cell, tuple) else cell
                for cell in _flat(row).values()
            )
        write_whole(path, text.getvalue().encode())

    def to_markdown(self) -> str:
        """Return the comparison as a Markdown document: ranking, effort, caveats and data."""
        better = "higher" if self.direction == "maximize" else "lower"
        parts = [
            f"# {_escape(self.study)}",
            _escape(self.headline),
            f"Test {self.metric}, {better} is better; no skill is {_number(self.no_skill)}. "
            "Intervals are 95 % t-intervals over seeds; p-values are from paired t-tests by seed, "
            f"Holm-corrected for {self.tests} test{'s' * (self.tests != 1)} between all rows.",
        ]
        if self.ranked:
            parts.append(_table(_RANKING, [_ranking_line(row) for row in self.ranked]))
        if any(not row.matched for row in self.ranked):
            parts.append("† Not held to the budget.")
        if self.unranked:
            parts += [
                "## Not ranked",
                "\n".join(f"- {_escape(row.name)}: {_escape(row.reason)}" for row in self.unranked),
            ]
        if self.ledger:
            lines = [line for effort in self.ledger for line in _effort_lines(effort)]
            parts += ["## Effort", _table(_EFFORT, lines)]
        if self.caveats:
            parts += ["## Caveats", "\n".join(f"- {_escape(caveat)}" for caveat in self.caveats)]
        sizes = ", ".join(f"{count:,} {split}" for split, count in self.source.sizes.items())
        parts += [
            "## Data",
            _escape(
                f"{self.source.dataset} ({sizes or 'sizes unknown'}), from {self.source.origin}: "
                f"{self.source.location}; sha256 {self.source.sha256}"
            ),
        ]
        return "\n\n".join(parts) + "\n"


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
) -> Comparison:
    """Rank the confirmed configurations of a study by their test metric.

    Only complete confirmations with a finite test metric count. Of several for one seed, such as
    after a retry, the last counts. Nothing of the search enters but the ledger.

    Args:
        records: all trials of the study, in any order.
        metric: name of the metric.
        direction: whether a larger metric is better.
        no_skill: the metric of a predictor that ignores its input.
        source: where the data came from.
        budget_parameters: the parameter budget.
        study: name of the study.
        budget_tolerance: largest relative residual that meets the budget.
    """
    labels = list(dict.fromkeys(record.label for record in records))
    by_label = {label: [r for r in records if r.label == label] for label in labels}
    rows = [row for label in labels for row in _rows_of(label, by_label[label])]
    sign = -1 if direction == "maximize" else 1
    unranked = [row for row in rows if row.mean is None]
    ranked = sorted(
        (row for row in rows if row.mean is not None),
        key=lambda row: (sign * (row.mean or 0.0), not row.matched, row.parameters or 0, row.name),
    )
    tests = 0
    if ranked:
        winner = next((row for row in ranked if row.matched), ranked[0])
        samples = {row.key: dict(zip(row.seeds, row.values, strict=True)) for row in ranked}
        against, tests = compare_with_winner(samples, winner.key, direction)
        ranked = [
            replace(row, place=place, against_winner=against[row.key])
            for row, place in zip(ranked, _places(ranked), strict=True)
        ]
    ledger = tuple(_effort(label, by_label[label]) for label in labels)
    comparison = Comparison(
        study=study,
        metric=metric,
        direction=direction,
        no_skill=no_skill,
        budget_parameters=budget_parameters,
        budget_tolerance=budget_tolerance,
        source=source,
        rows=(*ranked, *unranked),
        tests=tests,
        ledger=ledger,
        unequal_effort=_unequal_effort(ledger),
        caveats=(),
    )
    return replace(comparison, caveats=tuple(_caveats(comparison)))


def write_whole(path: str | os.PathLike[str], content: bytes) -> None:
    """Write a file so that at any time it has its old content or all of the new.

    Raises:
        StoreError: the file cannot be written; says which and why.
    """
    target = Path(path)
    # Beside the target, for `os.replace` to stay on one file system.
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        partial.write_bytes(content)
        os.replace(partial, target)
    except OSError as error:
        partial.unlink(missing_ok=True)
        msg = f"cannot write {target}: {error.strerror or error}"
        raise StoreError(msg) from error


# Records to rows


def _rows_of(label: str, records: Sequence[TrialRecord]) -> list[Row]:
    """Rows of one label: one per confirmed configuration, or one that says why there is none."""
    specs = [record.spec for record in records if record.spec is not None]
    architecture = specs[0].model.architecture if specs else ""
    confirmations = [record for record in records if record.phase == "confirmation"]
    ranks = sorted({record.spec.rank for record in confirmations if record.spec is not None})
    if not ranks:
        return [Row(label, label, architecture, reason=_why_not_confirmed(records, confirmations))]
    return [
        _row(
            label if len(ranks) == 1 else f"{label} #{rank + 1}",
            [(r, r.spec) for r in confirmations if r.spec is not None and r.spec.rank == rank],
        )
        for rank in ranks
    ]


def _row(name: str, confirmations: Iterable[tuple[TrialRecord, TrialSpec]]) -> Row:
    """One configuration from its confirmations, each with its specification."""
    ordered = sorted(confirmations, key=lambda pair: pair[0].number)
    by_seed = {spec.seed: record for record, spec in ordered if _counts(record)}
    seeds = tuple(sorted(by_seed))
    values = tuple(float(by_seed[seed].test_metric or 0.0) for seed in seeds)
    running = {spec.seed for record, spec in ordered if record.state == "RUNNING"}
    failed = {spec.seed for _, spec in ordered} - by_seed.keys() - running
    shown = list(by_seed.values()) or [record for record, _ in ordered]
    complexity = next((r.complexity for r in shown if r.complexity is not None), None)
    steps_ms = [
        epoch.step_ms
        for record in by_seed.values()
        for epoch in record.epochs
        if math.isfinite(epoch.step_ms)
    ]
    mean = estimate(values) if values else None
    spec = ordered[0][1]
    return Row(
        name,
        ordered[0][0].label,
        spec.model.architecture,
        spec.rank,
        reason="" if values else _why_not_confirmed([], [record for record, _ in ordered]),
        seeds=seeds,
        values=values,
        failed_seeds=tuple(sorted(failed)),
        mean=mean.mean if mean else None,
        low=mean.low if mean else None,
        high=mean.high if mean else None,
        std=mean.std if mean else None,
        parameters=spec.parameters,
        trainable=complexity.trainable if complexity else None,
        one_bias=complexity.one_bias if complexity else None,
        frozen=complexity.frozen if complexity else None,
        residual=spec.residual,
        matched=spec.matched,
        closed_by=spec.closed_by,
        state_size=complexity.state_size if complexity else None,
        flops_per_step=complexity.flops_per_step if complexity else None,
        step_ms=float(np.median(steps_ms)) if steps_ms else None,
        engine=next((r.engine for r in shown if r.engine), ""),
        hidden_sizes=", ".join(map(str, spec.model.widths)),
        learning_rate=spec.training.learning_rate,
        options=_options(spec),
    )


def _counts(record: TrialRecord) -> bool:
    """Whether a confirmation enters the ranking."""
    metric = record.test_metric
    return record.state == "COMPLETE" and metric is not None and math.isfinite(metric)


def _why_not_confirmed(records: Sequence[TrialRecord], confirmations: Sequence[TrialRecord]) -> str:
    ended = [record for record in confirmations if record.state != "RUNNING"]
    if confirmations and not ended:
        return "its confirmations are still running"
    if ended:
        found = "finished without a finite test metric"
        reasons = dict.fromkeys(record.reason or found for record in ended)
        return f"{_count(len(ended), 'confirmation')} failed: {'; '.join(reasons)}"
    failed = [record for record in records if record.state == "FAIL"]
    if failed and len(failed) == len(records):
        reasons = dict.fromkeys(record.reason or "no reason recorded" for record in failed)
        return f"not confirmed: all {len(failed)} search trials failed: {'; '.join(reasons)}"
    return "not confirmed"


def _options(spec: TrialSpec) -> str:
    model, training = spec.model, spec.training
    chosen: dict[str, Value] = {name: model.options[name] for name in sorted(model.options)}
    if model.bidirectional:
        chosen["bidirectional"] = True
    if model.learned_initial_state:
        chosen["learned_initial_state"] = True
    if model.head and model.head != "linear":
        chosen["head"] = model.head
        chosen.update({f"head.{k}": v for k, v in sorted(model.head_options.items())})
    if model.head_hidden_size:
        chosen["head_hidden_size"] = model.head_hidden_size
    chosen |= {
        "optimizer": training.optimizer,
        "batch_size": training.batch_size,
        "epochs": training.epochs,
    }
    if training.weight_decay:
        chosen["weight_decay"] = training.weight_decay
    if training.gradient_clip:
        chosen["gradient_clip"] = training.gradient_clip
    if training.train_on != "train":
        chosen["train_on"] = training.train_on
    return ", ".join(f"{name}={_text(value)}" for name, value in chosen.items())


def _places(ranked: Sequence[Row]) -> list[int]:
    """Places of rows in order; equal means share the better one, `1, 2, 2, 4`."""
    places: list[int] = []
    for index, row in enumerate(ranked):
        tied = index > 0 and row.mean == ranked[index - 1].mean
        places.append(places[-1] if tied else index + 1)
    return places


# Records to the ledger


def _effort(label: str, records: Sequence[TrialRecord]) -> Effort:
    return Effort(label, _spent(records, "search"), _spent(records, "confirmation"))


def _spent(records: Sequence[TrialRecord], phase: Phase) -> Spent:
    trials = [record for record in records if record.phase == phase]
    states = [record.state for record in trials]
    last = [record.epochs[-1] for record in trials if record.epochs]
    return Spent(
        complete=states.count("COMPLETE"),
        pruned=states.count("PRUNED"),
        failed=states.count("FAIL"),
        running=states.count("RUNNING"),
        epochs=sum(len(record.epochs) for record in trials),
        updates=sum(epoch.updates for epoch in last),
        seconds=math.fsum(epoch.seconds for epoch in last if math.isfinite(epoch.seconds)),
    )


def _unequal_effort(ledger: Sequence[Effort]) -> tuple[str, ...]:
    """Sentences on labels that were tuned or confirmed with more trials or epochs than others.

    Trials count where they gave a result: complete or pruned. Search counts every label as soon as
    one was searched; confirmation counts the labels that reached it.
    """
    sentences = []
    search = {effort.label: effort.search for effort in ledger}
    confirmation = {
        effort.label: effort.confirmation for effort in ledger if effort.confirmation != Spent()
    }
    for phase, by_label in (("Search", search), ("Confirmation", confirmation)):
        if not by_label:
            continue
        trials = {label: spent.complete + spent.pruned for label, spent in by_label.items()}
        if min(trials.values()) != max(trials.values()):
            failed = {label: spent.failed for label, spent in by_label.items()}
            counted = _counted(trials, failed, "failed")
            sentences.append(f"{phase} trials with a result are unequal: {counted}.")
        epochs = {label: spent.epochs for label, spent in by_label.items()}
        if max(epochs.values()) > (1 + EFFORT_TOLERANCE) * min(epochs.values()):
            pruned = {label: spent.pruned for label, spent in by_label.items()}
            counted = _counted(epochs, pruned, "pruned")
            sentences.append(f"{phase} epochs are unequal: {counted}.")
    return tuple(sentences)


def _counted(counts: Mapping[str, int], causes: Mapping[str, int], cause: str) -> str:
    """Labels by count, most first: `60 (gru and lstm), 36 (elman with 3 trials pruned)`."""
    groups = []
    for count in sorted(set(counts.values()), reverse=True):
        labels = [
            label + (f" with {_count(causes[label], 'trial')} {cause}" if causes[label] else "")
            for label in counts
            if counts[label] == count
        ]
        groups.append(f"{count:,} ({_names(labels)})")
    return ", ".join(groups)


# What a reader must not overlook


def _caveats(comparison: Comparison) -> Iterable[str]:
    ranked, winner = comparison.ranked, comparison.winner
    if comparison.source.caveat:
        yield f"Data: {comparison.source.caveat}"
    if len(ranked) == 1:
        yield "Only one configuration is confirmed, so there is nothing to compare it with."
    if free := [row for row in ranked if not row.matched]:
        budget = f"the budget of {comparison.budget_parameters:,} parameters"
        sizes = [f"{row.name} ({row.parameters:,})" for row in free]
        yield f"Shown without being held to {budget}: {_names(sizes)}."
    if above := [row for row in free if winner and (row.place or 0) < (winner.place or 0)]:
        yield f"Ranked above the winner, but not at the budget: {_names(r.name for r in above)}."
    sign = 1 if comparison.direction == "maximize" else -1
    if idle := [r.name for r in ranked if sign * (r.mean or 0.0) <= sign * comparison.no_skill]:
        skill = _number(comparison.no_skill)
        yield f"No better than a predictor that ignores its input ({skill}): {_names(idle)}."
    if unclear := [row for row in ranked if row.verdict == "too few seeds to tell"]:
        told = [_seeds_told(row) for row in unclear]
        yield f"Too few seeds to tell from {winner.name if winner else ''}: {'; '.join(told)}."
    for row in ranked:
        if row.failed_seeds:
            seeds = "seeds" if len(row.failed_seeds) > 1 else "seed"
            yield f"{row.name}: failed and left out: {seeds} {_names(map(str, row.failed_seeds))}."
    if running := [e.label for e in comparison.ledger if e.confirmation.running]:
        yield f"Confirmations are still running: {_names(running)}."
    yield from comparison.unequal_effort


def _seeds_told(row: Row) -> str:
    against = row.against_winner
    common = against.n if against else 0
    if common < FEWEST_SEEDS:
        return f"{row.name} ({_count(common, 'seed')} in common, at least {FEWEST_SEEDS} needed)"
    if against is None or against.seeds_needed is None:
        return f"{row.name} ({_count(common, 'seed')}, hardly any difference)"
    return f"{row.name} ({_count(common, 'seed')}, about {against.seeds_needed:,} needed)"


# Rows to text

_COLUMNS = [
    *("place", "name", "label", "architecture", "rank", "verdict", "reason"),
    *("mean", "low", "high", "std", "n", "seeds", "values", "failed_seeds"),
    *("difference", "difference_low", "difference_high", "common_seeds", "p", "p_holm"),
    *("effect_size", "seeds_needed"),
    *("parameters", "trainable", "one_bias", "frozen", "residual", "matched", "closed_by"),
    *("state_size", "flops_per_step", "step_ms", "engine"),
    *("hidden_sizes", "learning_rate", "options"),
]

_COUNTS = [
    *("place", "rank", "common_seeds", "seeds_needed", "parameters", "trainable", "one_bias"),
    *("frozen", "state_size"),
]
_REALS = [
    *("mean", "low", "high", "std", "difference", "difference_low", "difference_high", "p"),
    *("p_holm", "effect_size", "residual", "flops_per_step", "step_ms", "learning_rate"),
]


def _flat(row: Row) -> dict[str, Cell]:
    """One row with a value for each of `_COLUMNS`, in that order."""
    against = row.against_winner
    compared: dict[str, Cell] = {}
    if against is not None:
        compared = {
            "difference": against.difference,
            "difference_low": against.low,
            "difference_high": against.high,
            "common_seeds": against.n,
            "p": against.p,
            "p_holm": against.p_holm,
            "effect_size": against.effect_size,
            "seeds_needed": against.seeds_needed,
        }
    cells = {"n": row.n, "verdict": row.verdict, **vars(row), **compared}
    return {column: cells.get(column) for column in _COLUMNS}


_RANKING = [
    *("", "model", "test metric [95 %]", "seeds", "difference [95 %]", "p (Holm)", "d_z"),
    *("verdict", "parameters", "state", "FLOPs/step", "ms/update", "hidden", "learning rate"),
    "options",
]


def _ranking_line(row: Row) -> list[str]:
    against = row.against_winner or PairedComparison(0)
    residual = f" ({100 * row.residual:+.1f} %)" if row.matched and row.residual else ""
    return [
        str(row.place),
        row.name + ("" if row.matched else " †"),
        _interval(row, row.decimals),
        str(row.n),
        _interval(against, row.decimals),
        "" if against.p_holm is None else _p_value(against.p_holm),
        _number(against.effect_size, 2),
        against.verdict,
        "" if row.parameters is None else f"{row.parameters:,}{residual}",
        "" if row.state_size is None else f"{row.state_size:,}",
        "" if row.flops_per_step is None else f"{row.flops_per_step:,.0f}",
        _number(row.step_ms, 3),
        row.hidden_sizes,
        _number(row.learning_rate, 3),
        row.options,
    ]


_EFFORT = ["label", "phase", "complete", "pruned", "failed", "epochs", "updates", "seconds"]


def _effort_lines(effort: Effort) -> list[list[str]]:
    phases = (("search", effort.search), ("confirmation", effort.confirmation))
    return [
        [
            effort.label,
            phase,
            *map(str, (spent.complete, spent.pruned, spent.failed)),
            *(f"{count:,}" for count in (spent.epochs, spent.updates)),
            f"{spent.seconds:,.1f}",
        ]
        for phase, spent in phases
        if spent != Spent()
    ]


def _table(header: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    rows = [header, ["---"] * len(header), *(list(map(_escape, line)) for line in lines)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _escape(text: str) -> str:
    """Text on one line of Markdown, in which a bar would start a new cell."""
    return " ".join(text.split()).replace("|", "\\|")


def _interval(of: Row | PairedComparison, decimals: int) -> str:
    """A mean or a difference with its interval, such as `0.9652 [0.9601, 0.9703]`."""
    middle = of.mean if isinstance(of, Row) else of.difference
    if middle is None:
        return ""
    if of.low is None or of.high is None:
        return f"{middle:.{decimals}f}"
    return f"{middle:.{decimals}f} [{of.low:.{decimals}f}, {of.high:.{decimals}f}]"


def _number(value: float | None, digits: int = 4) -> str:
    return "" if value is None else f"{value:.{digits}g}"


def _p_value(p: float) -> str:
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def _names(names: Iterable[str]) -> str:
    """`a`, `a and b` or `a, b and c`."""
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last


def _count(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'s' * (count != 1)}"


def _text(value: Value) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def _jsonable(value: object) -> Json:
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_jsonable(item) for item in value]
    msg = f"{value!r} has no form in JSON"
    raise TypeError(msg)
