"""Third-party plugins: scaffolded, changed, built, installed, and used by name like ours.

The guide `docs/plugins/` is followed here line by line, in a fresh virtual environment.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy as np
import pytest

from rnnsearch.plugin.scaffold import KINDS, new_plugin
from rnnsearch.records.store import StudyStore

from .command import REPOSITORY, run, run_here, write_study

GUIDE = REPOSITORY / "docs" / "plugins"

_WATCHED = """

def _watched(self, source, split, load=ParityTask.load):
    import time

    with open({path!r}, "a") as file:
        file.write(f"{{split}} {{time.time()}}\\n")
    return load(self, source, split)


ParityTask.load = _watched
"""


class Environment:
    """A fresh virtual environment with rnnsearch and no third-party plugins."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True, timeout=120)
        self.python = folder / "venv" / "bin" / "python"
        # Avoids another download of torch, Ray and MLflow.
        (site,) = (folder / "venv").glob("lib/python*/site-packages")
        ours = sysconfig.get_path("purelib")
        (site / "rnnsearch-of-the-tests.pth").write_text(
            f"import site; site.addsitedir({ours!r})\n", encoding="utf-8"
        )

    def type(self, line: str) -> subprocess.CompletedProcess[str]:
        """Run a line of the guide, which must succeed."""
        program, *arguments = shlex.split(line)
        if program == "pip":
            # Without an index, because everything required is available locally.
            offline = ["--no-index", "--no-build-isolation", "--no-deps", "--quiet"]
            command = ["pip", arguments[0], *offline, *arguments[1:]]
        else:
            command = [program, *arguments]
        done = subprocess.run(
            [self.python, "-m", *command],
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
            cwd=self.folder,
            env={
                **os.environ,
                "RNNSEARCH_HOME": str(self.folder / "home"),
                "RNNSEARCH_CHECK_EXAMPLES": "1",
            },
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
        return done

    def study(self, name: str) -> StudyStore:
        """A study run in this environment."""
        return StudyStore(self.folder / "home" / "studies" / name)


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    return Environment(tmp_path_factory.mktemp("stranger"))


def _page(name: str) -> str:
    return (GUIDE / f"{name}.md").read_text(encoding="utf-8")


def _lines(page: str) -> list[str]:
    """The commands of a page, in order."""
    blocks: list[str] = re.findall(r"```bash\n(.*?)```", page, re.DOTALL)
    return [line for block in blocks for line in block.splitlines()]


def _class_of(page: str) -> str:
    """The module that a page tells the reader to write."""
    blocks: list[str] = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    (module,) = (block for block in blocks if "\nclass " in block)
    return module


def _confirmed(store: StudyStore) -> set[str]:
    return {r.label for r in store.records() if r.phase == "confirmation" and r.state == "COMPLETE"}


def test_the_guides_cell_runs_in_a_study_beside_ours(environment: Environment) -> None:
    page = _page("cell")
    new, *rest = _lines(page)
    environment.type(new)
    checked, *others = rest
    environment.type(checked)
    cell = environment.folder / "rnnsearch-leaky" / "rnnsearch_leaky" / "leaky.py"
    cell.write_text(_class_of(page), encoding="utf-8")
    (environment.folder / "rnnsearch-leaky" / "tests" / "test_leaky.py").unlink()
    typed = {line: environment.type(line).stdout for line in others}
    assert "rnnsearch-leaky" in typed["rnnsearch plugin list"]
    assert "p^2 + m p + 2 p" in typed["rnnsearch architecture show leaky"]
    store = environment.study("leaky")
    assert _confirmed(store) == {"leaky", "elman"}
    assert store.info.environment["plugin leaky"] == "rnnsearch-leaky 0.1.0"
    assert "leaky" in (store.folder / "comparison.csv").read_text()


def test_the_guides_task_is_learned_by_two_cells_and_scored_on_its_test_split_at_the_end(
    environment: Environment,
) -> None:
    new, checked, install, shown, start = _lines(_page("generated-task"))
    environment.type(new)
    environment.type(checked)
    module = environment.folder / "rnnsearch-parity" / "rnnsearch_parity" / "parity.py"
    watched = environment.folder / "watched"
    with module.open("a", encoding="utf-8") as file:
        file.write(_WATCHED.format(path=str(watched)))
    environment.type(install)
    assert "0.5" in environment.type(shown).stdout, "the no-skill level"
    environment.type(start)
    store = environment.study("parity")
    assert _confirmed(store) == {"elman", "gru"}
    reads = [line.split() for line in watched.read_text().splitlines()]
    assert sorted(split for split, _ in reads) == 2 * ["test"] + ["train"] + ["validation"]
    # Every split is checked before anything runs; for scoring, it is read after the search.
    checked_at, read_at = (float(at) for split, at in reads if split == "test")
    for label in ("gru", "elman"):
        for trial in store.optuna_study("search", label, "maximize").trials:
            assert trial.datetime_start is not None
            assert trial.datetime_complete is not None
            assert checked_at <= trial.datetime_start.timestamp()
            assert trial.datetime_complete.timestamp() <= read_at


@pytest.mark.slow
def test_the_guides_wrapper_is_compared_with_the_bare_cell(environment: Environment) -> None:
    for line in _lines(_page("wrapper")):
        environment.type(line)
    store = environment.study("gain")
    assert _confirmed(store) == {"elman", "elman-gain"}
    wrapped = next(r for r in store.records() if r.label == "elman-gain")
    assert wrapped.spec is not None
    assert wrapped.spec.model.wrappers == (("gain", {"gain": 1.0}),)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sequence-model", "head"])
def test_the_guides_other_architectures_are_compared_with_an_elman_net(
    kind: str, environment: Environment
) -> None:
    page = _page(kind)
    new, *rest = _lines(page)
    environment.type(new)
    _write(environment.folder, page)
    for line in rest:
        environment.type(line)
    (name,) = re.findall(r"rnnsearch-\S+/rnnsearch_(\w+)/", page)[:1]
    assert "elman" in _confirmed(environment.study(name))


def _write(folder: Path, page: str) -> Path:
    """Write the class of a page into its newly made plugin, and remove the plugin's own test."""
    (found,) = re.findall(r"into? `(rnnsearch-\S+\.py)`|in `(rnnsearch-\S+\.py)`", page)[:1]
    module = folder / (found[0] or found[1])
    module.write_text(_class_of(page), encoding="utf-8")
    (test,) = (module.parents[1] / "tests").glob("test_*.py")
    test.unlink()
    return module


@pytest.mark.parametrize("kind", ["sequence-model", "head", "analysis"])
def test_the_guides_class_keeps_every_promise(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RNNSEARCH_CHECK_EXAMPLES", "1")
    page = _page(kind)
    new, as_new, checked, *_ = _lines(page)
    assert as_new == checked
    assert run_here(*shlex.split(new)[1:]).returncode == 0
    _write(tmp_path, page)
    done = run_here(*shlex.split(checked)[1:])
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_guides_task_reads_a_file_that_is_checked_by_its_digest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    page = _page("task")
    new, checked, *_ = _lines(page)
    assert run_here(*shlex.split(new)[1:]).returncode == 0
    module = _write(tmp_path, page)
    data = tmp_path / "data" / "gestures" / "gestures.npz"
    data.parent.mkdir(parents=True)
    chance, arrays = np.random.default_rng(0), dict[str, np.ndarray]()
    for split, size in (("train", 300), ("validation", 100), ("test", 100)):
        arrays[f"{split}_inputs"] = chance.normal(size=(size, 50, 3)).astype(np.float32)
        arrays[f"{split}_targets"] = chance.integers(0, 4, size)
    np.savez(data, **arrays)
    environment = {"RNNSEARCH_DATA_DIR": str(tmp_path / "data"), "RNNSEARCH_OFFLINE": "1"}
    refused = run(*shlex.split(checked)[1:], **environment)
    assert refused.returncode == 6, "the digest on the page is no digest"
    text = module.read_text(encoding="utf-8")
    digest = hashlib.sha256(data.read_bytes()).hexdigest()
    module.write_text(text.replace("THE SHA256 OF YOUR FILE", digest), encoding="utf-8")
    done = run(*shlex.split(checked)[1:], **environment)
    assert done.returncode == 0, done.stdout + done.stderr


def test_new_plugins_of_every_kind_pass_their_own_tests(tmp_path: Path) -> None:
    folders = [new_plugin(f"fresh_{kind}", kind, tmp_path) for kind in KINDS]
    done = subprocess.run(
        [
            sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider", "-p", "no:xdist",
            "--import-mode=importlib", *folders,
        ],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        cwd=tmp_path,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(map(str, folders)),
            "RNNSEARCH_CHECK_EXAMPLES": "1",
        },
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    for kind in KINDS:
        assert f"test_fresh_{kind}.py::" in done.stdout, f"no test of a new {kind} was found"


def test_a_plugin_that_fails_to_import_stops_only_studies_that_name_what_it_brings(
    tmp_path: Path,
) -> None:
    broken = tmp_path / "site"
    (broken / "broken_plugin-1.0.dist-info").mkdir(parents=True)
    info = broken / "broken_plugin-1.0.dist-info"
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken-plugin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[rnnsearch]\nbroken = broken_plugin.hooks\n")
    (broken / "broken_plugin").mkdir()
    (broken / "broken_plugin" / "hooks.py").write_text("import no_such_module_anywhere\n")
    good = write_study(tmp_path)
    assert run("study", "plan", good, PYTHONPATH=str(broken)).returncode == 0
    bad = write_study(tmp_path, architectures=["lstm", "brokn"])
    done = run("study", "plan", bad, PYTHONPATH=str(broken))
    assert done.returncode == 6
    assert "`broken-plugin` 1.0" in done.stderr
    assert "no_such_module_anywhere" in done.stderr
    assert "Traceback" not in done.stderr


def _site(folder: Path, hooks: str, cell: str) -> Path:
    """A folder with an installed plugin `loud`, for PYTHONPATH."""
    site = folder / "site"
    info = site / "loud_nets-2.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: loud-nets\nVersion: 2.0\n")
    (info / "entry_points.txt").write_text("[rnnsearch]\nloud = loud_hooks\n")
    (site / "loud_hooks.py").write_text(hooks)
    (site / "loud_cell.py").write_text(cell)
    return site


LOUD = """
print("HOOKS ARE LOADED")
from rnnsearch import hookimpl

@hookimpl
def rnnsearch_architectures():
    print("HOOK IS CALLED")
    return {"loud": "loud_cell:Loud"}
"""
LOUD_CELL = """
print("CELL IS LOADED")
from rnnsearch_baselines.elman import ElmanCell

class Loud(ElmanCell):
    def __init__(self, input_size, hidden_size, **options):
        print("CELL IS BUILT")
        raise ValueError("no such cell")
"""


def test_what_a_plugin_prints_never_stands_in_json_and_a_row_that_fails_costs_itself_alone(
    tmp_path: Path,
) -> None:
    site = _site(tmp_path, LOUD, LOUD_CELL)
    study = write_study(tmp_path, architectures=["loud", "elman"])
    done = run("study", "plan", study, "--json", PYTHONPATH=str(site))
    assert done.returncode == 6
    plan = json.loads(done.stdout)
    assert [row["label"] for row in plan["architectures"]] == ["elman"]
    (failed,) = plan["failed"]
    assert "ValueError: no such cell (raised by plugin `loud-nets` 2.0" in failed["reason"]
    assert failed["reason"] in done.stderr
    assert "Traceback" not in done.stderr
    listed = run("plugin", "list", "--json", PYTHONPATH=str(site))
    (loud,) = (p for p in json.loads(listed.stdout) if p["name"] == "loud")
    assert loud["output"] == "HOOKS ARE LOADED\nHOOK IS CALLED\nCELL IS LOADED\n"


def test_a_plugin_that_exits_is_named_and_its_exit_code_is_not_the_commands(tmp_path: Path) -> None:
    site = _site(tmp_path, "import os\nos._exit(0)\n", "")
    listed = run("task", "list", "--json", PYTHONPATH=str(site))
    assert listed.returncode == 0
    assert json.loads(listed.stdout)
    named = run("architecture", "show", "loud", "--quick", PYTHONPATH=str(site))
    assert named.returncode == 6
    assert "Plugin `loud-nets` 2.0 (entry point `loud`) failed to load: it ends the program" in (
        named.stderr
    )


@pytest.mark.parametrize("name", ["Leaky", "1st", "a b", "../up", "class", ""])
def test_a_name_that_cannot_be_a_plugins_is_refused_and_nothing_is_written(
    name: str, tmp_path: Path
) -> None:
    done = run_here("plugin", "new", name, "--into", tmp_path)
    assert done.returncode == 6
    assert "cannot be the name of a plugin" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "kind", "taken"),
    [
        ("lstm", "cell", "registers `lstm` already"),
        ("rnnsearch-ff-nn", "model", "registers `ff_nn` already"),
        ("mlp", "head", "registers `mlp` already"),
        ("residual", "wrapper", "registers `residual` already"),
        ("digits", "task", "registers `digits` already"),
        ("gated", "cell", "there is a plugin `gated` already"),
    ],
)
def test_a_name_that_is_taken_is_refused_and_nothing_is_written(
    name: str, kind: str, taken: str, tmp_path: Path
) -> None:
    done = run_here("plugin", "new", name, "--kind", kind, "--into", tmp_path)
    assert done.returncode == 6
    assert taken in done.stderr
    assert re.search(r"`rnnsearch(-zoo)?` 0\.", done.stderr), "the distribution that has it"
    assert list(tmp_path.iterdir()) == []


def test_a_cell_may_have_the_name_of_a_task(tmp_path: Path) -> None:
    assert run_here("plugin", "new", "digits", "--into", tmp_path).returncode == 0


def test_a_package_of_that_name_would_be_hidden(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "site" / "rnnsearch_mine").mkdir(parents=True)
    (tmp_path / "site" / "rnnsearch_mine" / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    done = run_here("plugin", "new", "mine", "--into", tmp_path)
    assert done.returncode == 6
    assert "there is a package `rnnsearch_mine` already" in done.stderr


def test_a_folder_that_exists_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "rnnsearch-leaky").mkdir()
    done = run_here("plugin", "new", "leaky", "--into", tmp_path)
    assert done.returncode == 6
    assert "exists already; nothing was written" in done.stderr
    assert list((tmp_path / "rnnsearch-leaky").iterdir()) == []


def test_a_broken_cell_is_named_with_its_promise_and_the_sizes_that_show_it(
    tmp_path: Path,
) -> None:
    folder = new_plugin("leaky", "cell", tmp_path)
    cell = folder / "rnnsearch_leaky" / "leaky.py"
    right = cell.read_text(encoding="utf-8")
    cell.write_text(right.replace("hidden_size + 1)", "hidden_size)"), encoding="utf-8")
    done = run("plugin", "check", folder, "--json")
    assert done.returncode == 6
    assert "checks failed: leaky" in done.stderr
    checks = json.loads(done.stdout)["checks"]
    (failed,) = (check for check in checks if check["result"] == "failed")
    assert failed["check"] == "parameter count equals the parameters built"
    assert "2 were declared, 3 were built" in failed["detail"]
    assert "assert" not in failed["detail"]
    assert "at inputs=1, hidden=1" in failed["detail"]
    assert failed["remedy"] == "Correct `parameter_count`, or what the constructor builds"


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("leaky.py", "class LeakyCell(:\n", "leaky.py:1: SyntaxError: invalid syntax"),
        ("leaky.py", "class Leaky: pass\n", "has no class `LeakyCell`; did you mean `Leaky`?"),
        ("leaky.py", "import not_there\n", "No module named 'not_there'"),
        ("leaky.py", "raise SystemExit(0)\n", "it ends the program (SystemExit: 0)"),
        ("hooks.py", "def rnnsearch_architectures(:\n", "hooks.py:1: SyntaxError"),
    ],
)
def test_a_plugin_that_does_not_load_is_one_failure_without_a_traceback(
    tmp_path: Path, file: str, text: str, said: str
) -> None:
    folder = new_plugin("leaky", "cell", tmp_path)
    (folder / "rnnsearch_leaky" / file).write_text(text, encoding="utf-8")
    done = run_here("plugin", "check", folder)
    shown = done.stdout + done.stderr
    assert done.returncode == 6
    assert said in shown
    assert "Traceback" not in shown
    assert len(shown.splitlines()) <= 5
    for name in [n for n in sys.modules if n.startswith("rnnsearch_leaky")]:
        del sys.modules[name]


def test_what_is_no_plugin_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for given, expected in {
        "lstn": "`lstn` is neither a folder with a `pyproject.toml` nor installed. Did you mean",
        str(tmp_path / "empty"): "expected a folder with a `pyproject.toml`; there is none",
    }.items():
        done = run_here("plugin", "check", given)
        assert done.returncode == 6
        assert expected in done.stderr
        assert "Traceback" not in done.stderr


def test_every_kind_has_a_hook_a_suite_and_a_plugin_of_ours_in_the_guide() -> None:
    from rnnsearch import load_registry, testing
    from rnnsearch.plugin import hookspecs

    table = (
        _page("index").partition("## The kinds, the hooks, the suites\n")[2].partition("\n## ")[0]
    )
    rows = [[c.strip(" `") for c in line.split("|")[1:-1]] for line in table.splitlines()[2:]]
    rows = [row for row in rows if len(row) == 5 and row[0] in KINDS]
    assert [row[0] for row in rows] == list(KINDS) or {r[0] for r in rows} == set(KINDS)
    hooks = {name for name in vars(hookspecs) if name.startswith("rnnsearch_")}
    assert {row[1] for row in rows} == hooks
    assert {row[3] for row in rows} == {
        name for name in testing.__all__ if name.endswith("Conformance")
    }
    brought = {p.name: p.brings() for p in load_registry().plugins}
    for kind, hook, _, _, ours in rows:
        name = ours.removeprefix("rnnsearch-").replace("-", "_")
        what = {"rnnsearch_analyses": "analysis"}.get(hook, hook[len("rnnsearch_") : -1])
        assert brought[name][what], (kind, ours)
