"""Writes a new plugin: a complete distribution that passes its own tests."""

from __future__ import annotations

import importlib.util
import keyword
import re
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from rnnsearch.errors import PluginError
from rnnsearch.plugin.registry import load_registry

_NAME = re.compile(r"[a-z][a-z0-9]*(?:[-_][a-z0-9]+)*")


@dataclass(frozen=True)
class _Kind:
    """What differs between plugins of different kinds."""

    hook: str
    suite: str
    fixture: str
    ending: str
    uses: str
    question: str


KINDS = {
    "cell": _Kind(
        "architectures",
        "CellConformance",
        "cell_class",
        "Cell",
        "it with an Elman net of equal size",
        "Does the cell {name} read digits better than an Elman net of equal size?",
    ),
    "wrapper": _Kind(
        "wrappers",
        "WrapperConformance",
        "wrapper_class",
        "",
        "an Elman net with and without it",
        "Does an Elman net read digits better when wrapped in {name}?",
    ),
    "model": _Kind(
        "architectures",
        "SequenceModelConformance",
        "model_class",
        "Model",
        "it with an Elman net of equal size",
        "Does the model {name} read digits better than an Elman net of equal size?",
    ),
    "head": _Kind(
        "heads",
        "HeadConformance",
        "head_class",
        "Head",
        "an Elman net with it and with its usual head",
        "Does an Elman net read digits better under the head {name}?",
    ),
    "task": _Kind(
        "tasks",
        "GeneratedTaskConformance",
        "task",
        "Task",
        "two cells of equal size on it",
        "Which of two cells of equal size is better at {name}?",
    ),
    "analysis": _Kind("analyses", "AnalysisConformance", "analysis_class", "Analysis", "", ""),
}


def _taken_by(name: str, kinds: str) -> str | None:
    """What has a name already that a new plugin is to have, or None.

    Args:
        name: what the plugin is to register.
        kinds: of what, as in the name of its hook.
    """
    registry = load_registry()
    for plugin in registry.plugins:
        if name in getattr(plugin, kinds):
            return f"plugin {plugin} registers `{name}` already"
        if name == plugin.name:
            return f"there is a plugin `{name}` already: {plugin}"
    # Its package would hide the other, or be hidden by it.
    if found := importlib.util.find_spec(f"rnnsearch_{name}"):
        return f"there is a package `rnnsearch_{name}` already: {found.origin}"
    return None


def new_plugin(name: str, kind: str, parent: Path) -> Path:
    """Write a plugin into a new folder.

    Args:
        name: what it is to be called in studies, such as `leaky`; the distribution becomes
            `rnnsearch-leaky`.
        kind: one of `KINDS`.
        parent: where the new folder goes.

    Returns:
        The folder.

    Raises:
        PluginError: the name will not do or is taken, or the folder exists.
    """
    import jinja2

    plain = name.removeprefix("rnnsearch-")
    registered = plain.replace("-", "_")
    if not _NAME.fullmatch(plain) or keyword.iskeyword(registered):
        msg = (
            f"`{name}` cannot be the name of a plugin: expected small letters, digits and "
            f"underscores, beginning with a letter, such as `leaky`"
        )
        raise PluginError(msg)
    folder = parent / f"rnnsearch-{registered.replace('_', '-')}"
    if folder.exists():
        raise PluginError(f"{folder} exists already; nothing was written. Choose another name")
    known = KINDS[kind]
    if taken := _taken_by(registered, known.hook):
        raise PluginError(f"{taken}; nothing was written. Choose another name")
    words = registered.split("_")
    major, minor = version("rnnsearch").split(".")[:2]
    content = {
        "name": registered,
        "kind": kind,
        "kinds": known.hook,
        "distribution": folder.name,
        "package": f"rnnsearch_{registered}",
        "module": registered,
        "class_name": "".join(word.capitalize() for word in words) + known.ending,
        "title": f"The {kind} {' '.join(words)}",
        "suite": known.suite,
        "fixture": known.fixture,
        "uses": known.uses,
        "question": known.question.format(name=registered),
        "version": f"{major}.{minor}",
        "next_version": f"{major}.{int(minor) + 1}",
    }
    package = folder / str(content["package"])
    files = {
        folder / "pyproject.toml": "pyproject.toml",
        folder / "README.md": "README.md",
        package / "__init__.py": "init.py",
        package / "hooks.py": "hooks.py",
        package / f"{registered}.py": f"{kind}.py",
        folder / "tests" / f"test_{registered}.py": "test.py",
    }
    if kind != "analysis":
        files[folder / "study.yaml"] = "study.yaml"
    templates = jinja2.Environment(
        loader=jinja2.PackageLoader("rnnsearch.plugin", "templates"),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        autoescape=False,  # it writes Python, TOML and Markdown, not HTML
    )
    try:
        for path, template in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            text = templates.get_template(f"{template}.jinja").render(content)
            path.write_text(text.rstrip("\n") + "\n", encoding="utf-8")
    except OSError as error:
        raise PluginError(f"{folder} cannot be written: {error.strerror or error}") from error
    return folder
