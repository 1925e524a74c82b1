"""`rnnsearch architecture`: what can be compared, and how large it is."""

from __future__ import annotations

import inspect
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from rnnsearch.cli.output import (
    describe_each,
    describe_option,
    echo,
    first_line,
    json_option,
    print_json,
    print_table,
)

if TYPE_CHECKING:
    from rnnsearch.spec.parameters import Value


@click.group()
def architecture() -> None:
    """Architectures."""


def _describe(name: str) -> dict[str, Any]:
    from rnnsearch.plugin.registry import load_registry
    from rnnsearch.plugin.sequence_model import SequenceModel

    registry = load_registry()
    found = registry.architecture(name)
    plugin = registry.plugin_of("architecture", name)
    return {
        "architecture": name,
        "kind": "sequence model" if issubclass(found, SequenceModel) else "step cell",
        "summary": first_line(found.__doc__),
        "distribution": plugin.distribution,
        "version": plugin.version,
        "structure": {k: asdict(p) for k, p in found.structure.items()},
        "hyperparameters": {k: asdict(p) for k, p in found.hyperparameters.items()},
    }


@architecture.command("list")
@click.option("--markdown", is_flag=True, help="Print a Markdown table, with sources and counts.")
@json_option
def list_architectures(markdown: bool, as_json: bool) -> None:
    """List architectures."""
    from rnnsearch.plugin.registry import load_registry
    from rnnsearch.report import card

    registry = load_registry()
    described = describe_each(_describe, "architecture", registry.architectures)
    if as_json:
        print_json(described)
        return
    if markdown:
        echo(card.table(registry))
        return
    rows = [[d["architecture"], d["kind"], d["distribution"], d["summary"]] for d in described]
    print_table(dict.fromkeys(("architecture", "kind", "distribution", "what it is"), "left"), rows)


@architecture.command("show")
@click.argument("name")
@click.option("--quick", is_flag=True, help="Leave out what has to be measured.")
@json_option
def show_architecture(name: str, quick: bool, as_json: bool) -> None:
    """Show an architecture's card: equations, source, options, counts, speed, checks passed."""
    from rnnsearch.plugin.registry import load_registry
    from rnnsearch.report import card

    described = _describe(name)
    found = load_registry().architecture(name)
    refused = card.refused(name)
    widths = {} if refused else card.widths(name)
    measured = None
    if not quick and not refused:
        measured = card.measure(name, lambda text: echo(text, err=True))
    described |= {
        "capabilities": {
            k: sorted(v) if isinstance(v, frozenset) else v
            for k, v in asdict(found.capabilities).items()
        },
        "count": card.count_formula(found),
        "widths": widths,
        "measured": asdict(measured) if measured else None,
        "known_failures": dict(found.known_failures),
    }
    if as_json:
        print_json(described)
        return
    echo(inspect.cleandoc(found.__doc__ or "") + "\n")
    rows = [["kind", described["kind"]]]
    rows += [["brought by", f"{described['distribution']} {described['version']}"]]
    can = found.capabilities
    rows += [["takes", f"{', '.join(sorted(can.data))} data{', causal' if can.causal else ''}"]]
    rows += [["trained by", " or ".join(can.trained_by).replace("_", " ")]]
    if described["count"]:
        rows += [["parameters", f"{described['count']}, for m inputs and p units"]]
    if widths:
        sizes = ", ".join(f"{w} at {budget:,}" for budget, w in widths.items())
        rows += [["widths", f"{sizes}; 28 inputs, 28 steps, 10 classes"]]
    if measured:
        ratio = measured.step_ms / measured.lstm_ms
        rows += [
            [
                "speed",
                f"{measured.step_ms:.2g} ms an update, {ratio:.2g} times torch.nn.LSTM "
                f"({measured.engine}; 3,200 parameters, batches of 32)",
            ]
        ]
        checks = ", ".join(f"{n} {result}" for result, n in measured.checks.items())
        rows += [["checks", checks]]
        rows += [["FAILED", check] for check in measured.failed]
    rows += [["known failure", f"{c}: {why}"] for c, why in found.known_failures.items()]
    for group in ("structure", "hyperparameters"):
        for key, option in described[group].items():
            searched = ", searched" if option["searched"] else ""
            rows.append([f"option {key}", f"{describe_option(option)}{searched}"])
    print_table({"": "left", " ": "left"}, rows)


@architecture.command("size")
@click.argument("name")
@click.option("--input-size", type=click.IntRange(1), required=True, help="Features per step.")
@click.option("--output-size", type=click.IntRange(1), required=True, help="Outputs.")
@click.option("--parameters", type=click.IntRange(1), required=True, help="The budget.")
@click.option("--tolerance", default="2%", show_default=True, help="Largest relative residual.")
@click.option(
    "--counting",
    type=click.Choice(["trainable", "one_bias"]),
    default="trainable",
    show_default=True,
    help="Every trainable scalar, or one bias per affine map.",
)
@click.option("--length", type=click.IntRange(1), help="Steps of a sequence, if they are fixed.")
@click.option("--num-layers", type=click.IntRange(1), default=1, show_default=True)
@click.option("--bidirectional", is_flag=True)
@click.option("--learned-initial-state", is_flag=True)
@click.option("--head", help="Instead of its own.")
@click.option("--option", "options", multiple=True, metavar="KEY=VALUE", help="A declared option.")
@json_option
def size_architecture(
    name: str,
    input_size: int,
    output_size: int,
    parameters: int,
    tolerance: str,
    counting: str,
    length: int | None,
    num_layers: int,
    bidirectional: bool,
    learned_initial_state: bool,
    head: str | None,
    options: tuple[str, ...],
    as_json: bool,
) -> None:
    """Solve the widths of an architecture for a parameter budget."""
    from rnnsearch.budget.budget import Budget, solve
    from rnnsearch.budget.complexity import advising, measure_complexity, try_one_sample
    from rnnsearch.budget.model import refusal
    from rnnsearch.errors import CapabilityError
    from rnnsearch.plugin.registry import load_registry
    from rnnsearch.plugin.sequence_model import SequenceModel
    from rnnsearch.spec.model import ModelSpec
    from rnnsearch.spec.parameters import defaults
    from rnnsearch.spec.shape import SequenceShape

    found = load_registry().architecture(name)
    shape = SequenceShape(input_size, output_size, length, "last_step")
    if reason := refusal(found, shape):
        hint = "" if length else " Give the length of the sequences with --length."
        msg = f"architecture `{name}` cannot take such sequences: {reason}.{hint}"
        raise CapabilityError(msg)
    if issubclass(found, SequenceModel) and (num_layers > 1 or bidirectional or head):
        msg = f"architecture `{name}` is no step cell: layers, directions and heads do not apply"
        raise CapabilityError(msg)
    declared = {**found.structure, **found.hyperparameters}
    chosen = {**defaults(declared, output_size), **_read_options(options, declared)}
    recurrent = not issubclass(found, SequenceModel)
    wanted = ModelSpec(
        name,
        shape,
        1,
        num_layers=num_layers,
        bidirectional=bidirectional,
        learned_initial_state=learned_initial_state,
        head=(head or found.head) if not issubclass(found, SequenceModel) else "",
        options=chosen,
    )
    budget = Budget(parameters, _fraction(tolerance), counting)  # type: ignore[arg-type]
    with load_registry().blaming("architecture", name, "its widths were solved"):
        solution = solve(found, wanted, budget, may_add_head=head is None)
        spec = solution.spec
        with advising(found, spec):
            try_one_sample(found, spec)
            cost = measure_complexity(found, spec)
    result = {
        "architecture": name,
        "hidden_size": spec.hidden_size,
        "last_hidden_size": spec.widths[-1] if recurrent else None,
        "num_layers": spec.num_layers,
        "head": spec.head or None,
        "head_hidden_size": spec.head_hidden_size or None,
        "parameters": solution.parameters,
        "budget": parameters,
        "counting": counting,
        "residual": solution.residual,
        "closed_by": solution.closed_by or None,
        "trainable": cost.trainable,
        "one_bias": cost.one_bias,
        "frozen": cost.frozen,
        "state_size": cost.state_size,
        "flops_per_step": cost.flops_per_step,
        "options": dict(spec.options),
    }
    if as_json:
        print_json(result)
        return
    from rnnsearch.compare.wording import percent

    shown = {**result, "residual": percent(solution.residual)}
    shown["options"] = ", ".join(f"{k}={v}" for k, v in spec.options.items())
    print_table(
        {"": "left", " ": "left"}, [[k, str(v)] for k, v in shown.items() if v not in (None, "")]
    )


@architecture.command("compile")
@click.argument("name")
@click.option("--option", "options", multiple=True, metavar="KEY=VALUE", help="A declared option.")
@click.option("--source", is_flag=True, help="Print the C++ that the cell becomes, and stop.")
@json_option
def compile_architecture(name: str, options: tuple[str, ...], source: bool, as_json: bool) -> None:
    """Compile a step cell, verify it, and time it (28 steps of 28 inputs, batches of 32)."""
    from rnnsearch.engine.capture import Unsupported
    from rnnsearch.engine.cpp_compiler import cache_folder, toolchain
    from rnnsearch.errors import CapabilityError
    from rnnsearch.plugin.losses import Classification
    from rnnsearch.plugin.registry import load_registry
    from rnnsearch.plugin.sequence_model import SequenceModel
    from rnnsearch.spec.model import ModelSpec
    from rnnsearch.spec.parameters import defaults
    from rnnsearch.spec.shape import SequenceShape
    from rnnsearch.spec.trial import TrainingConfig, TrialSpec
    from rnnsearch.training.compiled_model import cell_source
    from rnnsearch.training.engine_choice import choose_engine

    found = load_registry().architecture(name)
    if issubclass(found, SequenceModel):
        msg = f"architecture `{name}` is no step cell: there is no time loop to compile"
        raise CapabilityError(msg)
    declared = {**found.structure, **found.hyperparameters}
    chosen = {**defaults(declared), **_read_options(options, declared)}
    if source:
        try:
            echo(cell_source(found(28, 16, **chosen)))
        except Unsupported as error:
            raise CapabilityError(f"`{name}` cannot be compiled: {error}") from None
        return
    shape = SequenceShape(28, 10, 28, "last_step")
    model = ModelSpec(name, shape, 16, options=chosen)
    spec = TrialSpec("search", model, TrainingConfig(1, 32, 1e-3), 0, "", {}, 0, 0.0)
    choice = choose_engine(found, spec, Classification())
    result = {
        "architecture": name,
        "engine": choice.name,
        "reason": choice.reason or None,
        "ms_per_update": choice.step_ms,
        "speedup": choice.speedup,
        "gradient_error": choice.error,
        "compiler": toolchain().description if choice.speedup else None,
        "libraries": str(cache_folder()) if choice.speedup else None,
    }
    if as_json:
        print_json(result)
        return
    shown = {
        **result,
        "ms_per_update": f"{choice.step_ms:.3g}",
        "speedup": f"{choice.speedup:.1f} times torch" if choice.speedup else None,
        "gradient_error": f"{choice.error:.1e} of float64" if choice.error is not None else None,
    }
    print_table({"": "left", " ": "left"}, [[k, str(v)] for k, v in shown.items() if v is not None])


def _fraction(text: str) -> float:
    from rnnsearch.config.study_file import as_fraction

    value = as_fraction(text)
    if isinstance(value, str) or not 0 < value < 1:
        msg = f"expected a fraction or a percentage such as 2%, got {text!r}"
        raise click.BadParameter(msg, param_hint="--tolerance")
    return float(value)


def _read_options(pairs: tuple[str, ...], declared: Any) -> dict[str, Value]:
    from rnnsearch.config.study_file import parse_value
    from rnnsearch.errors import StudyFileError
    from rnnsearch.spec.parameters import require_declared

    split = [pair.partition("=") for pair in pairs]
    given = {name: parse_value(text) for name, _, text in split}
    try:
        require_declared(declared, given)
    except StudyFileError as error:
        raise click.BadParameter(f"{error.key}: {error.problem}", param_hint="--option") from None
    return given
