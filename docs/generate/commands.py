"""The command line, from what `--help` says."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import click
import mkdocs_gen_files

from rnnsearch.cli import rnnsearch

from .tables import table


def commands(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[str, click.Command]]:
    """Every command below a group with the words that call it, groups before what they hold."""
    for name, command in group.commands.items():
        words = (*path, name)
        yield " ".join(words), command
        if isinstance(command, click.Group):
            yield from commands(command, words)


def _parameters(command: click.Command) -> str:
    context = click.Context(command)
    rows = [
        record
        for parameter in command.get_params(context)
        if isinstance(parameter, click.Option)
        and "--help" not in parameter.opts
        and (record := parameter.get_help_record(context))
    ]
    return (
        table(["option", "what it does"], [[f"`{names}`", text] for names, text in rows])
        if rows
        else ""
    )


def _section(words: str, command: click.Command) -> str:
    context = click.Context(command, info_name=f"rnnsearch {words}")
    usage = command.get_usage(context).removeprefix("Usage: ")
    text = inspect.cleandoc(command.help or "").replace("\b\n", "")
    if isinstance(command, click.Group):
        return f"## rnnsearch {words}\n\n{text}\n"
    return "\n".join(
        [
            f"### {words}\n",
            f"```text\n{' '.join(usage.split())}\n```\n",
            f"{text}\n",
            _parameters(command),
        ]
    )


def write_pages() -> None:
    """Write the page of all commands."""
    parts = [
        "# Commands\n",
        "What `rnnsearch COMMAND --help` prints. Results go to stdout, everything else to stderr; "
        "`--json` prints results as JSON. [Exit codes](exit-codes.md) are the same for all.\n",
        _parameters(rnnsearch),
        *(_section(words, command) for words, command in commands(rnnsearch)),
    ]
    with mkdocs_gen_files.open("reference/commands.md", "w") as file:
        file.write("\n".join(parts))
