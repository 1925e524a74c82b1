"""The registry: finds plugins by entry point and turns names into classes."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any

import pluggy

from rnnsearch import hookspecs
from rnnsearch.errors import PluginError, did_you_mean

if TYPE_CHECKING:
    from rnnsearch.model import Architecture
    from rnnsearch.task import Task

_HOOKS = {"rnnsearch_architectures": "architecture", "rnnsearch_tasks": "task"}


@dataclass(frozen=True)
class Plugin:
    """One plugin, as `rnnsearch plugin list` shows it.

    Attributes:
        name: name of its entry point.
        distribution: installed package that brings it.
        version: version of that package.
        architectures: names of the architectures it adds.
        tasks: names of the tasks it adds.
        error: why it does not work, or an empty string.
    """

    name: str
    distribution: str
    version: str
    architectures: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    error: str = ""

    def __str__(self) -> str:
        return f"`{self.distribution}` {self.version} (entry point `{self.name}`)"


@dataclass(frozen=True)
class _Registered:
    target: str
    plugin: Plugin


@dataclass
class Registry:
    """Names of architectures and tasks, each with the plugin that brings it.

    Attributes:
        plugins: every plugin found, working or not.
    """

    plugins: list[Plugin] = field(default_factory=list)
    _names: dict[str, dict[str, list[_Registered]]] = field(
        default_factory=lambda: {kind: {} for kind in _HOOKS.values()}
    )

    @property
    def architectures(self) -> list[str]:
        """Names of all architectures, sorted."""
        return sorted(self._names["architecture"])

    @property
    def tasks(self) -> list[str]:
        """Names of all tasks, sorted."""
        return sorted(self._names["task"])

    def architecture(self, name: str) -> Architecture:
        """Import the class of an architecture.

        Raises:
            PluginError: the name is unknown, is registered twice, or its class does not import.
        """
        from rnnsearch.cell import RecurrentCell
        from rnnsearch.sequence_model import SequenceModel

        found: Architecture = self._import("architecture", name, (RecurrentCell, SequenceModel))
        return found

    def task(self, name: str) -> type[Task]:
        """Import the class of a task; raises as `architecture` does."""
        from rnnsearch.task import Task

        found: type[Task] = self._import("task", name, (Task,))
        return found

    def plugin_of(self, kind: str, name: str) -> Plugin:
        """Return the plugin that brings an `architecture` or a `task`."""
        return self._lookup(kind, name).plugin

    def check(self) -> list[Plugin]:
        """Every plugin, with an error where anything that it brings cannot be used."""
        return [replace(plugin, error=self._problem(plugin)) for plugin in self.plugins]

    def _problem(self, plugin: Plugin) -> str:
        if plugin.error:
            return plugin.error
        try:
            for name in plugin.architectures:
                self.architecture(name)
            for name in plugin.tasks:
                self.task(name)
        except PluginError as error:
            return str(error)
        return ""

    def _lookup(self, kind: str, name: str) -> _Registered:
        known = self._names[kind]
        if name not in known:
            broken = [f" Plugin {p} failed to load: {p.error}" for p in self.plugins if p.error]
            msg = (
                f"unknown {kind} `{name}`.{did_you_mean(name, known)} "
                f"Installed: {', '.join(sorted(known)) or 'none'}.{''.join(broken)}"
            )
            raise PluginError(msg)
        registered = known[name]
        if len(registered) > 1:
            both = " and ".join(f"{r.plugin} ({r.target})" for r in registered)
            msg = f"{kind} `{name}` is registered by {both}. Uninstall one, or rename it there."
            raise PluginError(msg)
        return registered[0]

    def _import(self, kind: str, name: str, bases: tuple[type, ...]) -> Any:
        registered = self._lookup(kind, name)
        module, _, attribute = registered.target.partition(":")
        try:
            found = getattr(importlib.import_module(module), attribute)
        except Exception as error:
            msg = (
                f"{kind} `{name}` of plugin {registered.plugin} failed to load from "
                f"`{registered.target}`: {error}. Install what it needs, or uninstall the plugin."
            )
            raise PluginError(msg) from error
        if not (isinstance(found, type) and issubclass(found, bases)):
            expected = " or a ".join(base.__name__ for base in bases)
            msg = (
                f"{kind} `{name}` of plugin {registered.plugin}: expected `{registered.target}` "
                f"to be a {expected} class, found {found!r}."
            )
            raise PluginError(msg)
        return found


def build_registry(points: list[EntryPoint]) -> Registry:
    """Load each entry point and collect what its hooks return.

    A plugin that fails is recorded with its reason and registers nothing.
    """
    manager = pluggy.PluginManager("rnnsearch")
    manager.add_hookspecs(hookspecs)
    registry = Registry()
    seen: set[str] = set()
    for point in points:
        # One module reached through two distributions (a plugin of ours also installed on its
        # own) is one plugin.
        if point.value in seen:
            continue
        seen.add(point.value)
        distribution = point.dist.name if point.dist else "unknown"
        version = point.dist.version if point.dist else "unknown"
        known_as = f"{distribution}:{point.name}"
        try:
            module = point.load()
            manager.register(module, name=known_as)
            manager.check_pending()
            names = {hook: _call(manager, hook, module) for hook in _HOOKS}
        except Exception as error:
            if manager.has_plugin(known_as):
                # Or the hook that it misspells would be held against every plugin after it.
                manager.unregister(name=known_as)
            reason = f"{type(error).__name__}: {error}"
            registry.plugins.append(Plugin(point.name, distribution, version, error=reason))
            continue
        plugin = Plugin(
            point.name,
            distribution,
            version,
            architectures=tuple(names["rnnsearch_architectures"]),
            tasks=tuple(names["rnnsearch_tasks"]),
        )
        registry.plugins.append(plugin)
        for hook, kind in _HOOKS.items():
            for name, target in names[hook].items():
                registry._names[kind].setdefault(name, []).append(_Registered(target, plugin))
    return registry


def _call(manager: pluggy.PluginManager, hook: str, module: object) -> Mapping[str, str]:
    for implementation in getattr(manager.hook, hook).get_hookimpls():
        if implementation.plugin is module:
            names = implementation.function()
            for name, target in names.items():
                if not (isinstance(target, str) and target.count(":") == 1):
                    msg = f"hook `{hook}` maps `{name}` to {target!r}; expected `module:Class`"
                    raise PluginError(msg)
            return dict(names)
    return {}


@cache
def load_registry() -> Registry:
    """The registry of all installed plugins, built once per process."""
    points = entry_points(group=hookspecs.ENTRY_POINT_GROUP)
    return build_registry(sorted(points, key=lambda p: (p.name, p.value)))
