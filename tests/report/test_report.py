"""The report states what is known, in self-contained files, for any text."""

from __future__ import annotations

import csv
import json
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import optuna
import pytest
import yaml
from mlflow.tracking import MlflowClient

from rnnsearch.compare.escaping import latex_text
from rnnsearch.compare.table import Column, Table
from rnnsearch.errors import StoreError
from rnnsearch.records.store import StudyStore
from rnnsearch.report.report import Report, make_report, write_report
from rnnsearch.spec.trial import EpochMetrics, TrialRecord
from rnnsearch.study.stored import compare_study

from ..command import run_here
from ..trial_records import GOOD, MIDDLING, POOR, SOURCE, confirmed, record, searched

HOSTILE = (
    """<script>alert(1)</script> & "quoted" 'it' </pre> ]]> {{ 7 * 7 }} \\input{x} | $x$ 100 %"""
)
CONTENT: dict[str, Any] = {
    "schema_version": 1,
    "name": "small",
    "question": "Which is best?",
    "published": {
        "source": "A. Author, A title, 2019",
        "where": "Table 1",
        "url": "https://example.org/paper?a=1&b=2",
        "note": "Read from a figure.",
    },
    "task": "digits",
    "architectures": [
        {
            "name": "gru",
            "published": {"parameters": 3190, "value": 0.95, "interval": 0.005, "note": "odd"},
        },
        {"name": "elman", "published": {"parameters": 3000}},
        "lstm",
    ],
    "budget": {"parameters": 3200},
    "training": {"epochs": 3, "learning_rate": 0.001},
}
RECORDS = [
    *confirmed("gru", GOOD),
    *confirmed("elman", POOR, parameters=3482, matched=False),
    *confirmed("lstm", MIDDLING),
    *searched("gru", 3),
    *searched("elman", 3),
    *searched("lstm", 2),
]


def _epochs(seed: int, validation: bool = True) -> list[EpochMetrics]:
    nothing = float("nan")
    return [
        EpochMetrics(
            epoch=number,
            train_loss=1.5 / number + 0.01 * seed,
            train_metric=0.9 - 0.3 / number + 0.002 * seed,
            validation_loss=1.6 / number + 0.01 * seed if validation else nothing,
            validation_metric=0.88 - 0.3 / number + 0.002 * seed if validation else nothing,
            gradient_norm=1.0,
            step_ms=4.0 + seed / 10,
            updates=100 * number,
            seconds=2.0 * number,
        )
        for number in range(1, 4)
    ]


def _with_curves(records: Sequence[TrialRecord], validation: bool = True) -> list[TrialRecord]:
    return [
        replace(one, epochs=tuple(_epochs(one.spec.seed, validation)))
        if one.spec and one.epochs
        else one
        for one in records
    ]


def _store(
    records: Sequence[TrialRecord], changes: dict[str, Any] | None = None, **info: Any
) -> StudyStore:
    """A study with these trials, as if they had been run."""
    content = {**CONTENT, **(changes or {})}
    store = StudyStore.create(content["name"], yaml.safe_dump(content, sort_keys=False))
    known = {
        "state": "finished",
        "started": "2026-11-21T12:00:00+0000",
        "seconds": 4210.5,
        "data": asdict(SOURCE),
        "environment": {"python": "3.11.9", "torch": "2.13.0"},
        "git": {"commit": "c0ffee", "branch": "main", "dirty": "false"},
        "phases": {"search": {"seconds": 10.0, "workers": 2}},
    }
    store.write_info(**{**known, **info})
    for one in records:
        assert one.spec is not None
        attributes: dict[str, Any] = {
            "spec": one.spec.to_json(),
            "epochs": json.dumps([vars(epoch) for epoch in one.epochs]),
            "engine": one.engine,
            "reason": one.reason,
            "complexity": vars(one.complexity),
        }
        if one.test_metric is not None:
            attributes["test_metric"] = one.test_metric
        value = one.test_metric or 0.5 if one.state == "COMPLETE" else None
        store.optuna_study(one.phase, one.label, "maximize").add_trial(
            optuna.trial.create_trial(
                state=optuna.trial.TrialState[one.state], value=value, user_attrs=attributes
            )
        )
    return store


def _report(store: StudyStore) -> Report:
    return make_report(store, store.config, compare_study(store))


def _written(store: StudyStore, folder: Path) -> str:
    write_report(_report(store), folder)
    return (folder / "report.html").read_text(encoding="utf-8")


class _Page(HTMLParser):
    """Resources a page would fetch, code it would run, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.said: list[str] = []
        self._open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attributes]
        if tag not in {"meta", "img"}:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag, f"</{tag}> closes something else"

    def handle_data(self, data: str) -> None:
        if not {"style"} & set(self._open):
            self.said.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.said).split())


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of one report."""
    folder = tmp_path_factory.mktemp("report")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RNNSEARCH_HOME", str(folder / "home"))
        _written(_store(_with_curves(RECORDS)), folder)
    return folder


@pytest.fixture(scope="module")
def page(written: Path) -> _Page:
    return _Page((written / "report.html").read_text(encoding="utf-8"))


# The page


def test_the_page_says_question_answer_data_and_where_it_ran(page: _Page) -> None:
    for said in (
        "Which is best?",
        "gru is the best of the models at 3,200 parameters",
        SOURCE.sha256,
        "55,000 train, 5,000 validation, 10,000 test",
        "c0ffee",
        "70.2 minutes",
        "2.13.0",
        "The search took 10.0 s with 2 at a time",
        "schema_version: 1",
    ):
        assert said in page.text


def test_caveats_come_before_any_result(page: _Page) -> None:
    caveats = page.text.index("Read from a figure.")
    assert page.text.index("Caveats") < caveats < page.text.index("The margin is 0.005")
    assert "Shown without being held to the budget" in page.text


def test_the_page_fetches_nothing_and_runs_nothing(page: _Page) -> None:
    assert "script" not in page.tags
    assert not {"link", "iframe", "object", "embed", "base"} & set(page.tags)
    fetched = [value for _, name, value in page.attributes if name in {"src", "srcset", "data"}]
    assert len(fetched) == 3
    assert all(value.startswith("data:image/svg+xml;base64,") for value in fetched)
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]


def test_every_picture_has_words_in_its_place(page: _Page) -> None:
    alternatives = [value for tag, name, value in page.attributes if (tag, name) == ("img", "alt")]
    assert len(alternatives) == page.tags.count("img") == 3
    assert all(alternatives)


def test_the_style_needs_no_other_file(written: Path) -> None:
    style = re.search(r"<style>(.*?)</style>", (written / "report.html").read_text(), re.S)
    assert style is not None
    assert "@media print" in style[1]
    assert "url(" not in style[1]
    assert "@import" not in style[1]


def test_links_within_the_page_lead_somewhere(page: _Page) -> None:
    targets = {value for _, name, value in page.attributes if name == "id"}
    links = {value for tag, name, value in page.attributes if (tag, name) == ("a", "href")}
    assert {link[1:] for link in links if link.startswith("#")} <= targets
    assert {link for link in links if not link.startswith("#")} == {
        "https://example.org/paper?a=1&b=2"
    }


def test_published_figures_stand_beside_measured_ones(written: Path, page: _Page) -> None:
    with (written / "published.csv").open(newline="", encoding="utf-8") as file:
        lines = {line["row"]: line for line in csv.DictReader(file)}
    assert set(lines) == {"gru", "elman"}
    assert lines["gru"]["published_parameters"] == "3190"
    assert lines["gru"]["trainable"] == "3200"
    assert float(lines["gru"]["difference"]) == pytest.approx(0.963875 - 0.95)
    assert lines["elman"]["difference"] == ""
    assert "0.95 ± 0.005" in page.text
    assert "A. Author, A title, 2019, Table 1" in page.text


def test_a_study_of_no_publication_says_nothing_of_one(own_home: Path, tmp_path: Path) -> None:
    changes = {"published": None, "architectures": ["gru", "elman", "lstm"]}
    _written(_store(RECORDS, changes), tmp_path)
    assert "ublished" not in (tmp_path / "report.md").read_text(encoding="utf-8")
    assert not (tmp_path / "published.csv").exists()


def test_text_of_users_is_shown_as_it_is_and_never_run(tmp_path: Path) -> None:
    figures = {"value": 0.9, "note": f"note {HOSTILE}"}
    store = _store(
        [*confirmed("gru", GOOD), record("elman", state="FAIL", reason=f"reason {HOSTILE}")],
        {
            "question": f"question {HOSTILE}",
            "published": {"source": f"source {HOSTILE}", "note": f"remark {HOSTILE}"},
            "architectures": [{"name": "gru", "published": figures}, "elman"],
        },
        data=asdict(replace(SOURCE, dataset=f"dataset {HOSTILE}", caveat=f"caveat {HOSTILE}")),
        environment={"torch": f"version {HOSTILE}"},
    )
    page = _Page(_written(store, tmp_path))
    assert "script" not in page.tags
    markdown = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "<script" not in markdown
    for place in ("question", "source", "note", "remark", "reason", "dataset", "caveat", "version"):
        assert f"{place} {HOSTILE}" in page.text
        assert f"{place} &lt;script>alert(1)" in markdown


def test_no_file_of_a_report_has_a_password_or_what_a_terminal_obeys(tmp_path: Path) -> None:
    address = "http://ann:ge/heim@h:5000"
    text = yaml.safe_dump({**CONTENT, "tracking": {"uri": address}}, sort_keys=False)
    store = StudyStore.create("small", f"# {address}\n{text}")
    odd = f"OSError: {address} \x1b[2J\u202e =1+1"
    store.write_info(
        state="finished",
        tracking_uri=address,
        run_id="a" * 32,
        data=asdict(replace(SOURCE, location=address, caveat=odd)),
    )
    made = make_report(store, store.config, compare_study(store))
    made = replace(made, caveats=(odd,))
    files = write_report(made, tmp_path)
    texts = {path.name: path.read_text(encoding="utf-8") for path in files}
    for name, content in texts.items():
        assert "heim@" not in content, name
        assert name.endswith(".svg") or not set("\x1b\u202e") & set(content), name
    for name in ("report.html", "report.md"):
        assert "http://ann:***@h:5000" in texts[name]
        assert "x1b[2J" in texts[name]


# Missing or failed results


def test_a_study_without_results_has_a_report_that_says_so(tmp_path: Path) -> None:
    store = _store(searched("gru", 2), state="interrupted")
    page = _Page(_written(store, tmp_path))
    assert "No configuration is confirmed, so nothing is ranked." in page.text
    assert "The study is not finished (it is interrupted)" in page.text
    assert "Not ranked: gru (not confirmed)" in page.text


def test_few_seeds_and_shortened_runs_are_caveats(tmp_path: Path) -> None:
    changes = {
        "confirmation": {"seeds": 2, "epochs": 1},
        "search": {"epochs": 2, "trials": 4},
    }
    store = _store(confirmed("gru", GOOD[:2]), changes, git={"commit": "c0ffee", "dirty": "true"})
    caveats = " ".join(_report(store).caveats)
    assert "Few seeds: gru (2 seeds)" in caveats
    assert "Shortened: confirmed after 1 of 3 epochs." in caveats
    assert "The search trained for 2 of 3 epochs" in caveats
    assert "uncommitted changes" in caveats
    assert "not finished" not in caveats


def test_curves_without_a_validation_split_show_training_and_say_so(tmp_path: Path) -> None:
    text = _written(_store(_with_curves(confirmed("gru", GOOD), validation=False)), tmp_path)
    assert "No validation split was kept" in _Page(text).text


def test_curves_hold_every_epoch_of_the_runs_that_count(written: Path) -> None:
    with (written / "curves.csv").open(newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 3 * 8 * 3  # rows, seeds, epochs
    assert {line["row"] for line in lines} == {"gru", "elman", "lstm"}
    mine = [line for line in lines if (line["row"], line["seed"]) == ("lstm", "2")]
    assert [float(line["train_loss"]) for line in mine] == pytest.approx([1.52, 0.77, 0.52])


def test_of_two_runs_of_a_seed_the_last_is_drawn(tmp_path: Path) -> None:
    first, again = (replace(record("gru", 1, 0.9, number=n), epochs=()) for n in (0, 1))
    runs = [replace(first, epochs=tuple(_epochs(1))), replace(again, epochs=tuple(_epochs(50)))]
    (curve,) = _report(_store(runs)).curves
    assert curve.runs == {1: tuple(_epochs(50))}


# Findings of analyses


def _add_findings(store: StudyStore, content: Any, row: str = "gru") -> Path:
    folder = store.folder / "analyses" / row / "memory"
    folder.mkdir(parents=True)
    text = content if isinstance(content, str) else json.dumps(content)
    (folder / "findings.json").write_text(text, encoding="utf-8")
    return folder


def test_findings_of_analyses_are_shown_with_picture_and_numbers(tmp_path: Path) -> None:
    store = _store(confirmed("gru", GOOD))
    numbers = {"half life": 12.34567, "units": 20}
    finding = {"name": "decay", "caption": "It <b>fades</b>.", "figure": "a.svg"}
    folder = _add_findings(store, [{**finding, "numbers": numbers}])
    (folder / "a.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>", encoding="utf-8")
    page = _Page(_written(store, tmp_path))
    assert "It <b>fades</b>." in page.text
    assert "gru: memory, decay" in page.text
    assert "half life 12.35 units 20" in page.text
    assert page.tags.count("img") == 3
    assert "half life 12.35, units 20" in (tmp_path / "report.md").read_text(encoding="utf-8")
    assert (tmp_path / "finding_1.svg").read_bytes() == (folder / "a.svg").read_bytes()


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[1]",
        '[{"name": "a"}]',
        '[{"name": "a", "caption": "b", "figure": "missing.svg"}]',
        '[{"name": "a", "caption": "b", "figure": "../../../study.json"}]',
        '[{"name": "a", "caption": "b", "figure": 3}]',
    ],
    ids=["no JSON", "no mapping", "no caption", "no figure", "a figure elsewhere", "a number"],
)
def test_findings_that_cannot_be_read_are_a_caveat(content: str, tmp_path: Path) -> None:
    store = _store(confirmed("gru", GOOD))
    _add_findings(store, content)
    report = _report(store)
    assert report.findings == ()
    assert [c for c in report.caveats if "findings of memory on gru cannot be read" in c]


# The files


def test_the_same_study_gives_the_same_files(tmp_path: Path) -> None:
    report = _report(_store(_with_curves(confirmed("gru", GOOD))))
    first = write_report(report, tmp_path / "a")
    second = write_report(report, tmp_path / "b")
    assert [p.read_bytes() for p in first] == [p.read_bytes() for p in second]


def test_a_folder_that_cannot_be_made_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=str(tmp_path / "file" / "report")):
        write_report(_report(_store(confirmed("gru", GOOD))), tmp_path / "file" / "report")


def test_the_markdown_shows_the_tables_and_the_pictures_beside_it(written: Path) -> None:
    text = (written / "report.md").read_text(encoding="utf-8")
    assert "| 1 | gru | 0.9635 [0.9610, 0.9670] | 0.9639 | 8 |" in text
    assert "| gru | 3,190 | 3,200 | 3,170 | 0.95 ± 0.005 |" in text
    for picture in re.findall(r"!\[.*?\]\((.*?)\)", text):
        assert (written / picture).exists()
    assert text.index("## Caveats") < text.index("| 1 | gru")


def test_the_latex_has_a_cell_for_every_heading(written: Path) -> None:
    text = (written / "tables.tex").read_text(encoding="utf-8")
    tables = re.findall(r"\\begin\{tabular\}\{(\w+)\}(.*?)\\end\{tabular\}", text, re.S)
    assert len(tables) == 5
    for spec, body in tables:
        rows = [line for line in body.splitlines() if line.endswith(r"\\")]
        assert {len(re.findall(r"(?<!\\)&", row)) + 1 for row in rows} == {len(spec)}
        assert len(rows) > 1
    assert r"$\pm$" in text
    assert text.count(r"\begin{table}") == text.count(r"\end{table}") == 5


def test_latex_prints_every_character_as_it_is() -> None:
    assert latex_text("a_b & 5 % #1 $x$ {y} \\z ~ ^ <p> [q]\x1b[0m\n") == (
        r"a\_b \& 5 \% \#1 \$x\$ \{y\} \textbackslash{}z \textasciitilde{} \textasciicircum{} "
        r"\textless{}p\textgreater{} {[}q{]}{[}0m"
    )


def test_csv_is_unrounded_where_the_table_is_rounded() -> None:
    column = Column("x", lambda line: f"{line['x']:.1f}")
    table = Table("t", "T", (column,), ({"x": 0.123456},))
    assert table.to_csv() == "x\n0.123456\n"
    assert table.cells == [["0.1"]]


# The command


def test_the_command_writes_the_report_and_a_lost_server_does_not_lose_it(
    own_home: Path, tmp_path: Path
) -> None:
    gone = f"sqlite:///{tmp_path / 'gone' / 'mlflow.db'}"
    _store(confirmed("gru", GOOD), tracking_uri=gone, run_id="1234")
    done = run_here("study", "report", "small", "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert f"written   {tmp_path / 'out' / 'report.html'}" in done.stdout
    assert "WARNING   not logged: the MLflow tracking store" in (done.stderr)
    assert (tmp_path / "out" / "report.html").exists()


def test_the_command_logs_the_report_where_the_studys_run_is(
    own_home: Path, tmp_path: Path
) -> None:
    client = MlflowClient(f"sqlite:///{tmp_path / 'server.db'}")
    place = (tmp_path / "artifacts").as_uri()
    run_id = client.create_run(client.create_experiment("small", place)).info.run_id
    # The study started with MLFLOW_TRACKING_URI, which is no longer set.
    store = _store(confirmed("gru", GOOD), tracking_uri=client.tracking_uri, run_id=run_id)
    done = run_here("study", "report", "small")
    assert (done.returncode, done.stderr) == (0, "")
    logged = {artifact.path for artifact in client.list_artifacts(run_id)}
    assert logged == {path.name for path in (store.folder / "report").iterdir()}
    assert {"report.html", "report.md", "tables.tex", "results.csv"} <= logged


# A browser


def _browser() -> str:
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    found = next(filter(None, map(shutil.which, names)), None)
    if found is None:
        pytest.skip("no Chromium or Chrome on this machine")
    return found


def _browse(page: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [_browser(), "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
    command += ["--no-first-run", "--disable-background-networking", "--disable-sync"]
    command += [f"--user-data-dir={page.parent / 'profile'}", "--enable-logging=stderr", "--v=0"]
    return subprocess.run(
        [*command, *arguments, page.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )


_PROBE = """<script>
addEventListener("load", () => {
  document.body.dataset.seen = JSON.stringify({
    fetched: performance.getEntriesByType("resource").map(entry => entry.name),
    pictures: [...document.images].map(image => image.naturalWidth),
    overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth,
  });
});
</script>"""


def test_a_browser_shows_every_picture_fetches_nothing_and_complains_of_nothing(
    written: Path, tmp_path: Path
) -> None:
    text = (written / "report.html").read_text(encoding="utf-8")
    page = tmp_path / "report.html"
    page.write_text(text, encoding="utf-8")
    assert "CONSOLE" not in _browse(page, "--dump-dom").stderr
    # The page's policy forbids all scripts, including ours; without it, any fetch would be visible.
    probed = re.sub(r"<meta http-equiv.*?>", "", text).replace("</body>", f"{_PROBE}</body>")
    page.write_text(probed, encoding="utf-8")
    done = _browse(page, "--dump-dom", "--window-size=1200,900")
    seen = re.search(r'data-seen="(.*?)"', done.stdout)
    assert seen is not None, done.stdout[-2000:]
    found = json.loads(seen[1].replace("&quot;", '"'))
    assert found["fetched"] == []
    assert len(found["pictures"]) == 3
    assert all(width > 100 for width in found["pictures"])
    assert found["overflow"] <= 0


def test_the_page_prints(written: Path, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    shutil.copy(written / "report.html", page)
    _browse(page, f"--print-to-pdf={tmp_path / 'report.pdf'}", "--no-pdf-header-footer")
    assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF")
