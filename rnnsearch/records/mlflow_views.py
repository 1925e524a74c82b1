"""What the MLflow UI opens on: the tables of a study's trials, and links to them.

MLflow 3.17 begins with a page for generative models, which shows nothing of a study. Two things
lead past it: `workflowType` in a link, and a *shared view*, a tag of the experiment that says which
runs are listed, by what they are sorted, and which columns stand where. Both were read from the
UI's own code and looked at in a browser; its Python API does not know them.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from rnnsearch.config import settings
from rnnsearch.config.secrets import hide_password

if TYPE_CHECKING:
    from rnnsearch.spec.shape import Direction

LINK = "RNNSEARCH_TRACKING_LINK"
TRIALS, CONFIRMED = "trials", "confirmed"
# On every run: the study's own. An earlier study of the same name has the same experiment.
STUDY_RUN = "rnnsearch.study_run"

_SHARED_VIEW = "mlflow.sharedViewState."
_KIND = {"mlflow.experimentKind": "custom_model_development"}
_TRAINING = "workflowType=machine_learning"


def view_tags(metric: str, direction: Direction, study_run: str | None) -> dict[str, str]:
    """The tags of an experiment that hold its views: trials of the search, and confirmed seeds.

    Args:
        metric: name of the task's metric.
        direction: which values of it are better; the best come first.
        study_run: the study's run, if its trials have it as a tag.
    """
    own = f" AND tags.`{STUDY_RUN}` = '{study_run}'" if study_run else ""
    views = {
        TRIALS: ("search", f"validation/{metric}"),
        CONFIRMED: ("confirmation", f"test/{metric}"),
    }
    return _KIND | {
        _SHARED_VIEW + name: _view(f"tags.`rnnsearch.phase` = '{phase}'{own}", score, direction)
        for name, (phase, score) in views.items()
    }


def _view(runs: str, score: str, direction: Direction) -> str:
    # Width in pixels by column. What tells trials apart comes first: a panel hides the right.
    widths = {
        "attributes.`Run Name`": 190,
        f"metrics.`{score}`": 170,
        "metrics.`parameters/total`": 130,
        "params.`architecture`": 130,
        "params.`hidden_size`": 100,
        "params.`learning_rate`": 150,
        "tags.`rnnsearch.state`": 130,
        "tags.`rnnsearch.superseded`": 110,  # by `study extend`: of a configuration no longer best
        "tags.`rnnsearch.engine`": 150,
        "attributes.`Duration`": 90,
        "attributes.`Source`": 170,
    }
    return json.dumps(
        {
            "searchFilter": runs,
            "orderByKey": f"metrics.`{score}`",
            "orderByAsc": direction == "minimize",
            "selectedColumns": list(widths),
            "columnOrder": list(widths),
            "columnWidths": widths,
        }
    )


def has_views(tags: dict[str, str]) -> bool:
    """Whether an experiment with these tags has the views; one of an older study does not."""
    return _SHARED_VIEW + TRIALS in tags


def table_link(base: str, experiment_id: str, view: str | None = TRIALS) -> str:
    """Link to the table of an experiment's runs, as one of the views shows it."""
    shared = f"&viewStateShareKey={view}" if view else ""
    return f"{base}/#/experiments/{experiment_id}/runs?{_TRAINING}{shared}"


def trials_link(tracking_uri: str | None, experiment_id: str | None) -> str | None:
    """Link to the trials of a study, by what it remembers of MLflow; None if no server has them."""
    base = address(tracking_uri or "")
    return table_link(base, experiment_id) if base and experiment_id else None


def comparison_link(base: str, experiment_id: str, runs: list[str], metric: str) -> str:
    """Link to the comparison of runs, opened on a metric."""
    return (
        f"{base}/#/compare-runs?runs={_encode(runs)}&experiments={_encode([experiment_id])}"
        f"&metrics={_encode([metric])}&{_TRAINING}"
    )


def address(uri: str) -> str | None:
    """Where a browser finds the UI of a store; None for one that no server serves yet.

    It is RNNSEARCH_TRACKING_LINK where that is set: containers know their server by another name
    than the browser does.
    """
    if told := settings.text(LINK):
        told = told if "://" in told else f"http://{told}"
        return hide_password(told).rstrip("/")
    if not is_server(uri):
        return None
    parts = urlsplit(uri)
    host = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=host, query="", fragment="").geturl().rstrip("/")


def is_server(uri: str) -> bool:
    """Whether a store is an MLflow server, which answers at once or not at all."""
    return uri.lower().startswith(("http://", "https://"))


def _encode(value: object) -> str:
    return quote(json.dumps(value, separators=(",", ":")))
