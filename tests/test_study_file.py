"""A study file is read as plain YAML, with the line of every key, or refused in one message."""

from __future__ import annotations

from pathlib import Path

import pytest

from rnnsearch import StudyFileError
from rnnsearch.study_file import KeyPath, StudyFile, dotted, parse_study, read_study_file

TEXT = """\
# A comment.
name: small

task:
  name: digits
  options: {pixels: binary,
            extra: 2}
architectures:
  - lstm
  - name: sm_rnn
    options:
      clamp: [soft, hard]
"""


def _refused(text: str) -> StudyFileError:
    with pytest.raises(StudyFileError) as caught:
        parse_study(text, "my.yaml")
    return caught.value


# Content


def test_content_is_plain_python() -> None:
    assert parse_study(TEXT, "my.yaml").data == {
        "name": "small",
        "task": {"name": "digits", "options": {"pixels": "binary", "extra": 2}},
        "architectures": ["lstm", {"name": "sm_rnn", "options": {"clamp": ["soft", "hard"]}}],
    }


def test_the_text_and_the_path_are_kept_as_they_were(tmp_path: Path) -> None:
    path = tmp_path / "my.yaml"
    path.write_text(TEXT, encoding="utf-8")
    file = read_study_file(path)
    assert (file.text, file.path) == (TEXT, str(path))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        ("off", False),
        ("null", None),
        ("~", None),
        ("3", 3),
        ("-0x1F", -31),
        ("1.5", 1.5),
        ("1.0e-3", 0.001),
        # YAML 1.1 wants a dot in a float; `rnnsearch.config` reads this one as a number.
        ("1e-3", "1e-3"),
        ("2%", "2%"),
        ("'3'", "3"),
        ("été", "été"),
        ("!!str 3", "3"),
        ("&anchor 3", 3),
    ],
)
def test_a_scalar_has_the_value_that_yaml_gives_it(text: str, value: object) -> None:
    found = parse_study(f"key: {text}\n", "my.yaml").data["key"]
    assert found == value
    assert type(found) is type(value)


def test_an_alias_repeats_what_it_names() -> None:
    file = parse_study("one: &head {name: mlp}\ntwo: *head\n", "my.yaml")
    assert file.data["two"] == file.data["one"] == {"name": "mlp"}


def test_a_key_is_text_whatever_it_looks_like() -> None:
    assert parse_study("3: a\ntrue: b\n", "my.yaml").data == {"3": "a", "true": "b"}


# Lines


@pytest.mark.parametrize(
    ("key", "line"),
    [
        (("name",), 2),
        (("task",), 4),
        (("task", "name"), 5),
        (("task", "options", "pixels"), 6),
        (("task", "options", "extra"), 7),
        (("architectures",), 8),
        (("architectures", 0), 9),
        (("architectures", 1), 10),
        (("architectures", 1, "name"), 10),
        (("architectures", 1, "options", "clamp"), 12),
        (("architectures", 1, "options", "clamp", 1), 12),
    ],
    ids=lambda value: dotted(value) if isinstance(value, tuple) else str(value),
)
def test_every_key_and_every_item_knows_its_line(key: KeyPath, line: int) -> None:
    assert parse_study(TEXT, "my.yaml").lines[key] == line


@pytest.mark.parametrize(
    ("key", "line"),
    [
        (("architectures", 1, "options", "clamp", "low"), 12),
        (("architectures", 1, "training", "epochs"), 10),
        (("architectures", 7, "name"), 8),
        (("budget", "parameters"), None),
    ],
    ids=lambda value: dotted(value) if isinstance(value, tuple) else str(value),
)
def test_an_error_at_a_key_that_is_not_there_points_at_its_nearest_parent(
    key: KeyPath, line: int | None
) -> None:
    error = parse_study(TEXT, "my.yaml").error(key, "is wrong")
    place = "my.yaml" if line is None else f"my.yaml:{line}"
    assert (error.path, error.line, error.key) == ("my.yaml", line, dotted(key))
    assert str(error) == f"{place}: {dotted(key)}: is wrong"


@pytest.mark.parametrize(
    ("key", "text"),
    [
        (("seed",), "seed"),
        (("training", "epochs"), "training.epochs"),
        (("architectures", 2, "options", "clamp"), "architectures[2].options.clamp"),
        (("clamp", 0, 1), "clamp[0][1]"),
        ((), ""),
    ],
)
def test_a_path_is_written_as_a_person_would(key: KeyPath, text: str) -> None:
    assert dotted(key) == text


# Refusals


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "missing.yaml"
    with pytest.raises(StudyFileError) as caught:
        read_study_file(path)
    assert str(caught.value) == f"{path}: no such file"


def test_a_folder_cannot_be_read_as_a_study(tmp_path: Path) -> None:
    with pytest.raises(StudyFileError) as caught:
        read_study_file(tmp_path)
    assert str(caught.value) == f"{tmp_path}: cannot be read: Is a directory"


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "binary.yaml"
    path.write_bytes(b"name: \xff\xfe\n")
    with pytest.raises(StudyFileError, match="cannot be read: 'utf-8' codec"):
        read_study_file(path)


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        pytest.param("a: [1, 2\nb: 3\n", 2, "expected ',' or ']'", id="open bracket"),
        pytest.param("a: 1\n b: 2\n", 2, "mapping values are not allowed here", id="indentation"),
        pytest.param("a: 1\n\tb: 2\n", 2, "cannot start any token", id="tab"),
        pytest.param("a: *nothing\n", 1, "found undefined alias 'nothing'", id="alias"),
        pytest.param("a: 1\n---\nb: 2\n", 2, "but found another document", id="two documents"),
        pytest.param("a: 'open\n", 2, "found unexpected end of stream", id="open quote"),
        pytest.param("a: \x00\n", 1, "it holds the character U+0000", id="control"),
        pytest.param("[" * 5000, None, "recursion", id="nesting"),
        pytest.param("a: &a [*a]\n", None, "recursion", id="an alias of its own parent"),
    ],
)
def test_what_is_not_yaml_is_refused_with_its_line(text: str, line: int | None, what: str) -> None:
    error = _refused(text)
    assert error.line == line
    assert "is not valid YAML: " in str(error)
    assert what in str(error)


@pytest.mark.parametrize(
    ("text", "found"),
    [("", "nothing"), ("# only a comment\n", "nothing"), ("- a\n", "list"), ("lstm\n", "str")],
    ids=["empty", "comment", "list", "scalar"],
)
def test_what_is_no_mapping_is_refused(text: str, found: str) -> None:
    assert str(_refused(text)) == f"my.yaml: expected a mapping of keys to values, found {found}"


@pytest.mark.parametrize(
    ("text", "line", "key", "first"),
    [
        pytest.param("seed: 1\nname: a\nseed: 2\n", 3, "seed", 1, id="top level"),
        pytest.param("a:\n  b: 1\n  b: 1\n", 3, "a.b", 2, id="nested"),
        pytest.param("a:\n - x: 1\n   x: 2\n", 3, "a[0].x", 2, id="in a list"),
        pytest.param("a: {x: 1, x: 2}\n", 1, "a.x", 1, id="on one line"),
        pytest.param("a: 1\n'a': 2\n", 2, "a", 1, id="quoted"),
    ],
)
def test_a_repeated_key_is_refused_with_both_lines(
    text: str, line: int, key: str, first: int
) -> None:
    error = _refused(text)
    assert (error.line, error.key) == (line, key)
    assert f"appears twice; the first is on line {first}" in error.problem


def test_a_key_of_several_parts_is_refused() -> None:
    assert str(_refused("a: 1\n? [x, y]\n: 2\n")) == "my.yaml:2: expected a plain key"


@pytest.mark.parametrize(
    "value",
    [
        "!!python/object/apply:os.mkdir [{folder}]",
        "!!python/object/new:os.mkdir [[{folder}]]",
        "!!python/object:pathlib.Path {{_raw_paths: [{folder}]}}",
        "!!python/name:os.mkdir ''",
        "!!python/tuple [1, 2]",
        "!!set {{a}}",
        "!!omap [a: 1]",
        "!!binary aGVsbG8=",
        "!mine 3",
        "!mine {{a: 1}}",
        "{{!!python/name:os.mkdir a: 1}}",
    ],
    ids=lambda value: value.split()[0],
)
def test_a_tag_is_refused_and_nothing_of_it_is_run(value: str, tmp_path: Path) -> None:
    folder = tmp_path / "made"
    error = _refused(f"name: x\nseed: {value.format(folder=folder)}\n")
    assert (error.line, error.key) == (2, "seed")
    assert "found the tag `" in error.problem
    assert not folder.exists()


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("2026-99-99", "expected timestamp, found `2026-99-99`"),
        ("!!int ''", "expected int, found ``"),
        ("!!int three", "expected int, found `three`"),
        ("!!float three", "expected float, found `three`"),
        ("!!bool maybe", "expected bool, found `maybe`"),
        ("!!timestamp now", "expected timestamp, found `now`"),
        ("9" * 5000, f"expected int, found `{'9' * 40}`"),
        ("9" * 400, "this number is too large"),
        ("0x" + "f" * 5000, "this number is too large"),
    ],
    ids=lambda value: value[:20],
)
def test_a_scalar_that_is_not_what_it_claims_is_refused_with_its_line(
    value: str, problem: str
) -> None:
    error = _refused(f"name: x\ntraining:\n  epochs: {value}\n")
    assert str(error) == f"my.yaml:3: training.epochs: {problem}"


def test_every_refusal_has_the_exit_code_of_study_files() -> None:
    assert _refused("").exit_code == 3
    assert StudyFile("my.yaml", "", {}, {}).error((), "is wrong").exit_code == 3


def test_nested_aliases_are_refused_before_they_fill_the_memory() -> None:
    text = "a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n"
    for level in range(1, 10):
        text += f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]\n"
    with pytest.raises(StudyFileError, match="more than 100,000 values"):
        parse_study(text, "my.yaml")
