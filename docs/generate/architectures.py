"""A page for each registered architecture, an index, and their navigation."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import mkdocs_gen_files

from rnnsearch.budget.budget import Budget, solve
from rnnsearch.budget.complexity import measure_complexity
from rnnsearch.cli.output import describe_option
from rnnsearch.errors import BudgetError
from rnnsearch.plugin.architecture import Architecture
from rnnsearch.plugin.registry import load_registry
from rnnsearch.plugin.sequence_model import SequenceModel
from rnnsearch.report import card

from .tables import table

REGISTRY = load_registry()


_REPOSITORY = Path(__file__).parents[2]


def family_of(name: str) -> str:
    """The plugin's folder that an architecture comes from, such as `rnnsearch-gated`."""
    return REGISTRY.architecture(name).__module__.partition(".")[0].replace("_", "-")


def _facts(name: str) -> str:
    found = REGISTRY.architecture(name)
    plugin = REGISTRY.plugin_of("architecture", name)
    can = found.capabilities
    family = family_of(name)
    rows = [
        ["kind", "sequence model" if issubclass(found, SequenceModel) else "step cell"],
        ["family", f"[{family}](families/{family}.md)"],
        ["takes", f"{', '.join(sorted(can.data))} data"],
        ["causal", "yes" if can.causal else "no: refused by tasks that predict what comes next"],
        ["trained by", " or ".join(can.trained_by).replace("_", " ")],
        ["gradients by inputs", "yes" if can.differentiable else "no"],
    ]
    if not issubclass(found, SequenceModel):
        rows.append(["head by default", f"`{found.head}`"])
        rows.append(["read out", found.readout or "as the task says"])
    if formula := card.count_formula(found):
        rows.append(["parameters", f"{formula}, for m inputs and p units, without a head"])
    rows.append(["class", f"`{found.__module__}.{found.__qualname__}`"])
    rows.append(["brought by", f"`{plugin.distribution}` {plugin.version}"])
    return table(["property", "value"], rows)


def _costs(name: str) -> str:
    if reason := card.refused(name):
        return f"It does not take the sequences that the other pages are computed for: {reason}.\n"
    found = REGISTRY.architecture(name)
    rows = []
    for budget in card.BUDGETS:
        try:
            solution = solve(found, card.default_model(name), Budget(budget))
        except BudgetError:
            rows.append([f"{budget:,}", "none within 2 %", "", "", "", ""])
            continue
        cost = measure_complexity(found, solution.spec)
        rows.append(
            [
                f"{budget:,}",
                str(solution.spec.hidden_size),
                f"{cost.trainable:,} ({100 * solution.residual:+.1f} %)",
                f"{cost.frozen:,}",
                f"{cost.state_size:,}",
                f"{cost.flops_per_step:,.0f}",
            ]
        )
    headings = ["budget", "width", "parameters, with the head", "frozen", "state", "FLOPs/step"]
    return table(headings, rows)


def _options(name: str) -> str:
    found = REGISTRY.architecture(name)
    rows = [
        [
            f"`{key}`",
            describe_option(asdict(option)),
            "yes" if changes else "no",
            "yes" if option.searched else "no",
        ]
        for changes, group in ((True, found.structure), (False, found.hyperparameters))
        for key, option in group.items()
    ]
    if not rows:
        return "None.\n"
    return table(["option", "values", "changes the count", "searched unless fixed"], rows)


def _upstream(found: Architecture) -> list[str]:
    """The equations of a cell that another package computes, as that package prints them."""
    upstream = getattr(found, "upstream", None)
    if upstream is None:
        return []
    equations = inspect.cleandoc(upstream.__doc__ or "").partition("\nArgs:")[0].rstrip()
    return [
        f"As `{upstream.__module__.partition('.')[0]}.{upstream.__name__}` documents it:\n",
        f"```text\n{equations}\n```\n",
    ]


def _page(name: str) -> str:
    found = REGISTRY.architecture(name)
    parts = [
        f"# {name}\n",
        _facts(name),
        "## Equations, source and departures\n",
        f"::: {found.__module__}.{found.__qualname__}\n"
        "    options:\n"
        "      show_root_heading: false\n"
        "      show_root_toc_entry: false\n"
        "      show_bases: false\n"
        "      show_signature: false\n"
        "      members: false\n",
        *_upstream(found),
        "## What it costs\n",
        "With its default options and its own head, for sequences of 28 steps of 28 inputs and ten "
        "classes: the width that the budget solver finds, and what a model of that width has and "
        "does. State and FLOPs are for each sample, FLOPs of one time step in evaluation.\n",
        _costs(name),
        "## Options\n",
        _options(name),
    ]
    if found.known_failures:
        parts += [
            "## Checks it is known to fail\n",
            table(["check", "reason"], [[*item] for item in found.known_failures.items()]),
        ]
    parts += [
        "## In a study\n",
        f"```yaml\narchitectures: [{name}]\n```\n",
        f"`rnnsearch architecture show {name}` adds its speed on your machine and the checks that "
        "it passes.\n",
    ]
    return "\n".join(parts)


def _line(name: str) -> list[str]:
    found = REGISTRY.architecture(name)
    what = (found.__doc__ or "").strip().partition("\n\n")[0]
    linked = f"[{name}]({name}.md)"
    return [linked, what, card.count_formula(found) or "", card.source_of(found)]


def _index(families: Mapping[str, Sequence[str]]) -> str:
    parts = [
        "---\nhide: [toc]\n---\n",
        "# Architectures\n",
        f"All {len(REGISTRY.architectures)} architectures that come with rnnsearch, by family. The "
        "parameters are those of m inputs and p units, with the default options and without a "
        "head. `rnnsearch architecture list` prints what is installed on your machine, your own "
        "plugins included.\n",
    ]
    for family, names in families.items():
        parts.append(f"## [{family.removeprefix('rnnsearch-')}](families/{family}.md)\n")
        parts.append(table(["name", "what it is", "parameters", "source"], map(_line, names)))
    return "\n".join(parts)


def write_pages() -> None:
    """Write the index, the pages and their navigation."""
    families: dict[str, list[str]] = {}
    for plugin in REGISTRY.plugins:
        for name in plugin.architectures:
            families.setdefault(family_of(name), []).append(name)
    with mkdocs_gen_files.open("architectures/index.md", "w") as file:
        file.write(_index(families))
    navigation = ["* [All architectures](index.md)"]
    for family, names in families.items():
        navigation.append(f"* [{family.removeprefix('rnnsearch-')}](families/{family}.md)")
        navigation += [f"    * [{name}]({name}.md)" for name in names]
    others = sorted(
        path.parent.name
        for path in _REPOSITORY.glob("plugins/*/README.md")
        if path.parent.name not in families
    )
    navigation.append("* Other families")
    navigation += [f"    * [{o.removeprefix('rnnsearch-')}](families/{o}.md)" for o in others]
    with mkdocs_gen_files.open("architectures/SUMMARY.md", "w") as file:
        file.write("\n".join(navigation) + "\n")
    for name in REGISTRY.architectures:
        page = f"architectures/{name}.md"
        with mkdocs_gen_files.open(page, "w") as file:
            file.write(_page(name))
        module = inspect.getsourcefile(REGISTRY.architecture(name))
        if module and "/plugins/" in module:
            mkdocs_gen_files.set_edit_path(page, "plugins/" + module.partition("/plugins/")[2])
