"""The hooks through which everything joins that a study can name, ours and a stranger's alike."""

from __future__ import annotations

from collections.abc import Mapping

import pluggy

ENTRY_POINT_GROUP = "rnnsearch"

hookspec = pluggy.HookspecMarker("rnnsearch")
hookimpl = pluggy.HookimplMarker("rnnsearch")


@hookspec
def rnnsearch_architectures() -> Mapping[str, str]:  # type: ignore[empty-body]
    """Return the architectures that this plugin adds: name -> `module:Class`.

    Each class is a `rnnsearch.RecurrentCell` or a `rnnsearch.SequenceModel`. It is imported when a
    study names it, not before, so the module that holds this hook stays cheap to import: do not
    import torch in it. Called once per process, in every Ray worker too.

    A name that another distribution uses is an error that names both.
    """


@hookspec
def rnnsearch_wrappers() -> Mapping[str, str]:  # type: ignore[empty-body]
    """Return the wrappers of cells that this plugin adds: name -> `module:Class`.

    Each class is a `rnnsearch.CellWrapper`; the rules of `rnnsearch_architectures` hold here too.
    """


@hookspec
def rnnsearch_heads() -> Mapping[str, str]:  # type: ignore[empty-body]
    """Return the heads that this plugin adds: name -> `module:Class`.

    Each class is a `rnnsearch.Head`; the rules of `rnnsearch_architectures` hold here too.
    """


@hookspec
def rnnsearch_tasks() -> Mapping[str, str]:  # type: ignore[empty-body]
    """Return the tasks that this plugin adds: name -> `module:Class`.

    Each class is a `rnnsearch.Task`; the rules of `rnnsearch_architectures` hold here too.
    """


@hookspec
def rnnsearch_analyses() -> Mapping[str, str]:  # type: ignore[empty-body]
    """Return the analyses of trained models that this plugin adds: name -> `module:Class`.

    Each class is a `rnnsearch.Analysis`; the rules of `rnnsearch_architectures` hold here too.
    """
