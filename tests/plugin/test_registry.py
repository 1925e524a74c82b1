"""The registry finds plugins by entry point, imports lazily, and names the plugin at fault."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint, distributions
from pathlib import Path

import pytest

from rnnsearch import PluginError, StudyFileError, load_registry
from rnnsearch.errors import BrokenPluginError
from rnnsearch.plugin.registry import (
    NO_PLUGINS,
    Plugin,
    Registry,
    _readable_entry_points,
    build_registry,
)

HOOKS = """
from rnnsearch import hookimpl

@hookimpl
def {hook}():
    return {names!r}
"""
CELL = "from rnnsearch_baselines.elman import ElmanCell as Cell\n"


class Site:
    """A folder of installed distributions, each with its metadata, as left by pip."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def module(self, name: str, text: str) -> None:
        """Add a module."""
        (self.folder / f"{name}.py").write_text(text, encoding="utf-8")

    def hooks(self, name: str, architectures: dict[str, str]) -> None:
        """Add a module that registers architectures."""
        self.module(name, HOOKS.format(hook="rnnsearch_architectures", names=architectures))

    def install(self, distribution: str, version: str = "1.0", **points: str) -> None:
        """Add the metadata of a distribution."""
        info = self.folder / f"{distribution.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        metadata = f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n"
        (info / "METADATA").write_text(metadata, encoding="utf-8")
        lines = [f"{name} = {value}\n" for name, value in points.items()]
        text = f"[console_scripts]\nother = other:main\n\n[rnnsearch]\n{''.join(lines)}"
        (info / "entry_points.txt").write_text(text, encoding="utf-8")

    def points(self) -> list[EntryPoint]:
        """The entry points of all installed distributions, in the order of their names."""
        found = [
            point
            for distribution in distributions(path=[str(self.folder)])
            for point in distribution.entry_points.select(group="rnnsearch")
        ]
        return sorted(found, key=lambda point: (point.name, point.value))

    def registry(self) -> Registry:
        """A registry of all installed distributions."""
        return build_registry(self.points())


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """An empty site on the import path; modules imported from it are unloaded afterwards."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield Site(folder)
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None) or "").startswith(str(folder)):
            del sys.modules[name]


@pytest.fixture
def good(site: Site) -> Site:
    """A site with one working plugin."""
    site.module("acme_cell", CELL)
    site.hooks("acme_hooks", {"acme_net": "acme_cell:Cell"})
    site.install("acme", "1.2", acme="acme_hooks")
    return site


# Working plugins


def test_an_architecture_is_found_by_its_name(good: Site) -> None:
    registry = good.registry()
    assert registry.architectures == ["acme_net"]
    assert registry.architecture("acme_net").__name__ == "ElmanCell"


def test_a_plugin_is_listed_with_its_distribution_and_what_it_brings(good: Site) -> None:
    registry = good.registry()
    expected = Plugin("acme", "acme", "1.2", architectures=("acme_net",))
    assert registry.plugins == [expected]
    assert registry.plugin_of("architecture", "acme_net") == expected
    assert str(expected) == "`acme` 1.2 (entry point `acme`)"


def test_a_task_is_found_by_its_name(site: Site) -> None:
    site.module("acme_task", "from rnnsearch_mnist.digits import Digits as Task\n")
    names = {"acme_digits": "acme_task:Task"}
    site.module("acme_hooks", HOOKS.format(hook="rnnsearch_tasks", names=names))
    site.install("acme", acme="acme_hooks")
    registry = site.registry()
    assert (registry.architectures, registry.tasks) == ([], ["acme_digits"])
    assert registry.task("acme_digits").__name__ == "Digits"


def test_a_class_is_not_imported_before_it_is_named(good: Site) -> None:
    registry = good.registry()
    assert registry.architectures == ["acme_net"]
    assert "acme_cell" not in sys.modules
    registry.architecture("acme_net")
    assert "acme_cell" in sys.modules


def test_a_module_reached_through_two_distributions_counts_once(good: Site) -> None:
    good.install("acme-all", "3.0", everything="acme_hooks")
    registry = good.registry()
    assert [plugin.name for plugin in registry.plugins] == ["acme"]
    assert registry.architecture("acme_net").__name__ == "ElmanCell"


def test_a_plugin_without_hooks_brings_nothing(site: Site) -> None:
    site.module("acme_hooks", "")
    site.install("acme", acme="acme_hooks")
    assert site.registry().plugins == [Plugin("acme", "acme", "1.0")]


def test_an_entry_point_without_a_distribution_is_loaded_too(good: Site) -> None:
    registry = build_registry([EntryPoint("loose", "acme_hooks", "rnnsearch")])
    assert registry.plugins[0].distribution == "unknown"
    assert registry.architectures == ["acme_net"]


# Unknown names


def test_an_unknown_name_is_refused_with_the_nearest_and_with_what_is_installed(good: Site) -> None:
    with pytest.raises(PluginError) as caught:
        good.registry().architecture("acme_nett")
    assert str(caught.value) == (
        "unknown architecture `acme_nett`. Did you mean `acme_net`? Installed: acme_net."
    )


def test_where_nothing_is_installed_an_unknown_name_is_refused_with_that(site: Site) -> None:
    with pytest.raises(PluginError) as caught:
        site.registry().task("digits")
    assert str(caught.value) == f"unknown task `digits`. Installed: none. {NO_PLUGINS}"


def test_a_name_of_several_lines_is_named_on_one(site: Site) -> None:
    with pytest.raises(PluginError) as caught:
        site.registry().task("dig\nits")
    assert str(caught.value) == f"unknown task `dig\\nits`. Installed: none. {NO_PLUGINS}"


def test_an_architecture_is_no_task(good: Site) -> None:
    with pytest.raises(PluginError, match="unknown task `acme_net`"):
        good.registry().task("acme_net")


# Plugins that fail


FAULTY_HOOKS = {
    "an import that fails": (
        "import a_module_that_is_not_there\n",
        "ModuleNotFoundError: No module named 'a_module_that_is_not_there'",
    ),
    "a syntax error": ("def (\n", "SyntaxError: invalid syntax"),
    "an exception on import": ("raise RuntimeError('no licence')\n", "RuntimeError: no licence"),
    "a misspelt hook": (
        HOOKS.format(hook="rnnsearch_architecture", names={}),
        "unknown hook 'rnnsearch_architecture'",
    ),
    "a hook with an argument of its own": (
        HOOKS.format(hook="rnnsearch_tasks", names={}).replace("()", "(registry)"),
        "hook 'rnnsearch_tasks'",
    ),
    "a hook that fails": (
        HOOKS.format(hook="rnnsearch_tasks", names={}).replace("return {}", "return 1 / 0"),
        "ZeroDivisionError: division by zero",
    ),
    "a hook that returns a list": (
        HOOKS.format(hook="rnnsearch_architectures", names=["net"]),
        "expected a mapping of names to classes",
    ),
    "a target without a class": (
        HOOKS.format(hook="rnnsearch_architectures", names={"net": "module"}),
        "hook `rnnsearch_architectures` maps `net` to 'module'; expected `module:Class`",
    ),
    "a target with two classes": (
        HOOKS.format(hook="rnnsearch_tasks", names={"net": "module:One:Two"}),
        "hook `rnnsearch_tasks` maps `net` to 'module:One:Two'; expected `module:Class`",
    ),
    "a target that is no text": (
        HOOKS.format(hook="rnnsearch_architectures", names={"net": 3}),
        "hook `rnnsearch_architectures` maps `net` to 3; expected `module:Class`",
    ),
}
faulty = pytest.mark.parametrize(("text", "reason"), FAULTY_HOOKS.values(), ids=FAULTY_HOOKS)


def _install_faulty(site: Site, text: str) -> Registry:
    site.module("broken_hooks", text)
    # Before `acme` in the alphabet, so it is loaded first.
    site.install("aaa-broken", "0.1", aaa="broken_hooks")
    return site.registry()


@faulty
def test_a_faulty_plugin_is_recorded_with_its_reason(good: Site, text: str, reason: str) -> None:
    broken = _install_faulty(good, text).plugins[0]
    assert (broken.name, broken.distribution, broken.version) == ("aaa", "aaa-broken", "0.1")
    assert (broken.architectures, broken.tasks) == ((), ())
    assert reason in broken.error


@faulty
def test_a_faulty_plugin_stops_no_other(good: Site, text: str, reason: str) -> None:
    registry = _install_faulty(good, text)
    assert registry.plugins[1] == Plugin("acme", "acme", "1.2", architectures=("acme_net",))
    assert registry.architectures == ["acme_net"]
    assert registry.architecture("acme_net").__name__ == "ElmanCell"


@faulty
def test_an_unknown_name_may_be_that_of_a_faulty_plugin_so_it_is_told(
    good: Site, text: str, reason: str
) -> None:
    with pytest.raises(PluginError) as caught:
        _install_faulty(good, text).architecture("their_net")
    message = str(caught.value)
    assert message.startswith("unknown architecture `their_net`. Installed: acme_net.")
    assert "Plugin `aaa-broken` 0.1 (entry point `aaa`) failed to load: " in message
    assert reason in message


# Classes that fail


INSTALL = "Install what it needs, or uninstall the plugin."
MEND = "Mend it, or uninstall the plugin."
FAULTY_CLASSES = {
    "a module that is missing": (None, f"No module named 'acme_cell'. {INSTALL}"),
    "an import that fails": ("import not_there\n", f"No module named 'not_there'. {INSTALL}"),
    "a class that is missing": (
        "class Cel: pass\n",
        f"module `acme_cell` has no class `Cell`; did you mean `Cel`?. {MEND}",
    ),
    "an exception on import": ("raise OSError('libfast.so')\n", f"OSError: libfast.so. {MEND}"),
    "an exit on import": (
        "raise SystemExit(0)\n",
        f"it ends the program (SystemExit: 0). {MEND}",
    ),
}


@pytest.mark.parametrize(("text", "reason"), FAULTY_CLASSES.values(), ids=FAULTY_CLASSES)
def test_a_class_that_does_not_import_is_refused_with_its_distribution(
    site: Site, text: str | None, reason: str
) -> None:
    if text is not None:
        site.module("acme_cell", text)
    site.hooks("acme_hooks", {"acme_net": "acme_cell:Cell"})
    site.install("acme", "1.2", acme="acme_hooks")
    with pytest.raises(PluginError) as caught:
        site.registry().architecture("acme_net")
    assert str(caught.value) == (
        "architecture `acme_net` of plugin `acme` 1.2 (entry point `acme`) failed to load from "
        f"`acme_cell:Cell`: {reason}"
    )


@pytest.mark.parametrize(("text", "reason"), FAULTY_CLASSES.values(), ids=FAULTY_CLASSES)
def test_a_check_finds_the_class_that_does_not_import_and_clears_the_others(
    good: Site, text: str | None, reason: str
) -> None:
    if text is not None:
        good.module("faulty_cell", text.replace("acme_cell", "faulty_cell"))
    good.hooks("faulty_hooks", {"faulty_net": "faulty_cell:Cell"})
    good.install("faulty", faulty="faulty_hooks")
    registry = good.registry()
    acme, faulty = registry.check()
    assert acme == registry.plugins[0]
    assert reason.replace("acme_cell", "faulty_cell") in faulty.error
    assert faulty.architectures == ("faulty_net",)


@pytest.mark.parametrize(
    "text",
    [
        "from torch.nn import LSTMCell as Cell\n",
        "from rnnsearch_mnist.digits import Digits as Cell\n",
        "def Cell(): pass\n",
        "Cell = 3\n",
    ],
    ids=["another class", "a task", "a function", "a number"],
)
def test_what_is_no_architecture_is_refused(site: Site, text: str) -> None:
    site.module("acme_cell", text)
    site.hooks("acme_hooks", {"acme_net": "acme_cell:Cell"})
    site.install("acme", "1.2", acme="acme_hooks")
    with pytest.raises(PluginError) as caught:
        site.registry().architecture("acme_net")
    assert str(caught.value).startswith(
        "architecture `acme_net` of plugin `acme` 1.2 (entry point `acme`): expected "
        "`acme_cell:Cell` to be a RecurrentCell or a SequenceModel class, found "
    )


def test_what_is_no_task_is_refused(site: Site) -> None:
    site.module("acme_cell", CELL)
    names = {"acme_task": "acme_cell:Cell"}
    site.module("acme_hooks", HOOKS.format(hook="rnnsearch_tasks", names=names))
    site.install("acme", acme="acme_hooks")
    with pytest.raises(PluginError, match="expected `acme_cell:Cell` to be a Task class, found"):
        site.registry().task("acme_task")


# Names that clash


@pytest.fixture
def clashing(good: Site) -> Registry:
    """The registry of a site with a second plugin that also registers `acme_net`."""
    good.hooks("other_hooks", {"acme_net": "other_cell:Cell", "other_net": "acme_cell:Cell"})
    good.install("other-nets", "0.3", other="other_hooks")
    return good.registry()


def test_a_name_of_two_plugins_is_refused_with_both_of_them(clashing: Registry) -> None:
    with pytest.raises(PluginError) as caught:
        clashing.architecture("acme_net")
    assert str(caught.value) == (
        "architecture `acme_net` is registered by `acme` 1.2 (entry point `acme`) "
        "(acme_cell:Cell) and `other-nets` 0.3 (entry point `other`) (other_cell:Cell). "
        "Uninstall one, rename it there, or turn one off: RNNSEARCH_PLUGINS_OFF=other"
    )
    with pytest.raises(PluginError, match="is registered by"):
        clashing.plugin_of("architecture", "acme_net")


def test_a_clash_stops_only_who_uses_the_name(clashing: Registry) -> None:
    assert [plugin.error for plugin in clashing.plugins] == ["", ""]
    assert clashing.architectures == ["acme_net", "other_net"]
    assert clashing.architecture("other_net").__name__ == "ElmanCell"


def test_one_name_may_be_an_architecture_and_a_task(good: Site) -> None:
    names = {"acme_net": "acme_task:Task"}
    good.module("task_hooks", HOOKS.format(hook="rnnsearch_tasks", names=names))
    good.module("acme_task", "from rnnsearch_mnist.digits import Digits as Task\n")
    good.install("acme-tasks", tasks="task_hooks")
    registry = good.registry()
    assert registry.architecture("acme_net").__name__ == "ElmanCell"
    assert registry.task("acme_net").__name__ == "Digits"


# The registry of the installed plugins


def test_the_registry_is_built_once() -> None:
    assert load_registry() is load_registry()


def test_no_plugin_that_comes_with_the_library_is_broken() -> None:
    ours = [
        plugin
        for plugin in load_registry().check()
        if plugin.distribution in ("rnnsearch", "rnnsearch-zoo")
    ]
    assert {plugin.name: plugin.error for plugin in ours if plugin.error} == {}
    assert {"baselines", "core", "gated", "mnist", "nested", "stigmergic"} <= {
        plugin.name for plugin in ours
    }


def test_listing_what_is_installed_imports_no_large_library() -> None:
    program = (
        "import sys\n"
        "from rnnsearch import load_registry\n"
        "registry = load_registry()\n"
        "assert len(registry.architectures) >= 11, registry\n"
        "assert len(registry.tasks) >= 3, registry\n"
        "large = 'torch numpy ray optuna mlflow pandas matplotlib sklearn torchvision'.split()\n"
        "print([name for name in large if name in sys.modules])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.stdout, done.stderr) == ("[]\n", "")


# Plugins that print, exit, interrupt or hang during loading


def _only_plugin(site: Site, text: str) -> Plugin:
    site.module("odd_hooks", text)
    site.install("odd", odd="odd_hooks")
    (plugin,) = site.registry().plugins
    return plugin


EXITS = {
    "SystemExit": ("raise SystemExit(0)\n", "it ends the program (SystemExit: 0)"),
    "sys.exit": ("import sys; sys.exit('bye')\n", "it ends the program (SystemExit: bye)"),
    "os._exit": ("import os; os._exit(0)\n", "it ends the program (os._exit(0))"),
    "an exit held by the plugin": (
        "import os\ntry:\n    os._exit(3)\nexcept Exception:\n    pass\n",
        "it ends the program (os._exit(3))",
    ),
    "KeyboardInterrupt": ("raise KeyboardInterrupt\n", "it raises KeyboardInterrupt"),
    "BaseException": ("raise BaseException('odd')\n", "it raises BaseException: odd"),
    "a hook that exits": (
        HOOKS.format(hook="rnnsearch_tasks", names={}).replace("return {}", "raise SystemExit"),
        "it ends the program (SystemExit: None)",
    ),
    "a mapping that fails": (
        HOOKS.format(hook="rnnsearch_tasks", names={}).replace(
            "return {}", "return type('M', (dict,), {'__iter__': lambda self: 1 / 0})(a='x:y')"
        ),
        "ZeroDivisionError: division by zero",
    ),
    "a syntax error": ("x = (\n", "odd_hooks.py:1: SyntaxError: '(' was never closed"),
}


@pytest.mark.parametrize(("text", "reason"), EXITS.values(), ids=EXITS)
def test_a_plugin_that_ends_the_program_is_one_that_failed(
    site: Site, text: str, reason: str
) -> None:
    exits = os._exit
    assert _only_plugin(site, text).error.endswith(reason)
    assert os._exit is exits


def test_an_interrupt_by_the_user_is_none_of_the_plugins(site: Site) -> None:
    text = "import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(5)\n"
    # In the background of a shell, the signal may be ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            _only_plugin(site, text)
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_plugin_that_hangs_is_given_up_and_what_goes_without_it_is_said(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RNNSEARCH_PLUGIN_SECONDS", "0.2")
    held = "import time\ntry:\n    time.sleep(60)\nexcept Exception:\n    time.sleep(60)\n"
    error = _only_plugin(site, held).error
    assert error.startswith("it was not loaded after 0.2 s. RNNSEARCH_PLUGINS_OFF=odd")
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_who_keeps_everybody_waiting_is_named_before_it_is_given_up(
    site: Site, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("rnnsearch.plugin.loading._TELL_AFTER", 0.1)
    plugin = _only_plugin(site, "import time\ntime.sleep(0.3)\n")
    assert plugin.error == ""
    said = capfd.readouterr().err
    assert "plugin `odd` 1.0 (entry point `odd`) has been loading for 0.1 s" in said
    assert "RNNSEARCH_PLUGINS_OFF=odd" in said


def test_what_a_plugin_prints_while_it_is_loaded_is_caught_and_kept(
    site: Site, capfd: pytest.CaptureFixture[str]
) -> None:
    text = (
        "import os, sys\n"
        "print('by Python')\nprint('on stderr', file=sys.stderr)\nos.write(1, b'below it\\n')\n"
    )
    plugin = _only_plugin(site, text + HOOKS.format(hook="rnnsearch_tasks", names={}))
    assert plugin.error == ""
    assert plugin.output == "by Python\non stderr\nbelow it\n"
    assert capfd.readouterr() == ("", "")
    print("afterwards", flush=True)
    os.write(2, b"below\n")
    assert capfd.readouterr() == ("afterwards\n", "below\n")


def test_a_log_handler_that_a_plugin_made_goes_on_writing(
    site: Site, capfd: pytest.CaptureFixture[str]
) -> None:
    _only_plugin(site, "import logging\nhandler = logging.StreamHandler()\n")
    handler = sys.modules["odd_hooks"].handler
    handler.emit(logging.LogRecord("odd", logging.ERROR, "", 1, "later", (), None))
    assert "later" in capfd.readouterr().err


def test_what_a_class_prints_when_it_is_imported_is_kept_with_its_plugin(
    good: Site, capfd: pytest.CaptureFixture[str]
) -> None:
    good.module("acme_cell", "print('importing')\n" + CELL)
    (plugin,) = good.registry().check()
    assert (plugin.output, plugin.error) == ("importing\n", "")
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize("name", ["broken", "broken-nets"])
def test_a_plugin_that_is_turned_off_is_not_loaded(
    good: Site, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    good.module("broken_hooks", "raise AssertionError('loaded')\n")
    good.install("broken-nets", broken="broken_hooks")
    monkeypatch.setenv("RNNSEARCH_PLUGINS_OFF", f"another, {name}")
    acme, broken = good.registry().plugins
    assert (acme.error, broken.error) == ("", "turned off by RNNSEARCH_PLUGINS_OFF")


def test_metadata_that_cannot_be_read_hides_one_distribution_alone(
    good: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    good.install("damaged", damaged="damaged_hooks")
    damaged = good.folder / "damaged-1.0.dist-info" / "entry_points.txt"
    damaged.write_bytes(b"[rnnsearch]\n\xff\xfe = x\n")
    found = [(p.name, p.value) for p in _readable_entry_points()]
    assert ("acme", "acme_hooks") in found
    assert not any("damaged" in value for _, value in found)


# Plugins responsible for an exception


def test_an_exception_is_held_against_the_plugin_whose_code_called_for_it(good: Site) -> None:
    good.module("acme_cell", CELL + "def fail():\n    import json\n    json.loads('{')\n")
    registry = good.registry()
    registry.architecture("acme_net")
    with pytest.raises(BrokenPluginError) as caught, registry.blaming("architecture", "acme_net"):
        sys.modules["acme_cell"].fail()
    assert str(caught.value) == (
        "architecture `acme_net` failed: JSONDecodeError: Expecting property name enclosed in "
        "double quotes: line 1 column 2 (char 1) (raised by plugin `acme` 1.2 (entry point `acme`))"
    )
    blaming = registry.blaming
    with pytest.raises(BrokenPluginError) as caught, blaming("architecture", "acme_net"):
        int("ours")
    assert "(architecture `acme_net` is brought by plugin `acme` 1.2" in str(caught.value)
    with pytest.raises(StudyFileError), blaming("architecture", "acme_net"):
        raise StudyFileError("on purpose")
