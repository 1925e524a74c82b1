"""`rnnsearch plugin`: what is installed, a new one, and whether one keeps its promises."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rnnsearch.cli.output import echo, escaped, json_option, print_json, print_table, stdout

if TYPE_CHECKING:
    from rnnsearch.plugin.check import Verdict

_KINDS = ("cell", "wrapper", "model", "head", "task", "analysis")
_MARKS = {
    "passed": "[green]✓[/green]",
    "failed": "[red]✗[/red]",
    "skipped": "[dim]-[/dim]",
    "known failure": "[yellow]![/yellow]",
    "not judged": "[dim]?[/dim]",
}


@click.group()
def plugin() -> None:
    """Plugins that bring architectures, wrappers, heads, tasks and analyses."""


@plugin.command("list")
@json_option
def list_plugins(as_json: bool) -> None:
    """List plugins: distribution, version, what each registers, and what failed to load and why."""
    from rnnsearch.plugin.registry import KINDS, NO_PLUGINS, load_registry

    plugins = load_registry().check()
    if as_json:
        print_json([asdict(p) for p in plugins])
        return
    rows = []
    for p in plugins:
        brings = [
            f"{KINDS[kind] if len(names) > 1 else kind} {', '.join(names)}"
            for kind, names in p.brings().items()
            if names
        ]
        rows.append([p.name, p.distribution, p.version, "; ".join(brings), p.error])
    headings = ("plugin", "distribution", "version", "brings", "error")
    print_table(dict.fromkeys(headings, "left"), rows)
    if {p.distribution for p in plugins} <= {"rnnsearch"}:
        echo(NO_PLUGINS)
    for p in plugins:
        for line in p.output.splitlines():
            echo(f"printed by {p.name} ({p.distribution}) while it was loaded: {line}")


@plugin.command("new")
@click.argument("name")
@click.option("--kind", type=click.Choice(_KINDS), default="cell", show_default=True)
@click.option(
    "--into",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    default=".",
    help="Folder in which to make the plugin's own; here if absent.",
)
def new_plugin(name: str, kind: str, into: Path) -> None:
    """Write a plugin that works, to be changed into yours."""
    from rnnsearch.plugin import scaffold

    folder = scaffold.new_plugin(name, kind, into)
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        echo(str(path))
    # With a separator in it pip takes it for a folder, and not for a name on PyPI.
    shown = folder if folder.is_absolute() else f"./{folder}"
    echo(f"\nCheck it:    rnnsearch plugin check {shown}", err=True)
    echo(f"Install it:  pip install {shown}", err=True)


@plugin.command("check")
@click.argument("name_or_path", required=False)
@click.option(
    "--examples",
    type=click.IntRange(1),
    default=3,
    show_default=True,
    help="Sizes at which each check is run.",
)
@json_option
def check_plugin(name_or_path: str | None, examples: int, as_json: bool) -> None:
    """Check that a plugin keeps its promises; all that are installed if none is named.

    NAME_OR_PATH is a plugin, a distribution, one architecture, wrapper, head, task or analysis, or
    a folder with a `pyproject.toml`, which need not be installed.
    """
    from rnnsearch.errors import PluginError
    from rnnsearch.plugin import check as plugin_check

    console = stdout()

    def show(verdict: Verdict) -> None:
        if verdict.result == "not judged":
            return  # counted below
        line = f"{_MARKS[verdict.result]} {verdict.name}: {escaped(verdict.check)}"
        if verdict.result != "passed":
            details = verdict.detail.splitlines() or [""]
            indented = "".join(f"\n      {escaped(d)}" for d in details[1:])
            line += f" ({verdict.result}: {escaped(details[0])}){indented}"
        if verdict.remedy:
            line += f"\n      to do: {escaped(verdict.remedy)}"
        console.print(line, soft_wrap=True)

    with ExitStack() as stack:
        name = name_or_path
        if name is not None and (Path(name).is_dir() or "/" in name):
            name = stack.enter_context(plugin_check.as_if_installed(Path(name)))
        subjects = plugin_check.subjects_of(name)
        if not subjects:
            raise PluginError(f"`{name}` registers nothing that could be checked")
        verdicts = plugin_check.check(subjects, examples=examples, hear=None if as_json else show)
    counted = plugin_check.summary(verdicts)
    if not as_json:
        for one, results in counted.items():
            if unjudged := results.get("not judged"):
                checks = f"{unjudged} more check{'s' * (unjudged > 1)}"
                echo(f"  {one}: {checks} not judged: they fail for the same cause")
    if as_json:
        print_json({"summary": counted, "checks": [asdict(v) for v in verdicts]})
    else:
        rows = [[n, *(str(c.get(result, 0)) for result in _MARKS)] for n, c in counted.items()]
        print_table({"": "left", **dict.fromkeys(_MARKS, "right")}, rows)
    if failed := [name for name, results in counted.items() if results.get("failed")]:
        raise PluginError(f"checks failed: {', '.join(failed)}")
