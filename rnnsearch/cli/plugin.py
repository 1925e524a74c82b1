"""`rnnsearch plugin`: what is installed."""

from __future__ import annotations

from dataclasses import asdict

import click

from rnnsearch.cli.output import json_option, print_json, print_table


@click.group()
def plugin() -> None:
    """Plugins that bring architectures and tasks."""


@plugin.command("list")
@json_option
def list_plugins(as_json: bool) -> None:
    """List plugins: distribution, version, what each registers, and what failed to load and why."""
    from rnnsearch.registry import load_registry

    plugins = load_registry().check()
    if as_json:
        print_json([asdict(p) for p in plugins])
        return
    rows = [
        [p.name, p.distribution, p.version, ", ".join(p.architectures), ", ".join(p.tasks), p.error]
        for p in plugins
    ]
    headings = ("plugin", "distribution", "version", "architectures", "tasks", "error")
    print_table(dict.fromkeys(headings, "left"), rows)
