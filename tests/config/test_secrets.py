"""Secrets are hidden in any form of an address and under any name in the environment."""

from __future__ import annotations

import json
import logging
import sys
import traceback
from pathlib import Path

import pytest

from rnnsearch.__main__ import main
from rnnsearch.config.secrets import has_password, hide, hide_all, hide_password, same_address
from rnnsearch.errors import StudyFileError, TrackingError
from rnnsearch.records.event_log import EventLog
from rnnsearch.records.mlflow_store import resolve_uri
from rnnsearch.records.store import StudyStore
from rnnsearch.records.tracking import Tracker
from rnnsearch.study.run import load_study

from ..command import run_here, write_study
from ..trial_records import searched

WITH_SECRETS = [
    "http://ann:geheim@h:5000",
    "HTTPS://ann:geheim@h",
    "http://:geheim@h",
    "http://ann:ge/geheim@h",
    "http://ann:ge#geheim@h",
    "http://ann:ge?geheim@h",
    "http://ann:ge@geheim@h",
    "http://ann:ge:geheim@h",
    "http://ann:ge%2Fgeheim@h",
    "http://ann:100%geheim@[::1]:5000/x",
    "http://geheim@h:5000/x",
    "https://geheim:x-oauth-basic@h/x",
    "https://geheim:@h/x",
    "https://ann:glpat-geheimgeheimgeheim@h/x",
    "postgresql://ann:ge/geheim@h/db",
    "postgresql+psycopg2://ann:ge?geheim@/db?host=/run",
    "postgresql://h/db?user=ann&password=geheim",
    "postgresql://h/db?user=ann&password=ge@geheim",
    "postgresql://h/db?password=ge&geheim",
    "postgresql://h/db?pass%77ord=geheim",
    "postgresql://h/db?sslmode=require&sslpassword=geheim",
    "mysql+pymysql://ann:ge:geheim@h/db?charset=utf8",
    "mssql+pyodbc:///?odbc_connect=DRIVER%3DX%3BUID%3Dann%3BPWD%3Dgeheim",
    "mssql+pyodbc:///?odbc_connect=DRIVER={X};UID=ann;PWD={a;geheim}",
    "http://h:5000/?token=geheim",
    "http://h:5000/?a=1;api_key=geheim",
    "http://h:5000/#access_token=geheim",
    "s3://bucket/x?X-Amz-Signature=geheim",
]
WITHOUT = [
    "http://127.0.0.1:5000",
    "http://h/x?a=1&author=b#part",
    "http://[::1]:5000",
    "sqlite:////home/ann@h/mlflow.db",
    "postgresql+psycopg2://mlflow@postgres/mlflow",
    "ssh://git@h/x",
    "file:///a%20b",
    "databricks",
    "",
]


@pytest.mark.parametrize("uri", WITH_SECRETS)
def test_no_spelling_of_an_address_shows_its_secret(uri: str) -> None:
    shown = hide_password(uri)
    assert "geheim" not in shown
    assert "***" in shown
    assert has_password(uri)
    assert not has_password(shown)
    for text in (f"({uri}) does not answer", json.dumps({"uri": uri}), f"uri: {uri}\nx: 1"):
        assert "geheim" not in hide(text)


@pytest.mark.parametrize("uri", WITHOUT)
def test_an_address_without_a_secret_is_shown_as_it_is(uri: str) -> None:
    assert hide_password(uri) == uri
    assert not has_password(uri)


def test_host_user_and_harmless_parameters_stay_readable() -> None:
    shown = hide_password("postgresql://ann:geheim@db.example:5432/runs?sslmode=require")
    assert shown == "postgresql://ann:***@db.example:5432/runs?sslmode=require"


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("http://ann:geheim@h:5000", "http://ann:***@h:5000/", True),
        ("http://h:5000", "http://h:5001", False),
        ("postgresql://a:b@h/x?password=c", "postgresql://h/x?password=d", True),
        ("http://ann:ge/heim@h", "http://ann:ge/heim@h", True),
    ],
)
def test_addresses_are_compared_by_what_is_no_secret(one: str, other: str, same: bool) -> None:
    assert same_address(one, other) is same


@pytest.mark.parametrize(
    "name",
    [
        *("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN", "AWS_SECRET_ACCESS_KEY"),
        *("AWS_ACCESS_KEY_ID", "AWS_SESSION_TOKEN", "PGPASSWORD", "MYSQL_PWD", "HF_TOKEN"),
        *("RAY_AUTH_TOKEN", "GITHUB_PAT", "openai_api_key"),
    ],
)
def test_what_the_environment_calls_a_secret_is_hidden_in_every_writing(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "ge+heim/42")
    for written in ("ge+heim/42", "ge%2Bheim%2F42", "'ge+heim/42'", "x=ge+heim/42,"):
        assert "heim" not in hide(f"refused {written} there")


def test_words_that_only_look_like_a_secret_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PWD", "/home/ann")
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("SOME_PASSWORD", "1234")
    for text in (
        "/home/ann, token, 1234 trials",
        "token = next(stream)",
        "unknown token: 'q'",
        "key search/lstm/0 of study a",
        "def login(password: str) -> None:",
    ):
        assert hide(text) == text


@pytest.mark.parametrize(
    "line",
    [
        "+DB_PASSWORD=geheim",
        "-  password: ge heim geheim",
        "+    api_key = 'geheim'",
        '+  "client_secret": "geheim",',
        "+origin https://ann:geheim@github.com/a/b.git",
        "Authorization: Bearer geheim.geheim",
        "+x = 'ghp_geheim0123456789geheim'",
        "+-----BEGIN RSA PRIVATE KEY-----\n+geheim\n+-----END RSA PRIVATE KEY-----",
    ],
)
def test_a_diff_or_a_traceback_loses_what_is_assigned_to_a_secrets_name(line: str) -> None:
    assert "geheim" not in hide(f"@@ -1 +1 @@\n{line}\n unchanged")
    assert hide(f"{line}\n unchanged").endswith("\n unchanged")


def test_plain_values_keep_their_shape_and_their_numbers() -> None:
    told = hide_all({"a": [1, 2.5, None, "http://u:geheim@h"], "b": {"c": ("x", True)}})
    assert told == {"a": [1, 2.5, None, "http://u:***@h"], "b": {"c": ["x", True]}}


# Where they could be shown


@pytest.mark.parametrize("uri", [uri for uri in WITH_SECRETS if not uri.startswith("s3")])
def test_a_new_study_file_with_a_secret_is_refused_with_what_to_do(
    uri: str, tmp_path: Path
) -> None:
    path = write_study(tmp_path, tracking={"uri": uri})
    with pytest.raises(StudyFileError, match="MLFLOW_TRACKING_PASSWORD") as refused:
        load_study(path)
    assert refused.value.key == "tracking.uri"
    assert "geheim" not in str(refused.value)


def test_a_study_that_was_started_with_one_still_opens(tmp_path: Path) -> None:
    text = write_study(tmp_path, tracking={"uri": WITH_SECRETS[0]}).read_text("utf-8")
    config = StudyStore.create("small", text).config
    assert config.tracking.uri == WITH_SECRETS[0]


@pytest.mark.parametrize("tracking", [{"url": WITH_SECRETS[0]}, WITH_SECRETS[0], {"uri": [1, 2]}])
def test_an_error_in_a_study_file_does_not_quote_a_password(
    tracking: object, tmp_path: Path
) -> None:
    done = run_here("study", "plan", write_study(tmp_path, tracking=tracking))
    assert done.returncode == 3
    assert "tracking" in done.stderr
    assert "geheim" not in done.stderr


@pytest.mark.parametrize("uri", ["http://ann:12/geheim@h", "http://ann:12#geheim@h"])
def test_a_server_whose_password_libraries_would_cut_is_refused_with_how_to_write_it(
    uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(TrackingError, match="%2F") as refused:
        resolve_uri(None)
    assert "geheim" not in str(refused.value)


@pytest.mark.parametrize("flags", [(), ("--debug",)])
def test_no_message_and_no_traceback_shows_a_password(
    flags: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    uri = "postgresql+nothing://ann:ge/geheim@127.0.0.1:9/db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)

    def connect(study: object, listeners: object) -> None:
        try:
            raise ValueError(f"could not parse {uri!r} or 'geheim'")
        finally:
            Tracker(resolve_uri(None), "small").connect()

    monkeypatch.setattr("rnnsearch.study.run.Study.run", connect)
    with pytest.raises(SystemExit) as stop:
        main([*flags, "study", "start", str(write_study(tmp_path)), "-q"])
    told = capsys.readouterr().err
    assert stop.value.code == 8
    assert "postgresql+nothing://ann:***@127.0.0.1:9/db does not answer" in told
    assert ("Traceback" in told) is bool(flags)
    assert "geheim" not in told


def test_who_catches_the_error_of_a_store_is_not_shown_the_password_by_its_cause(
    caplog: pytest.LogCaptureFixture,
) -> None:
    uri = next(uri for uri in WITH_SECRETS if uri.startswith("postgresql:"))
    tracker = Tracker(uri.replace("postgresql:", "postgresql+nothing:"), "small")
    with caplog.at_level(logging.DEBUG), pytest.raises(TrackingError) as caught:
        tracker.connect()
    assert "geheim" not in "".join(traceback.format_exception(caught.value))
    assert "geheim" not in caplog.text


def test_the_log_and_the_notes_of_a_study_hold_no_password(tmp_path: Path) -> None:
    store = StudyStore.create("small", "name: small\n")
    (trial,) = searched("gru", 1)
    assert trial.spec is not None
    EventLog(store.folder).trial_finished(
        "search/gru/0", trial.spec, "FAIL", f"ConnectionError: {WITH_SECRETS[0]}", None
    )
    git = {"diff": f"+remote = {WITH_SECRETS[3]}"}
    store.write_info(git=git, data=None)
    for name in ("log.jsonl", "study.json"):
        text = (store.folder / name).read_text(encoding="utf-8")
        assert "***" in text
        assert "geheim" not in text


def test_what_a_worker_reports_of_an_error_holds_no_password(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from rnnsearch.training.worker import Worker

    (trial,) = searched("gru", 1)
    assert trial.spec is not None
    worker = Worker.__new__(Worker)
    worker._members, worker._waiting, worker._run = [], {"search/gru/0": trial.spec}, None

    def fail(*_: object) -> None:
        raise RuntimeError(f"cannot read {WITH_SECRETS[0]}")

    monkeypatch.setattr(worker, "_epoch_alone", fail)
    (news,) = worker._epoch()
    assert news.error == "RuntimeError: cannot read http://ann:***@h:5000"
    assert "geheim" not in news.traceback


# Files


@pytest.mark.skipif(sys.platform == "win32", reason="it has no modes")
def test_files_of_a_study_are_their_owners_alone_whatever_the_umask(tmp_path: Path) -> None:
    import os

    before = os.umask(0)
    try:
        store = StudyStore.create("small", "name: small\n")
        store.write_info(name="small")
        EventLog(store.folder).phase("search", 1)
        list(store.records())
        store.optuna_study("search", "gru", "maximize")
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in store.folder.iterdir()}
    assert modes == dict.fromkeys(("study.yaml", "study.json", "trials.db", "log.jsonl"), 0o600)
    assert store.folder.stat().st_mode & 0o777 == 0o700
