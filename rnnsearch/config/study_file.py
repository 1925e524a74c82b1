"""A study file as text: safe YAML that remembers on which line every key stands."""

from __future__ import annotations

import codecs
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import yaml
from typing_extensions import override

from rnnsearch.errors import PluginError, StudyFileError, visible

MOST_BYTES = 1_000_000
_MOST_VALUES = 100_000
_DEEPEST = 50  # lists and mappings in each other

KeyPath: TypeAlias = tuple[str | int, ...]

_KINDS = ("map", "seq", "str", "int", "float", "bool", "null", "merge")
_Pair: TypeAlias = tuple[yaml.Node, yaml.Node]
_TAGS = frozenset(f"tag:yaml.org,2002:{kind}" for kind in _KINDS)
_INTEGER = re.compile(r"[-+]?(?:0b[01_]+|0o[0-7_]+|0x[0-9a-fA-F_]+|[0-9][0-9_]*)")
_FLOAT = re.compile(
    r"[-+]?(?:[0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*)(?:[eE][-+]?[0-9]+)?"
    r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
)
# As people write numbers: also `1e-3`, which is a text to YAML 1.1.
_NUMBER = re.compile(
    r"[-+]?(?:(?:0|[1-9][0-9_]*)(?:\.[0-9_]*)?|\.[0-9][0-9_]*)(?:[eE][-+]?[0-9]+)?"
)
_THOUSANDS = re.compile(r"[-+]?[1-9][0-9]{0,2}(?:[, \u00a0\u202f'][0-9]{3})+(?:\.[0-9]+)?")
_DECIMAL_COMMA = re.compile(r"[-+]?[0-9]*,[0-9]+(?:[eE][-+]?[0-9]+)?( *%)?")
_HALF = re.compile("[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f]")
_MARKS = {  # at the beginning of a file, those of four bytes first
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
    codecs.BOM_UTF8: "utf-8-sig",
}


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
            said = visible(f"{where.path}:{where.line}: {where.key}: {error}")
            raise type(error)(said) from error


def dotted(key: KeyPath) -> str:
    """Write a path as a person would: `architectures[2].options.clamp`."""
    text = ""
    for part in key:
        shown = f"[{part}]" if isinstance(part, int) else shortened(part)
        text += f".{shown}" if text and not isinstance(part, int) else shown
    return text


def shortened(text: str, most: int = 100) -> str:
    """A text from a file as a message shows it."""
    return text if len(text) <= most else f"{text[:most]}…"


def read_study_file(path: str | Path) -> StudyFile:
    """Read a study file: UTF-8, or UTF-16 or UTF-32 that begins with a byte order mark.

    Raises:
        StudyFileError: it is missing, unreadable or too large, is not YAML, repeats a key, or is no
            mapping.
    """
    try:
        with open(path, "rb") as file:
            content = file.read(MOST_BYTES + 1)
    except FileNotFoundError:
        raise StudyFileError("no such file", path=str(path)) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise StudyFileError(f"cannot be read: {reason}", path=str(path)) from None
    _check_size(len(content), str(path))
    encoding = next((_MARKS[mark] for mark in _MARKS if content.startswith(mark)), "utf-8")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        problem = f"is not {encoding.upper()}: it holds the byte 0x{content[error.start]:02X}"
        line = content.count(b"\n", 0, error.start) + 1
        raise StudyFileError(f"{problem}; save it as UTF-8", path=str(path), line=line) from None
    return parse_study(text.replace("\r\n", "\n").replace("\r", "\n"), str(path))


def parse_study(text: str, path: str) -> StudyFile:
    """Parse the text of a study file; raises as `read_study_file` does."""
    _check_size(len(text), path)
    reader = _Reader(path)
    try:
        node = yaml.compose(text, Loader=_Loader)
        data = reader.value(node, ()) if node is not None else None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else None
        problem = f"is not valid YAML: {error.problem or error.context}"
        if "'\\t'" in problem:
            problem += "; indent with spaces, not with tabs"
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
    return StudyFile(path, text, data, reader.lines)


def parse_value(text: str) -> Any:
    """Read one value as it would stand in a study file; a text that is not YAML stays a text."""
    try:
        node = yaml.compose(text, Loader=_Loader)
        return as_number(_Reader("").value(node, ())) if node is not None else None
    except (yaml.YAMLError, StudyFileError, RecursionError, ValueError):
        return text


def as_number(value: Any) -> Any:
    """A text that a person means as a number, such as `1e-3`, as that; all else as it is."""
    if not isinstance(value, str) or not _NUMBER.fullmatch(value.strip()):
        return value
    plain = value.replace("_", "")
    if not set("eE.") & set(plain):
        return whole if _fits(whole := int(plain[:32])) and len(plain) < 32 else value
    return number if math.isfinite(number := float(plain)) else value


def as_fraction(value: Any) -> Any:
    """A text such as `2%` as 0.02, and everything else as `as_number` has it."""
    if isinstance(value, str) and value.strip().endswith("%"):
        number = as_number(value.strip()[:-1].strip())
        return value if isinstance(number, str) else number / 100
    return as_number(value)


def number_meant(text: str) -> str | None:
    """How a number is written in YAML that somebody wrote with a comma or in groups of digits."""
    if _THOUSANDS.fullmatch(text):
        whole = re.sub(r"[^-+0-9.]", "", text)
        commas = text.count(",") == 1 and "." not in text
        return f"{whole}, or {text.replace(',', '.')} for a fraction" if commas else whole
    return text.replace(",", ".") if _DECIMAL_COMMA.fullmatch(text) else None


class _Loader(yaml.SafeLoader):
    """YAML as PyYAML composes it, without numbers of base 60 and dates, and not too deep."""

    _depth = _nodes = 0

    @override
    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        self._depth += 1
        self._nodes += 1
        if self._depth > _DEEPEST or self._nodes > _MOST_VALUES:
            problem = _TOO_DEEP if self._depth > _DEEPEST else _TOO_MANY
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=mark)
        try:
            node: yaml.Node | None = super().compose_node(parent, index)
            return node
        finally:
            self._depth -= 1


_TOO_MANY = f"it holds more than {_MOST_VALUES:,} values"
_TOO_DEEP = f"lists and mappings stand more than {_DEEPEST} deep in each other"
_OURS = {"int": (_INTEGER, "-+0123456789"), "float": (_FLOAT, "-+.0123456789")}
_Loader.yaml_implicit_resolvers = {
    first: [
        (tag, pattern)
        for tag, pattern in resolvers
        if tag.rpartition(":")[2] not in ("int", "float", "timestamp", "value")
    ]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
for _kind, (_pattern, _first) in _OURS.items():
    _whole = re.compile(f"(?:{_pattern.pattern})$")
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_kind}", _whole, list(_first))


class _Reader:
    """Turns composed YAML into plain Python values.

    Args:
        path: of the file, for errors.

    Attributes:
        lines: as of `StudyFile`.
    """

    def __init__(self, path: str) -> None:
        self.lines: dict[KeyPath, int] = {}
        self._path, self._length, self._merged = path, 0, 0
        self._pairs_of: dict[int, dict[str, _Pair] | None] = {}

    def value(self, node: yaml.Node, key: KeyPath) -> Any:
        """The value of a node that stands under a key."""
        self.lines.setdefault(key, _line(node))
        # A few nested aliases can stand for more values than there is memory.
        if len(self.lines) > _MOST_VALUES:
            raise self._error(_TOO_MANY, node, ())
        if len(key) > _DEEPEST:
            raise self._error(_TOO_DEEP, node, key[:1])
        self._check_tag(node, key)
        if isinstance(node, yaml.MappingNode):
            content = {}
            for name, (key_node, value_node) in self._pairs(node, key).items():
                self.lines[(*key, name)] = _line(key_node)
                content[name] = self.value(value_node, (*key, name))
            return content
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, (*key, i)) for i, item in enumerate(node.value)]
        assert isinstance(node, yaml.ScalarNode)
        self._length += len(node.value)
        if self._length > MOST_BYTES:
            raise self._error(f"repeats texts to more than {MOST_BYTES:,} characters", node, key)
        return self._scalar(node, key)

    def _pairs(self, node: yaml.MappingNode, key: KeyPath) -> dict[str, _Pair]:
        """The keys and values of a mapping by name, those that `<<` merges into it among them."""
        if id(node) in self._pairs_of:
            if (known := self._pairs_of[id(node)]) is None:
                raise self._error("merges itself", node, key)
            return known
        self._pairs_of[id(node)] = None
        own: dict[str, _Pair] = {}
        merged: dict[str, _Pair] = {}
        for place, (key_node, value_node) in enumerate(node.value):
            if not isinstance(key_node, yaml.ScalarNode):
                raise StudyFileError("expected a plain key", path=self._path, line=_line(key_node))
            self._check_tag(key_node, key)
            if key_node.tag.endswith(":merge"):
                many = isinstance(value_node, yaml.SequenceNode)
                for source in value_node.value if many else [value_node]:
                    if not isinstance(source, yaml.MappingNode):
                        raise self._error("expected a mapping, or a list of some", source, key)
                    pairs = self._pairs(source, key)
                    self._merged += len(pairs)
                    if self._merged > _MOST_VALUES:
                        raise self._error(f"merges more than {_MOST_VALUES:,} keys", source, key)
                    merged = {**pairs, **merged}
                continue
            name = self._text(str(key_node.value), key_node, (*key, str(key_node.value)))
            if name in own:
                problem = f"key `{shortened(name)}` appears twice; the first is on line "
                raise self._error(f"{problem}{_line(own[name][0])}", key_node, (*key, name))
            if place and node.flow_style and name.isdigit() and _is_empty(value_node):
                self._refuse_comma(node, place, key)
            own[name] = key_node, value_node
        self._pairs_of[id(node)] = pairs = {**merged, **own}
        return pairs

    def _refuse_comma(self, node: yaml.MappingNode, place: int, key: KeyPath) -> None:
        """`{parameters: 3,200}` is the key `200` to YAML."""
        before, value = node.value[place - 1]
        groups = [k.value for k, v in node.value[place:] if str(k.value).isdigit() and _is_empty(v)]
        found = ",".join([str(value.value), *groups])
        if isinstance(value, yaml.ScalarNode) and (meant := number_meant(found)):
            problem = f"found {found}, and a comma ends a value: write {meant}"
            raise self._error(problem, before, (*key, str(before.value)))

    def _scalar(self, node: yaml.ScalarNode, key: KeyPath) -> Any:
        text, kind = str(node.value), node.tag.rpartition(":")[2]
        try:
            if kind == "int":
                return self._whole(text, node, key)
            if kind == "float":
                number = math.inf if text[-1:] in "fFnN" else float(text.replace("_", ""))
                if not math.isfinite(number):
                    raise self._error(f"expected a finite number, found `{text[:40]}`", node, key)
                return number
            if kind == "bool":
                return yaml.SafeLoader.bool_values[text.lower()]
        except (ValueError, LookupError):  # `!!int ""`, `!!bool maybe`
            problem = f"expected {kind}, found `{text[:40]}`"
            raise self._error(problem, node, key) from None
        return None if kind == "null" else self._text(text, node, key)

    def _whole(self, text: str, node: yaml.ScalarNode, key: KeyPath) -> int:
        if not _INTEGER.fullmatch(text):
            raise ValueError
        digits = text.lstrip("-+").replace("_", "")
        if digits.isdigit():
            number = int(digits)
            if digits[0] == "0" and set(digits) <= set("01234567") and int(digits, 8) != number:
                problem = (
                    f"found {text}, which is {int(digits, 8)} to some readers of YAML and {number} "
                    f"to others: write {number}, 0o{digits.lstrip('0')}, or a text in quotes"
                )
                raise self._error(problem, node, key)
        else:
            number = int(digits, 0)
        if not _fits(number):
            raise self._error("this number is too large", node, key)
        return -number if text[0] == "-" else number

    def _text(self, text: str, node: yaml.Node, key: KeyPath) -> str:
        """A text as a person means it: two halves of a character, as JSON has them, are one."""
        if half := _HALF.search(text):
            raise self._error(f"holds half a character, {_code(half[0])}", node, key)
        if control := _CONTROL.search(text):
            raise self._error(f"holds the control character {_code(control[0])}", node, key)
        return text.encode("utf-16", "surrogatepass").decode("utf-16")

    def _check_tag(self, node: yaml.Node, key: KeyPath) -> None:
        if node.tag not in _TAGS:
            problem = f"expected plain YAML, found the tag `{shortened(node.tag)}`"
            raise self._error(problem, node, key)

    def _error(self, problem: str, node: yaml.Node, key: KeyPath) -> StudyFileError:
        return StudyFileError(problem, path=self._path, line=_line(node), key=dotted(key))


def _check_size(size: int, path: str) -> None:
    if size > MOST_BYTES:
        problem = f"is larger than {MOST_BYTES:,} bytes, and a study file is a page or two"
        raise StudyFileError(problem, path=path)


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def _is_empty(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and not node.value and node.style is None


def _fits(number: int) -> bool:
    return number.bit_length() < 64


def _code(character: int | str | bytes) -> str:
    number = character if isinstance(character, int) else ord(character)
    return f"U+{number:04X}"
