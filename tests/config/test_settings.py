"""An environment variable is read as intended, or named in one clear error."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rnnsearch.config import settings
from rnnsearch.config.home import home
from rnnsearch.errors import SettingError

from ..command import run_here

NAME = "RNNSEARCH_TESTED"


@pytest.mark.parametrize(
    ("value", "text"),
    [("", None), (" \t", None), (" a b ", "a b"), ("0", "0")],
)
def test_a_blank_variable_is_not_set(
    value: str, text: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert settings.text(NAME) is None
    monkeypatch.setenv(NAME, value)
    assert settings.text(NAME) == text


@pytest.mark.parametrize("value", ["", " ", "0", "no", "False", " OFF "])
def test_a_flag_that_says_no_is_off(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(NAME, value)
    assert not settings.flag(NAME)


@pytest.mark.parametrize("value", ["1", "yes", "true", "anything"])
def test_a_flag_that_says_anything_else_is_on(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(NAME, value)
    assert settings.flag(NAME)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("", 30), (" ", 30), ("0", 0), (" 0.5 ", 0.5), ("1e3", 1000), ("inf", float("inf"))],
)
def test_seconds_are_a_number(value: str, seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(NAME, value)
    assert settings.seconds(NAME, 30) == seconds


@pytest.mark.parametrize("value", ["abc", "nan", "-1", "-inf", "5 minutes", "1,5", "0x1F"])
def test_what_is_no_number_of_seconds_is_named(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(NAME, value)
    with pytest.raises(SettingError) as caught:
        settings.seconds(NAME, 30)
    assert str(caught.value) == (
        f"{NAME}={value}: expected a number of seconds, 0 or more, such as 30. Correct or unset it"
    )


@pytest.mark.parametrize("value", ["", "  "])
def test_a_blank_home_is_that_of_who_has_none(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RNNSEARCH_HOME", value)
    monkeypatch.setenv("HOME", "/home/ann")
    assert home() == Path("/home/ann/.rnnsearch")


@pytest.mark.parametrize(
    ("value", "found"),
    [("~/runs", "/home/ann/runs"), ("~", "/home/ann"), ("/srv/a b", "/srv/a b")],
)
def test_a_home_is_an_absolute_path(
    value: str, found: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/ann")
    monkeypatch.setenv("RNNSEARCH_HOME", value)
    assert home() == Path(found)


def test_a_relative_home_is_below_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RNNSEARCH_HOME", "runs")
    assert home() == tmp_path / "runs"


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"RNNSEARCH_HOME": "~no-such-user/x"}, "RNNSEARCH_HOME=~no-such-user/x: no home folder"),
        ({"RNNSEARCH_HOME": os.fsdecode(b"/tmp/\xff")}, r"RNNSEARCH_HOME=.*: expected a path in U"),
        ({"HOME": ""}, "RNNSEARCH_HOME is not set, and its default ~/.rnnsearch needs HOME"),
        ({"HOME": " "}, "RNNSEARCH_HOME is not set, and its default ~/.rnnsearch needs HOME"),
    ],
)
def test_a_home_that_is_no_path_is_named(
    variables: dict[str, str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RNNSEARCH_HOME")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingError, match=said):
        home()


def test_who_has_no_home_is_told_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RNNSEARCH_HOME")
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(os, "getuid", lambda: 12345)  # as in `docker run --user 12345`
    with pytest.raises(SettingError, match="needs HOME: set one of them"):
        home()


def test_an_odd_variable_is_a_usage_error() -> None:
    done = run_here("study", "list", RNNSEARCH_HOME="~no-such-user/x")
    assert done.returncode == 2
    assert done.stderr.startswith("error: RNNSEARCH_HOME=~no-such-user/x: ")
