"""The source keeps its own rules: format, types, layers, one home for each vendor library."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from importlib.util import find_spec
from pathlib import Path

import pytest

import rnnsearch

REPOSITORY = Path(__file__).parents[1]
LIBRARY = sorted((REPOSITORY / "rnnsearch").rglob("*.py"))
PLUGINS = sorted((REPOSITORY / "plugins").glob("*/rnnsearch_*/**/*.py"))
GUIDE = REPOSITORY / "docs" / "plugins" / "index.md"

# Where each vendor library may be imported, below `rnnsearch/`: one subject, one place to change.
HOMES = {
    "ray": {"search/cluster.py", "search/ray_tune.py", "records/ray_jobs.py"},
    "optuna": {"records/store.py", "records/open_trial.py", "records/drawing.py"},
    "mlflow": {
        "records/tracking.py",
        "records/mlflow_store.py",
        "records/mlflow_runs.py",
        "records/mlflow_queries.py",
        "records/mlflow_writer.py",
    },
    "pluggy": {"plugin/hookspecs.py", "plugin/registry.py"},
    "yaml": {"config/study_file.py"},
    "torchvision": {"plugin/vision.py"},
    "scipy": {"compare/evidence.py"},
    "matplotlib": {
        "plugin/analysis.py",  # for its types
        "report/findings.py",
        "report/canvas.py",
        "report/comparison_plot.py",
        "report/effort_plot.py",
        "report/curves_plot.py",
        "report/drawable_text.py",
    },
    "rich": {"cli/terminal.py", "cli/output.py"},
    "pydantic": {
        "config/schema.py",
        "config/values.py",
        "config/check.py",
        "records/study_info.py",
        "records/trial_check.py",
    },
    "pydantic_core": {"config/values.py", "config/check.py", "config/schema.py"},
}


def _relative(path: Path) -> str:
    return path.relative_to(REPOSITORY).as_posix()


def _parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"), filename=str(path))


def _imports(path: Path) -> Iterator[tuple[str, list[str]]]:
    """Every import in a file, those inside functions too: the module, and the names taken of it."""
    for node in ast.walk(_parsed(path)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, []) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield "." * node.level + (node.module or ""), [alias.name for alias in node.names]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            yield from ((n.value, []) for n in node.args if isinstance(n, ast.Constant))


# Tools


def _check(tool: str, *arguments: str, environment: Mapping[str, str] | None = None) -> None:
    if find_spec(tool) is None:
        pytest.skip(f"{tool} is not installed")
    _run(sys.executable, "-m", tool, *arguments, environment=environment)


def _run(*command: str, environment: Mapping[str, str] | None = None) -> None:
    done = subprocess.run(
        command,
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        env={**os.environ, **(environment or {})},
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_file_is_formatted() -> None:
    _check("ruff", "format", "--check", ".")


def test_the_linter_finds_nothing() -> None:
    _check("ruff", "check", ".")


def test_the_types_agree() -> None:
    _check("mypy")


def test_the_types_of_the_families_tests_agree(tmp_path: Path) -> None:
    # They share their names, so that mypy takes them below others.
    for family in sorted((REPOSITORY / "plugins").glob("rnnsearch-*/tests")):
        below = tmp_path / "families" / family.parent.name.replace("-", "_")
        below.parent.mkdir(exist_ok=True)
        below.symlink_to(family)
    _check("mypy", str(tmp_path / "families"), environment={"MYPYPATH": str(tmp_path)})


def test_modules_import_downwards_only() -> None:
    beside = str(Path(sys.executable).parent)
    command = shutil.which("lint-imports", path=beside) or shutil.which("lint-imports")
    if command is None:
        pytest.skip("import-linter is not installed")
    _run(command)


# Layout


def test_the_root_holds_folders_and_little_else() -> None:
    entries = {
        path.relative_to(REPOSITORY / "rnnsearch").parts[0]
        for path in (REPOSITORY / "rnnsearch").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert len(entries - {"__init__.py", "__main__.py", "py.typed"}) <= 15


def test_no_module_imports_itself_through_others() -> None:
    modules = {_module(path): path for path in LIBRARY}
    imports = {
        name: {
            found
            for module, names in _imports(path)
            for found in (module, *(f"{module}.{taken}" for taken in names))
            # The lazy public names of the package itself lead everywhere.
            if found in modules and found not in (name, "rnnsearch")
        }
        for name, path in modules.items()
    }
    try:
        tuple(TopologicalSorter(imports).static_order())
    except CycleError as error:
        pytest.fail(f"a circle: {' -> '.join(error.args[1])}")


def test_a_circle_is_seen_wherever_its_import_stands(tmp_path: Path) -> None:
    path = tmp_path / "module.py"
    path.write_text(
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    from rnnsearch.a import A\n"
        "def f():\n    import rnnsearch.b\n"
    )
    found = [module for module, _ in _imports(path)]
    assert found == ["typing", "rnnsearch.a", "rnnsearch.b"]


def _module(path: Path) -> str:
    parts = path.relative_to(REPOSITORY).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


# Vendor libraries


def test_commands_print_by_what_hides_passwords_and_escapes_for_a_terminal() -> None:
    printing = [
        f"{_relative(path)}:{node.lineno}"
        for path in LIBRARY
        if path.parent.name == "cli" and path.name != "output.py"
        for node in ast.walk(_parsed(path))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) in ("click.echo", "click.secho", "print", "sys.stdout.write")
    ]
    assert not printing, "use `echo` of rnnsearch/cli/output.py"


@pytest.mark.parametrize("vendor", HOMES)
def test_a_vendor_library_is_imported_in_its_own_file_only(vendor: str) -> None:
    found = {
        path.relative_to(REPOSITORY / "rnnsearch").as_posix()
        for path in LIBRARY
        for module, _ in _imports(path)
        if module.partition(".")[0] == vendor
    }
    assert found <= HOMES[vendor]
    assert found, f"{vendor} is not used any more"


# Plugins


@pytest.mark.parametrize("path", PLUGINS, ids=_relative)
def test_a_plugin_imports_public_names_only(path: Path) -> None:
    own = path.relative_to(REPOSITORY / "plugins").parts[1]
    for module, names in _imports(path):
        if module.partition(".")[0] == "rnnsearch":
            assert module == "rnnsearch"
            assert set(names) <= set(rnnsearch.__all__)
            assert names, "`import rnnsearch` hides which names are used"
        elif module.startswith("rnnsearch_"):
            assert module.partition(".")[0] == own


def test_every_public_name_exists() -> None:
    for name in rnnsearch.__all__:
        assert getattr(rnnsearch, name) is not None
    assert len(set(rnnsearch.__all__)) == len(rnnsearch.__all__)


def _hooks() -> list[str]:
    return [
        node.name
        for node in _parsed(REPOSITORY / "rnnsearch" / "plugin" / "hookspecs.py").body
        if isinstance(node, ast.FunctionDef)
        and "hookspec" in [ast.unparse(decorator) for decorator in node.decorator_list]
    ]


def test_there_are_hooks() -> None:
    kinds = ("analyses", "architectures", "heads", "tasks", "wrappers")
    assert sorted(_hooks()) == [f"rnnsearch_{kind}" for kind in kinds]


@pytest.mark.parametrize("hook", _hooks())
def test_a_hook_is_documented_for_authors_of_plugins(hook: str) -> None:
    assert re.search(rf"\b{hook}\b", GUIDE.read_text("utf-8"))


@pytest.mark.parametrize("hook", _hooks())
def test_a_hook_is_used_by_a_plugin_of_ours(hook: str) -> None:
    users = [
        path
        for path in PLUGINS
        for node in _parsed(path).body
        if isinstance(node, ast.FunctionDef)
        and node.name == hook
        and "hookimpl" in [ast.unparse(decorator) for decorator in node.decorator_list]
    ]
    assert users


# Files


@pytest.mark.parametrize("path", [*LIBRARY, *PLUGINS], ids=_relative)
def test_a_file_begins_by_saying_what_it_is(path: Path) -> None:
    assert ast.get_docstring(_parsed(path))


@pytest.mark.parametrize("path", [*LIBRARY, *PLUGINS], ids=_relative)
def test_a_file_is_named_for_what_it_holds(path: Path) -> None:
    vague = {"utils", "util", "common", "helpers", "helper", "misc", "core", "base", "tools"}
    assert not vague & {part.removesuffix(".py") for part in path.relative_to(REPOSITORY).parts}
