"""A page for each registered task, an index, and their navigation."""

from __future__ import annotations

from dataclasses import asdict

import mkdocs_gen_files

from rnnsearch import Task
from rnnsearch.cli.output import describe_option, first_line
from rnnsearch.plugin.registry import load_registry

from .tables import table

REGISTRY = load_registry()


def _facts(name: str, found: type[Task]) -> str:
    shape = found().shape
    plugin = REGISTRY.plugin_of("task", name)
    family = found.__module__.partition(".")[0].replace("_", "-")
    steps = f"{shape.length} steps" if shape.length else "of different lengths"
    per_step = f"a token of {shape.vocabulary:,}" if shape.vocabulary else f"{shape.input_size}"
    rows = [
        ["sequences", f"{steps}, {per_step} at each step"],
        ["outputs", f"{shape.output_size:,}, read at: {shape.readout.replace('_', ' ')}"],
        ["metric", f"{found.metric}, to {found.direction}"],
        ["no skill", f"{found.no_skill:g}"],
        ["data", ", ".join(d.name for d in found.datasets) or "generated, or with a package"],
        ["causal models only", "yes" if found.needs_causal else "no"],
        ["family", f"[{family}](../architectures/families/{family}.md)"],
        ["class", f"`{found.__module__}.{found.__qualname__}`"],
        ["brought by", f"`{plugin.distribution}` {plugin.version}"],
    ]
    if shape.embedding:
        rows.insert(2, ["embedding", shape.embedding])
    if shape.stride:
        rows.insert(2, ["state", f"carried from window to window, {shape.stride} steps apart"])
    return table(["property", "value"], rows)


def _page(name: str, found: type[Task]) -> str:
    parts = [
        f"# {name}\n",
        _facts(name, found),
        "## What it asks, source and departures\n",
        f"::: {found.__module__}.{found.__qualname__}\n"
        "    options:\n"
        "      show_root_heading: false\n"
        "      show_root_toc_entry: false\n"
        "      show_bases: false\n"
        "      show_signature: false\n"
        "      members: false\n",
    ]
    if found.datasets:
        rows = [
            [f"`{file.path}`", f"{file.size:,}" if file.size else "", f"`{file.sha256}`"]
            for dataset in found.datasets
            for file in dataset.files
        ]
        parts += [
            "## Data\n",
            "Looked for in `RNNSEARCH_DATA_DIR`, then in the cache, then downloaded, and checked "
            "each time. `rnnsearch data list` says what you have.\n",
            table(["file", "bytes", "sha256"], rows),
        ]
    options = [[f"`{key}`", describe_option(asdict(o))] for key, o in found.options.items()]
    parts += ["## Options\n", table(["option", "values"], options) if options else "None.\n"]
    chosen = f"{{name: {name}, options: {{...}}}}" if options else name
    parts += ["## In a study\n", f"```yaml\ntask: {chosen}\n```\n"]
    return "\n".join(parts)


def write_pages() -> None:
    """Write the index, the pages and their navigation."""
    tasks = {name: REGISTRY.task(name) for name in REGISTRY.tasks}
    rows = [
        [f"[{name}]({name}.md)", first_line(t.__doc__), t.metric, f"{t.no_skill:g}"]
        for name, t in tasks.items()
    ]
    with mkdocs_gen_files.open("tasks/index.md", "w") as file:
        file.write(
            f"# Tasks\n\nAll {len(tasks)} tasks that come with rnnsearch. *No skill* is the metric "
            "of a predictor that ignores its input.\n\n"
            + table(["task", "what it is", "metric", "no skill"], rows)
        )
    navigation = ["* [All tasks](index.md)", *(f"* [{name}]({name}.md)" for name in tasks)]
    with mkdocs_gen_files.open("tasks/SUMMARY.md", "w") as file:
        file.write("\n".join(navigation) + "\n")
    for name, found in tasks.items():
        with mkdocs_gen_files.open(f"tasks/{name}.md", "w") as file:
            file.write(_page(name, found))
