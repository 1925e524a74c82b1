"""Settings: environment variables as values. One that is empty or blank counts as not set."""

from __future__ import annotations

import math
import os
from pathlib import Path

from rnnsearch.errors import SettingError


def text(name: str) -> str | None:
    """The value of a variable without the blanks around it, or None if it is not set."""
    return os.environ.get(name, "").strip() or None


def flag(name: str) -> bool:
    """Whether a variable is set to anything but 0, false, no or off."""
    return (text(name) or "0").lower() not in ("0", "false", "no", "off")


def seconds(name: str, default: float) -> float:
    """A variable as a number of seconds; `inf` is for ever.

    Raises:
        SettingError: it is no such number.
    """
    given = text(name)
    try:
        value = default if given is None else float(given)
    except ValueError:
        value = math.nan
    if not value >= 0:
        raise wrong(name, f"expected a number of seconds, 0 or more, such as {default:g}")
    return value


def folder(name: str, default: str = "") -> Path:
    """A variable as the absolute path of a folder, with `~` expanded.

    Raises:
        SettingError: it cannot be used; says why.
    """
    try:
        os.fsencode(given := text(name) or default).decode()
        if given.partition("/")[0] == "~" and not os.environ.get("HOME", "unset").strip():
            raise RuntimeError  # an empty one would be the root of the file system
        return Path(given).expanduser().absolute()
    except UnicodeDecodeError:
        raise wrong(name, "expected a path in UTF-8") from None
    except FileNotFoundError:
        raise wrong(name, "the current folder, to which it is relative, is gone") from None
    except RuntimeError:
        if text(name):
            raise wrong(name, "no home folder is known for its `~`") from None
        msg = f"{name} is not set, and its default {default} needs HOME: set one of them"
        raise SettingError(msg) from None


def wrong(name: str, problem: str) -> SettingError:
    """An error that shows a variable's value and says what is wrong with it."""
    return SettingError(f"{name}={os.environ.get(name, '')}: {problem}. Correct or unset it")
