"""The engines, by name."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import pytest

from rnnsearch.config.schema import StudyConfig
from rnnsearch.spec.engine import Engine
from rnnsearch.spec.trial import TrialSpec

from ..trial_records import record


def test_a_study_file_can_ask_for_each_of_them_and_for_no_other() -> None:
    asked = get_args(StudyConfig.model_fields["engine"].annotation)
    assert set(asked) == {"auto", *Engine}


@pytest.mark.parametrize("engine", Engine)
def test_whatever_an_engine_refuses_the_eager_loop_takes(engine: Engine) -> None:
    assert engine.fallbacks[-1] is Engine.EAGER
    assert engine.takes_several == (engine not in engine.fallbacks)


@pytest.mark.parametrize("engine", Engine)
def test_a_trial_remembers_its_engine_as_a_word(engine: Engine) -> None:
    spec = record("gru").spec
    assert spec is not None
    read = TrialSpec.from_json(replace(spec, engine=engine).to_json())
    assert read.engine is engine
    assert f'"engine": "{engine.value}"' in read.to_json()
