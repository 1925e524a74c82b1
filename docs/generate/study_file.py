"""Every key of a study file, from the JSON Schema that checks it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import mkdocs_gen_files

from rnnsearch.config.schema import json_schema

from .tables import table

Schema = dict[str, Any]


def objects(schema: Schema, key: str = "") -> Iterator[tuple[str, Schema]]:
    """Every object that a study file holds: the key at which it stands, and its schema."""
    yield key, schema
    for name, value in schema.get("properties", {}).items():
        path = f"{key}.{name}" if key else name
        if key == "architectures" and name in ("training", "head", "wrappers"):
            continue  # as at the top, each key optional
        for one in _alternatives(value):
            if one.get("properties", {}).keys() - {"low", "high", "log"}:
                yield from objects(one, path)


def _alternatives(schema: Schema) -> Iterator[Schema]:
    """What a value may be, item by item for a list."""
    if "$ref" in schema:
        yield from _alternatives(SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]])
    elif "anyOf" in schema:
        for one in schema["anyOf"]:
            yield from _alternatives(one)
    elif schema.get("type") == "array":
        yield from _alternatives(schema.get("items", {}))
    else:
        yield schema


def kind(schema: Schema) -> str:
    """What a value may be, in words."""
    if "$ref" in schema:
        return kind(SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]])
    if "anyOf" in schema:
        kinds = dict.fromkeys(kind(one) for one in schema["anyOf"] if one.get("type") != "null")
        return " or ".join(kinds)
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if "const" in schema:
        return f"`{schema['const']}`"
    if schema.get("type") == "array":
        return f"a list: {kind(schema.get('items', {}))}"
    if schema.get("type") == "object":
        names = schema.get("properties", {})
        return "`{low, high, log}`" if "low" in names else "keys" if names else "names and values"
    return f"{schema.get('type', 'any')}{_limits(schema)}"


def _limits(schema: Schema) -> str:
    words = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    limits = [f"{sign} {schema[name]:,}" for name, sign in words.items() if name in schema]
    pattern = f" like `{schema['pattern']}`" if "pattern" in schema else ""
    return (f" {', '.join(limits)}" if limits else "") + pattern


def _section(key: str, schema: Schema) -> str:
    required = schema.get("required", [])
    rows = [
        [
            f"`{name}`",
            kind(value),
            "**required**"
            if name in required
            else ""
            if value.get("default") is None or value["default"] in ("", {}, [])
            or isinstance(value["default"], dict)
            else f"`{json.dumps(value['default'])}`",
            value.get("description", ""),
        ]
        for name, value in schema["properties"].items()
    ]  # fmt: skip
    title = f"`{key}`" if key else "The file"
    text = schema.get("description", "").partition("\n\n")
    rest = "\n\n".join(part for part in (text[0], text[2]) if part)
    return f"## {title}\n\n{rest}\n\n{table(['key', 'value', 'default', 'what it is'], rows)}"


SCHEMA = json_schema()

_HEAD = """# Study file

One YAML file is one study. Unknown keys are refused with their line. This page is made from the
JSON Schema that checks the file; `rnnsearch study schema` prints it, and editors can use
`studies/study.schema.json` to complete and check study files as you type.

Most settings of `model` and `training` may be fixed, chosen from, or searched:

| you write | it means |
|---|---|
| `learning_rate: 0.001` | fixed |
| `batch_size: [32, 64]` | a choice, which Optuna searches |
| `learning_rate: {low: 1e-3, high: 2e-2, log: true}` | a range, which Optuna searches |

`schedule: {kind: step, epochs: 30, factor: 0.1}` under `training` lets the learning rate fall
(`plateau`: when the validation loss stops falling), and `minutes: 60` under `search` bounds a
search in time.

What an architecture declares as searchable is searched too, unless `options:` of its entry fixes
it. An entry of `architectures` is a name, or a mapping with the keys below; its `training`, `head`,
`wrappers` and the other settings of `model` replace, for this row alone, those of the whole study.
"""


def write_pages() -> None:
    """Write the page of the study file."""
    sections = {key: _section(key, schema) for key, schema in objects(SCHEMA)}
    with mkdocs_gen_files.open("reference/study-file.md", "w") as file:
        file.write("\n".join([_HEAD, *sections.values()]))
