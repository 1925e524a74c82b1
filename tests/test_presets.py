"""Presets of published studies: their sizes match the print, and published figures are shown."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from rnnsearch import load_registry
from rnnsearch.budget.model import count_parameters
from rnnsearch.budget.row import build_spaces
from rnnsearch.budget.space import SearchSpace
from rnnsearch.config.check import check_config, load_config
from rnnsearch.config.schema import StudyConfig, json_schema
from rnnsearch.config.study_file import parse_study
from rnnsearch.errors import StudyFileError
from rnnsearch.study.plan import make_task

from .command import run_here, write_study

PAPERS = Path(__file__).parents[1] / "studies" / "papers"
PRESETS = sorted(PAPERS.glob("*.yaml"), key=lambda path: path.stem)
TASKS = {"adding", "sequential_mnist", "copy_memory", "char_ptb", "word_ptb"}

# Trainable scalars at the printed widths, as in torch (two biases in RNN, GRU and LSTM).
# PTB: with an embedding of the net's width that is tied to the output.
COUNTS = {
    "sm_rnn_spatial_as_printed": {
        "sm_rnn": 3_200,
        "ff_nn": 328_810,
        "snn": 3_470,
        "mike_rnn": 3_482,
        "lstm": 3_470,
    },
    "sm_rnn_temporal_as_printed": {"sm_rnn": 5_420, "prelu_rnn": 5_480, "lstm": 5_650},
    "mcrm_adding_as_printed": {
        "rnn": 96_405,
        "gru": 96_289,
        "lstm": 96_238,
        "nlstm_concat": 96_174,
        "mcrm": 95_541,
    },
    "mcrm_sequential_mnist_as_printed": {
        "rnn": 152_458,
        "gru": 152_080,
        "lstm": 151_690,
        "nlstm_concat": 189_010,
        "mcrm": 124_655,
    },
    "mcrm_copy_memory_as_printed": {
        "rnn": 3_263_410,
        "gru": 3_327_460,
        "lstm": 3_259_810,
        "nlstm_concat": 3_221_130,
        "mcrm": 3_262_010,
    },
    "mcrm_char_ptb_as_printed": {
        "rnn": 16_970_850,
        "gru": 17_028_530,
        "lstm": 8_880_950,
        "nlstm_concat": 16_981_410,
        "mcrm": 17_060_050,
    },
    "mcrm_word_ptb_as_printed": {
        "rnn": 1_291_500,
        "gru": 1_285_680,
        "lstm": 1_290_448,
        "nlstm_concat": 1_210_800,
        "mcrm": 1_303_067,
    },
}


def _config(name: str) -> StudyConfig:
    return load_config(str(PAPERS / f"{name}.yaml"))[0]


def _spaces(path: Path) -> dict[str, SearchSpace]:
    """The rows of a preset with their sizes; no data are read."""
    config, file = load_config(str(path))
    registry = load_registry()
    if config.task.name not in registry.names("task"):
        pytest.skip(f"task `{config.task.name}` is not registered")
    task = make_task(config, file, registry)
    return {space.label: space for space in build_spaces(config, file, registry, task)}


def _count(space: SearchSpace, hidden_size: int = 0, slopes: str = "") -> int:
    spec = space.solve(space.default_values()).spec
    if hidden_size:
        spec = replace(spec, hidden_size=hidden_size)
    if slopes:
        options, head_options = ({**o, "slopes": slopes} for o in (spec.options, spec.head_options))
        spec = replace(spec, options=options, head_options=head_options)
    return count_parameters(space.architecture, spec)[0]


def test_there_is_a_preset_as_printed_and_corrected_for_every_table_row() -> None:
    tables = ["sm_rnn_spatial", "sm_rnn_temporal", *(f"mcrm_{task}" for task in TASKS)]
    expected = {f"{table}_{how}" for table in tables for how in ("as_printed", "corrected")}
    assert {path.stem for path in PRESETS} == expected


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.stem)
def test_a_preset_can_be_read_and_names_its_question_its_source_and_its_time(path: Path) -> None:
    config = load_config(str(path))[0]
    comment = path.read_text(encoding="utf-8").partition("schema_version")[0]
    assert config.name == path.stem
    assert config.question.endswith("?")
    assert "?" in comment.splitlines()[0]
    assert "Expect about" in comment
    assert config.published is not None
    assert config.published.url
    assert config.published_figures


class _Loader(yaml.SafeLoader):
    """YAML with JSON's numbers: `1e-3` is a number, which YAML 1.1 does not recognize."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?[0-9.]+[eE][-+]?[0-9]+$"),
    list("-+0123456789"),
)


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.stem)
def test_the_schema_accepts_every_preset(path: Path) -> None:
    content = json.loads(json.dumps(yaml.load(path.read_text("utf-8"), _Loader)))
    errors = jsonschema.Draft202012Validator(json_schema()).iter_errors(content)
    assert [error.message for error in errors] == []


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.stem)
def test_every_row_of_a_preset_is_sized_without_data(path: Path) -> None:
    spaces = _spaces(path)
    assert len(spaces) == len(load_config(str(path))[0].architectures)
    for space in spaces.values():
        solution = space.solve(space.default_values())
        assert not space.matched or abs(solution.residual) <= space.budget.tolerance


@pytest.mark.parametrize("name", COUNTS)
def test_printed_widths_have_the_counts_that_were_worked_out_for_them(name: str) -> None:
    spaces = _spaces(PAPERS / f"{name}.yaml")
    assert {label: _count(space) for label, space in spaces.items()} == COUNTS[name]


@pytest.mark.parametrize(
    ("name", "row", "of_the_code"),
    [
        ("sm_rnn_spatial_as_printed", "sm_rnn", 3_144),
        ("sm_rnn_temporal_as_printed", "sm_rnn", 5_354),
        ("sm_rnn_temporal_as_printed", "prelu_rnn", 5_344),
    ],
)
def test_with_one_slope_for_all_the_counts_are_those_of_the_papers_code(
    name: str, row: str, of_the_code: int
) -> None:
    space = _spaces(PAPERS / f"{name}.yaml")[row]
    assert _count(space, slopes="shared") == of_the_code


def test_the_published_count_of_spatial_sm_rnn_lacks_the_output_slopes_and_no_more() -> None:
    figures = _config("sm_rnn_spatial_as_printed").published_figures
    assert COUNTS["sm_rnn_spatial_as_printed"]["sm_rnn"] - figures["sm_rnn"].parameters == 10


def test_by_one_bias_the_temporal_counts_are_the_published_ones() -> None:
    name = "sm_rnn_temporal_as_printed"
    figures = _config(name).published_figures
    for label, space in _spaces(PAPERS / f"{name}.yaml").items():
        assert space.solve({}).parameters == figures[label].parameters


@pytest.mark.parametrize(
    ("name", "row", "matching_width", "count"),
    [
        ("mcrm_sequential_mnist_as_printed", "nlstm_concat", 97, 152_688),
        ("mcrm_sequential_mnist_as_printed", "mcrm", 108, 154_234),
    ],
)
def test_the_swapped_widths_of_the_paper_would_match(
    name: str, row: str, matching_width: int, count: int
) -> None:
    space = _spaces(PAPERS / f"{name}.yaml")[row]
    assert not space.matched
    assert _count(space, matching_width) == count


@pytest.mark.parametrize("name", [path.stem for path in PRESETS if "corrected" in path.stem])
def test_a_corrected_preset_gives_every_row_the_same_training(name: str) -> None:
    config = _config(name)
    for entry in config.architectures:
        assert not entry.training.model_fields_set
        head: Mapping[str, Any] = entry.head.options if entry.head else {}
        assert "sigmoid" not in {*head.values(), *entry.options.values()}
        assert entry.matched or entry.name == "ff_nn"


# Published figures in a study file

STUDY = """schema_version: 1
name: small
task: digits
published:
  source: A. Author, 2019
architectures:
  - lstm
  - name: gru
    published: FIGURES
budget: {parameters: 1500}
training: {epochs: 1}
"""


def _refused(text: str) -> str:
    with pytest.raises(StudyFileError) as caught:
        check_config(parse_study(text, "my.yaml"))
    return str(caught.value)


def test_published_figures_are_read_by_row() -> None:
    text = STUDY.replace("FIGURES", "{parameters: 3190, value: 96.5e-2, interval: 5e-3}")
    figures = check_config(parse_study(text, "my.yaml")).published_figures
    assert {label: f.model_dump() for label, f in figures.items()} == {
        "gru": {"parameters": 3190, "value": 0.965, "interval": 0.005, "note": ""}
    }


@pytest.mark.parametrize(
    ("figures", "message"),
    [
        ("{}", "my.yaml:9: architectures[1].published: expected `parameters`, `value` or a `note`"),
        (
            "{parameters: 5, interval: 0.1}",
            "my.yaml:9: architectures[1].published.interval: an interval needs the `value`",
        ),
        ("{value: high}", "my.yaml:9: architectures[1].published.value: input should be a valid n"),
        ("{value: .nan}", "my.yaml:9: architectures[1].published.value: expected a finite number"),
        ("{paramters: 5}", "my.yaml:9: architectures[1].published.paramters: unknown key. Did you"),
        ("{parameters: 0}", "my.yaml:9: architectures[1].published.parameters: input should be gr"),
        ("{value: 1, interval: -1}", "my.yaml:9: architectures[1].published.interval: input shoul"),
    ],
)
def test_figures_that_mean_nothing_are_refused_where_they_stand(figures: str, message: str) -> None:
    assert _refused(STUDY.replace("FIGURES", figures)).startswith(message)


def test_figures_without_a_source_are_refused() -> None:
    text = STUDY.replace("published:\n  source: A. Author, 2019\n", "")
    message = _refused(text.replace("FIGURES", "{value: 1}"))
    assert message.startswith("my.yaml:7: architectures[1].published: figures need their source")


def test_an_address_that_a_browser_would_run_is_refused() -> None:
    text = STUDY.replace("2019\n", "2019\n  url: javascript:alert(1)\n")
    message = _refused(text.replace("FIGURES", "{value: 1}"))
    assert message.startswith("my.yaml:6: published.url: ")


def test_the_plan_shows_published_counts_beside_the_true_ones(tmp_path: Path) -> None:
    published = {"parameters": 1491, "value": 0.9}
    path = write_study(
        tmp_path,
        published={"source": "A. Author, 2019", "where": "Table 1"},
        architectures=["lstm", {"name": "elman", "published": published}],
        engine="eager",
    )
    done = run_here("study", "plan", path)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    heading = next(line for line in lines if "published" in line)
    assert heading.index("published") < heading.index("trainable") < heading.index("one bias")
    (row,) = [line for line in lines if line.lstrip().startswith("elman")]
    assert "1,491" in row
    assert "published: A. Author, 2019, Table 1" in lines
    content = json.loads(run_here("study", "plan", path, "--json").stdout)
    assert content["published"]["where"] == "Table 1"
    rows = {row["label"]: row["published"] for row in content["architectures"]}
    assert rows["lstm"] is None
    assert rows["elman"] == {**published, "interval": None, "note": ""}
