"""The command line: bad input gives one message and its exit code, and leaves no files."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from rnnsearch.__main__ import main
from rnnsearch.errors import StoreError
from rnnsearch.records.store import StudyStore

from ..command import REPOSITORY, run, run_here, study_content, write_study

HEAVY = ("torch", "ray", "mlflow", "optuna", "pandas", "pydantic", "matplotlib", "scipy", "numpy")


def _exit(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    assert isinstance(stop.value.code, int)
    return stop.value.code, captured.out, captured.err


@pytest.mark.parametrize("command", ["--help", "study --help", "study start --help", "--version"])
def test_help_imports_no_large_library(command: str) -> None:
    script = (
        "import sys\nfrom rnnsearch.__main__ import main\n"
        f"try:\n    main({command.split()!r})\n"
        "except SystemExit as stop:\n    assert not stop.code\n"
        f"print([m for m in {HEAVY!r} if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stderr.strip() == "[]"


@pytest.mark.parametrize(
    ("changes", "code", "expected"),
    [
        ({"sede": 1}, 3, "sede: unknown key. Did you mean `seed`?"),
        ({"schema_version": 2}, 3, "schema_version: expected 1"),
        ({"training": {"epochs": 0}}, 3, "training.epochs: input should be greater than"),
        ({"task": "digitz"}, 6, "unknown task `digitz`. Did you mean `digits`?"),
        ({"architectures": ["lsmt"]}, 6, "unknown architecture `lsmt`. Did you mean `lstm`?"),
        ({"task": {"name": "digits", "options": {"x": 1}}}, 3, "task.options.x: unknown option"),
        (
            {"architectures": [{"name": "sm_rnn", "options": {"clmp": "hard"}}]},
            3,
            "Did you mean `clamp`?",
        ),
        ({"budget": {"parameters": 30}}, 5, "architectures[0]: architecture `lstm` cannot meet 30"),
        (
            {"architectures": ["ff_nn"], "task": "temporal_mnist"},
            3,
            "architecture `ff_nn` cannot take task `temporal_mnist`",
        ),
        ({"resources": {"cpus_per_trial": 10_000}}, 1, "no node can hold a trial of 10000 CPUs"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else None,
)
def test_bad_input_gives_one_message_a_code_and_leaves_nothing(
    changes: dict[str, object], code: int, expected: str, tmp_path: Path
) -> None:
    path = write_study(tmp_path, **changes)
    home = tmp_path / "home"
    done = run_here("study", "start", path, "-q", RNNSEARCH_HOME=str(home))
    assert done.returncode == code, done.stderr
    assert expected in done.stderr
    assert done.stdout == ""
    _assert_one_line_and_nothing_left(done, home)


def _assert_one_line_and_nothing_left(done: subprocess.CompletedProcess[str], home: Path) -> None:
    assert "Traceback" not in done.stderr
    assert len([line for line in done.stderr.splitlines() if line]) == 1
    assert not (home / "studies" / "small").exists()


def test_a_tracking_server_that_does_not_answer_is_named_without_its_password(
    tmp_path: Path,
) -> None:
    home, uri = tmp_path / "home", "http://me:hunter2@127.0.0.1:9"
    done = run(
        "study", "start", write_study(tmp_path), "-q",
        RNNSEARCH_HOME=str(home), MLFLOW_TRACKING_URI=uri,
    )  # fmt: skip
    assert done.returncode == 8
    assert "http://me:***@127.0.0.1:9 does not answer" in done.stderr
    assert "hunter2" not in done.stderr + done.stdout
    _assert_one_line_and_nothing_left(done, home)


def test_an_address_without_a_ray_cluster_is_refused_at_once(tmp_path: Path) -> None:
    home = tmp_path / "home"
    done = run(
        "study", "start", write_study(tmp_path), "-q",
        RNNSEARCH_HOME=str(home), RAY_ADDRESS="127.0.0.1:9",
    )  # fmt: skip
    assert done.returncode == 1
    assert "no Ray cluster answers at RAY_ADDRESS=127.0.0.1:9" in done.stderr
    assert not (home / "studies" / "small").exists()


def test_an_error_in_the_study_file_points_at_its_line(tmp_path: Path) -> None:
    path = write_study(tmp_path, architectures=["lstm", {"name": "elman", "hiden_size": 3}])
    line = 1 + path.read_text().splitlines().index("  hiden_size: 3")
    done = run_here("study", "plan", path)
    assert done.stderr.startswith(
        f"error: {path}:{line}: architectures[1].hiden_size: unknown key."
    )


def test_a_home_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    home = tmp_path / "file" / "home"
    done = run("study", "start", write_study(tmp_path), "-q", RNNSEARCH_HOME=str(home))
    assert done.returncode in (8, 9), done.stderr
    assert str(home) in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("verb", ["show", "compare"])
def test_a_study_that_does_not_exist_is_named_with_what_there_is(
    verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = _exit(capsys, "study", verb, "nothing")
    assert (code, out) == (9, "")
    assert "no study named `nothing`" in err


def test_an_unknown_option_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = _exit(capsys, "study", "start", "--fast", "x.yaml")
    assert code == 2
    assert "--fast" in err


def test_size_prints_what_the_budget_solves(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = "architecture size mcrm --input-size 1 --output-size 10 --parameters 152000 --json"
    code, out, err = _exit(capsys, *arguments.split())
    size = json.loads(out)
    p = size["hidden_size"]
    assert (code, err, size["architecture"]) == (0, "", "mcrm")
    assert size["parameters"] == 13 * p * p + 4 * p + 10 * p + (p + 1) * 10
    assert size["residual"] == pytest.approx(size["parameters"] / 152000 - 1)
    assert abs(size["residual"]) <= 0.02


def test_size_states_both_counts(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = "architecture size lstm --input-size 1 --output-size 10 --parameters 151690 --json"
    _, out, _ = _exit(capsys, *arguments.split())
    size = json.loads(out)
    assert (size["hidden_size"], size["trainable"]) == (192, 151690)
    assert size["one_bias"] == 151690 - 4 * 192


@pytest.mark.parametrize("noun", ["architecture", "task", "plugin", "data", "study"])
def test_every_list_is_also_json(noun: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = _exit(capsys, noun, "list", "--json")
    assert code == 0
    assert isinstance(json.loads(out), list)
    assert _exit(capsys, noun, "list")[0] == 0


@pytest.mark.parametrize(
    "name", ["sm_rnn", "snn", "ff_nn", "mike_rnn", "prelu_rnn", "mcrm", "nlstm", "lstm", "elman"]
)
def test_show_prints_an_architectures_source(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = _exit(capsys, "architecture", "show", name, "--quick")
    assert code == 0
    assert "Source:" in out


@pytest.mark.parametrize("name", ["digits", "spatial_mnist", "temporal_mnist"])
def test_show_prints_a_tasks_metric(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = _exit(capsys, "task", "show", name)
    assert code == 0
    assert "accuracy (maximize)" in out


def test_plan_shows_widths_residuals_data_and_time(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_study(tmp_path)
    code, out, _ = _exit(capsys, "study", "plan", path, "--json")
    plan = json.loads(out)
    assert code == 0
    assert plan["data"]["dataset"] == "digits"
    assert plan["search_trials"] == 6
    assert plan["confirmation_runs"] == 4
    assert plan["estimated_seconds"] > 0
    tolerance = plan["budget"]["tolerance"]
    assert [a["label"] for a in plan["architectures"]] == study_content()["architectures"]
    assert all(abs(a["largest_residual"]) <= tolerance for a in plan["architectures"])
    code, out, _ = _exit(capsys, "study", "plan", path)
    assert code == 0
    assert "sha256" in out


def test_plan_trains_nothing_and_leaves_nothing(tmp_path: Path) -> None:
    home = tmp_path / "home"
    assert run("study", "plan", write_study(tmp_path), RNNSEARCH_HOME=str(home)).returncode == 0
    assert not home.exists()


def test_a_corrupt_data_file_is_named_and_nothing_takes_its_place(tmp_path: Path) -> None:
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for part in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"):
        (raw / f"{part}-ubyte.gz").write_bytes(b"not digits")
    path = write_study(tmp_path, task="spatial_mnist", budget={"parameters": 3200})
    done = run("study", "plan", path, RNNSEARCH_DATA_DIR=str(tmp_path))
    assert done.returncode == 7
    assert str(raw / "train-images-idx3-ubyte.gz") in done.stderr
    assert "sha256" in done.stderr
    verified = run("data", "verify", "MNIST", RNNSEARCH_DATA_DIR=str(tmp_path))
    assert verified.returncode == 7
    assert "corrupt" in verified.stdout


def test_the_published_schema_is_the_one_that_is_checked(
    capsys: pytest.CaptureFixture[str],
) -> None:
    _, out, _ = _exit(capsys, "study", "schema")
    assert out == (REPOSITORY / "studies" / "study.schema.json").read_text(encoding="utf-8")


def test_start_with_resume_goes_on_with_the_study_that_the_same_file_began_and_with_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resumed: list[str] = []

    def resume(name: str, *arguments: object, **more: object) -> None:
        resumed.append(name)
        raise StoreError("as far as this test goes")

    monkeypatch.setattr("rnnsearch.study.run.resume_study", resume)
    file = write_study(tmp_path)
    StudyStore.create("small", file.read_text())
    assert run_here("study", "start", file, "--resume").returncode == 9
    assert resumed == ["small"]
    assert "exists already" in run_here("study", "start", file).stderr
    file.write_text(file.read_text() + "# another\n")
    refused = run_here("study", "start", file, "--resume")
    assert refused.returncode == 9
    assert "was started from another file" in refused.stderr
    assert resumed == ["small"]
