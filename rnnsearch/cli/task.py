"""`rnnsearch task`: what can be learned."""

from __future__ import annotations

import inspect
from typing import Any

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


@click.group()
def task() -> None:
    """Tasks."""


def _describe(name: str) -> dict[str, Any]:
    from dataclasses import asdict

    from rnnsearch.plugin.registry import load_registry

    registry = load_registry()
    found = registry.task(name)
    made = found()
    return {
        "task": name,
        "summary": first_line(found.__doc__),
        "plugin": registry.plugin_of("task", name).distribution,
        "metric": found.metric,
        "direction": found.direction,
        "no_skill": found.no_skill,
        "shape": asdict(made.shape),
        "options": {key: asdict(option) for key, option in found.options.items()},
        "datasets": [dataset.name for dataset in found.datasets],
    }


@task.command("list")
@json_option
def list_tasks(as_json: bool) -> None:
    """List tasks."""
    from rnnsearch.plugin.registry import load_registry

    described = describe_each(_describe, "task", load_registry().tasks)
    if as_json:
        print_json(described)
        return
    rows = [[d["task"], d["metric"], d["plugin"], d["summary"]] for d in described]
    print_table(dict.fromkeys(("task", "metric", "distribution", "what it is"), "left"), rows)


@task.command("show")
@click.argument("name")
@json_option
def show_task(name: str, as_json: bool) -> None:
    """Show a task: shape, metric, no-skill level, options, data."""
    described = _describe(name)
    if as_json:
        print_json(described)
        return
    from rnnsearch.plugin.registry import load_registry

    echo(inspect.cleandoc(load_registry().task(name).__doc__ or "") + "\n")
    shape = described["shape"]
    rows = [
        ["sequences", f"{shape['length'] or 'variable'} steps of {shape['input_size']}"],
        ["outputs", f"{shape['output_size']}, read at: {shape['readout']}"],
        ["metric", f"{described['metric']} ({described['direction']})"],
        ["no skill", f"{described['no_skill']:g}"],
        ["data", ", ".join(described["datasets"]) or "comes with a package"],
        *[
            [f"option {key}", describe_option(option)]
            for key, option in described["options"].items()
        ],
    ]
    print_table({"": "left", " ": "left"}, rows)
