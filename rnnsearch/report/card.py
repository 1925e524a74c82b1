"""The card of an architecture: what it is, what it costs, how fast it is, what it passes."""

from __future__ import annotations

import hashlib
import inspect
import json
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from fractions import Fraction
from importlib.metadata import version
from typing import Any

import numpy as np

from rnnsearch.budget.budget import Budget, solve
from rnnsearch.budget.model import refusal
from rnnsearch.config.home import home
from rnnsearch.errors import BudgetError, visible
from rnnsearch.plugin import check as plugin_check
from rnnsearch.plugin.architecture import Architecture
from rnnsearch.plugin.losses import Classification
from rnnsearch.plugin.registry import Registry, load_registry
from rnnsearch.plugin.sequence_model import SequenceModel
from rnnsearch.spec.model import ModelSpec
from rnnsearch.spec.parameters import defaults
from rnnsearch.spec.shape import SequenceShape
from rnnsearch.spec.trial import TrainingConfig, TrialSpec
from rnnsearch.training.engine_choice import choose_engine

BUDGETS = (1_000, 3_200, 10_000, 100_000)
# One row of a digit at a time: what the first study reads.
SHAPE = SequenceShape(28, 10, 28, "last_step")
_MEASURED_AT = 3_200
_BATCH = 32


@dataclass(frozen=True)
class Measured:
    """What a machine found out about an architecture, once.

    Attributes:
        engine: what trained it fastest.
        step_ms: wall time of one update at 3,200 parameters, batches of 32, 28 steps.
        lstm_ms: the same of `torch.nn.LSTM`.
        checks: how many checks of the conformance suite came out how.
        failed: the checks that failed.
    """

    engine: str
    step_ms: float
    lstm_ms: float
    checks: dict[str, int]
    failed: list[str]


def count_formula(architecture: Architecture) -> str | None:
    """The parameter count of a step cell in words of m inputs and p units, by its defaults.

    A polynomial through a few counts, given only if it meets many others exactly.
    """
    if issubclass(architecture, SequenceModel):
        return None
    structure = defaults(architecture.structure)
    terms = {"m p^2": (1, 2), "p^2": (0, 2), "m p": (1, 1), "p": (0, 1), "m": (1, 0), "": (0, 0)}

    def powers(m: int, p: int) -> list[int]:
        return [m**a * p**b for a, b in terms.values()]

    def count(m: int, p: int) -> int:
        return architecture.parameter_count(m, p, **structure)

    points = [(1, 4), (2, 4), (1, 8), (2, 16), (3, 12), (5, 20)]
    try:
        fitted = np.linalg.solve(
            np.array([powers(*point) for point in points], dtype=float),
            np.array([count(*point) for point in points], dtype=float),
        )
    except (np.linalg.LinAlgError, ValueError):
        return None
    factors = [Fraction(float(f)).limit_denominator(64) for f in fitted]

    def meets(widths: tuple[int, ...]) -> bool:
        return all(
            count(m, p) == sum(f * x for f, x in zip(factors, powers(m, p), strict=True))
            for m in (1, 5, 28)
            if architecture.refusal(m, **structure) is None
            for p in widths
        )

    if not meets((4, 8, 20, 64, 100)):
        return None
    shown = [
        f"{'' if f == 1 and t else f} {t}".strip() for f, t in zip(factors, terms, strict=True) if f
    ]
    formula = " + ".join(shown).replace("+ -", "- ")
    return formula if meets((1, 2, 7, 13)) else f"{formula} for p a multiple of 4"


def source_of(architecture: Architecture) -> str:
    """Authors, title, venue and year of the first source that a class names, if any."""
    text = " ".join((architecture.__doc__ or "").split())
    found = re.search(r"Sources?: (.+?(?:, (?:19|20)\d\d|arXiv:\d{4}\.\d{4,5}))", text)
    return found[1] if found else ""


def table(registry: Registry) -> str:
    """All architectures as a Markdown table, grouped by the plugin that brings them."""
    lines = ["| name | what it is | parameters | source |", "|---|---|---|---|"]
    for plugin in registry.plugins:
        for name in plugin.architectures:
            found = registry.architecture(name)
            what = " ".join((found.__doc__ or "").strip().partition("\n\n")[0].split())
            cells = (f"`{name}`", what, count_formula(found) or "", source_of(found))
            lines.append(f"| {' | '.join(visible(c).replace('|', chr(92) + '|') for c in cells)} |")
    return "\n".join(lines)


def widths(name: str) -> dict[int, str]:
    """Widths at a few budgets for 28 inputs, 28 steps and 10 classes, or why there are none."""
    architecture = load_registry().architecture(name)
    found: dict[int, str] = {}
    for budget in BUDGETS:
        try:
            solution = solve(architecture, default_model(name), Budget(budget))
        except BudgetError:
            found[budget] = "none within 2%"
            continue
        found[budget] = f"{solution.spec.hidden_size} ({100 * solution.residual:+.1f}%)"
    return found


def refused(name: str) -> str | None:
    """Why an architecture cannot take the sequences that cards are made for, or None."""
    architecture = load_registry().architecture(name)
    if issubclass(architecture, SequenceModel):
        return refusal(architecture, SHAPE)
    structure = defaults(architecture.structure, SHAPE.output_size)
    return architecture.refusal(SHAPE.input_size, **structure)


def measure(name: str, tell: Callable[[str], None]) -> Measured:
    """Time an architecture beside `torch.nn.LSTM`, and run its checks; remembered by its source.

    Args:
        name: registered name.
        tell: hears what takes a while.
    """
    path = home() / "cards" / f"{name}-{_fingerprint(name)}.json"
    if path.is_file():
        return Measured(**json.loads(path.read_text(encoding="utf-8")))
    tell(f"measuring `{name}` beside torch.nn.LSTM")
    engine, step_ms = _time(name)
    _, lstm_ms = _time("lstm", requested="torch")
    tell(f"checking `{name}`; remembered for the next time")
    verdicts = plugin_check.check([("architecture", name)])
    counted = plugin_check.summary(verdicts).get(name, {})
    failed = [v.check for v in verdicts if v.result == "failed"]
    measured = Measured(engine, step_ms, lstm_ms, counted, failed)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(asdict(measured)), encoding="utf-8")
    return measured


def default_model(name: str) -> ModelSpec:
    """An architecture with its default options and head, on the sequences cards are made for."""
    architecture = load_registry().architecture(name)
    declared = {**architecture.structure, **architecture.hyperparameters}
    options = defaults(declared, SHAPE.output_size)
    head = "" if issubclass(architecture, SequenceModel) else architecture.head
    return ModelSpec(name, SHAPE, 1, head=head, options=options)


def _time(name: str, requested: str = "auto") -> tuple[str, float]:
    architecture = load_registry().architecture(name)
    model = solve(architecture, default_model(name), Budget(_MEASURED_AT, 0.1)).spec
    spec = TrialSpec("search", model, TrainingConfig(1, _BATCH, 1e-3), 0, "", {}, 0, 0.0)
    choice = choose_engine(architecture, spec, Classification(), requested=requested)
    return choice.name, choice.step_ms


def _fingerprint(name: str) -> str:
    """Changes with the source of the module that defines an architecture, and with ours."""

    module: Any = inspect.getmodule(load_registry().architecture(name))
    return hashlib.sha256(
        f"{version('rnnsearch')}{inspect.getsource(module)}".encode()
    ).hexdigest()[:12]
