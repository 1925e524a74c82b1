"""`study.json` has one type: unknown content is refused with its key; old files can be opened."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from rnnsearch.config.check import check_config
from rnnsearch.config.study_file import parse_study
from rnnsearch.errors import DataError, StoreError
from rnnsearch.records.study_info import EngineUsed, Extension, PhaseSpent, StudyInfo
from rnnsearch.spec.shape import DataSource

from ..command import study_content

# As written by version 0.1.0, before there was a type.
OLD = {
    "extended": {"seeds": 3},
    "name": "old",
    "state": "finished",
    "started": "2026-11-21T12:00:00+0000",
    "data": {
        "dataset": "digits",
        "origin": "scikit-learn 1.8.0",
        "location": "digits.csv.gz",
        "sha256": "ab" * 32,
        "sizes": {"train": 1078, "validation": 359, "test": 360},
        "caveat": "",
    },
    "environment": {"python": "3.11.7", "plugin classic": "rnnsearch 0.1.0"},
    "engines": {
        "elman": {
            "engine": "vmapped",
            "name": "vmapped",
            "step_ms": 0.5,
            "reason": "",
            "speedup": None,
            "error": 1e-9,
            "failed": False,
        }
    },
    "git": {},
    "tracking_uri": "sqlite:////home/me/.rnnsearch/mlflow.db",
    "experiment_id": "1",
    "run_id": "c" * 32,
    "pid": 17,
    "host": "laptop",
    "job": None,
    "phases": {"search": {"seconds": 3.25, "workers": 1}},
    "seconds": 7.5,
    "resumed": ["2026-11-21T13:00:00+0000"],
}


def test_one_that_an_old_study_wrote_is_read_whole() -> None:
    info = StudyInfo.parse(json.dumps(OLD), "study.json")
    assert info.content() == {key: value for key, value in OLD.items() if value is not None} | {
        "engines": {"elman": {k: v for k, v in OLD["engines"]["elman"].items() if v is not None}}  # type: ignore[index]
    }
    assert info.data == DataSource(**OLD["data"])  # type: ignore[arg-type]
    assert info.phases == {"search": PhaseSpent(seconds=3.25, workers=1)}
    assert (info.seconds_of("search"), info.seconds_of("confirmation")) == (3.25, 0.0)
    assert info.extended == Extension(seeds=3)
    assert info.engines["elman"].engine == "vmapped"


def test_what_is_written_is_read_back_and_none_takes_a_field_away() -> None:
    source = DataSource("d", "o", "l", "s", {"train": 3})
    engine = EngineUsed(engine="torch", name="torch", step_ms=float("nan"))
    info = StudyInfo().with_fields(data=source, engines={"gru": engine}, pid=3, state="running")
    again = StudyInfo.parse(info.to_json(), "study.json")
    assert again.content().keys() == {"data", "engines", "pid", "state"}
    assert again.data == source
    assert info.with_fields(pid=None).pid is None
    assert StudyInfo().to_json() == "{}\n"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "it is not JSON"),
        ('{"state": "finished"', "it is not JSON"),
        ("null", "expected an object, found None"),
        ('{"state": "done"}', "`state`: expected 'running'"),
        ('{"stat": "finished"}', "`stat` is no key of it"),
        ('{"seconds": "7"}', "`seconds`: expected a valid number, found '7'"),
        ('{"seconds": -1}', "`seconds`: expected greater than or equal to 0, found -1"),
        ('{"seconds": NaN}', "`seconds`: expected a finite number, found nan"),
        ('{"phases": {"search": {"seconds": 1}}}', "`phases.search.workers` is missing"),
        ('{"phases": {"warmup": {}}}', "expected 'search' or 'confirmation', found 'warmup'"),
        ('{"phases": {"search": []}}', "`phases.search`: expected an object, found []"),
        ('{"engines": {"gru": {"engine": "warp"}}}', "`engines.gru.engine`: expected 'program'"),
        ('{"extended": {"trials": "9"}}', "`extended.trials`: expected a valid integer"),
        ('{"extended": {"trails": 9}}', "`extended.trails` is no key of it"),
        ('{"pid": true}', "`pid`: expected a valid integer, found True"),
        ('{"git": {"diff": 1}}', "`git.diff`: expected a valid string, found 1"),
        ('{"imported": {"file": "a"}}', "`imported.name` is missing"),
        ('{"data": {"sizes": {"train": -1}}}', "`data.dataset` is missing"),
    ],
)
def test_what_no_study_writes_is_refused_with_the_file_and_the_key(text: str, problem: str) -> None:
    with pytest.raises(StoreError) as caught:
        StudyInfo.parse(text, "/home/studies/a/study.json")
    assert str(caught.value).startswith("/home/studies/a/study.json: ")
    assert problem in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("sizes", [{"train": -1}, {"train": 10**30}, {"train": "3"}, [3], 3])
def test_sizes_that_no_split_has_are_refused(sizes: Any) -> None:
    data = {**OLD["data"], "sizes": sizes}  # type: ignore[dict-item]
    with pytest.raises(StoreError, match="`data"):
        StudyInfo.parse(json.dumps({"data": data}), "study.json")


def test_what_is_wrong_is_shown_short_and_without_control_characters() -> None:
    with pytest.raises(StoreError) as caught:
        StudyInfo.parse(json.dumps({"state": "\u202e\x1b[31m" + "x" * 5000}), "study.json")
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 300


def test_other_data_than_a_study_had_is_refused() -> None:
    source = DataSource("digits", "cache", "here", "a", {"train": 3})
    StudyInfo(data=source).require_data("s", source)
    with pytest.raises(DataError, match="`s` had no data yet, but what is found now is digits"):
        StudyInfo().require_data("s", source)


@pytest.mark.parametrize(
    ("extended", "seeds", "at_most"),
    [
        (Extension(seeds=20), 20, 20),
        (Extension(until="decided"), 3, 200),
        # Extended by seeds first and until decided afterwards: more than those seeds may follow.
        (Extension(seeds=20, until="decided"), 20, 200),
        (Extension(until="decided", most_seeds=50), 3, 50),
    ],
)
def test_what_a_study_was_extended_to_is_read_as_if_its_file_said_so(
    extended: Extension, seeds: int, at_most: int
) -> None:
    text = yaml.safe_dump(study_content(confirmation={"seeds": 3}))
    confirmation = check_config(extended.applied_to(parse_study(text, "my.yaml"))).confirmation
    assert (confirmation.seeds, confirmation.at_most) == (seeds, at_most)
