"""What Optuna draws for a trial: its samplers, and what they may learn from."""

from __future__ import annotations

from collections.abc import Mapping

import optuna
from optuna.trial import TrialState

from rnnsearch.records.trials_file import first_numbers
from rnnsearch.spec.parameters import Choice, FloatRange, Parameter, Value


class Drawing:
    """What Optuna draws for one trial: in memory, from its row's other trials.

    The sampler sees them in the order in which they were first begun, each once: neither what was
    interrupted nor a number that a trial got when it was started again reaches it. So an
    interrupted or extended study draws what it would have drawn.

    Args:
        study: the Optuna study that holds the row's trials.
        sampler: `random` or `tpe`.
        seed: of this trial.
        number: of this trial in its row, from 0.
    """

    def __init__(self, study: optuna.Study, sampler: str, seed: int, number: int) -> None:
        self._study = optuna.create_study(
            direction=study.direction, sampler=make_sampler(sampler, seed, number)
        )
        if not is_drawn_blindly(sampler, number):
            self._study.add_trials(_as_first_begun(study))

    def draw(self, parameters: Mapping[str, Parameter]) -> dict[str, Value]:
        """Draw a value for each parameter; again, if the last ones would not do."""
        trial = self._study.ask()
        values = suggest(trial, parameters)
        self._study.tell(trial, state=TrialState.FAIL)  # nothing to learn from
        return values


def _as_first_begun(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    """What a sampler may learn from, in the order in which it was first begun."""
    states = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING)
    trials = study.get_trials(deepcopy=False)
    first = first_numbers(study.study_name, trials)
    return [
        optuna.create_trial(
            state=trial.state,
            values=trial.values,
            params=trial.params,
            distributions=trial.distributions,
            intermediate_values=trial.intermediate_values,
        )
        for trial in sorted(trials, key=lambda trial: first[trial.number])
        if trial.state in states
    ]


def suggest(trial: optuna.Trial, parameters: Mapping[str, Parameter]) -> dict[str, Value]:
    """Let Optuna draw a value for each parameter, or take what was drawn."""
    return {name: _suggest_one(trial, name, rule) for name, rule in parameters.items()}


def _suggest_one(trial: optuna.Trial, name: str, parameter: Parameter) -> Value:
    if isinstance(parameter, Choice):
        value = trial.suggest_categorical(name, parameter.options)
        assert value is not None, "a Choice holds no None"
        return value
    if isinstance(parameter, FloatRange):
        return trial.suggest_float(name, parameter.low, parameter.high, log=parameter.log)
    return trial.suggest_int(name, parameter.low, parameter.high, log=parameter.log)


# Of every four trials TPE draws the first two blindly, until it has drawn ten so: half of a small
# search. It depends on a trial's number alone, and not on how many there are to be: a search that
# is extended is the search that was asked for at once.
_EVERY, _BLIND, _UNTIL = 4, 2, 20


def is_drawn_blindly(sampler: str, number: int) -> bool:
    """Whether what a sampler draws for a row's trial does not depend on any result."""
    return sampler == "random" or (number < _UNTIL and number % _EVERY < _BLIND)


def make_sampler(name: str, seed: int, number: int) -> optuna.samplers.BaseSampler:
    """Optuna's sampler for a row's trial of a number, from 0."""
    if is_drawn_blindly(name, number):
        return optuna.samplers.RandomSampler(seed=seed)
    return optuna.samplers.TPESampler(seed=seed, n_startup_trials=_BLIND)
