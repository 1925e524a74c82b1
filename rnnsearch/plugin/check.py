"""Checks plugins: runs the conformance suites over what they register, and says what came out."""

from __future__ import annotations

import io
import os
import re
import sys
import tomllib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from rnnsearch.errors import PluginError, did_you_mean
from rnnsearch.plugin.hookspecs import ENTRY_POINT_GROUP
from rnnsearch.plugin.registry import KINDS, load_registry
from rnnsearch.plugin.remedies import FOLLOWS, REMEDIES

Subject = tuple[str, str]  # kind and name: `("architecture", "lstm")`
Result = Literal["passed", "failed", "skipped", "known failure", "not judged"]

_DETAIL_LINES = 6
_LOADS = "its class can be loaded"
# Not imported here: pytest would come too late to let their assertions show what they compared.
_SUITES = Path(__file__).parents[1] / "testing"


@dataclass(frozen=True)
class Verdict:
    """What came out of one check.

    Attributes:
        name: registered name of what was checked.
        check: the promise, in words.
        result: `passed`, `failed`, `skipped`, a `known failure` that the class declares, or `not
            judged`: it fails for the cause of another failure, which is counted once.
        detail: why, where it did not pass.
        seconds: how long it took.
        remedy: what to do about a failure, where that is known.
    """

    name: str
    check: str
    result: Result
    detail: str
    seconds: float
    remedy: str = ""


def subjects_of(name: str | None) -> list[Subject]:
    """What a name stands for: something registered, a plugin, a distribution; None is everything.

    Raises:
        PluginError: nothing has that name, or what has it does not load.
    """
    registry = load_registry()
    everything = [(kind, one) for kind in KINDS for one in registry.names(kind)]
    if name is None:
        return everything
    if named := [subject for subject in everything if subject[1] == name]:
        return named
    plugins = [p for p in registry.plugins if name in (p.name, p.distribution)]
    for plugin in plugins:
        if plugin.error:
            raise PluginError(f"plugin {plugin} failed to load: {plugin.error}")
    found = [(kind, one) for p in plugins for kind, names in p.brings().items() for one in names]
    if not plugins:
        known = {one for _, one in everything} | {p.name for p in registry.plugins}
        msg = (
            f"`{name}` is neither a folder with a `pyproject.toml` nor installed."
            f"{did_you_mean(name, known)} `rnnsearch plugin list` shows what is"
        )
        raise PluginError(msg)
    return found


@contextmanager
def as_if_installed(folder: Path) -> Iterator[str]:
    """Let the distribution in a folder be found as if pip had installed it; gives its name.

    Raises:
        PluginError: the folder holds no distribution with entry points of ours.
    """
    path = folder / "pyproject.toml"
    if not path.is_file():
        raise PluginError(f"{folder}: expected a folder with a `pyproject.toml`; there is none")
    try:
        project = tomllib.loads(path.read_text(encoding="utf-8")).get("project", {})
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise PluginError(f"{path}: {error}") from None
    points = project.get("entry-points", {}).get(ENTRY_POINT_GROUP, {})
    name, version = project.get("name", ""), project.get("version", "0")
    if not name or not points:
        msg = (
            f"{path}: expected a `name` and a table `[project.entry-points.{ENTRY_POINT_GROUP}]`; "
            f"`rnnsearch plugin new` writes one"
        )
        raise PluginError(msg)
    source = folder / "src" if (folder / "src").is_dir() else folder
    with TemporaryDirectory() as temporary:
        info = Path(temporary) / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        info.joinpath("METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n", encoding="utf-8"
        )
        lines = [f"[{ENTRY_POINT_GROUP}]", *(f"{k} = {v}" for k, v in points.items())]
        info.joinpath("entry_points.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
        added = [str(source.resolve()), temporary]
        before = os.environ.get("PYTHONPATH")
        sys.path[:0] = added
        # Other processes, where cells are sent to, have to find it too.
        os.environ["PYTHONPATH"] = os.pathsep.join([*added, *([before] if before else [])])
        load_registry.cache_clear()
        try:
            yield name
        finally:
            sys.path[:] = [entry for entry in sys.path if entry not in added]
            if before is None:
                del os.environ["PYTHONPATH"]
            else:
                os.environ["PYTHONPATH"] = before
            load_registry.cache_clear()


def check(
    subjects: Sequence[Subject],
    *,
    examples: int = 3,
    hear: Callable[[Verdict], None] | None = None,
) -> list[Verdict]:
    """Run every check of the suites over some subjects.

    Args:
        subjects: what to check.
        examples: sizes at which each check is run.
        hear: is told each verdict: those that pass as they come, failures by their causes at last.

    Raises:
        PluginError: a suite could not be run at all.
    """
    unloadable = [v for v in (_unloadable(subject) for subject in subjects) if v]
    broken = {verdict.name for verdict in unloadable}
    if hear:
        for verdict in unloadable:
            hear(verdict)
    subjects = [subject for subject in subjects if subject[1] not in broken]
    return [*unloadable, *(_run(subjects, examples, hear) if subjects else [])]


def _unloadable(subject: Subject) -> Verdict | None:
    """The failure of a class that does not import, before pytest would stumble over it."""
    try:
        load_registry().find(*subject)
    except PluginError as error:
        return Verdict(subject[1], _LOADS, "failed", str(error), 0.0)
    return None


def _run(
    subjects: Sequence[Subject], examples: int, hear: Callable[[Verdict], None] | None
) -> list[Verdict]:
    import pytest

    os.environ["RNNSEARCH_CHECK"] = " ".join(f"{kind}:{name}" for kind, name in subjects)
    os.environ["RNNSEARCH_CHECK_EXAMPLES"] = str(examples)
    collector = _Collector(hear)
    arguments = [
        str(_SUITES / "registered.py"),
        # The settings of whatever project this is called from are not meant for these checks.
        *("-c", os.devnull, "--rootdir", str(_SUITES)),
        *("-p", "no:cacheprovider", "-p", "no:xdist", "-q"),
    ]
    # What it checks is settled when it is imported.
    sys.modules.pop("rnnsearch.testing.registered", None)
    output = io.StringIO()
    try:
        with redirect_stdout(output), redirect_stderr(output):
            code = pytest.main(arguments, plugins=[collector])
    finally:
        del os.environ["RNNSEARCH_CHECK"], os.environ["RNNSEARCH_CHECK_EXAMPLES"]
    if code not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        raise PluginError(f"the checks could not be run:\n{output.getvalue().strip()}")
    return collector.judge()


@dataclass(frozen=True)
class _Failure:
    """A check that failed.

    Attributes:
        verdict: as it would be alone.
        check: name of its function, without `test_`.
        cause: where the code of a plugin raised, or None where the suite found the fault.
    """

    verdict: Verdict
    check: str
    cause: tuple[str, str, int] | None


class _Collector:
    """Hears what became of each check."""

    def __init__(self, hear: Callable[[Verdict], None] | None) -> None:
        self._verdicts: list[Verdict] = []
        self._failures: list[_Failure] = []
        self._causes: dict[str, tuple[str, str, int] | None] = {}
        self._first: dict[str, str] = {}
        self._hear = hear or (lambda verdict: None)

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        """Leave out the suites that have nothing to check."""
        items[:] = [item for item in items if "NOTSET" not in item.nodeid]

    def pytest_runtest_makereport(self, item: Any, call: Any) -> None:
        """Note where an exception was raised; what makes the report is asked after this."""
        if call.excinfo is not None:
            error = call.excinfo.value
            if isinstance(error, BaseExceptionGroup):  # hypothesis found several
                error = error.exceptions[0]
                self._first[item.nodeid] = f"{type(error).__name__}: {error}"
            self._causes[item.nodeid] = _cause_of(error)

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Take the call of a check, or a setup that stopped it."""
        if report.when != "call" and not (report.when == "setup" and not report.passed):
            return
        known = getattr(report, "wasxfail", None)
        result: Result = report.outcome
        detail = ""
        if known is not None:
            result = "known failure" if report.skipped else "failed"
            detail = known if report.skipped else f"declared to fail, but passes: {known}"
        elif report.skipped:
            detail = str(report.longrepr[2]).removeprefix("Skipped: ")
        elif report.failed:
            detail = _reason(report.longreprtext, self._first.get(report.nodeid))
        name, promise, check_name = _read(report.nodeid)
        verdict = Verdict(name, promise, result, detail, report.duration)
        if result == "failed":
            remedy = "" if known is not None else REMEDIES.get(check_name, "")
            verdict = replace(verdict, remedy=remedy)
            cause = self._causes.get(report.nodeid)
            self._failures.append(_Failure(verdict, check_name, cause))
            return
        self._verdicts.append(verdict)
        self._hear(verdict)

    def judge(self) -> list[Verdict]:
        """All verdicts: of the failures with one cause, the first is one and the rest are none."""
        for failure in self._failures:
            verdict = failure.verdict
            if (first := self._first_with_cause(failure)) is not None:
                why = f"fails for the same cause: {first.verdict.check}"
                verdict = replace(verdict, result="not judged", detail=why, remedy="")
            elif failure.cause:
                # The plugin's own code raises: what would help a broken promise would not help.
                verdict = replace(verdict, remedy=_where(failure.cause))
            self._verdicts.append(verdict)
            self._hear(verdict)
        return self._verdicts

    def _first_with_cause(self, failure: _Failure) -> _Failure | None:
        mine = [f for f in self._failures if f.verdict.name == failure.verdict.name]
        for other in mine:
            if other is failure:
                break
            if failure.cause is not None and other.cause == failure.cause:
                return other
        for other in mine:
            if other.check != failure.check and failure.check in FOLLOWS.get(other.check, ()):
                return other
        return None


def _where(cause: tuple[str, str, int]) -> str:
    kind, file, line = cause
    hint = ""
    if kind in ("ValueError", "AssertionError", "RuntimeError"):
        hint = ". Where it cannot take every width, see `width_multiple`; every input, `refusal`"
    return f"Look at {file}:{line}, which raises {kind}{hint}"


def _cause_of(error: BaseException) -> tuple[str, str, int] | None:
    """The line of a plugin's code at which an exception was raised."""
    registry = load_registry()
    found, frame = None, error.__traceback__
    while frame is not None:
        code = frame.tb_frame.f_code
        if registry.is_of_a_plugin(frame.tb_frame):
            found = (type(error).__name__, code.co_filename, frame.tb_lineno)
        frame = frame.tb_next
    return found


def _read(nodeid: str) -> tuple[str, str, str]:
    """Name, promise and check, from `file::Suite::test_check[name]` (or `[name-more]`, ...)."""
    function, _, parameters = nodeid.rpartition("::")[2].partition("[")
    check_name = function.removeprefix("test_")
    promise = check_name.replace("_", " ")
    known = {name for _, name in subjects_of(None)}
    parts = parameters.rstrip("]").split("-")
    name = next((part for part in parts if part in known), parameters.rstrip("]"))
    others = [part for part in parts if part != name]
    return name, promise + (f" ({', '.join(others)})" if others else ""), check_name


def _reason(shown: str, first: str | None = None) -> str:
    """The error itself: the lines that pytest marks with `E`, and the sizes that show it.

    Where an assertion has words, its expression is left out.

    Args:
        shown: what pytest shows.
        first: the first error, where there are several.
    """
    lines = [line[1:].strip() for line in shown.splitlines() if line[:1] == "E"]
    text = "\n".join(line for line in lines if line)
    error, *rest = re.split(r"Failing test case|Falsifying example", text, maxsplit=1)
    said = (first or error).splitlines()
    if said and said[0].startswith("AssertionError: ") and not said[0].endswith("assert"):
        expression = next((i for i, line in enumerate(said) if line.startswith("assert ")), None)
        said = said[:expression]
    found = "\n".join(said[:_DETAIL_LINES]).removeprefix("AssertionError: ")
    if sizes := re.search(r"Sizes\((.*?)\)", "".join(rest), re.DOTALL):
        values = re.findall(r"(\w+)=(\d+)", re.sub(r"#.*", "", sizes[1]))
        found += "\nat " + ", ".join(f"{name}={value}" for name, value in values)
    return found


def summary(verdicts: Sequence[Verdict]) -> dict[str, dict[str, int]]:
    """How often each result came out, by name."""
    counted: dict[str, dict[str, int]] = {}
    for verdict in verdicts:
        results = counted.setdefault(verdict.name, {})
        results[verdict.result] = results.get(verdict.result, 0) + 1
    return counted
