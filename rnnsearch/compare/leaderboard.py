"""The rows of a comparison, made of trial records, and their order."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from rnnsearch.compare.decision import Decision, Standing, Verdict, decide
from rnnsearch.compare.statistics import Share, estimate, untrained
from rnnsearch.compare.wording import count
from rnnsearch.spec.margin import DEFAULT_MARGIN, Margin
from rnnsearch.spec.model import Complexity
from rnnsearch.spec.parameters import Value
from rnnsearch.spec.shape import Direction
from rnnsearch.spec.trial import TrialRecord, TrialSpec

# Choices that a row's `options` do not mention.
_UNSAID: Mapping[str, Value] = {
    "bidirectional": False,
    "learned_initial_state": False,
    "head": "linear",
    "head_hidden_size": 0,
    "weight_decay": 0.0,
    "gradient_clip": 0.0,
    "train_on": "train",
    "schedule": "constant",
}


@dataclass(frozen=True)
class Row:
    """One configuration of one label, ranked by its confirmations.

    Attributes:
        name: the label, with `#1`, `#2` after it where several of its configurations are confirmed.
        label: what the study calls it.
        architecture: registered name; empty if no trial of it got as far as a specification.
        rank: which of its label's best configurations of the search this is, from 0; None if it
            has no confirmation.
        configuration: what was drawn for it, as one line of JSON; empty if it has no confirmation.
        place: in the ranking, from 1, equal means sharing one; None if it is not ranked.
        reason: why it is not ranked, or an empty string.
        seeds: seeds of its complete confirmations, ascending.
        values: test metric of each of the `seeds`.
        failed_seeds: seeds whose confirmation failed, ascending; no number has them in it.
        median: median of `values`, a typical run.
        low: lower end of the median's 95 % interval; None for fewer than six seeds.
        high: upper end of the median's 95 % interval; None for fewer than six seeds.
        mean: mean of `values`.
        iqm: interquartile mean of `values`.
        std: standard deviation of `values`; None for one seed.
        untrained: the share of its seeds that ended no better than no skill.
        standing: what may be said of it; None if it is not ranked.
        parameters: scalars that count against the budget.
        trainable: trainable scalars as torch counts them.
        one_bias: the same with one bias per affine map.
        frozen: scalars kept but not trained.
        residual: `parameters / budget - 1`.
        matched: false for a model that is shown without being held to the budget.
        closed_by: second size that met the budget, or an empty string.
        state_size: scalars of recurrent state per sample.
        flops_per_step: floating-point operations of one time step of one sample; None for a trial
            of a version that counted less than all, which nothing may be compared with.
        step_ms: median wall time of one training update over the epochs of its complete
            confirmations, in milliseconds.
        engine: what ran it over time.
        hidden_sizes: width of each layer, such as `15` or `20, 18`.
        head: the head on it, such as `mlp 12`; an empty string for a model that brings its own.
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
    median: float | None = None
    low: float | None = None
    high: float | None = None
    mean: float | None = None
    iqm: float | None = None
    std: float | None = None
    untrained: Share | None = None
    standing: Standing | None = None
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
    head: str = ""
    learning_rate: float | None = None
    options: str = ""
    configuration: str = ""

    @property
    def n(self) -> int:
        """Complete confirmations."""
        return len(self.seeds)

    @property
    def decimals(self) -> int:
        """Decimal places that show four significant digits of the median."""
        return max(0, 3 - math.floor(math.log10(abs(self.median)))) if self.median else 4

    @property
    def verdict(self) -> Verdict | None:
        """What may be said of it; None if it is not ranked."""
        return self.standing.verdict if self.standing else None


@dataclass(frozen=True)
class Terms:
    """On what terms the rows of a study are compared.

    Attributes:
        direction: whether a larger metric is better.
        no_skill: the metric of a predictor that ignores its input.
        limits: smallest and largest value that the metric can take.
        margin: differences up to this are of no interest.
        against: label of the control, if there is one; of several configurations, the best one.
    """

    direction: Direction
    no_skill: float
    limits: tuple[float, float] = (-math.inf, math.inf)
    margin: Margin = DEFAULT_MARGIN
    against: str | None = None


def group_by_label(records: Iterable[TrialRecord]) -> dict[str, list[TrialRecord]]:
    """Trials by the label of their row, in order of first appearance."""
    by_label: dict[str, list[TrialRecord]] = {}
    for record in records:
        by_label.setdefault(record.label, []).append(record)
    return by_label


def rank_records(
    by_label: Mapping[str, Sequence[TrialRecord]], terms: Terms, order: Sequence[int] = ()
) -> tuple[tuple[Row, ...], Decision[str] | None]:
    """The ranked rows of settled trials, and the decision on them; see `rank_rows`."""
    rows = [row for label, mine in by_label.items() for row in rows_of(label, mine, terms)]
    return rank_rows(rows, terms, order)


def rank_rows(
    rows: Sequence[Row], terms: Terms, order: Sequence[int] = ()
) -> tuple[tuple[Row, ...], Decision[str] | None]:
    """Put rows in order, the best median first and those without one last, and decide on them.

    The best may be any row that is held to the budget, or any at all where none is.

    Args:
        rows: in any order.
        terms: on what terms.
        order: seeds in the order in which they were drawn; others follow, ascending.

    Returns:
        the rows, ranked, and the decision on them; None where no row has a value.
    """
    sign = -1 if terms.direction == "maximize" else 1
    ranked = sorted(
        (row for row in rows if row.median is not None),
        key=lambda row: (
            *(sign * (row.median or 0.0), not row.matched, row.parameters or 0, row.name),
        ),
    )
    unranked = tuple(row for row in rows if row.median is None)
    if not ranked:
        return unranked, None
    matched = [row.name for row in ranked if row.matched]
    best = next((row for row in ranked if row.matched), ranked[0])
    decision = decide(
        {row.name: dict(zip(row.seeds, row.values, strict=True)) for row in ranked},
        terms.direction,
        margin=terms.margin.in_unit(terms.limits, best.median or 0.0),
        order=_known_first(order, ranked),
        contenders=matched or None,
        against=next((row.name for row in ranked if row.label == terms.against), None),
    )
    medians = [row.median for row in ranked]
    placed = (
        replace(row, place=1 + medians.index(row.median), standing=decision.standings[row.name])
        for row in ranked
    )
    return (*placed, *unranked), decision


def _known_first(order: Sequence[int], rows: Sequence[Row]) -> list[int]:
    """Seeds in the order in which they were drawn, and after them others, ascending."""
    present = {seed for row in rows for seed in row.seeds}
    known = [seed for seed in order if seed in present]
    return [*known, *sorted(present.difference(known))]


def rows_of(label: str, records: Sequence[TrialRecord], terms: Terms) -> list[Row]:
    """Rows of one label, not yet ranked, from all of its trials.

    Args:
        label: what the study calls it.
        records: its trials of both phases, in any order; confirmations that do not stand are left
            out.
        terms: on what terms they are compared.

    Returns:
        one row per confirmed configuration, or one that says why there is none.
    """
    ordered = sorted((r for r in records if r.stands), key=lambda record: record.number)
    confirmed: dict[int, list[tuple[TrialRecord, TrialSpec]]] = {}
    for record in ordered:
        if record.phase == "confirmation" and record.spec is not None:
            confirmed.setdefault(record.spec.rank, []).append((record, record.spec))
    if not confirmed:
        architecture = next((r.spec.model.architecture for r in records if r.spec), "")
        return [Row(label, label, architecture, reason=_why_not_ranked(ordered))]
    rows = []
    for rank in sorted(confirmed):
        row = _row(label if len(confirmed) == 1 else f"{label} #{rank + 1}", label, confirmed[rank])
        if row.values:
            idle = untrained(row.values, terms.no_skill, terms.direction)
            row = replace(row, untrained=idle)
        rows.append(row)
    return rows


def _counts_of(complexity: Complexity | None) -> dict[str, Any]:
    if complexity is None:
        return {}
    counts = dict(vars(complexity))
    if counts.pop("flops_counted") != "all":
        del counts["flops_per_step"]
    return counts


def _row(name: str, label: str, confirmations: Sequence[tuple[TrialRecord, TrialSpec]]) -> Row:
    """One configuration from its confirmations, each with its specification."""
    by_seed = {spec.seed: record for record, spec in confirmations if _counts(record)}
    seeds = tuple(sorted(by_seed))
    running = {spec.seed for record, spec in confirmations if record.state == "RUNNING"}
    failed = {spec.seed for _, spec in confirmations} - by_seed.keys() - running
    records = [record for record, _ in confirmations]
    shown = list(by_seed.values()) or records
    complexity = next((record.complexity for record in shown if record.complexity), None)
    spec = confirmations[0][1]
    row = Row(
        name,
        label,
        spec.model.architecture,
        spec.rank,
        failed_seeds=tuple(sorted(failed)),
        parameters=spec.parameters,
        residual=spec.residual,
        matched=spec.matched,
        closed_by=spec.closed_by,
        **_counts_of(complexity),
        engine=next((record.engine for record in shown if record.engine), ""),
        hidden_sizes=", ".join(map(str, spec.model.widths)),
        head=f"{spec.model.head} {spec.model.head_hidden_size or ''}".strip(),
        learning_rate=spec.training.learning_rate,
        options=_options(spec),
        configuration=spec.configuration,
    )
    if not by_seed:
        return replace(row, reason=_why_not_ranked(records))
    values = tuple(float(by_seed[seed].test_metric or 0.0) for seed in seeds)
    found = estimate(values)
    steps_ms = [epoch.step_ms for record in by_seed.values() for epoch in record.epochs]
    finite_ms = [step_ms for step_ms in steps_ms if math.isfinite(step_ms)]
    return replace(
        row,
        seeds=seeds,
        values=values,
        median=found.median,
        low=found.low,
        high=found.high,
        mean=found.mean,
        iqm=found.iqm,
        std=found.std,
        step_ms=float(np.median(finite_ms)) if finite_ms else None,
    )


def _counts(record: TrialRecord) -> bool:
    """Whether a confirmation enters the ranking."""
    metric = record.test_metric
    return record.state == "COMPLETE" and metric is not None and math.isfinite(metric)


def _why_not_ranked(records: Sequence[TrialRecord]) -> str:
    confirmations = [record for record in records if record.phase == "confirmation"]
    ended = [record for record in confirmations if record.state != "RUNNING"]
    if ended:
        reasons = [record.reason or "finished without a finite test metric" for record in ended]
        return f"{count(len(ended), 'confirmation')} failed: {'; '.join(dict.fromkeys(reasons))}"
    if confirmations:
        return "its confirmations are still running"
    if all(record.state == "FAIL" for record in records):
        reasons = [record.reason or "no reason recorded" for record in records]
        told = "; ".join(dict.fromkeys(reasons))
        return f"not confirmed: all {len(records)} search trials failed: {told}"
    return "not confirmed"


def _options(spec: TrialSpec) -> str:
    model, training = spec.model, spec.training
    chosen: dict[str, Value] = {
        **dict(sorted(model.options.items())),
        "bidirectional": model.bidirectional,
        "learned_initial_state": model.learned_initial_state,
        "head": model.head or "linear",
        **{f"head.{name}": value for name, value in sorted(model.head_options.items())},
        "head_hidden_size": model.head_hidden_size,
        "optimizer": training.optimizer,
        "batch_size": training.batch_size,
        "epochs": training.epochs,
        "weight_decay": training.weight_decay,
        "gradient_clip": training.gradient_clip,
        "train_on": training.train_on,
        "schedule": str(training.schedule),
    }
    return ", ".join(
        f"{name}={_text(value)}"
        for name, value in chosen.items()
        if name not in _UNSAID or value != _UNSAID[name]
    )


def _text(value: Value) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)
