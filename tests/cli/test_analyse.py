"""Confirmed models are loaded from a study's folder and analysed; the models are untrained."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from mlflow.tracking import MlflowClient

from rnnsearch.budget.complexity import measure_complexity
from rnnsearch.budget.model import build_model
from rnnsearch.cli.analyse import analyse
from rnnsearch.errors import DataError, PluginError, RnnsearchError, StoreError
from rnnsearch.plugin.analysis import Analysis, Finding, TrainedModel
from rnnsearch.plugin.registry import Registry, load_registry
from rnnsearch.records.open_trial import OpenTrial
from rnnsearch.records.store import StudyStore
from rnnsearch.report.findings import write_findings
from rnnsearch.spec.model import ModelSpec
from rnnsearch.spec.trial import TrainingConfig, TrialSpec
from rnnsearch.study.trained import load_trained, weights_path

from ..command import study_content

TASK = load_registry().task("digits")()


def _spec(label: str, seed: int, rank: int = 0) -> TrialSpec:
    model = ModelSpec(label, TASK.shape, 6 + rank, options={})
    training = TrainingConfig(1, 32, 0.01)
    return TrialSpec(
        "confirmation", model, training, seed, "digits", {}, 0, 0.0, label=label, rank=rank
    )


def _confirm(store: StudyStore, spec: TrialSpec, *, fail: bool = False) -> None:
    """Record a confirmation as a study does, with weights from the seed."""
    study = store.optuna_study("confirmation", spec.label, "maximize")
    trial = OpenTrial(study, study.ask())
    architecture = load_registry().architecture(spec.model.architecture)
    complexity = measure_complexity(architecture, spec.model)
    trial.note(spec=spec.to_json(), complexity=complexity.__dict__, test_metric=0.5)
    if fail:
        trial.fail("it diverged")
        return
    trial.complete(0.5)
    path = store.folder / "weights" / f"confirmation-{spec.label}-{trial.number}.pt"
    path.parent.mkdir(exist_ok=True)
    torch.save({"model": _weights(spec)}, path)


def _weights(spec: TrialSpec) -> dict[str, torch.Tensor]:
    torch.manual_seed(spec.seed)
    architecture = load_registry().architecture(spec.model.architecture)
    return build_model(architecture, spec.model).state_dict()


@pytest.fixture
def store(own_home: Path) -> StudyStore:
    """A finished study: two seeds of two configurations of `lstm`, with a failed first seed of the
    first, and one seed of `elman`."""
    import yaml

    made = StudyStore.create("small", yaml.safe_dump(study_content()))
    made.write_info(state="finished", data=asdict(TASK.find()))
    _confirm(made, _spec("lstm", 11, rank=0), fail=True)
    _confirm(made, _spec("lstm", 11, rank=1))
    _confirm(made, _spec("lstm", 12, rank=0))
    _confirm(made, _spec("lstm", 13, rank=0))
    _confirm(made, _spec("elman", 11))
    return made


def _analyse(*arguments: str) -> Result:
    result = CliRunner().invoke(analyse, arguments)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_of_a_row_it_is_the_first_complete_seed_of_the_search_s_best_configuration(
    store: StudyStore,
) -> None:
    found = {trained.label: trained for trained in load_trained(store)}
    assert set(found) == {"lstm", "elman"}
    assert (found["lstm"].spec.rank, found["lstm"].spec.seed) == (0, 12)
    for name, value in _weights(found["lstm"].spec).items():
        assert torch.equal(found["lstm"].model.state_dict()[name], value)
    assert not found["lstm"].model.training


def test_samples_are_the_first_of_the_validation_split_and_the_test_split_is_not_loaded(
    store: StudyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[str] = []
    original = type(TASK).load
    monkeypatch.setattr(
        type(TASK),
        "load",
        lambda task, source, split: loaded.append(split) or original(task, source, split),
    )
    (trained,) = load_trained(store, ["elman"], samples=5)
    assert loaded == ["validation"]
    validation = original(TASK, TASK.find(), "validation")
    np.testing.assert_array_equal(trained.examples.inputs, validation.inputs[:5])
    np.testing.assert_array_equal(trained.examples.targets, validation.targets[:5])


def test_a_study_without_confirmed_models_says_so_and_what_to_do(own_home: Path) -> None:
    empty = StudyStore.create("empty", "name: empty\n")
    with pytest.raises(StoreError, match=r"no confirmed model: it never started.*study show empty"):
        list(load_trained(empty))
    _confirm(empty, _spec("lstm", 1), fail=True)
    empty.write_info(state="failed")
    with pytest.raises(StoreError, match="no confirmed model: it is failed"):
        list(load_trained(empty))


def test_an_unknown_row_is_answered_with_the_nearest(store: StudyStore) -> None:
    with pytest.raises(StoreError, match=r"no row `lstn`\. Did you mean `lstm`\?.*Confirmed: "):
        list(load_trained(store, ["lstn"]))


def test_a_row_whose_seeds_all_failed_is_no_unknown_row(store: StudyStore) -> None:
    _confirm(store, _spec("gru", 11), fail=True)
    with pytest.raises(StoreError, match=r"row `gru` of study `small` has no confirmed model\."):
        list(load_trained(store, ["gru"]))


def test_missing_weights_are_named(store: StudyStore) -> None:
    (record,) = (r for r in store.records() if r.label == "elman")
    path = weights_path(store, record)
    path.unlink()
    with pytest.raises(StoreError, match=f"elman/0 of study `small` are not in {path}"):
        list(load_trained(store, ["elman"]))


def test_weights_of_another_model_are_refused_with_the_plugin_s_version(store: StudyStore) -> None:
    (record,) = (r for r in store.records() if r.label == "elman")
    torch.save({"model": {"other": torch.zeros(1)}}, weights_path(store, record))
    with pytest.raises(StoreError, match=r"do not load into `elman` as plugin `rnnsearch"):
        list(load_trained(store, ["elman"]))


def test_other_data_than_the_study_had_is_refused(store: StudyStore) -> None:
    store.write_info(data={**asdict(TASK.find()), "sha256": "0" * 64})
    with pytest.raises(DataError, match=f"sha256 {'0' * 64}, but what is found now is digits"):
        list(load_trained(store))


def test_the_command_writes_figures_and_findings_and_prints_the_numbers(store: StudyStore) -> None:
    result = _analyse("small", "--analysis", "memory_heat_map", "--row", "lstm", "--samples", "3")
    assert "lstm: configuration 1 of the search, seed 12, on 3 validation samples" in result.output
    folder = store.folder / "analyses" / "lstm" / "memory_heat_map"
    assert {path.name for path in folder.iterdir()} == {"memory.png", "memory.svg", "findings.json"}
    (finding,) = json.loads((folder / "findings.json").read_text())
    assert (finding["name"], finding["figure"]) == ("memory", "memory.svg")
    assert finding["numbers"]["units"] == 6
    assert "lstm" in finding["caption"]
    assert (folder / "memory.png").read_bytes().startswith(b"\x89PNG")
    line = next(line for line in result.output.splitlines() if " units " in line)
    assert line.split() == ["memory_heat_map", "memory", "units", "6"]
    model = json.loads((folder.parent / "model.json").read_text())
    assert (model["seed"], model["rank"], model["samples"]) == (12, 0, 3)


def test_what_does_not_apply_is_left_out_with_its_reason(store: StudyStore) -> None:
    result = _analyse("small", "--analysis", "gate_saturation", "--samples", "2")
    assert "left out  gate_saturation of elman: it has no gates" in result.output
    assert not (store.folder / "analyses" / "elman" / "gate_saturation").exists()
    assert (store.folder / "analyses" / "lstm" / "gate_saturation").exists()


def test_an_unknown_analysis_is_answered_with_the_nearest(store: StudyStore) -> None:
    with pytest.raises(PluginError, match=r"unknown analysis `gradient_flw`\. Did you mean"):
        _analyse("small", "--analysis", "gradient_flw")
    assert not (store.folder / "analyses").exists()


class _Broken(Analysis):
    def analyse(self, trained: TrainedModel) -> list[Finding]:
        raise ZeroDivisionError(trained.label)


def test_an_analysis_that_breaks_does_not_cost_the_others_their_results(
    store: StudyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = Registry.analysis
    monkeypatch.setattr(
        Registry,
        "analysis",
        lambda registry, name: _Broken if name == "broken" else find(registry, name),
    )
    arguments = ("small", "--analysis", "broken", "--analysis", "memory_heat_map", "--samples", "1")
    with pytest.raises(RnnsearchError, match=r"broken of lstm \(ZeroDivisionError: lstm\)"):
        _analyse(*arguments)
    for label in ("lstm", "elman"):
        assert (store.folder / "analyses" / label / "memory_heat_map" / "findings.json").exists()


def test_findings_replace_those_of_before_and_no_number_is_lost_to_json(tmp_path: Path) -> None:
    folder = tmp_path / "some"
    write_findings(folder, [Finding("old", "Old.", None, {"n": 1})])
    write_findings(folder, [Finding("new", "New.", None, {"n": np.inf, "m": np.float32(0.5)})])  # type: ignore[dict-item]
    assert json.loads((folder / "findings.json").read_text()) == [
        {"name": "new", "caption": "New.", "figure": None, "numbers": {"n": None, "m": 0.5}}
    ]


def test_without_mlflow_it_warns_and_goes_on(store: StudyStore) -> None:
    result = _analyse("small", "--analysis", "time_constants", "--samples", "2")
    assert "WARNING   not logged: the study has no run in MLflow" in result.stderr
    assert result.exit_code == 0


def test_findings_are_logged_to_the_study_s_run(store: StudyStore, own_home: Path) -> None:
    client = MlflowClient(f"sqlite:///{own_home / 'mlflow.db'}")
    place = (own_home / "mlartifacts").as_uri()
    run_id = client.create_run(client.create_experiment("small", place)).info.run_id
    store.write_info(run_id=run_id)
    result = _analyse("small", "--analysis", "time_constants", "--samples", "2")
    assert "WARNING" not in result.stderr
    logged = {f.path for f in client.list_artifacts(run_id, "analyses/elman/time_constants")}
    assert "analyses/elman/time_constants/findings.json" in logged

    store.write_info(run_id="0" * 32)
    result = _analyse("small", "--analysis", "time_constants", "--samples", "2")
    assert "WARNING   not logged: the MLflow tracking store" in result.stderr
