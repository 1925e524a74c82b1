"""From a study file to its configuration, or one error that says where and what to do."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ValidationError

from rnnsearch.config.schema import SCHEMA_VERSION, StudyConfig
from rnnsearch.config.secrets import has_password, hide, hide_password
from rnnsearch.config.study_file import (
    KeyPath,
    StudyFile,
    number_meant,
    read_study_file,
    shortened,
)
from rnnsearch.errors import did_you_mean

_LONGEST_PROBLEM = 300


def load_config(path: str) -> tuple[StudyConfig, StudyFile]:
    """Read and check a study file.

    Raises:
        StudyFileError: with the line of the first thing that is wrong.
    """
    file = read_study_file(path)
    config = check_config(file)
    if config.tracking.uri is not None and has_password(config.tracking.uri):
        problem = (
            f"{hide_password(config.tracking.uri)} holds a password or a token, and copies of a "
            "study file go to MLflow, into reports and archives. Leave `tracking.uri` out and set "
            "MLFLOW_TRACKING_URI to the address; or leave the password out of it, and set "
            "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
        )
        raise file.error(("tracking", "uri"), problem)
    return config, file


def check_config(file: StudyFile) -> StudyConfig:
    """Turn a parsed study file into a configuration; raises as `load_config` does.

    One that was started before passwords were refused in it is taken.
    """
    version = file.data.get("schema_version")
    if "schema_version" in file.data and (type(version) is not int or version != SCHEMA_VERSION):
        problem = (
            f"expected {SCHEMA_VERSION} (the only version this rnnsearch reads), found {version!r}"
        )
        raise file.error(("schema_version",), problem)
    try:
        config = StudyConfig.model_validate(file.data)
    except ValidationError as error:
        raise _explain(file, error) from None
    labels: set[str] = set()
    for i, architecture in enumerate(config.architectures):
        label = architecture.label or architecture.name
        if label in labels:
            problem = f"`{label}` stands here a second time; give one a `label` of its own"
            raise file.error(("architectures", i), problem)
        labels.add(label)
        if not architecture.matched and architecture.hidden_size is None:
            problem = "`matched: false` needs a fixed `hidden_size`"
            raise file.error(("architectures", i, "matched"), problem)
        _check_published(config, i, file)
    _check_confirmation(config, labels, file)
    schedule, confirmed_on = config.training.schedule, config.confirmation.train_on
    if schedule and schedule.kind == "plateau" and confirmed_on != "train":
        problem = (
            f"a plateau shows on the validation split, and `confirmation.train_on: {confirmed_on}` "
            "trains on it; expected `kind: step`, or `train_on: train`"
        )
        raise file.error(("training", "schedule", "kind"), problem)
    return config


def _check_confirmation(config: StudyConfig, labels: set[str], file: StudyFile) -> None:
    """Refuse a control that is no row, and settings that would have no effect."""
    confirmation, key = config.confirmation, ("confirmation",)
    if confirmation.against is not None and confirmation.against not in labels:
        known = ", ".join(sorted(labels))
        hint = did_you_mean(confirmation.against, labels)
        problem = f"no row is called `{confirmation.against}`.{hint} Rows: {known}"
        raise file.error((*key, "against"), problem)
    if confirmation.most_seeds is None:
        return
    if confirmation.until is None:
        problem = "`most_seeds` has an effect only beside `until: decided`"
        raise file.error((*key, "most_seeds"), problem)
    if confirmation.most_seeds < confirmation.seeds:
        problem = (
            f"expected at least `seeds`, the first ones, which are {confirmation.seeds}; found "
            f"{confirmation.most_seeds}"
        )
        raise file.error((*key, "most_seeds"), problem)


def _check_published(config: StudyConfig, i: int, file: StudyFile) -> None:
    """Refuse published figures that say nothing, or that nobody could look up."""
    figures, key = config.architectures[i].published, ("architectures", i, "published")
    if figures is None:
        return
    if config.published is None:
        problem = (
            "figures need their source: say at the top of the study whose they are, such as "
            "`published: {source: Authors, title, venue, where: Table 1}`"
        )
        raise file.error(key, problem)
    if figures.parameters is None and figures.value is None and not figures.note:
        raise file.error(key, "expected `parameters`, `value` or a `note`")
    if figures.interval is not None and figures.value is None:
        raise file.error((*key, "interval"), "an interval needs the `value` that it is around")


def _explain(file: StudyFile, error: ValidationError) -> Exception:
    # Unknown keys first: a misspelt key is often the cause of a missing one.
    errors = sorted(error.errors(), key=lambda e: e["type"] != "extra_forbidden")
    first = errors[0]
    key = _key_path(file, first["loc"])
    if first["type"] == "extra_forbidden":
        known = _known_keys(key[:-1])
        misspelt = did_you_mean(str(key[-1]), known)
        problem = f"unknown key.{misspelt} Known: {', '.join(known)}."
    elif first["type"] == "missing":
        *parent, name = first["loc"]
        return file.error(tuple(parent), f"key `{name}` is missing")
    elif first["type"] == "setting":
        problem = shortened(first["msg"], _LONGEST_PROBLEM)
    elif first["type"] == "model_type":
        problem = f"expected a mapping of keys to values, found {_shown(first['input'])}"
    else:
        problem = f"{first['msg'][0].lower()}{first['msg'][1:]}, found {_shown(first['input'])}"
        problem += _as_meant(first["type"], first["input"])
    return file.error(key, problem)


def _shown(value: Any) -> str:
    return shortened(hide(repr(value)))


def _as_meant(expected: str, found: Any) -> str:
    """How to write what somebody seems to mean, where YAML reads it as something else."""
    if expected == "string_type" and isinstance(found, bool):
        return "; yes, no, on and off are true and false unless they stand in quotes"
    if expected == "string_type" and isinstance(found, int | float):
        return "; put it in quotes"
    if expected.startswith("int_") and isinstance(found, float) and found.is_integer():
        return f"; write {found:.0f}"
    meant = number_meant(found) if isinstance(found, str) else None
    return f"; write {meant}" if meant else ""


def _key_path(file: StudyFile, location: tuple[str | int, ...]) -> KeyPath:
    # A list item given as a bare name is validated as a mapping: `architectures[0].name`.
    key: KeyPath = tuple(location)
    while len(key) > 1 and key[-1] == "name" and key not in file.lines and key[:-1] in file.lines:
        key = key[:-1]
    return key


def _known_keys(parent: KeyPath) -> list[str]:
    model: Any = StudyConfig
    for part in parent:
        if isinstance(part, int):
            continue
        field = model.model_fields.get(part)
        model = _model_in(field.annotation if field else None)
        if model is None:
            return []
    return list(model.model_fields)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        if found := _model_in(argument):
            return found
    return None
