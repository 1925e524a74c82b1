"""The findings of analyses, as they lie in a study's folder: written here, and read here.

Below `analyses/`, each row has a folder with `model.json`, which says which model was analysed, and
a folder for each analysis with its `findings.json` and figures.
"""

from __future__ import annotations

import io
import json
import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rnnsearch.config.home import write_whole
from rnnsearch.errors import StoreError
from rnnsearch.spec.trial import configuration_of

if TYPE_CHECKING:
    from rnnsearch.compare.comparison import Comparison
    from rnnsearch.plugin.analysis import Finding, TrainedModel

FOLDER = "analyses"
_FINDINGS, _MODEL = "findings.json", "model.json"


@dataclass(frozen=True)
class ReportedFinding:
    """A finding of an analysis, as it lies in the study's folder.

    Attributes:
        row: label of the row.
        analysis: name of the analysis.
        name: of the finding.
        caption: what is to be seen.
        figure: content of its SVG, or None.
        numbers: what was measured, by name, as it is to be read.
    """

    row: str
    analysis: str
    name: str
    caption: str
    figure: bytes | None
    numbers: Mapping[str, str]


def folder_of(study: Path, label: str) -> Path:
    """Where the findings on a row lie in the folder of its study."""
    return study / FOLDER / label.replace("/", "-")


def write_model(folder: Path, trained: TrainedModel) -> None:
    """Write which model was analysed into the folder of its row.

    Raises:
        StoreError: the file cannot be written.
    """
    spec = trained.spec
    content = {
        "label": spec.label,
        "architecture": spec.model.architecture,
        "rank": spec.rank,
        "configuration": spec.configuration,
        "seed": spec.seed,
        "split": "validation",
        "trained_on": spec.training.train_on,
        "samples": len(trained.examples),
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        msg = f"cannot write {folder}: {error.strerror or error}"
        raise StoreError(msg) from None
    write_whole(folder / _MODEL, json.dumps(content, indent=2) + "\n")


def write_findings(folder: Path, findings: Sequence[Finding]) -> list[Path]:
    """Write figures as `.svg` and `.png`, and `findings.json`, replacing what the folder holds.

    Raises:
        StoreError: a file cannot be written.
    """
    from matplotlib import rc_context

    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    written, content = [], []
    for finding in findings:
        described: dict[str, Any] = {
            "name": finding.name,
            "caption": finding.caption,
            "figure": None,
            "numbers": {
                number: float(value) if math.isfinite(value) else None
                for number, value in finding.numbers.items()
            },
        }
        if finding.figure is not None:
            for kind in ("png", "svg"):
                file = io.BytesIO()
                undated = {"Date": None} if kind == "svg" else None
                # Without a salt, the same findings would give different files.
                with rc_context({"svg.hashsalt": "rnnsearch"}):
                    finding.figure.savefig(file, format=kind, dpi=150, metadata=undated)
                written.append(folder / f"{finding.name}.{kind}")
                write_whole(written[-1], file.getvalue())
            described["figure"] = f"{finding.name}.svg"
        content.append(described)
    written.append(folder / _FINDINGS)
    write_whole(written[-1], json.dumps(content, indent=2, allow_nan=False) + "\n")
    return written


def read_findings(folder: Path, comparison: Comparison) -> tuple[list[ReportedFinding], list[str]]:
    """What analyses found, and a sentence on each file that is left out.

    Args:
        folder: `analyses` of the study's folder.
        comparison: the study's; findings on a superseded configuration are left out.
    """
    found: list[ReportedFinding] = []
    unread: list[str] = []
    for path in sorted(folder.glob(f"*/*/{_FINDINGS}")):
        row, analysis = path.parent.parent.name, path.parent.name
        try:
            if _is_of_superseded(path.parent.parent / _MODEL, row, comparison):
                unread.append(
                    f"The findings of {analysis} on {row} are of a superseded configuration and "
                    f"left out; `rnnsearch study analyse {comparison.study}` analyses its best."
                )
                continue
            items = json.loads(path.read_text(encoding="utf-8"))
            found += [_finding(item, row, analysis, path.parent) for item in items]
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            unread.append(f"The findings of {analysis} on {row} cannot be read: {error}.")
    return found, unread


def _is_of_superseded(path: Path, row: str, comparison: Comparison) -> bool:
    """Whether the model that was analysed is of a configuration that its row has replaced."""
    old = [configuration_of(one.values) for one in comparison.superseded if one.label == row]
    if not old or not path.is_file():
        return False
    # An earlier version did not write it; what it analysed was the row's best at the time.
    analysed = json.loads(path.read_text(encoding="utf-8")).get("configuration", old[0])
    return analysed in old


def _finding(item: Mapping[str, Any], row: str, analysis: str, folder: Path) -> ReportedFinding:
    figure = item.get("figure")
    if figure is not None and Path(figure).name != figure:
        msg = f"`{figure}` is not a file name"
        raise ValueError(msg)
    return ReportedFinding(
        row=row,
        analysis=analysis,
        name=str(item["name"]),
        caption=str(item["caption"]),
        figure=(folder / figure).read_bytes() if figure is not None else None,
        numbers={
            str(name): f"{value:.4g}" if isinstance(value, float) else str(value)
            for name, value in (item.get("numbers") or {}).items()
        },
    )
