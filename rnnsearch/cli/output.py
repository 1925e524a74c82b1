"""How commands print: tables and JSON on stdout, everything else on stderr.

A study may come from elsewhere, and its texts are whatever a plugin or an archive said. Here they
lose their passwords, and what a terminal would obey is written out. No command prints by itself.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TextIO

import click

from rnnsearch.compare.escaping import visible_lines
from rnnsearch.config.secrets import hide, hide_all

if TYPE_CHECKING:
    from rich.console import Console

    from rnnsearch.compare.table import Table

results: ContextVar[TextIO | None] = ContextVar("results", default=None)
"""Where JSON goes while everything else that is printed goes to stderr; stdout if None."""

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def print_json(content: Any) -> None:
    """Print plain values as JSON."""
    click.echo(json.dumps(hide_all(content), indent=2, allow_nan=False), file=results.get())


def echo(text: str = "", *, err: bool = False, end: str = "\n") -> None:
    """Print a text, on stdout unless it is no result."""
    click.echo(shown(text) + end, err=err, nl=False)


def shown(text: str) -> str:
    """A text of one or more lines as a terminal may be given it."""
    return visible_lines(hide(text))


def stdout() -> Console:
    """A console for results; as wide as needed when it is not a terminal."""
    from rich.console import Console

    return Console(
        # Where it is now, so that what is captured meanwhile does not swallow it.
        file=sys.stdout,
        highlight=False,
        soft_wrap=False,
        width=None if sys.stdout.isatty() else 240,
    )


def stderr() -> Console:
    """A console for everything that is not a result."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, soft_wrap=True)


def escaped(text: str) -> str:
    """A text in which a console reads no markup, either."""
    from rich.markup import escape

    return escape(shown(text))


def print_table(columns: Mapping[str, str], rows: list[list[str]], title: str = "") -> None:
    """Print a list of texts; `columns` maps headings to `left` or `right`."""
    from rnnsearch.compare.table import listing

    show_table(listing([(h, side == "right") for h, side in columns.items()], rows, title))


def show_table(table: Table) -> None:
    """Print a table: its title and its cells."""
    from rnnsearch.cli.terminal import drawn

    stdout().print(drawn(table))


def browse(study: str, tracking_uri: str | None, experiment_id: str | None) -> str:
    """Where a browser finds a study's trials, or the command that shows them in one."""
    from rnnsearch.records.mlflow_views import trials_link

    return trials_link(tracking_uri, experiment_id) or f"rnnsearch ui {study}"


def describe_each(
    describe: Callable[[str], dict[str, Any]], kind: str, names: Iterable[str]
) -> list[dict[str, Any]]:
    """Describe each name; what a broken plugin brings is named on stderr and left out."""
    from rnnsearch.errors import PluginError
    from rnnsearch.plugin.registry import load_registry

    described = []
    for name in names:
        try:
            with load_registry().blaming(kind, name):
                described.append(describe(name))
        except PluginError as error:
            click.echo(f"left out: {error}", err=True)
    return described


def first_line(text: str | None) -> str:
    """First line of a docstring."""
    return (text or "").strip().partition("\n")[0]


def describe_option(option: dict[str, Any]) -> str:
    """The values that a declared option may take."""
    if "low" not in option and "options" not in option:
        return "the task's number of outputs"
    values = option.get("options")
    span = ", ".join(map(str, values)) if values else f"{option['low']} to {option['high']}"
    return f"{span} (default {option['default']})"
