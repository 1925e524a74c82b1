"""A study file as text: safe YAML that remembers on which line every key stands."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import yaml

from rnnsearch.errors import PluginError, StudyFileError, on_one_line

_MOST_VALUES = 100_000

KeyPath: TypeAlias = tuple[str | int, ...]

_TAGS = frozenset(
    f"tag:yaml.org,2002:{kind}"
    for kind in ("map", "seq", "str", "int", "float", "bool", "null", "timestamp", "merge", "value")
)


@dataclass(frozen=True)
class StudyFile:
    """A parsed study file.

    Attributes:
        path: where it was read from, as the user wrote it.
        text: its text.
        data: its content as plain Python values.
        lines: line number, from 1, of every key and list item, by its path.
    """

    path: str
    text: str
    data: dict[str, Any]
    lines: dict[KeyPath, int]

    def error(self, key: KeyPath, problem: str) -> StudyFileError:
        """Return an error that points at a key, or at the nearest parent the file does have."""
        line = next(
            (self.lines[key[:n]] for n in range(len(key), 0, -1) if key[:n] in self.lines), None
        )
        return StudyFileError(problem, path=self.path, line=line, key=dotted(key))

    @contextmanager
    def pointing_at(self, key: KeyPath) -> Iterator[None]:
        """Let an error about a plugin say where in the file it is named, if it does not yet."""
        try:
            yield
        except PluginError as error:
            if str(error).startswith(f"{self.path}:"):
                raise
            where = self.error(key, "")
            said = on_one_line(f"{where.path}:{where.line}: {where.key}: {error}")
            raise type(error)(said) from error


def dotted(key: KeyPath) -> str:
    """Write a path as a person would: `architectures[2].options.clamp`."""
    text = ""
    for part in key:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def read_study_file(path: str | Path) -> StudyFile:
    """Read a study file.

    Raises:
        StudyFileError: it is missing or unreadable, is not YAML, repeats a key, or is no mapping.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise StudyFileError("no such file", path=str(path)) from None
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise StudyFileError(f"cannot be read: {reason}", path=str(path)) from None
    return parse_study(text, str(path))


def parse_study(text: str, path: str) -> StudyFile:
    """Parse the text of a study file; raises as `read_study_file` does."""
    lines: dict[KeyPath, int] = {}
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        data = _plain(node, (), lines, path) if node is not None else None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else None
        problem = f"is not valid YAML: {error.problem or error.context}"
        raise StudyFileError(problem, path=path, line=line) from None
    except yaml.reader.ReaderError as error:
        problem = f"is not valid YAML: it holds the character {_code(error.character)}"
        line = text.count("\n", 0, error.position) + 1
        raise StudyFileError(problem, path=path, line=line) from None
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        problem = " ".join(f"is not valid YAML: {error}".split())
        raise StudyFileError(problem, path=path) from None
    if not isinstance(data, dict):
        found = "nothing" if data is None else type(data).__name__
        raise StudyFileError(f"expected a mapping of keys to values, found {found}", path=path)
    return StudyFile(path, text, data, lines)


def _code(character: int | str | bytes) -> str:
    number = character if isinstance(character, int) else ord(character)
    return f"U+{number:04X}"


def parse_value(text: str) -> Any:
    """Read one value as it would stand in a study file; a text that is not YAML stays a text."""
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text


def _plain(node: yaml.Node, key: KeyPath, lines: dict[KeyPath, int], path: str) -> Any:
    lines.setdefault(key, node.start_mark.line + 1)
    if len(lines) > _MOST_VALUES:
        # A few nested aliases can stand for more values than there is memory.
        problem = f"holds more than {_MOST_VALUES:,} values"
        raise StudyFileError(problem, path=path, line=node.start_mark.line + 1)
    _check_tag(node, key, path)
    if isinstance(node, yaml.MappingNode):
        content: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                raise StudyFileError("expected a plain key", path=path, line=line)
            _check_tag(key_node, key, path)
            name = str(key_node.value)
            if name in content:
                problem = f"key `{name}` appears twice; the first is on line {lines[(*key, name)]}"
                raise StudyFileError(problem, path=path, line=line, key=dotted((*key, name)))
            lines[(*key, name)] = line
            content[name] = _plain(value_node, (*key, name), lines, path)
        return content
    if isinstance(node, yaml.SequenceNode):
        return [_plain(item, (*key, i), lines, path) for i, item in enumerate(node.value)]
    loader = yaml.SafeLoader("")
    try:
        value = loader.construct_object(node)
    except (ValueError, LookupError, AttributeError):  # `2026-99-99`, `!!int ""`, `!!bool maybe`
        kind = node.tag.rpartition(":")[2]
        raise _error(f"expected {kind}, found `{node.value[:40]}`", node, key, path) from None
    finally:
        loader.dispose()
    if isinstance(value, int) and value.bit_length() > 1023:
        raise _error("this number is too large", node, key, path)
    return value


def _check_tag(node: yaml.Node, key: KeyPath, path: str) -> None:
    if node.tag not in _TAGS:
        raise _error(f"expected plain YAML, found the tag `{node.tag}`", node, key, path)


def _error(problem: str, node: yaml.Node, key: KeyPath, path: str) -> StudyFileError:
    return StudyFileError(problem, path=path, line=node.start_mark.line + 1, key=dotted(key))
