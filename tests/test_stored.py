"""What version 0.1.0 wrote can still be opened: a study's folder, an archive, a model in MLflow.

`stored/` was written by that version on scikit-learn's digits: two rows, each with 3 epochs,
3 search trials and 2 seeds.
"""

from __future__ import annotations

import json
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest

from rnnsearch import compare_study

from .command import run_here

STORED = Path(__file__).parent / "stored"
MEANS = {"elman": 0.8486110866069794, "lstm": 0.7319444417953491}  # as printed by that version


@pytest.fixture
def old_study(own_home: Path) -> Path:
    """The folder of a study finished by version 0.1.0."""
    with ZipFile(STORED / "study.zip") as packed:
        packed.extractall(own_home / "studies")
    return own_home / "studies" / "digits"


def test_an_old_study_has_the_results_that_it_had(old_study: Path) -> None:
    rows = compare_study("digits").ranked
    assert {row.label: (row.mean, row.n) for row in rows} == {k: (m, 2) for k, m in MEANS.items()}


@pytest.mark.parametrize(
    "command",
    [
        ("study", "show", "digits", "--json"),
        ("study", "status", "digits", "--json"),
        ("study", "list", "--json"),
        ("trial", "list", "digits", "--json"),
        ("trial", "show", "digits", "confirmation/elman/1", "--json"),
        ("study", "report", "digits"),
        ("study", "export", "digits", "again.zip"),
    ],
    ids=lambda command: " ".join(command[:2]),
)
def test_commands_read_an_old_study(
    old_study: Path, command: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = run_here(*command)
    assert done.returncode == 0, done.stderr
    if "--json" in command:
        assert json.loads(done.stdout)


def test_a_confirmed_seed_of_an_old_study_trains_to_the_same_numbers(old_study: Path) -> None:
    done = run_here("study", "verify", "digits", "--row", "elman")
    assert done.returncode == 0, done.stdout + done.stderr


def test_an_old_archive_is_imported_with_the_results_that_it_had() -> None:
    done = run_here("study", "import", str(STORED / "archive.zip"))
    assert done.returncode == 0, done.stderr
    assert {row.label: row.mean for row in compare_study("digits").ranked} == MEANS


# MLflow warns about its own type hints the first time a model is requested.
@pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType")
def test_an_old_model_predicts_what_it_predicted(tmp_path: Path) -> None:
    import mlflow

    with ZipFile(STORED / "model.zip") as packed:
        packed.extractall(tmp_path)
    model = mlflow.pyfunc.load_model(str(tmp_path))
    inputs = np.linspace(0, 1, 2 * 8 * 8, dtype=np.float32).reshape(2, 8, 8)
    predicted = [-2.9604435, 2.7977762, -0.13437891, -0.45263404, 0.38621]
    np.testing.assert_allclose(model.predict(inputs)[0, :5], predicted, rtol=1e-4)


def test_looking_at_a_study_from_elsewhere_makes_no_database_where_its_runs_were(
    old_study: Path, tmp_path: Path
) -> None:
    gone = tmp_path / "elsewhere" / "mlflow.db"
    path = old_study / "study.json"
    info = json.loads(path.read_text())
    path.write_text(json.dumps({**info, "tracking_uri": f"sqlite:///{gone}"}))
    done = run_here("study", "compare", "digits")
    assert done.returncode == 0, done.stderr
    assert "database file does not exist" in done.stderr
    assert not gone.parent.exists()
