"""A study file gives a configuration, or one error that says what is wrong, where and why."""

from __future__ import annotations

import copy
import json
import math
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnsearch import Choice, FloatRange, IntRange, StudyFileError
from rnnsearch.config.check import check_config, load_config
from rnnsearch.config.schema import StudyConfig, json_schema
from rnnsearch.config.study_file import parse_study
from rnnsearch.spec.margin import Margin

STUDIES = Path(__file__).parents[2] / "studies"
STUDY = """\
schema_version: 1
name: small
task: digits
architectures:
  - lstm
  - name: sm_rnn
    options: {clamp: soft}
budget:
  parameters: 1000
training:
  epochs: 2
"""


def _check(text: str) -> StudyConfig:
    return check_config(parse_study(text, "my.yaml"))


def _with(old: str, new: str) -> str:
    assert STUDY.count(old) == 1, old
    return STUDY.replace(old, new)


def _refused(text: str) -> str:
    with pytest.raises(StudyFileError) as caught:
        _check(text)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# Meaning of a study file


def test_what_the_file_leaves_open_takes_its_default() -> None:
    config = _check(STUDY)
    assert config.seed == 0
    assert config.budget.tolerance == 0.02
    assert config.budget.counting == "trainable"
    assert config.training.batch_size == 64
    assert config.training.optimizer == "adam"
    assert config.training.gradient_clip == 0.0
    assert config.training.learning_rate == FloatRange(1e-4, 3e-2, default=1e-3, log=True)
    assert (config.model.num_layers, config.model.bidirectional, config.model.head) == (
        1,
        False,
        None,
    )
    assert (config.search.trials, config.search.sampler, config.search.scheduler) == (
        8,
        "tpe",
        "asha",
    )
    assert (config.confirmation.seeds, config.confirmation.best) == (6, 1)
    assert (config.confirmation.until, config.confirmation.at_most) == (None, 6)
    assert (config.confirmation.margin, config.confirmation.against) == (Margin(0.005, True), None)
    assert config.confirmation.train_on == "train"


@pytest.mark.parametrize("text", ["task: digits", "task: {name: digits}"], ids=["name", "mapping"])
def test_a_task_is_a_name_or_a_mapping(text: str) -> None:
    assert _check(_with("task: digits", text)).task.name == "digits"


def test_an_architecture_is_a_name_or_a_mapping() -> None:
    lstm, sm_rnn = _check(STUDY).architectures
    assert (lstm.name, lstm.options) == ("lstm", {})
    assert (sm_rnn.name, sm_rnn.options) == ("sm_rnn", {"clamp": "soft"})


@pytest.mark.parametrize("text", ["mlp", "{name: mlp}"], ids=["name", "mapping"])
def test_a_head_is_a_name_or_a_mapping(text: str) -> None:
    head = _check(f"{STUDY}model: {{head: {text}}}\n").model.head
    assert head is not None
    assert (head.name, head.hidden_size) == ("mlp", None)


@pytest.mark.parametrize(
    ("text", "setting"),
    [
        ("1e-3", 0.001),
        ("1E-3", 0.001),
        ("1.0e-3", 0.001),
        ("0.001", 0.001),
        ("'0.001'", 0.001),
        ("1", 1),
        ("[1e-3, 1e-2]", Choice((0.001, 0.01), default=0.001)),
        ("{low: 1e-3, high: 1e-1}", FloatRange(0.001, 0.1, default=0.001)),
        ("{low: 1e-3, high: 1e-1, log: yes}", FloatRange(0.001, 0.1, default=0.001, log=True)),
        # A rate is real, even between integer bounds.
        ("{low: 1, high: 4}", FloatRange(1, 4, default=1)),
    ],
)
def test_a_rate_is_a_number_a_choice_or_a_range(text: str, setting: object) -> None:
    rate = _check(_with("epochs: 2", f"epochs: 2\n  learning_rate: {text}")).training.learning_rate
    assert rate == setting
    assert type(rate) is type(setting)


@pytest.mark.parametrize(
    ("text", "setting"),
    [
        ("16", 16),
        ("[16, 32]", Choice((16, 32), default=16)),
        ("{low: 8, high: 64, log: true}", IntRange(8, 64, default=8, log=True)),
    ],
)
def test_a_batch_size_is_an_integer_a_choice_or_a_range(text: str, setting: object) -> None:
    size = _check(_with("epochs: 2", f"epochs: 2\n  batch_size: {text}")).training.batch_size
    assert size == setting
    assert type(size) is type(setting)


@pytest.mark.parametrize(
    ("text", "setting"),
    [
        ("soft", "soft"),
        ("yes", True),
        ("2", 2),
        ("1e-3", 0.001),
        ("[soft, hard]", Choice(("soft", "hard"), default="soft")),
        ("{low: 1, high: 4}", IntRange(1, 4, default=1)),
        ("{low: 0.5, high: 2}", FloatRange(0.5, 2.0, default=0.5)),
    ],
)
def test_an_option_is_a_value_a_choice_or_a_range(text: str, setting: object) -> None:
    option = _check(_with("clamp: soft", f"clamp: {text}")).architectures[1].options["clamp"]
    assert option == setting
    assert type(option) is type(setting)


@pytest.mark.parametrize(
    ("text", "margin"),
    [
        ("0.5%", Margin(0.005, True)),
        ("2 %", Margin(0.02, True)),
        ("0.002", Margin(0.002, False)),
        ("1e-3", Margin(0.001, False)),
        ("0", Margin(0.0, False)),
    ],
)
def test_a_margin_is_a_number_or_a_percentage(text: str, margin: Margin) -> None:
    found = _check(f"{STUDY}confirmation: {{margin: {text}}}\n").confirmation.margin
    assert found == margin


@pytest.mark.parametrize(
    ("margin", "limits", "typical", "unit"),
    [
        (Margin(0.005, True), (0.0, 1.0), 0.9, 0.005),
        (Margin(0.01, True), (0.0, math.inf), -200.0, 2.0),
        (Margin(0.3, False), (0.0, 1.0), 0.9, 0.3),
    ],
)
def test_a_percentage_is_of_the_range_or_of_a_typical_value(
    margin: Margin, limits: tuple[float, float], typical: float, unit: float
) -> None:
    assert margin.in_unit(limits, typical) == pytest.approx(unit)


@pytest.mark.parametrize(
    ("text", "tolerance"),
    [("2%", 0.02), ("2 %", 0.02), ("0.5%", 0.005), ("0.02", 0.02), ("1e-2", 0.01), ("'0.1'", 0.1)],
)
def test_a_tolerance_is_a_fraction_or_a_percentage(text: str, tolerance: float) -> None:
    config = _check(_with("parameters: 1000", f"parameters: 1000\n  tolerance: {text}"))
    assert config.budget.tolerance == pytest.approx(tolerance, rel=1e-15)


@pytest.mark.parametrize(
    ("text", "value"),
    [("1e-3", 0.001), ("'1e-3'", 0.001), ("1.5E3", 1500.0), ("1e999", "1e999"), ("12:30", "12:30")],
)
@pytest.mark.parametrize("what", ["task", "head", "wrapper"])
def test_options_of_every_plugin_have_numbers_as_people_write_them(
    what: str, text: str, value: object
) -> None:
    named = f"{{name: x, options: {{deep: [{{rate: {text}}}]}}}}"
    if what == "task":
        options = _check(_with("task: digits", f"task: {named}")).task.options
    elif what == "head":
        head = _check(f"{STUDY}model: {{head: {named}}}\n").model.head
        assert head is not None
        options = head.options
    else:
        (wrapper,) = _check(f"{STUDY}model: {{wrappers: [{named}]}}\n").model.wrappers
        options = wrapper.options
    assert options == {"deep": [{"rate": value}]}


def test_what_architectures_share_is_merged_in() -> None:
    shared = "  - &shared {name: lstm, label: a, training: {epochs: 3}}\n"
    config = _check(_with("  - lstm\n", f"{shared}  - {{<<: *shared, label: b}}\n"))
    first, second, _ = config.architectures
    assert (first.label, second.label) == ("a", "b")
    assert second.model_copy(update={"label": "a"}) == first


def test_resources_may_be_written_as_powers_of_ten() -> None:
    resources = _check(f"{STUDY}resources: {{cpus_per_trial: 5e-1, gpus_per_trial: 1}}\n").resources
    assert (resources.cpus_per_trial, resources.gpus_per_trial) == (0.5, 1.0)


def test_an_architecture_may_stand_twice_under_two_labels() -> None:
    config = _check(_with("  - lstm", "  - lstm\n  - {name: lstm, label: lstm-2, num_layers: 2}"))
    assert [entry.label for entry in config.architectures] == [None, "lstm-2", None]


def test_a_configuration_is_read_from_a_file_with_its_lines(tmp_path: Path) -> None:
    path = tmp_path / "my.yaml"
    path.write_text(STUDY, encoding="utf-8")
    config, file = load_config(str(path))
    assert config == _check(STUDY)
    assert file.path == str(path)
    assert file.lines["training", "epochs"] == 11


# Refusals: one line each, with the place, the key, what was expected and what was found.


REFUSALS = {
    "an unknown key, with the nearest": (
        _with("training:", "trainng:"),
        "my.yaml:10: trainng: unknown key. Did you mean `training`? Known: schema_version, name, "
        "question, published, seed, task, architectures, budget, model, training, search, "
        "confirmation, engine, resources, tracking.",
    ),
    "an unknown key below another": (
        _with("epochs: 2", "epochs: 2\n  learing_rate: 1"),
        "my.yaml:12: training.learing_rate: unknown key. Did you mean `learning_rate`? Known: "
        "epochs, batch_size, learning_rate, optimizer, weight_decay, gradient_clip, schedule.",
    ),
    "an unknown key in a list": (
        _with("options: {clamp: soft}", "option: {clamp: soft}"),
        "my.yaml:7: architectures[1].option: unknown key. Did you mean `options`? Known: name, "
        "label, options, hidden_size, num_layers, bidirectional, learned_initial_state, head, "
        "wrappers, training, matched, published.",
    ),
    "an unknown key below a list": (
        _with("options: {clamp: soft}", "training: {epoch: 3}"),
        "my.yaml:7: architectures[1].training.epoch: unknown key. Did you mean `epochs`? Known: "
        "epochs, batch_size, learning_rate, optimizer, weight_decay, gradient_clip.",
    ),
    "an unknown key of a task": (
        _with("task: digits", "task: {name: digits, option: 3}"),
        "my.yaml:3: task.option: unknown key. Did you mean `options`? Known: name, options.",
    ),
    "an unknown key of a head": (
        f"{STUDY}model:\n  head:\n    name: mlp\n    hidden: 3\n",
        "my.yaml:15: model.head.hidden: unknown key. Did you mean `hidden_size`? Known: name, "
        "hidden_size, options.",
    ),
    "an unknown key with nothing near": (
        f"{STUDY}confirmation: {{xyz: 1}}\n",
        "my.yaml:12: confirmation.xyz: unknown key. Known: seeds, until, most_seeds, minutes, "
        "margin, against, best, epochs, train_on.",
    ),
    "an end that is not known": (
        f"{STUDY}confirmation: {{until: bored}}\n",
        "my.yaml:12: confirmation.until: input should be 'decided', found 'bored'",
    ),
    "a margin below zero": (
        f"{STUDY}confirmation: {{margin: -1%}}\n",
        "my.yaml:12: confirmation.margin: expected a number from 0 on or a percentage such as "
        "0.5%, found '-1%'",
    ),
    "a margin in words": (
        f"{STUDY}confirmation: {{margin: small}}\n",
        "my.yaml:12: confirmation.margin: expected a number from 0 on or a percentage such as "
        "0.5%, found 'small'",
    ),
    "a control that is no row": (
        f"{STUDY}confirmation: {{against: lstn}}\n",
        "my.yaml:12: confirmation.against: no row is called `lstn`. Did you mean `lstm`? Rows: "
        "lstm, sm_rnn",
    ),
    "seeds at most of a fixed number": (
        f"{STUDY}confirmation: {{most_seeds: 50}}\n",
        "my.yaml:12: confirmation.most_seeds: `most_seeds` has an effect only beside "
        "`until: decided`",
    ),
    "seeds at most that are fewer than the first": (
        f"{STUDY}confirmation: {{until: decided, seeds: 9, most_seeds: 8}}\n",
        "my.yaml:12: confirmation.most_seeds: expected at least `seeds`, the first ones, which are "
        "9; found 8",
    ),
    "a plateau of a split that is trained on": (
        f"{STUDY}  schedule: {{kind: plateau, epochs: 2, factor: 0.5}}\n"
        "confirmation: {train_on: train+validation}\n",
        "my.yaml:12: training.schedule.kind: a plateau shows on the validation split, and "
        "`confirmation.train_on: train+validation` trains on it; expected `kind: step`, or "
        "`train_on: train`",
    ),
    "an unknown key that is merged in": (
        f"{STUDY}search: {{<<: {{trails: 3}}}}\n",
        "my.yaml:12: search.trails: unknown key. Did you mean `trials`? Known: trials, minutes, "
        "sampler, scheduler, epochs, grace_epochs, reduction_factor.",
    ),
    "a word for yes as a name": (
        _with("name: small", "name: No"),
        "my.yaml:2: name: input should be a valid string, found False; yes, no, on and off are "
        "true and false unless they stand in quotes",
    ),
    "thousands with a comma": (
        _with("parameters: 1000", "parameters: 3,200"),
        "my.yaml:9: budget.parameters: input should be a valid integer, found '3,200'; write "
        "3200, or 3.200 for a fraction",
    ),
    "thousands with spaces": (
        _with("parameters: 1000", "parameters: 1 003 200"),
        "my.yaml:9: budget.parameters: input should be a valid integer, found '1 003 200'; write "
        "1003200",
    ),
    "a whole number with an exponent": (
        _with("parameters: 1000", "parameters: 1.0e5"),
        "my.yaml:9: budget.parameters: input should be a valid integer, found 100000.0; write "
        "100000",
    ),
    "a fraction with a comma": (
        f"{STUDY}resources: {{cpus_per_trial: '0,5'}}\n",
        "my.yaml:12: resources.cpus_per_trial: input should be a valid number, found '0,5'; write "
        "0.5",
    ),
    "minutes of base 60": (
        f"{STUDY}search: {{minutes: 1:30}}\n",
        "my.yaml:12: search.minutes: input should be a valid number, found '1:30'",
    ),
    "an endless time": (
        f"{STUDY}resources: {{epoch_minutes: 1e300}}\n",
        "my.yaml:12: resources.epoch_minutes: input should be less than or equal to 100000000, "
        "found 1e+300",
    ),
    "a search without end": (
        f"{STUDY}search: {{minutes: 1.0e+12}}\n",
        "my.yaml:12: search.minutes: input should be less than or equal to 100000000, found "
        "1000000000000.0",
    ),
    "a width beyond all memory": (
        _with("options: {clamp: soft}", "hidden_size: 4294967296"),
        "my.yaml:7: architectures[1].hidden_size: input should be less than or equal to "
        "1073741824, found 4294967296",
    ),
    "workers without number": (
        f"{STUDY}resources: {{workers: 1_000_000}}\n",
        "my.yaml:12: resources.workers: input should be less than or equal to 100000, found "
        "1000000",
    ),
    "a part of a CPU that Ray cannot count": (
        f"{STUDY}resources: {{cpus_per_trial: 1e-9}}\n",
        "my.yaml:12: resources.cpus_per_trial: input should be greater than or equal to 0.0001, "
        "found 1e-09",
    ),
    "a text without end": (
        _with("epochs: 2", f"epochs: {'x' * 500}"),
        f"my.yaml:11: training.epochs: input should be a valid integer, found '{'x' * 99}…",
    ),
    "a missing key": (
        _with("budget:\n  parameters: 1000\n", ""),
        "my.yaml: key `budget` is missing",
    ),
    "a missing key below another": (
        _with("parameters: 1000", "tolerance: 2%"),
        "my.yaml:8: budget: key `parameters` is missing",
    ),
    "a missing name of a task": (
        _with("task: digits", "task: {options: {}}"),
        "my.yaml:3: task: key `name` is missing",
    ),
    "a missing name in a list": (
        _with("- lstm", "- num_layers: 2"),
        "my.yaml:5: architectures[0]: key `name` is missing",
    ),
    "another version": (
        _with("schema_version: 1", "schema_version: 2"),
        "my.yaml:1: schema_version: expected 1 (the only version this rnnsearch reads), found 2",
    ),
    "a version that only compares equal": (
        _with("schema_version: 1", "schema_version: yes"),
        "my.yaml:1: schema_version: expected 1 (the only version this rnnsearch reads), found True",
    ),
    "no version": (
        _with("schema_version: 1\n", ""),
        "my.yaml: key `schema_version` is missing",
    ),
    "another version with other keys": (
        _with("schema_version: 1", "schema_version: 2\nfuture: 1"),
        "my.yaml:1: schema_version: expected 1 (the only version this rnnsearch reads), found 2",
    ),
    "text for an integer": (
        _with("epochs: 2", "epochs: many"),
        "my.yaml:11: training.epochs: input should be a valid integer, found 'many'",
    ),
    "a boolean for an integer": (
        _with("epochs: 2", "epochs: yes"),
        "my.yaml:11: training.epochs: input should be a valid integer, found True",
    ),
    "a fraction for an integer": (
        _with("parameters: 1000", "parameters: 1000.5"),
        "my.yaml:9: budget.parameters: input should be a valid integer, found 1000.5",
    ),
    "an integer that is too small": (
        _with("epochs: 2", "epochs: 0"),
        "my.yaml:11: training.epochs: input should be greater than or equal to 1, found 0",
    ),
    "a seed that is too large": (
        f"{STUDY}seed: 2147483648\n",
        "my.yaml:12: seed: input should be less than 2147483648, found 2147483648",
    ),
    "a number for a name": (
        _with("name: small", "name: 3"),
        "my.yaml:2: name: input should be a valid string, found 3; put it in quotes",
    ),
    "a name that leaves its folder": (
        _with("name: small", "name: ../small"),
        "my.yaml:2: name: string should match pattern '^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$', found "
        "'../small'",
    ),
    "a label with a slash": (
        _with("name: sm_rnn", "name: sm_rnn\n    label: a/b"),
        "my.yaml:7: architectures[1].label: string should match pattern "
        "'^[A-Za-z0-9][A-Za-z0-9_.+-]{0,63}$', found 'a/b'",
    ),
    "a number for an architecture": (
        _with("- lstm", "- 3"),
        "my.yaml:5: architectures[0]: expected a mapping of keys to values, found 3",
    ),
    "a number for the name of an architecture": (
        _with("- lstm", "- name: 3"),
        "my.yaml:5: architectures[0].name: input should be a valid string, found 3; put it in "
        "quotes",
    ),
    "a value for a mapping": (
        f"{STUDY}search: 3\n",
        "my.yaml:12: search: expected a mapping of keys to values, found 3",
    ),
    "an empty mapping": (
        _with("training:\n  epochs: 2\n", "training:\n"),
        "my.yaml:10: training: expected a mapping of keys to values, found None",
    ),
    "a value for a list": (
        "schema_version: 1\nname: a\ntask: digits\narchitectures: lstm\n"
        "budget: {parameters: 9}\ntraining: {epochs: 1}\n",
        "my.yaml:4: architectures: input should be a valid list, found 'lstm'",
    ),
    "no architectures": (
        "schema_version: 1\nname: a\ntask: digits\narchitectures: []\n"
        "budget: {parameters: 9}\ntraining: {epochs: 1}\n",
        "my.yaml:4: architectures: list should have at least 1 item after validation, not 0, "
        "found []",
    ),
    "a head without a name": (
        f"{STUDY}model: {{head: {{hidden_size: 3}}}}\n",
        "my.yaml:12: model.head: key `name` is missing",
    ),
    "an unknown sampler": (
        f"{STUDY}search:\n  sampler: grid\n",
        "my.yaml:13: search.sampler: input should be 'tpe' or 'random', found 'grid'",
    ),
    "an unknown optimizer": (
        _with("epochs: 2", "epochs: 2\n  optimizer: adm"),
        "my.yaml:12: training.optimizer: expected one of adam, adamw, rmsprop, sgd, got 'adm'",
    ),
    "an unknown optimizer among others": (
        _with("epochs: 2", "epochs: 2\n  optimizer: [adam, adm]"),
        "my.yaml:12: training.optimizer: expected one of adam, adamw, rmsprop, sgd, got 'adm'",
    ),
    "text for a rate": (
        _with("epochs: 2", "epochs: 2\n  learning_rate: fast"),
        "my.yaml:12: training.learning_rate: expected a number, got 'fast'",
    ),
    "a rate of zero": (
        _with("epochs: 2", "epochs: 2\n  learning_rate: 0"),
        "my.yaml:12: training.learning_rate: expected 1e-12 to 1e+06, got 0",
    ),
    "a rate that is no number": (
        _with("epochs: 2", "epochs: 2\n  learning_rate: .nan"),
        "my.yaml:12: training.learning_rate: expected a finite number, found `.nan`",
    ),
    "a batch size that is not whole": (
        _with("epochs: 2", "epochs: 2\n  batch_size: 2.5"),
        "my.yaml:12: training.batch_size: expected an integer, got 2.5",
    ),
    "a range that is not whole": (
        _with("epochs: 2", "epochs: 2\n  batch_size: {low: 1.5, high: 3}"),
        "my.yaml:12: training.batch_size: expected an integer, got 1.5",
    ),
    "a negative bound": (
        _with("epochs: 2", "epochs: 2\n  weight_decay: {low: -1, high: 1}"),
        "my.yaml:12: training.weight_decay: expected 0 to 1e+06, got -1",
    ),
    "a range upside down": (
        _with("epochs: 2", "epochs: 2\n  learning_rate: {low: 0.1, high: 0.01}"),
        "my.yaml:12: training.learning_rate: expected low < high, found low 0.1 and high 0.01",
    ),
    "a logarithmic range from zero": (
        _with("epochs: 2", "epochs: 2\n  weight_decay: {low: 0, high: 1, log: true}"),
        "my.yaml:12: training.weight_decay: expected 0 < low < high, found low 0 and high 1",
    ),
    "a range without an end": (
        _with("epochs: 2", "epochs: 2\n  learning_rate: {low: 0.1}"),
        "my.yaml:12: training.learning_rate: expected a range {low, high, log}, found {low}",
    ),
    "a range with a key too many": (
        _with("epochs: 2", "epochs: 2\n  learning_rate: {low: 0.1, high: 1, step: 1}"),
        "my.yaml:12: training.learning_rate: expected a range {low, high, log}, found {low, high, "
        "step}",
    ),
    "a range of text": (
        _with("clamp: soft", "clamp: {low: soft, high: hard}"),
        "my.yaml:7: architectures[1].options.clamp: expected numbers for `low` and `high`, found "
        "'soft' and 'hard'",
    ),
    "a range of booleans": (
        _with("clamp: soft", "clamp: {low: no, high: yes}"),
        "my.yaml:7: architectures[1].options.clamp: expected numbers for `low` and `high`, found "
        "False and True",
    ),
    "a logarithm of maybe": (
        _with("clamp: soft", "clamp: {low: 1, high: 2, log: maybe}"),
        "my.yaml:7: architectures[1].options.clamp: expected `log` to be true or false, found "
        "'maybe'",
    ),
    "an empty choice": (
        _with("clamp: soft", "clamp: []"),
        "my.yaml:7: architectures[1].options.clamp: expected a list of plain values to choose from",
    ),
    "a choice of lists": (
        _with("clamp: soft", "clamp: [[soft], [hard]]"),
        "my.yaml:7: architectures[1].options.clamp: expected a list of plain values to choose from",
    ),
    "a choice of the same": (
        _with("clamp: soft", "clamp: [soft, soft]"),
        "my.yaml:7: architectures[1].options.clamp: expected a list without repetitions",
    ),
    "an option of nothing": (
        _with("clamp: soft", "clamp:"),
        "my.yaml:7: architectures[1].options.clamp: expected a value, a list or a range {low, "
        "high}, found None",
    ),
    "a number beyond all reals": (
        _with("clamp: soft", f"clamp: {'9' * 400}"),
        "my.yaml:7: architectures[1].options.clamp: this number is too large",
    ),
    "a tolerance of nothing": (
        _with("parameters: 1000", "parameters: 1000\n  tolerance: 0%"),
        "my.yaml:10: budget.tolerance: input should be greater than 0, found '0%'",
    ),
    "a tolerance of everything": (
        _with("parameters: 1000", "parameters: 1000\n  tolerance: 2"),
        "my.yaml:10: budget.tolerance: input should be less than 1, found 2",
    ),
    "a tolerance in words": (
        _with("parameters: 1000", "parameters: 1000\n  tolerance: two%"),
        "my.yaml:10: budget.tolerance: expected a fraction or a percentage such as 2%, found "
        "'two%'",
    ),
    "endless resources": (
        f"{STUDY}resources: {{cpus_per_trial: .inf}}\n",
        "my.yaml:12: resources.cpus_per_trial: expected a finite number, found `.inf`",
    ),
    "an architecture that stands twice": (
        _with("- lstm", "- lstm\n  - lstm"),
        "my.yaml:6: architectures[1]: `lstm` stands here a second time; give one a `label` of its "
        "own",
    ),
    "a label that is another's name": (
        _with("name: sm_rnn", "name: sm_rnn\n    label: lstm"),
        "my.yaml:6: architectures[1]: `lstm` stands here a second time; give one a `label` of its "
        "own",
    ),
    "an unmatched width that is not fixed": (
        _with("name: sm_rnn", "name: sm_rnn\n    matched: false"),
        "my.yaml:7: architectures[1].matched: `matched: false` needs a fixed `hidden_size`",
    ),
}


@pytest.mark.parametrize(("text", "message"), REFUSALS.values(), ids=REFUSALS)
def test_bad_input_is_refused_in_one_line_that_points_at_it(text: str, message: str) -> None:
    assert _refused(text) == message


def test_of_several_faults_the_unknown_key_is_named_because_it_often_causes_the_others() -> None:
    text = _with("budget:", "budgets:").replace("epochs: 2", "epochs: 0")
    assert "budgets: unknown key. Did you mean `budget`?" in _refused(text)


# Studies that come with the library


@pytest.mark.parametrize("path", sorted(STUDIES.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_study_in_the_repository_can_be_read(path: Path) -> None:
    config, _ = load_config(str(path))
    assert config.name == path.stem
    assert config.question


# JSON Schema


class _Loader(yaml.SafeLoader):
    """YAML as editors read it (version 1.2): `1e-3` is a number."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9]+[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def _schema_problems(text: str) -> list[str]:
    content = json.loads(json.dumps(yaml.load(text, _Loader)))
    validator = jsonschema.Draft202012Validator(json_schema())
    return [error.message for error in validator.iter_errors(content)]


def test_the_schema_is_a_json_schema() -> None:
    assert json_schema()["$schema"] == jsonschema.Draft202012Validator.META_SCHEMA["$id"]
    jsonschema.Draft202012Validator.check_schema(json_schema())


def test_the_schema_in_the_repository_is_the_one_that_is_checked() -> None:
    assert json.loads((STUDIES / "study.schema.json").read_text("utf-8")) == json_schema()


@pytest.mark.parametrize("path", sorted(STUDIES.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_schema_accepts_the_studies_of_the_repository(path: Path) -> None:
    assert _schema_problems(path.read_text("utf-8")) == []


@pytest.mark.parametrize(
    "text",
    [
        STUDY,
        _with("epochs: 2", "epochs: 2\n  learning_rate: [1e-3, 1e-2]\n  optimizer: [adam, sgd]"),
        _with("epochs: 2", "epochs: 2\n  learning_rate: {low: 1e-3, high: 1e-2, log: true}"),
        _with("parameters: 1000", "parameters: 1000\n  tolerance: 2%"),
        _with("task: digits", "task: {name: digits, options: {}}"),
        f"{STUDY}model: {{head: {{name: mlp, hidden_size: 4}}, bidirectional: [true, false]}}\n",
        f"{STUDY}model: {{head: mlp}}\n",
        f"{STUDY}confirmation: {{until: decided, margin: 0.5%, minutes: 20, most_seeds: 50}}\n",
        f"{STUDY}confirmation: {{margin: 0.002}}\n",
    ],
    ids=[
        *("plain", "choices", "range", "percentage", "task", "head mapping", "head name"),
        *("until decided", "margin in the unit"),
    ],
)
def test_the_schema_accepts_what_the_reader_accepts(text: str) -> None:
    _check(text)
    assert _schema_problems(text) == []


# What only the reader can check: conditions on several places, words for numbers, and what
# editors resolve before they apply the schema.
_BEYOND_THE_SCHEMA = {
    "an unknown key that is merged in",
    "a word for yes as a name",
    "minutes of base 60",
    "a range upside down",
    "a logarithmic range from zero",
    "a range of text",
    "a range of booleans",
    "a range without an end",
    "a range with a key too many",
    "a logarithm of maybe",
    "a negative bound",
    "an empty choice",
    "a choice of lists",
    "a choice of the same",
    "a number beyond all reals",
    "a rate that is no number",
    "endless resources",
    "a tolerance of nothing",
    "an architecture that stands twice",
    "a label that is another's name",
    "an unmatched width that is not fixed",
    "a plateau of a split that is trained on",
    "a control that is no row",
    "seeds at most of a fixed number",
    "seeds at most that are fewer than the first",
}
_BY_THE_SCHEMA = {
    name: case[0] for name, case in REFUSALS.items() if name not in _BEYOND_THE_SCHEMA
}


@pytest.mark.parametrize("text", _BY_THE_SCHEMA.values(), ids=_BY_THE_SCHEMA)
def test_the_schema_refuses_what_the_reader_refuses(text: str) -> None:
    assert _schema_problems(text) != []


def test_every_default_in_the_schema_is_one_that_the_schema_accepts() -> None:
    schema = json_schema()
    defaults = [
        (field["default"], {**field, "$defs": schema["$defs"]})
        for model in (schema, *schema["$defs"].values())
        for field in model["properties"].values()
        if field.get("default") is not None
    ]
    assert len(defaults) > 20
    for default, described in defaults:
        jsonschema.Draft202012Validator(described).validate(default)


def test_every_key_that_the_schema_describes_is_known_to_the_reader() -> None:
    described = json_schema()["properties"]
    assert set(described) == set(StudyConfig.model_fields)


# No other exception escapes


def _outcome(text: str) -> StudyFileError | None:
    try:
        _check(text)
    except StudyFileError as error:
        return error
    return None


_KEYS = st.sampled_from(
    ["name", "task", "options", "head", "training", "epochs", "low", "high", "log", "seed", "", "é"]
)
_LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.just(10**400),
    st.floats(),
    st.dates(),
    st.text(max_size=8),
    st.sampled_from(["1e-3", "2%", "%", "nan", "lstm", "\ud800", "9" * 5000, "1_0"]),
)
_VALUES = st.recursive(
    _LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=3),
    max_leaves=6,
)


def _full() -> dict[str, Any]:
    text = (
        f"{STUDY}model: {{head: {{name: mlp, hidden_size: 3}}, num_layers: [1, 2]}}\n"
        "search: {trials: 3, epochs: 2}\nconfirmation: {seeds: 2}\nresources: {workers: 1}\n"
        "tracking: {uri: http://127.0.0.1}\nseed: 3\nquestion: Why?\n"
    )
    return parse_study(text, "my.yaml").data


def _places(content: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    pairs: list[tuple[Any, Any]] = []
    if isinstance(content, dict):
        pairs = list(content.items())
    elif isinstance(content, list):
        pairs = list(enumerate(content))
    deeper = [place for key, inner in pairs for place in _places(inner, (*path, key))]
    return [path, *deeper] if path else deeper


@st.composite
def mutated_studies(draw: st.DrawFn) -> dict[str, Any]:
    """A valid study with one to three of its places removed, replaced or extended."""
    content = copy.deepcopy(_full())
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.sampled_from(_places(content) or [()]))
        if not place:
            break
        parent: Any = content
        for key in place[:-1]:
            parent = parent[key]
        action = draw(st.sampled_from(["remove", "replace", "add"]))
        if action == "remove":
            del parent[place[-1]]
        elif action == "replace" or not isinstance(parent, dict):
            parent[place[-1]] = draw(_VALUES)
        else:
            parent[draw(_KEYS)] = draw(_VALUES)
    return content


@settings(max_examples=400, deadline=None, database=None, derandomize=True)
@given(content=mutated_studies())
def test_a_damaged_study_is_read_or_refused_in_words(content: dict[str, Any]) -> None:
    text = yaml.dump(content, Dumper=yaml.SafeDumper, sort_keys=False, allow_unicode=True)
    error = _outcome(text)
    assert error is None or (str(error).startswith("my.yaml") and error.problem)


@settings(max_examples=300, deadline=None, database=None, derandomize=True)
@given(
    start=st.integers(0, len(STUDY)),
    length=st.integers(0, 12),
    piece=st.text(st.sampled_from("abn01:-[]{},&*!|>#%'\"\n\t é\x07<?~.@"), max_size=12),
)
def test_damaged_text_is_read_or_refused_in_words(start: int, length: int, piece: str) -> None:
    error = _outcome(STUDY[:start] + piece + STUDY[start + length :])
    assert error is None or (str(error).startswith("my.yaml") and error.problem)
