"""The registry: finds plugins by entry point and turns names into classes."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.metadata import EntryPoint, distributions, entry_points
from types import FrameType
from typing import TYPE_CHECKING, Any

import pluggy
from typing_extensions import override

from rnnsearch.errors import (
    BrokenPluginError,
    PluginError,
    RnnsearchError,
    did_you_mean,
    visible,
)
from rnnsearch.plugin import hookspecs
from rnnsearch.plugin.loading import OFF, loading, turned_off

if TYPE_CHECKING:
    from rnnsearch.plugin.analysis import Analysis
    from rnnsearch.plugin.architecture import Architecture
    from rnnsearch.plugin.head import Head
    from rnnsearch.plugin.task import Task
    from rnnsearch.plugin.wrapper import CellWrapper

# What each hook brings: the name of one, and of several.
_HOOKS = {
    "rnnsearch_architectures": ("architecture", "architectures"),
    "rnnsearch_wrappers": ("wrapper", "wrappers"),
    "rnnsearch_heads": ("head", "heads"),
    "rnnsearch_tasks": ("task", "tasks"),
    "rnnsearch_analyses": ("analysis", "analyses"),
}
KINDS = dict(_HOOKS.values())
NO_PLUGINS = (
    "No plugin is installed. Those that come with rnnsearch: `pip install rnnsearch-zoo`, or "
    "`pip install ./plugins` in a checkout"
)
# Names stand in file names, tables and commands.
_REGISTERED_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


@dataclass(frozen=True)
class Plugin:
    """One plugin, as `rnnsearch plugin list` shows it.

    Attributes:
        name: name of its entry point.
        distribution: installed package that brings it.
        version: version of that package.
        architectures: names of the architectures it adds.
        wrappers: names of the wrappers it adds.
        heads: names of the heads it adds.
        tasks: names of the tasks it adds.
        analyses: names of the analyses it adds.
        error: why it does not work, or an empty string.
        output: what it printed while it was loaded; a plugin should print nothing.
    """

    name: str
    distribution: str
    version: str
    architectures: tuple[str, ...] = ()
    wrappers: tuple[str, ...] = ()
    heads: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    analyses: tuple[str, ...] = ()
    error: str = ""
    output: str = ""

    def brings(self) -> dict[str, tuple[str, ...]]:
        """Names of what it adds, by kind (`architecture`, `wrapper`, ...)."""
        return {kind: getattr(self, kinds) for kind, kinds in KINDS.items()}

    @override
    def __str__(self) -> str:
        return f"`{self.distribution}` {self.version} (entry point `{self.name}`)"


@dataclass(frozen=True)
class _Registered:
    target: str
    plugin: Plugin


@dataclass
class Registry:
    """Names of everything that plugins bring, each with the plugin that brings it.

    Attributes:
        plugins: every plugin found, working or not.
    """

    plugins: list[Plugin] = field(default_factory=list)
    _names: dict[str, dict[str, list[_Registered]]] = field(
        default_factory=lambda: {kind: {} for kind in KINDS}
    )
    _classes: dict[tuple[str, str], Any] = field(default_factory=dict)
    _printed: dict[Plugin, str] = field(default_factory=dict)

    def names(self, kind: str) -> list[str]:
        """Names of all of a kind (one of `KINDS`), sorted."""
        return sorted(self._names[kind])

    @property
    def architectures(self) -> list[str]:
        """Names of all architectures, sorted."""
        return self.names("architecture")

    @property
    def tasks(self) -> list[str]:
        """Names of all tasks, sorted."""
        return self.names("task")

    def architecture(self, name: str) -> Architecture:
        """Import the class of an architecture; raises as `find` does."""
        found: Architecture = self.find("architecture", name)
        return found

    def wrapper(self, name: str) -> type[CellWrapper]:
        """Import the class of a wrapper; raises as `find` does."""
        found: type[CellWrapper] = self.find("wrapper", name)
        return found

    def head(self, name: str) -> type[Head]:
        """Import the class of a head; raises as `find` does."""
        found: type[Head] = self.find("head", name)
        return found

    def task(self, name: str) -> type[Task]:
        """Import the class of a task; raises as `find` does."""
        found: type[Task] = self.find("task", name)
        return found

    def analysis(self, name: str) -> type[Analysis]:
        """Import the class of an analysis; raises as `find` does."""
        found: type[Analysis] = self.find("analysis", name)
        return found

    def find(self, kind: str, name: str) -> Any:
        """Import a class by its kind and name.

        Raises:
            PluginError: the name is unknown, is registered twice, or its class does not import.
        """
        if (kind, name) not in self._classes:
            self._classes[kind, name] = self._import(kind, name, _bases(kind))
        return self._classes[kind, name]

    def plugin_of(self, kind: str, name: str) -> Plugin:
        """Return the plugin that brings something, by its kind and name."""
        return self._lookup(kind, name).plugin

    def check(self) -> list[Plugin]:
        """Every plugin, with an error where anything that it brings cannot be used."""
        problems = [self._problem(plugin) for plugin in self.plugins]
        return [
            replace(plugin, error=problem, output=plugin.output + self._printed.get(plugin, ""))
            for plugin, problem in zip(self.plugins, problems, strict=True)
        ]

    def culprit(self, error: BaseException) -> Plugin | None:
        """The plugin in whose code an exception was raised, or that called what raised it."""
        packages = self._packages()
        found, frame = None, error.__traceback__
        while frame is not None:
            found = packages.get(_package_of(frame.tb_frame), found)
            frame = frame.tb_next
        return found

    def is_of_a_plugin(self, frame: FrameType) -> bool:
        """Whether a frame runs code of a plugin."""
        return _package_of(frame) in self._packages()

    def _packages(self) -> dict[str, Plugin]:
        packages = {
            registered.target.partition(":")[0].partition(".")[0]: registered.plugin
            for known in self._names.values()
            for several in known.values()
            for registered in several
        }
        packages.pop("rnnsearch", None)  # the core's own heads: its code is not a plugin's
        return packages

    def explain(self, error: BaseException) -> str:
        """An exception on one line, with the plugin whose code raised it."""
        said = " ".join(str(error).split())
        said = visible(f"{type(error).__name__}{': ' if said else ''}{said}")
        if plugin := self.culprit(error):
            said += f" (raised by plugin {plugin})"
        return ". ".join((said, *getattr(error, "__notes__", ())))

    @contextmanager
    def blaming(self, kind: str, name: str, doing: str = "") -> Iterator[None]:
        """Turn an exception in the code of a plugin into an error that names it.

        Args:
            kind: what is used, one of `KINDS`.
            name: its name.
            doing: what is being done, such as `loading the test split`.

        Raises:
            BrokenPluginError: in place of any other exception than an intended one.
        """
        try:
            yield
        except RnnsearchError:
            raise
        except Exception as error:
            what = f"{kind} `{name}` failed{' while ' if doing else ''}{doing}"
            said = self.explain(error)
            if not self.culprit(error):
                what = f"{doing} failed" if doing else what
                if name in self._names[kind]:
                    said += f" ({kind} `{name}` is brought by plugin {self.plugin_of(kind, name)})"
            raise BrokenPluginError(f"{what}: {said}") from error

    def _problem(self, plugin: Plugin) -> str:
        if plugin.error:
            return plugin.error
        try:
            for kind, names in plugin.brings().items():
                for name in names:
                    self.find(kind, name)
        except PluginError as error:
            return str(error)
        return ""

    def _lookup(self, kind: str, name: str) -> _Registered:
        known = self._names[kind]
        if name not in known:
            broken = [f" Plugin {p} failed to load: {p.error}" for p in self.plugins if p.error]
            alone = {p.distribution for p in self.plugins} <= {"rnnsearch"}
            msg = (
                f"unknown {kind} `{name}`.{did_you_mean(name, known)} "
                f"Installed: {', '.join(sorted(known)) or 'none'}.{''.join(broken)}"
                + (f" {NO_PLUGINS}" if alone else "")
            )
            raise PluginError(visible(msg))
        registered = known[name]
        if len(registered) > 1:
            both = " and ".join(f"{r.plugin} ({r.target})" for r in registered)
            msg = (
                f"{kind} `{name}` is registered by {both}. Uninstall one, rename it there, or turn "
                f"one off: {OFF}={registered[-1].plugin.name}"
            )
            raise PluginError(msg)
        return registered[0]

    def _import(self, kind: str, name: str, bases: tuple[type, ...]) -> Any:
        registered = self._lookup(kind, name)
        module, _, attribute = registered.target.partition(":")
        plugin = registered.plugin
        try:
            with loading(str(plugin), plugin.name) as printed:
                imported = importlib.import_module(module)
                if not hasattr(imported, attribute):
                    near = did_you_mean(attribute, vars(imported)).replace(" Did", "; did")
                    raise PluginError(f"module `{module}` has no class `{attribute}`{near}")
                found = getattr(imported, attribute)
        except Exception as error:
            msg = (
                f"{kind} `{name}` of plugin {plugin} failed to load from "
                f"`{registered.target}`: {_problem_of(error)}. {_remedy(error)}"
            )
            raise BrokenPluginError(visible(msg)) from error
        finally:
            self._printed[plugin] = self._printed.get(plugin, "") + "".join(printed)
        if not (isinstance(found, type) and issubclass(found, bases)):
            expected = " or a ".join(base.__name__ for base in bases)
            msg = (
                f"{kind} `{name}` of plugin {registered.plugin}: expected `{registered.target}` "
                f"to be a {expected} class, found {found!r}."
            )
            raise PluginError(msg)
        return found


def _package_of(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", "")).partition(".")[0]


def _problem_of(error: Exception) -> str:
    """An error of an import, with the line of a file that does not parse."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}: {type(error).__name__}: {error.msg}"
    return str(error) if isinstance(error, ImportError | PluginError) else _named(error)


def _named(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _remedy(error: Exception) -> str:
    if isinstance(error, ImportError):
        return "Install what it needs, or uninstall the plugin."
    return "Mend it, or uninstall the plugin."


def _bases(kind: str) -> tuple[type, ...]:
    """The classes of which one has to be derived from, imported when they are first needed."""
    if kind == "architecture":
        from rnnsearch.plugin.cell import RecurrentCell
        from rnnsearch.plugin.sequence_model import SequenceModel

        return (RecurrentCell, SequenceModel)
    if kind == "wrapper":
        from rnnsearch.plugin.wrapper import CellWrapper

        return (CellWrapper,)
    if kind == "head":
        from rnnsearch.plugin.head import Head

        return (Head,)
    if kind == "task":
        from rnnsearch.plugin.task import Task

        return (Task,)
    from rnnsearch.plugin.analysis import Analysis

    return (Analysis,)


def build_registry(points: list[EntryPoint]) -> Registry:
    """Load each entry point and collect what its hooks return.

    A plugin that fails is recorded with its reason and registers nothing.
    """
    manager = pluggy.PluginManager("rnnsearch")
    manager.add_hookspecs(hookspecs)
    registry = Registry()
    seen: set[str] = set()
    off = turned_off()
    for point in points:
        # One module reached through two distributions (a plugin of ours also installed on its
        # own) is one plugin.
        if point.value in seen:
            continue
        seen.add(point.value)
        plugin = Plugin(point.name, *_distribution_of(point))
        if off & {plugin.name, plugin.distribution}:
            registry.plugins.append(replace(plugin, error=f"turned off by {OFF}"))
            continue
        known_as, module = f"{plugin.distribution}:{point.name}", None
        try:
            with loading(str(plugin), point.name) as printed:
                module = point.load()
                manager.register(module, name=known_as)
                manager.check_pending()
                names = {hook: _call(manager, hook, module) for hook in _HOOKS}
        except Exception as error:
            if manager.has_plugin(known_as):
                # Or the hook that it misspells would be held against every plugin after it.
                manager.unregister(name=known_as)
            own = isinstance(error, PluginError | SyntaxError)
            reason = visible(_problem_of(error) if own else _named(error))
            plugin = replace(plugin, error=reason, output="".join(printed))
            registry.plugins.append(plugin)
            continue
        brought: dict[str, Any] = {kinds: tuple(names[hook]) for hook, (_, kinds) in _HOOKS.items()}
        plugin = replace(plugin, **brought, output="".join(printed))
        registry.plugins.append(plugin)
        for hook, (kind, _) in _HOOKS.items():
            for name, target in names[hook].items():
                registry._names[kind].setdefault(name, []).append(_Registered(target, plugin))
    return registry


def _distribution_of(point: EntryPoint) -> tuple[str, str]:
    """Name and version of the distribution of an entry point, whose metadata may be damaged."""
    try:
        return str(point.dist.name or "unknown"), str(point.dist.version or "unknown")  # type: ignore[union-attr]
    except Exception:
        return "unknown", "unknown"


def _call(manager: pluggy.PluginManager, hook: str, module: object) -> Mapping[str, str]:
    for implementation in getattr(manager.hook, hook).get_hookimpls():
        if implementation.plugin is module:
            names = implementation.function()
            if not isinstance(names, Mapping):
                msg = f"hook `{hook}` gives {names!r}; expected a mapping of names to classes"
                raise PluginError(msg)
            names = {name: names[name] for name in names}
            for name, target in names.items():
                if not (isinstance(name, str) and _REGISTERED_NAME.fullmatch(name)):
                    msg = (
                        f"hook `{hook}` registers {name!r}; expected a name of letters, digits, "
                        "`_`, `-` and `.`"
                    )
                    raise PluginError(msg)
                if not (isinstance(target, str) and target.count(":") == 1):
                    msg = f"hook `{hook}` maps `{name}` to {target!r}; expected `module:Class`"
                    raise PluginError(msg)
            return names
    return {}


@cache
def load_registry() -> Registry:
    """The registry of all installed plugins, built once per process."""
    try:
        points = list(entry_points(group=hookspecs.ENTRY_POINT_GROUP))
    except Exception:  # the metadata of one distribution cannot be read: take those of the others
        points = _readable_entry_points()
    return build_registry(sorted(points, key=lambda p: (p.name, p.value)))


def _readable_entry_points() -> list[EntryPoint]:
    found: dict[str, list[EntryPoint]] = {}
    for distribution in distributions():
        try:
            name = distribution.metadata["Name"]
            points = distribution.entry_points.select(group=hookspecs.ENTRY_POINT_GROUP)
        except Exception:
            continue
        found.setdefault(name, list(points))
    return [point for points in found.values() for point in points]
