"""A study file is read as plain YAML with the line of every key, or refused with one message."""

from __future__ import annotations

from pathlib import Path

import pytest

from rnnsearch import StudyFileError
from rnnsearch.config.study_file import (
    MOST_BYTES,
    KeyPath,
    StudyFile,
    as_number,
    dotted,
    parse_study,
    parse_value,
    read_study_file,
)

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
        ("1.5e3", 1500.0),
        ("+.5", 0.5),
        ("1_000", 1000),
        ("0b101", 5),
        ("0o17", 15),
        ("-0o17", -15),
        ("08", 8),
        ("007", 7),
        ("00", 0),
        ("'017'", "017"),
        # YAML 1.1 reads these as 750 and as a date.
        ("12:30", "12:30"),
        ("1:30.5", "1:30.5"),
        ("2026-12-01", "2026-12-01"),
        ("2026-99-99", "2026-99-99"),
        ("=", "="),
        ("<<", "<<"),
        ("9223372036854775807", 2**63 - 1),
        ("3,200", "3,200"),
        (r'"a\tb\nc"', "a\tb\nc"),
        # JSON writes characters beyond U+FFFF as two halves.
        (r'"\uD83E\uDD16 \U0001F916"', "\U0001f916 \U0001f916"),
        # YAML 1.1 requires a dot in a float; `rnnsearch.config.schema` reads this as a number.
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
    path.write_bytes(b"seed: 1\nname: \xff\xfe\n")
    with pytest.raises(StudyFileError) as caught:
        read_study_file(path)
    problem = "is not UTF-8: it holds the byte 0xFF; save it as UTF-8"
    assert str(caught.value) == f"{path}:2: {problem}"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"], ids=repr)
def test_a_file_is_read_however_its_editor_writes_text(
    encoding: str, end: str, tmp_path: Path
) -> None:
    path = tmp_path / "my.yaml"
    text = "name: été\ntask:\n  name: \U0001f916\n"
    path.write_bytes(text.replace("\n", end).encode(encoding))
    file = read_study_file(path)
    assert file.text == text
    assert file.data == {"name": "été", "task": {"name": "\U0001f916"}}
    assert file.lines["task", "name"] == 3


@pytest.mark.parametrize("kind", ["large", "endless"])
def test_a_file_that_is_too_large_is_not_read_to_its_end(kind: str, tmp_path: Path) -> None:
    path = Path("/dev/zero")
    if kind == "large":
        path = tmp_path / "my.yaml"
        path.write_bytes(b"a: 1 #" + b"." * MOST_BYTES)
    with pytest.raises(StudyFileError) as caught:
        read_study_file(path)
    problem = "is larger than 1,000,000 bytes, and a study file is a page or two"
    assert str(caught.value) == f"{path}: {problem}"


def test_a_name_of_a_file_that_no_system_takes_is_refused() -> None:
    with pytest.raises(StudyFileError, match="cannot be read: embedded null byte"):
        read_study_file("my\0.yaml")


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        pytest.param("a: [1, 2\nb: 3\n", 2, "expected ',' or ']'", id="open bracket"),
        pytest.param("a: 1\n b: 2\n", 2, "mapping values are not allowed here", id="indentation"),
        pytest.param("a: 1\n\tb: 2\n", 2, "indent with spaces, not with tabs", id="tab"),
        pytest.param("a: *nothing\n", 1, "found undefined alias 'nothing'", id="alias"),
        pytest.param("a: 1\n---\nb: 2\n", 2, "but found another document", id="two documents"),
        pytest.param("a: 'open\n", 2, "found unexpected end of stream", id="open quote"),
        pytest.param("a: \x00\n", 1, "it holds the character U+0000", id="control"),
        pytest.param("a: 1\nb: " + "[" * 5000, 2, "stand more than 50 deep", id="lists"),
        pytest.param("a: " + "{b: " * 5000, 1, "stand more than 50 deep", id="mappings"),
        pytest.param("- " * 5000, 1, "stand more than 50 deep", id="lists on a line"),
        pytest.param("\n" + "[1]," * 50_001, 2, "but found ','", id="no document"),
        pytest.param("a:\n- " + "\n- ".join("1" * 100_001), 99_999, "100,000", id="values"),
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
        ("!!int ''", "expected int, found ``"),
        ("!!int three", "expected int, found `three`"),
        ("!!float three", "expected float, found `three`"),
        ("!!bool maybe", "expected bool, found `maybe`"),
        ("!!timestamp 2026-12-01", "expected plain YAML, found the tag `tag:yaml.org,2002:times"),
        ("9" * 5000, f"expected int, found `{'9' * 40}`"),
        ("9" * 400, "this number is too large"),
        ("0x" + "f" * 5000, "this number is too large"),
        ("9223372036854775808", "this number is too large"),
        (".inf", "expected a finite number, found `.inf`"),
        ("-.INF", "expected a finite number, found `-.INF`"),
        (".NaN", "expected a finite number, found `.NaN`"),
        ("1.0e+999", "expected a finite number, found `1.0e+999`"),
        ("!!float inf", "expected a finite number, found `inf`"),
        ("!!int 12:30", "expected int, found `12:30`"),
        (
            "-0_17",
            "found -0_17, which is 15 to some readers of YAML and 17 to others: write 17, 0o17, or "
            "a text in quotes",
        ),
        ("&a [*a]", "lists and mappings stand more than 50 deep in each other"),
        ("&a {<<: *a}", "merges itself"),
        ("{<<: 3}", "expected a mapping, or a list of some"),
        ("{<<: [{a: 1}, b]}", "expected a mapping, or a list of some"),
        (r'"\uD83E"', "holds half a character, U+D83E"),
        (r'"a\uDD16\uD83E"', "holds half a character, U+DD16"),
        (r'"\0"', "holds the control character U+0000"),
        (r'"\e[31m"', "holds the control character U+001B"),
        (r'"\x9b"', "holds the control character U+009B"),
    ],
    ids=lambda value: value[:20],
)
def test_a_scalar_that_is_not_what_it_claims_is_refused_with_its_line(
    value: str, problem: str
) -> None:
    error = _refused(f"name: x\ntraining:\n  epochs: {value}\n")
    assert error.line == 3
    assert error.key.startswith("training")
    assert error.problem.startswith(problem)


def test_every_refusal_has_the_exit_code_of_study_files() -> None:
    assert _refused("").exit_code == 3
    assert StudyFile("my.yaml", "", {}, {}).error((), "is wrong").exit_code == 3


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n"
            + "".join(f"a{n}: &a{n} [{f'*a{n - 1}, ' * 10}]\n" for n in range(1, 10)),
            "more than 100,000 values",
        ),
        (
            f"a: &a {'x' * 1000}\nb: [{'*a, ' * 1001}]\n",
            "repeats texts to more than 1,000,000 characters",
        ),
        (
            f"a: &a {{{', '.join(f'k{n}: 1' for n in range(1000))}}}\n"
            f"b: {{<<: [{'*a, ' * 101}]}}\n",
            "merges more than 100,000 keys",
        ),
    ],
    ids=["values", "texts", "keys"],
)
def test_aliases_are_refused_before_they_fill_the_memory(text: str, problem: str) -> None:
    with pytest.raises(StudyFileError, match=problem):
        parse_study(text, "my.yaml")


# Merge keys


@pytest.mark.parametrize(
    ("value", "merged"),
    [
        ("{<<: *one}", {"x": 1, "y": 1}),
        ("{<<: *one, y: 3}", {"x": 1, "y": 3}),
        ("{y: 3, <<: *one}", {"x": 1, "y": 3}),
        ("{<<: [*two, *one]}", {"x": 1, "y": 2, "z": 2}),
        ("{<<: [*one, *two]}", {"x": 1, "y": 1, "z": 2}),
        ("{<<: {<<: *one, x: 5}}", {"x": 5, "y": 1}),
        ("{'<<': 1}", {"<<": 1}),
    ],
)
def test_a_merge_key_stands_for_the_keys_of_what_it_names(value: str, merged: object) -> None:
    text = f"one: &one {{x: 1, y: 1}}\ntwo: &two {{y: 2, z: 2}}\nthree: {value}\n"
    assert parse_study(text, "my.yaml").data["three"] == merged


def test_an_error_at_a_key_that_was_merged_in_points_at_where_it_is_written() -> None:
    file = parse_study("one: &one\n  x: 1\ntwo:\n  <<: *one\n  y: 2\n", "my.yaml")
    assert str(file.error(("two", "x"), "is wrong")) == "my.yaml:2: two.x: is wrong"
    assert str(file.error(("two", "y"), "is wrong")) == "my.yaml:5: two.y: is wrong"


# Numbers as people write them


@pytest.mark.parametrize(
    ("text", "key", "problem"),
    [
        (
            "{parameters: 3,200, x: 2}",
            "budget.parameters",
            "found 3,200, and a comma ends a value: write 3200, or 3.200 for a fraction",
        ),
        (
            "{x: 2, parameters: 1,003,200}",
            "budget.parameters",
            "found 1,003,200, and a comma ends a value: write 1003200",
        ),
        (
            "{tolerance: 0,02}",
            "budget.tolerance",
            "found 0,02, and a comma ends a value: write 0.02",
        ),
    ],
)
def test_a_comma_in_a_number_in_braces_is_refused(text: str, key: str, problem: str) -> None:
    assert str(_refused(f"name: x\nbudget: {text}\n")) == f"my.yaml:2: {key}: {problem}"


@pytest.mark.parametrize(
    ("text", "value"),
    [("1e-3", 0.001), ("3", 3), ("017", "017"), ("soft", "soft"), ("[", "["), ("yes", True)],
)
def test_a_value_on_a_command_line_is_read_as_in_a_file(text: str, value: object) -> None:
    assert parse_value(text) == value


@pytest.mark.parametrize(
    "text", ["nan", "inf", "infinity", "1e999", "9" * 30, "0x1F", "017", "1 2", "", "e3", "\u0663"]
)
def test_a_text_that_python_might_take_for_a_number_stays_a_text(text: str) -> None:
    assert as_number(text) == text


# Texts


def test_a_key_that_holds_half_a_character_is_refused_with_its_line() -> None:
    error = _refused('name: x\n"qu\\uD83E": 3\n')
    assert str(error) == r"my.yaml:2: qu\ud83e: holds half a character, U+D83E"
