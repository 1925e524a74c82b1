"""Exported studies import unchanged; a tampered archive is refused and leaves no files."""

from __future__ import annotations

import hashlib
import json
import os
import random
import socket
import sqlite3
import stat
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from click.testing import CliRunner, Result
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mlflow.tracking import MlflowClient

from rnnsearch.budget.complexity import measure_complexity
from rnnsearch.budget.model import build_model
from rnnsearch.cli import rnnsearch
from rnnsearch.errors import RnnsearchError, StoreError, StudyFileError
from rnnsearch.plugin.registry import load_registry
from rnnsearch.records import archive as archive_module
from rnnsearch.records.archive import MANIFEST, export_study, hide_secrets, import_study
from rnnsearch.records.delete import delete_study
from rnnsearch.records.open_trial import OpenTrial
from rnnsearch.records.store import StudyStore, list_stores, studies_folder
from rnnsearch.spec.model import ModelSpec
from rnnsearch.spec.trial import EpochMetrics, TrainingConfig, TrialSpec
from rnnsearch.study.stored import compare_study
from rnnsearch.study.trained import load_trained

from ..command import study_content
from ..leases import write_lease

TASK = load_registry().task("digits")()
FUZZ = settings(
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
Members = dict[str, bytes]


def _confirm(store: StudyStore, label: str, seed: int, metric: float) -> None:
    """Record a confirmation as a study does, with weights from the seed."""
    spec = TrialSpec(
        "confirmation",
        ModelSpec(label, TASK.shape, 6),
        TrainingConfig(1, 32, 0.01),
        seed,
        "digits",
        {},
        1500,
        0.0,
        label=label,
        metric="accuracy",
    )
    study = store.optuna_study("confirmation", label, "maximize")
    trial = OpenTrial(study, study.ask())
    architecture = load_registry().architecture(label)
    complexity = measure_complexity(architecture, spec.model)
    trial.note(spec=spec.to_json(), complexity=complexity.__dict__, engine="eager")
    trial.report([EpochMetrics(1, 1.0, 0.5, float("nan"), float("nan"), 1.5, 2.0, 4, 0.25)])
    trial.note(test_metric=metric, test_loss=1.0 - metric)
    trial.complete(metric)
    path = store.folder / "weights" / f"confirmation-{label}-{trial.number}.pt"
    path.parent.mkdir(exist_ok=True)
    torch.manual_seed(seed)
    torch.save({"model": build_model(architecture, spec.model).state_dict()}, path)


def _make_study() -> StudyStore:
    content = study_content(tracking={"uri": "postgresql://me:hunter2@db.example/mlflow"})
    store = StudyStore.create("small", yaml.safe_dump(content))
    store.write_info(
        name="small",
        state="finished",
        data=asdict(TASK.find()),
        environment={"torch": "2.13"},
        git={"commit": "c0ffee", "dirty": "true", "diff": "+API_KEY = 'hunter3'"},
        tracking_uri="postgresql://me:***@db.example/mlflow",
        experiment_id="1",
        run_id="f" * 32,
        pid=4321,
        host="laptop",
    )
    for seed, metric in ((11, 0.5), (12, 0.625), (13, 0.5625)):
        _confirm(store, "lstm", seed, metric)
        _confirm(store, "elman", seed, metric - 0.25)
    (store.folder / "comparison.csv").write_text("row,mean\n")
    findings = store.folder / "analyses" / "lstm" / "memory"
    findings.mkdir(parents=True)
    (findings / "findings.json").write_text('[{"name": "m"}]')
    (findings / "m.svg").write_text("<svg/>")
    (store.folder / "report").mkdir()
    (store.folder / "report" / "report.html").write_text("postgresql://me:hunter2@db.example")
    (store.folder / "errors").mkdir()
    (store.folder / "errors" / "search-lstm-0.txt").write_text("ZeroDivisionError")
    return store


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The archive of a study named `small`, exported in a separate home."""
    home = tmp_path_factory.mktemp("origin")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RNNSEARCH_HOME", str(home))
        export_study(_make_study(), home / "small.zip")
    return (home / "small.zip").read_bytes()


@pytest.fixture
def path(exported: bytes, tmp_path: Path) -> Path:
    file = tmp_path / "small.zip"
    file.write_bytes(exported)
    return file


def _members(path: Path) -> Members:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _write(path: Path, members: Members, *, sealed: bool = True) -> None:
    """Write an archive; `sealed` makes the manifest match the members."""
    if sealed:
        manifest = json.loads(members[MANIFEST])
        manifest["members"] = {
            name: {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
            for name, content in members.items()
            if name != MANIFEST
        }
        members = {**members, MANIFEST: json.dumps(manifest).encode()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)


def _tree(folder: Path) -> dict[str, bytes | None]:
    return {
        file.relative_to(folder).as_posix(): file.read_bytes() if file.is_file() else None
        for file in sorted(folder.rglob("*"))
    }


def _refusal(path: Path, own_home: Path, name: str | None = None) -> str:
    """The message when an archive is refused; checks that no files remain."""
    studies_folder().mkdir(parents=True, exist_ok=True)
    before = _tree(own_home.parent)
    with pytest.raises(RnnsearchError) as caught:
        import_study(path, name)
    assert _tree(own_home.parent) == before
    return str(caught.value)


def _invoke(*arguments: str | Path, answer: str | None = None) -> Result:
    result = CliRunner().invoke(rnnsearch, [str(a) for a in arguments], input=answer)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


# Round trip


def test_what_was_exported_comes_back_with_the_same_comparison_trials_and_models(
    tmp_path: Path,
) -> None:
    store = _make_study()
    export_study(store, tmp_path / "a.zip")
    again = import_study(tmp_path / "a.zip", "again")
    assert again.folder == studies_folder() / "again"
    assert replace(compare_study(again), study="small") == compare_study(store)
    assert list(map(repr, again.records())) == list(map(repr, store.records()))
    for before, after in zip(load_trained(store), load_trained(again), strict=True):
        for name, value in before.model.state_dict().items():
            assert torch.equal(after.model.state_dict()[name], value)
    same = {f for f, content in _tree(store.folder).items() if _tree(again.folder)[f] == content}
    assert set(_tree(store.folder)) - same <= {
        "study.yaml",
        "study.json",
        "trials.db",
        "report/report.html",
    }


def test_an_archive_written_to_stdout_is_the_archive_alone(tmp_path: Path) -> None:
    _make_study()
    result = _invoke("study", "export", "small", "-")
    (tmp_path / "out.zip").write_bytes(result.stdout_bytes)
    assert import_study(tmp_path / "out.zip", "again").name == "again"
    assert "written   to stdout" in result.stderr
    assert not Path("-").exists()


def test_an_imported_study_lies_under_its_name_and_can_be_exported_again(
    path: Path, tmp_path: Path
) -> None:
    store = import_study(path)
    assert store.name == "small"
    assert [found.name for found in list_stores()] == ["small"]
    assert [file.name for file in studies_folder().iterdir()] == ["small"]
    export_study(store, tmp_path / "second.zip")
    assert import_study(tmp_path / "second.zip", "again").info.state == "finished"


def test_the_same_study_gives_the_same_archive(tmp_path: Path) -> None:
    store = _make_study()
    for name in ("a", "b"):
        export_study(store, tmp_path / f"{name}.zip")
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


def test_no_password_no_uncommitted_code_and_no_process_is_in_an_archive(path: Path) -> None:
    members = _members(path)
    everything = b"".join(members.values())
    assert b"hunter" not in everything
    assert b"postgresql://me:***@db.example/mlflow" in members["study.yaml"]
    info = json.loads(members["study.json"])
    assert info["git"] == {"commit": "c0ffee", "dirty": "true"}
    assert not info.keys() & {"pid", "host"}
    assert info["data"]["sha256"] == TASK.find().sha256


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("http://u:p@h/x", "http://u:***@h/x"),
        ("uri: http://u:p@q/w@h", "uri: http://u:***@h"),
        ("http://:p@h and http://h:80/x", "http://:***@h and http://h:80/x"),
        ("http://h/?a=1&password=p&b=2", "http://h/?a=1&password=***&b=2"),
        ("http://h/?a=1&amp;Token=p<", "http://h/?a=1&amp;Token=***<"),
        ("ssh://git@h/x", "ssh://git@h/x"),
    ],
)
def test_addresses_lose_their_passwords_and_nothing_else(text: str, hidden: str) -> None:
    assert hide_secrets(text.encode()).decode() == hidden


def test_a_password_that_is_written_so_that_nothing_hides_it_stops_the_export(
    tmp_path: Path,
) -> None:
    text = '\ntracking:\n  uri: "http:\\u002f/u:p@h"\n'
    store = StudyStore.create("odd", yaml.safe_dump(study_content(name="odd")) + text)
    with pytest.raises(StoreError, match=r"password in `tracking\.uri`.*cannot be left out"):
        export_study(store, tmp_path / "odd.zip")
    assert not list(tmp_path.glob("*.zip*")) + list(tmp_path.glob(".*"))


def test_a_study_that_is_being_written_is_exported_as_it_was_at_one_moment(tmp_path: Path) -> None:
    store = _make_study()
    store.write_info(state="running")
    with sqlite3.connect(store.folder / "trials.db", isolation_level=None) as database:
        database.execute("BEGIN IMMEDIATE")
        database.execute("DELETE FROM trials")
        export_study(store, tmp_path / "a.zip")
        database.execute("ROLLBACK")
    database.close()
    again = import_study(tmp_path / "a.zip", "again")
    assert len(list(again.records())) == 6
    assert again.info.state == "interrupted"


def test_an_imported_study_has_no_run_here_but_says_where_it_is_from(path: Path) -> None:
    info = import_study(path, "again").info
    assert not info.content().keys() & {"run_id", "experiment_id", "tracking_uri"}
    assert info.imported is not None
    assert info.imported.run_id == "f" * 32
    assert (info.imported.file, info.imported.name) == ("small.zip", "small")
    assert "again: 1,500 parameters" in _invoke("study", "compare", "again").output


def test_files_that_are_no_part_of_a_study_and_links_are_left_out_and_named(
    tmp_path: Path,
) -> None:
    store = _make_study()
    (store.folder / ".env").write_text("TOKEN=1")
    (store.folder / "notes.txt").write_text("mine")
    (store.folder / "weights" / "other.pt").symlink_to("/etc/passwd")
    output = _invoke("study", "export", "small", tmp_path / "a.zip").output
    for name in (".env", "notes.txt", "weights/other.pt"):
        assert f"left out  {name}\n" in output
        assert name not in _members(tmp_path / "a.zip")


def test_an_archive_does_not_replace_a_file(path: Path, exported: bytes) -> None:
    store = import_study(path)
    with pytest.raises(StoreError, match=r"small\.zip exists already"):
        export_study(store, path)
    assert path.read_bytes() == exported


def test_a_place_that_cannot_be_written_is_said(path: Path, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"cannot write .*No such file"):
        export_study(import_study(path), tmp_path / "nowhere" / "a.zip")


def test_a_study_that_never_started_can_be_passed_on(tmp_path: Path) -> None:
    store = StudyStore.create("new", yaml.safe_dump(study_content(name="new")))
    export_study(store, tmp_path / "new.zip")
    assert list(import_study(tmp_path / "new.zip", "again").records()) == []


# Refusals


def test_a_name_that_is_taken_is_refused_with_the_choices(path: Path, own_home: Path) -> None:
    import_study(path)
    message = _refusal(path, own_home)
    assert "a study named `small` exists already" in message
    assert "`--name`" in message
    assert "`rnnsearch study delete small`" in message


@pytest.mark.parametrize("name", ["../x", "..", "/tmp/x", "a/b", ".hidden", "", "a\\b"])
def test_a_name_cannot_reach_outside_the_store(name: str, path: Path, own_home: Path) -> None:
    assert "cannot name a study" in _refusal(path, own_home, name)
    members = _members(path)
    members[MANIFEST] = json.dumps({**json.loads(members[MANIFEST]), "name": name}).encode()
    _write(path, members)
    assert "cannot name a study" in _refusal(path, own_home)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("../evil.txt", "leads out"),
        ("weights/../../evil.pt", "leads out"),
        ("/tmp/evil.pt", "leads out"),
        ("\\evil.pt", "leads out"),
        ("weights\\..\\..\\evil.pt", "leads out"),
        ("C:/evil.pt", "leads out"),
        ("C:evil.pt", "leads out"),
        ("weights/a\\b.pt", "nothing that an archive"),
        ("weights/./a.pt", "nothing that an archive"),
        ("weights//a.pt", "nothing that an archive"),
        ("weights/", "nothing that an archive"),
        ("weights/a.pt\0.txt", "nothing that an archive"),
        ("weights/a\n.pt", "nothing that an archive"),
        ("weights/a:b.pt", "nothing that an archive"),
        ("weights/a.pkl", "nothing that an archive"),
        ("sitecustomize.py", "nothing that an archive"),
        ("analyses/../x.json", "leads out"),
        ("analyses/a/b/c/d.json", "nothing that an archive"),
        (".bashrc", "nothing that an archive"),
        ("STUDY.YAML", "nothing that an archive"),
        ("weights/\x1b[31m.pt", "nothing that an archive"),
    ],
)
def test_a_member_with_a_bad_name_is_refused(
    name: str, reason: str, path: Path, own_home: Path
) -> None:
    members = _members(path)
    # zipfile would sanitize such names, but an attacker can write them.
    placeholder = "Q" * len(name.encode())
    _write(path, {**members, placeholder: b"evil"})
    path.write_bytes(path.read_bytes().replace(placeholder.encode(), name.encode()))
    message = _refusal(path, own_home)
    assert reason in message
    assert message.isprintable()


@pytest.mark.parametrize(
    "name", ["weights/a\u200f.pt", "weights/\u202etp.a.pt", "report/a\u0085b.html"]
)
def test_a_member_whose_name_reads_otherwise_than_it_is_is_refused(
    name: str, path: Path, own_home: Path
) -> None:
    _write(path, {**_members(path), name: b""})
    assert "has characters that cannot be shown" in _refusal(path, own_home)


def _add(path: Path, entry: zipfile.ZipInfo, content: bytes) -> None:
    members = _members(path)
    manifest = json.loads(members[MANIFEST])
    digest = hashlib.sha256(content).hexdigest()
    manifest["members"][entry.filename] = {"sha256": digest, "size": len(content)}
    with zipfile.ZipFile(path, "w") as archive:
        for name, kept in members.items():
            if name != entry.filename:
                archive.writestr(name, json.dumps(manifest) if name == MANIFEST else kept)
        archive.writestr(entry, content)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (stat.S_IFLNK, "is a symbolic link"),
        (stat.S_IFCHR, "is no regular file"),
        (stat.S_IFBLK, "is no regular file"),
        (stat.S_IFIFO, "is no regular file"),
        (stat.S_IFSOCK, "is no regular file"),
        (stat.S_IFDIR, "is no regular file"),
    ],
)
def test_links_and_devices_are_refused(kind: int, reason: str, path: Path, own_home: Path) -> None:
    entry = zipfile.ZipInfo("weights/confirmation-x-0.pt")
    entry.external_attr = (kind | 0o777) << 16
    _add(path, entry, b"/etc/passwd")
    assert f"`weights/confirmation-x-0.pt` {reason}" in _refusal(path, own_home)


def test_an_archive_that_unpacks_to_too_much_is_refused_with_the_limit(
    path: Path, own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive_module, "MOST_BYTES", 1000)
    message = _refusal(path, own_home)
    assert "more than the limit of 1,000" in message


def test_an_archive_that_is_packed_too_well_is_refused_with_the_limit(
    path: Path, own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive_module, "_ANY_RATIO", 1 << 20)
    entry = zipfile.ZipInfo("weights/zeros.pt")
    entry.compress_type = zipfile.ZIP_DEFLATED
    _write(path, {MANIFEST: _members(path)[MANIFEST], "study.yaml": b"x"})
    _add(path, entry, bytes(4 << 20))
    assert "more than the limit of 100 times" in _refusal(path, own_home)


def test_a_member_that_is_larger_than_it_says_is_not_unpacked_further(
    path: Path, own_home: Path
) -> None:
    members = _members(path)
    size = len(members["report/report.html"])
    members["report/report.html"] += bytes(50_000_000)
    _write(path, members)
    content = path.read_bytes()
    larger = (size + 50_000_000).to_bytes(4, "little")
    assert content.count(larger) == 2
    path.write_bytes(content.replace(larger, size.to_bytes(4, "little")))
    assert "cannot be imported: Bad CRC-32" in _refusal(path, own_home)


def test_a_member_is_unpacked_in_pieces(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    read = zipfile.ZipExtFile.read
    monkeypatch.setattr(
        zipfile.ZipExtFile, "read", lambda self, n=-1: sizes.append(n) or read(self, n)
    )
    import_study(path)
    assert all(0 < size <= 1 << 20 for size in sizes), "one piece may be a gigabyte of zeros"


def test_members_that_share_their_bytes_are_refused(
    path: Path, own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    infolist = zipfile.ZipFile.infolist

    def overlapping(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
        entries = infolist(archive)
        for entry in entries:
            entry.compress_size = path.stat().st_size // 2
        return entries

    monkeypatch.setattr(zipfile.ZipFile, "infolist", overlapping)
    assert "its members overlap" in _refusal(path, own_home)


def test_too_many_members_are_refused(
    path: Path, own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive_module, "MOST_MEMBERS", 3)
    assert "members, more than 3" in _refusal(path, own_home)


def test_a_member_that_is_there_twice_is_refused(path: Path, own_home: Path) -> None:
    with pytest.warns(UserWarning, match="Duplicate name"), zipfile.ZipFile(path, "a") as archive:
        archive.writestr("study.yaml", "name: other")
    assert "`study.yaml` is in it twice" in _refusal(path, own_home)


def test_names_that_differ_in_case_only_are_refused(path: Path, own_home: Path) -> None:
    members = _members(path)
    _write(path, {**members, "weights/Confirmation-LSTM-0.pt": b""})
    assert "is in it twice" in _refusal(path, own_home)


def test_a_member_that_does_not_have_its_checksum_is_refused(path: Path, own_home: Path) -> None:
    members = _members(path)
    weights = "weights/confirmation-lstm-1.pt"
    members[weights] = members[weights][:-1] + b"!"
    _write(path, members, sealed=False)
    message = _refusal(path, own_home)
    assert f"`{weights}` does not have the sha256 that the manifest gives it" in message


@pytest.mark.parametrize("added", [True, False])
def test_members_and_manifest_have_to_agree(path: Path, own_home: Path, added: bool) -> None:
    members = _members(path)
    if added:
        members["weights/added.pt"] = b""
    else:
        del members["comparison.csv"]
    _write(path, members, sealed=False)
    name, where = ("weights/added.pt", "not in") if added else ("comparison.csv", "in")
    assert f"`{name}` is {where} the manifest" in _refusal(path, own_home)


def _manifest(**changes: Any) -> Callable[[Members], Members]:
    return lambda members: {
        **members,
        MANIFEST: json.dumps({**json.loads(members[MANIFEST]), **changes}).encode(),
    }


def _database(statement: str) -> Callable[[Members], Members]:
    def change(members: Members) -> Members:
        with sqlite3.connect(":memory:") as database:
            database.deserialize(members["trials.db"])
            database.executescript(statement)
            content = database.serialize()
        database.close()
        return {**members, "trials.db": content}

    return change


def _info(**changes: Any) -> Callable[[Members], Members]:
    return lambda members: {
        **members,
        "study.json": json.dumps({**json.loads(members["study.json"]), **changes}).encode(),
    }


def _attribute(key: str, value: Any) -> Callable[[Members], Members]:
    text = json.dumps(value).replace("'", "''")
    return _database(f"UPDATE trial_user_attributes SET value_json='{text}' WHERE key='{key}'")


def _spec(**changes: Any) -> Callable[[Members], Members]:
    """Every trial's specification with changes."""

    def change(members: Members) -> Members:
        with sqlite3.connect(":memory:") as database:
            database.deserialize(members["trials.db"])
            find = "SELECT value_json FROM trial_user_attributes WHERE key='spec'"
            (text,) = database.execute(find).fetchone()
            label = json.loads(json.loads(text))["label"]
        database.close()
        new = json.dumps(json.dumps({**json.loads(json.loads(text)), **changes}))
        return _database(
            f"UPDATE trial_user_attributes SET value_json='{new}' WHERE key='spec' AND trial_id IN "
            "(SELECT trial_id FROM trials JOIN studies USING (study_id) WHERE study_name = "
            f"'confirmation/{label}')"
        )(members)

    return change


def _file(name: str, content: bytes) -> Callable[[Members], Members]:
    return lambda members: {**members, name: content}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (_manifest(schema_version=2), "schema version `2`, and this rnnsearch reads 1"),
        (_manifest(schema_version=True), "schema version `True`"),
        (_manifest(kind="cake"), "manifest.json is none of a study"),
        (_manifest(name=None), "manifest.json is incomplete"),
        (_manifest(name="a\x1b[31m"), "manifest.json is incomplete"),
        (_database("CREATE VIEW x AS SELECT 1"), "`x`, which is no plain table"),
        (
            _database("CREATE TRIGGER t AFTER UPDATE ON trials BEGIN DELETE FROM trials; END"),
            "`t`, which is no plain table",
        ),
        (_database("CREATE VIRTUAL TABLE v USING fts5(a)"), "`v`, which is no plain table"),
        (_database("UPDATE studies SET study_name='x/lstm' WHERE study_id=1"), "the phase `x`"),
        (
            _database("UPDATE studies SET study_name='search/../up' WHERE study_id=1"),
            "a row named `../up`",
        ),
        (
            _database("UPDATE studies SET study_name='confirmation/gru' WHERE study_id=1"),
            "that is another row's",
        ),
        (_database("UPDATE alembic_version SET version_num='v99'"), "Update rnnsearch and optuna"),
        (_database("ALTER TABLE trials DROP COLUMN number"), "no such column: number"),
        (_file("trials.db", b"not a database, but long enough to be looked at " * 9), "not a data"),
        (_file("trials.db", b"SQLite format 3\0" + bytes(500)), "cannot be read"),
        (_file("study.yaml", b"name: [\n"), "study.yaml:2: is not valid YAML"),
        (_file("study.yaml", b"\xff\xfe"), "cannot be read"),
        (_file("study.yaml", b"!!python/object/apply:os.system ['true']"), "plain YAML"),
        (_file("study.json", b"[" * 100_000), "study.json: it is not JSON (recursion limit"),
        (_file("study.json", b"[]"), "study.json: expected an object, found []"),
        (_file("study.json", b"\xff"), "study.json: it is not JSON"),
        (_file("study.json", b"9" * 5000), "study.json: it is not JSON"),
        (_attribute("test_metric", "0.5"), "`test_metric`: expected a valid number, found '0.5'"),
        (_attribute("test_metric", [1]), "`test_metric`: expected a valid number, found [1]"),
        (_attribute("test_metric", None), "`test_metric`: expected a number, found None"),
        (_attribute("test_metric", 1e300), "`test_metric`: expected a number up to 1e+100"),
        (_attribute("test_loss", 10**400), "`test_loss`: expected a number up to 1e+15"),
        (_attribute("epochs", "[{}]"), "trials.db is damaged: TypeError"),
        (_attribute("epochs", 7), "trials.db is damaged: TypeError"),
        (_attribute("complexity", {"trainable": "9"}), "trials.db is damaged: TypeError"),
        (_attribute("engine", 3), "`engine`: expected a valid string, found 3"),
        (_spec(seed="7"), "`spec.seed`: expected a valid integer, found '7'"),
        (_spec(parameters=10**30), "`spec.parameters`: expected a number up to 1e+15"),
        (_info(extended=9), "`extended`: expected an object, found 9"),
        (_info(extended={"trials": 10**9}), "`extended`: search.trials: "),
        (_info(extended={"seeds": 0}), "`extended`: confirmation.seeds: "),
        (_info(extended={"trails": 9}), "`extended.trails` is no key of it"),
        (_info(phases=[]), "`phases`: expected an object, found []"),
        (_info(phases={"search": {"seconds": "9"}}), "`phases.search.seconds`: expected"),
        (_info(engines={"lstm": {}}), "`engines.lstm.engine` is missing"),
        (_info(engines={"lstm": {"engine": "x", "name": "x", "step_ms": 1}}), "expected 'program'"),
        (_info(data={**asdict(TASK.find()), "sizes": {"train": 1e9}}), "`data.sizes.train`"),
        (_info(data={**asdict(TASK.find()), "sizes": {"train": 10**20}}), "expected sizes between"),
        (_info(notes="mine"), "`notes` is no key of it"),
        (_info(state=3), "study.json: `state`: expected 'running'"),
        (
            _info(data={"dataset": 1}),
            "`data.dataset`: expected a valid string, found 1",
        ),
        (
            _info(data={**asdict(TASK.find()), "sha256": 1}),
            "`data.sha256`: expected a valid string",
        ),
    ],
)
def test_content_that_no_study_has_is_refused(
    change: Callable[[Members], Members], expected: str, path: Path, own_home: Path
) -> None:
    members = change(_members(path))
    _write(path, members)
    assert expected in _refusal(path, own_home)


def test_a_study_file_of_a_newer_version_is_refused(path: Path, own_home: Path) -> None:
    members = _members(path)
    text = members["study.yaml"].replace(b"schema_version: 1", b"schema_version: 2")
    _write(path, {**members, "study.yaml": text})
    with pytest.raises(StudyFileError, match=r"small\.zip, study\.yaml:\d+: schema_version"):
        import_study(path)
    assert list_stores() == []


@pytest.mark.parametrize("missing", [MANIFEST, "study.yaml"])
def test_without_a_manifest_or_a_study_file_it_is_no_archive(
    path: Path, own_home: Path, missing: str
) -> None:
    members = _members(path)
    del members[missing]
    _write(path, members, sealed=False)
    assert f"it has no {missing}, so it is no archive of a study" in _refusal(path, own_home)


def test_a_file_that_is_no_archive_is_refused(tmp_path: Path, own_home: Path) -> None:
    (tmp_path / "text.zip").write_text("not a zip")
    assert "File is not a zip file" in _refusal(tmp_path / "text.zip", own_home)
    assert "there is no file" in _refusal(tmp_path / "absent.zip", own_home)
    assert f"{tmp_path} is no file" in _refusal(tmp_path, own_home)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(StoreError, match="pipe is no file"):
        import_study(tmp_path / "pipe")


def test_weights_that_run_code_when_unpickled_are_copied_and_not_run(
    path: Path, tmp_path: Path
) -> None:
    target = tmp_path / "ran"
    evil = f"cposix\nsystem\n(S'touch {target}'\ntR.".encode()
    members = _members(path)
    name = "weights/confirmation-lstm-0.pt"
    _write(path, {**members, name: evil})
    store = import_study(path)
    assert (store.folder / name).read_bytes() == evil
    with pytest.raises(StoreError, match="do not load"):
        list(load_trained(store, ["lstm"]))
    assert not target.exists()


def test_an_interrupted_import_leaves_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(archive_module, "_check_content", interrupt)
    with pytest.raises(KeyboardInterrupt):
        import_study(path)
    assert list(studies_folder().iterdir()) == []


# Fuzzed archives


@st.composite
def _damages(draw: st.DrawFn) -> Callable[[bytes], bytes]:
    """Change, cut, double or insert some bytes, anywhere or near the names and sizes."""
    kinds = draw(st.lists(st.sampled_from(["set", "cut", "double", "insert", "end"]), max_size=6))
    generator = random.Random(draw(st.integers(0, 2**32)))
    late = draw(st.booleans())

    def damage(content: bytes) -> bytes:
        changed = bytearray(content)
        for kind in kinds:
            first = max(0, len(changed) - 6000) if late else 0
            start = generator.randrange(first, max(first + 1, len(changed)))
            stop = start + generator.randrange(1, 64)
            if kind == "set":
                changed[start] = generator.randrange(256) if changed else 0
            elif kind == "cut":
                del changed[start:stop]
            elif kind == "double":
                changed[start:start] = changed[start:stop]
            elif kind == "insert":
                changed[start:start] = generator.randbytes(stop - start)
            else:
                del changed[start:]
            if not changed:
                break
        return bytes(changed)

    return damage


def _import_whatever(path: Path, own_home: Path) -> None:
    """Import; this succeeds or is refused, and changes only the study's own folder."""
    studies_folder().mkdir(parents=True, exist_ok=True)
    outside = _tree(own_home.parent)
    with suppress(RnnsearchError):
        store = import_study(path, "fuzzed")
        assert store.folder == studies_folder() / "fuzzed"
        assert not any(file.is_symlink() for file in store.folder.rglob("*"))
        list(store.records())
        delete_study(store)
    assert _tree(own_home.parent) == outside


@given(damage=_damages())
@settings(FUZZ, max_examples=300)
def test_a_damaged_archive_is_imported_or_refused(
    damage: Callable[[bytes], bytes], exported: bytes, tmp_path: Path, own_home: Path
) -> None:
    path = tmp_path / "fuzzed.zip"
    path.write_bytes(damage(exported))
    _import_whatever(path, own_home)


@given(name=st.sampled_from(["study.yaml", "study.json", "trials.db", MANIFEST]), damage=_damages())
@settings(FUZZ, max_examples=60)
def test_an_archive_with_damaged_content_and_right_checksums_is_imported_or_refused(
    name: str,
    damage: Callable[[bytes], bytes],
    exported: bytes,
    tmp_path: Path,
    own_home: Path,
) -> None:
    path = tmp_path / "fuzzed.zip"
    path.write_bytes(exported)
    members = _members(path)
    members[name] = damage(members[name])
    _write(path, members, sealed=name != MANIFEST)
    _import_whatever(path, own_home)


@given(
    names=st.lists(
        st.lists(
            st.sampled_from(["..", ".", "", "weights", "a.pt", "C:", "\\", "report", "x.html"]),
            min_size=1,
            max_size=5,
        ).map("/".join),
        min_size=1,
        max_size=4,
        unique=True,
    ),
    mode=st.sampled_from([0, stat.S_IFREG, stat.S_IFLNK, stat.S_IFDIR, 0o170000]),
)
@settings(FUZZ, max_examples=200)
def test_whatever_members_are_named_none_gets_out(
    names: list[str], mode: int, exported: bytes, tmp_path: Path, own_home: Path
) -> None:
    path = tmp_path / "fuzzed.zip"
    path.write_bytes(exported)
    for name in filter(None, names):
        entry = zipfile.ZipInfo(name)
        entry.external_attr = mode << 16
        _add(path, entry, b"content")
    _import_whatever(path, own_home)


# Deletion


def test_a_study_is_deleted_after_a_yes_and_its_runs_are_kept(path: Path) -> None:
    store = import_study(path)
    declined = _invoke("study", "delete", "small", answer="n\n")
    assert (declined.exit_code, store.folder.exists()) == (1, True)
    assert "nothing was deleted" in declined.output
    assert "Delete " in declined.output
    done = _invoke("study", "delete", "small", answer="y\n")
    assert done.exit_code == 0
    assert "its runs in MLflow are kept" in done.output
    assert list(studies_folder().iterdir()) == []


def test_with_yes_it_does_not_ask(path: Path) -> None:
    import_study(path)
    output = _invoke("study", "delete", "small", "--yes").output
    assert "Delete " not in output
    assert list_stores() == []


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as alive:
        yield alive
        assert alive.stdin
        alive.stdin.write(b"\n")


def test_a_running_study_is_not_deleted(path: Path, process: subprocess.Popen[bytes]) -> None:
    store = import_study(path)
    write_lease(store, process.pid)
    for force in ((), ("--force",)):
        with pytest.raises(StoreError, match=rf"`small` is running: process {process.pid} on "):
            _invoke("study", "delete", "small", "--yes", *force)
    with pytest.raises(StoreError, match="`small` is running"):
        delete_study(store, force=True)
    assert store.folder.exists()


def test_a_study_whose_process_is_gone_or_was_never_known_is_deleted(path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        gone.wait()
    for leased in (False, True):
        store = import_study(path)
        store.write_info(state="running", pid=gone.pid, host=socket.gethostname())
        if leased:
            write_lease(store, gone.pid)
        delete_study(store)
        assert list(studies_folder().iterdir()) == []


def test_a_study_last_seen_on_another_machine_is_deleted_by_force_only(path: Path) -> None:
    store = import_study(path)
    store.write_info(state="running", pid=1, host="elsewhere.example")
    write_lease(store, 1, host="elsewhere.example", boot="another")
    with pytest.raises(StoreError, match=r"process 1 on elsewhere\.example.*works in \d+ s"):
        _invoke("study", "delete", "small", "--yes")
    assert _invoke("study", "delete", "small", "--yes", "--force").exit_code == 0
    assert list_stores() == []


def test_a_study_that_does_not_exist_is_not_deleted(path: Path, own_home: Path) -> None:
    import_study(path)
    (own_home / "x").mkdir()
    for name in ("smal", "../x", ".", ".."):
        with pytest.raises(StoreError, match="no study named"):
            _invoke("study", "delete", name, "--yes")
    assert (own_home / "x").exists()
    assert list_stores() != []


def test_with_tracking_its_experiment_is_deleted_so_that_mlflow_can_restore_it(
    path: Path, own_home: Path
) -> None:
    store = import_study(path)
    uri = f"sqlite:///{own_home / 'mlflow.db'}"
    text = {key: value for key, value in study_content().items() if key != "tracking"}
    (store.folder / "study.yaml").write_text(yaml.safe_dump(text))
    client = MlflowClient(uri)
    store.write_info(tracking_uri=uri, experiment_id=client.create_experiment("small"))
    output = _invoke("study", "delete", "small", "--yes", "--tracking").output
    assert "`mlflow experiments restore` brings it back" in output
    experiment = client.get_experiment_by_name("small")
    assert experiment is not None
    assert experiment.lifecycle_stage == "deleted"


def test_with_tracking_and_no_experiment_that_is_said(path: Path) -> None:
    import_study(path)
    output = _invoke("study", "delete", "small", "--yes", "--tracking").output
    assert "the study has no experiment there" in output


def test_where_mlflow_does_not_answer_nothing_is_deleted(path: Path) -> None:
    store = import_study(path)
    store.write_info(tracking_uri="http://127.0.0.1:9", experiment_id="1")
    with pytest.raises(RnnsearchError, match="deletes nothing") as caught:
        _invoke("study", "delete", "small", "--yes", "--tracking")
    assert caught.value.exit_code == 8
    assert store.folder.exists()
