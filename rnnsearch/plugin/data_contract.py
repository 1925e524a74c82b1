"""The data contract: what the arrays of a split have to be, checked before they are trained on.

Every split of a task is checked once before a study starts, the test split too, and every engine
checks what reaches it by the same rules. What is read otherwise than it is written: see `plain`,
for types, and `Examples`, for what follows the end of a sequence.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NoReturn, TypeVar

import numpy as np
import torch

from rnnsearch.errors import DataError, MissingDataError, RnnsearchError, visible
from rnnsearch.plugin.losses import NOT_ASKED, Measure, Objective, Targets
from rnnsearch.plugin.task import Examples, Task
from rnnsearch.spec.shape import DataSource, SequenceShape, Split

_Found = TypeVar("_Found")
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
_LARGEST = float(np.finfo(np.float32).max)
_AT_ONCE = 1 << 22  # elements looked at together
# Types that torch calculates with, or that a program reads, for those that they do not.
_READ_AS = {
    "bool": np.uint8,
    "uint16": np.int32,
    "uint32": np.int64,
    "uint64": np.int64,
}


@dataclass(frozen=True)
class Contract:
    """What the arrays of a split have to be.

    Attributes:
        readout: where a model is read: `every_step`, or once for each sequence.
        targets: what the targets are: classes, values, or what a task's own loss takes.
        features: inputs of a step, or None for any number.
        outputs: classes, or values of a target, or None for any number.
        length: steps of every sequence, or None where they differ.
        vocabulary: how many tokens there are, or 0 where inputs are vectors.
        bits: whether values lie from 0 to 1.
    """

    readout: str
    targets: Targets
    features: int | None = None
    outputs: int | None = None
    length: int | None = None
    vocabulary: int = 0
    bits: bool = False

    @classmethod
    def of(cls, shape: SequenceShape, objective: Objective) -> Contract:
        """The contract of a task.

        Raises:
            DataError: the loss and the score take targets of different kinds.
        """
        return cls(
            shape.readout,
            targets_of(objective),
            shape.input_size,
            shape.output_size,
            shape.length,
            shape.vocabulary,
            _has_bits(objective),
        )


def targets_of(objective: Objective) -> Targets:
    """What the targets are that a loss and a score take.

    Raises:
        DataError: they take targets of different kinds.
    """
    loss, score = (
        part.takes if isinstance(part, Measure) else "own"
        for part in (objective.loss, objective.score)
    )
    if "own" not in (loss, score) and loss != score:
        msg = (
            f"loss and score: the loss `{objective.loss}` takes {loss} and the score "
            f"`{objective.score}` takes {score}. Choose two that take the same targets"
        )
        raise DataError(msg)
    return loss if loss != "own" else score


def _has_bits(objective: Objective) -> bool:
    names = [getattr(part, "compiled_as", "") for part in (objective.loss, objective.score)]
    return "binary_cross_entropy" in names


def plain(examples: Examples, split: str = "") -> Examples:
    """The arrays of a split in types that every engine reads; copied only where that changes them.

    Any byte order and any strides will do. Bools are read as 0 and 1, numbers that
    torch does not calculate with (uint16, longdouble) as the next type that holds them.

    Raises:
        DataError: one is no array of numbers; says what it is.
    """
    if not isinstance(examples, Examples):
        _refuse("examples", "an `rnnsearch.Examples`", _type_of(examples), split=split)
    inputs = _plain("inputs", examples.inputs, split)
    targets = _plain("targets", examples.targets, split)
    if examples.lengths is None:
        return Examples(inputs, targets)
    return Examples(inputs, targets, _plain("lengths", examples.lengths, split, kinds="iu"))


def _plain(name: str, array: Any, split: str, kinds: str = "biuf") -> np.ndarray:
    expected = "a NumPy array of " + ("numbers" if "f" in kinds else "integers")
    if not isinstance(array, np.ndarray) or isinstance(array, np.ma.MaskedArray):
        todo = f"Write `np.asarray({name})`, with a type of numbers"
        if isinstance(array, np.ma.MaskedArray):
            todo = "Fill what is masked: targets with -100 or NaN, inputs with numbers"
        _refuse(name, expected, _type_of(array), todo, split=split)
    if array.dtype.kind not in kinds:
        todo = f"Convert {name} to numbers before they are loaded, such as by `astype`"
        _refuse(name, expected, f"one of {array.dtype}", todo, split=split)
    if array.ndim == 0:
        _refuse(name, expected, "a single number", "Its first axis is the samples", split=split)
    if array.dtype == np.uint64 and array.size and array.max() > np.iinfo(np.int64).max:
        _refuse(name, "integers below 2^63", f"{array.max()}", "Scale them", split=split)
    native = _READ_AS.get(array.dtype.name, array.dtype.newbyteorder("="))
    if array.dtype.kind == "f" and array.dtype.itemsize > 8:
        native = np.float64
    return np.ascontiguousarray(array, dtype=native)


def _type_of(value: Any) -> str:
    return f"a {type(value).__name__}"


def _refuse(
    rule: str, expected: str, found: str, todo: str = "", *, sample: int | None = None, split: str
) -> NoReturn:
    where = "" if sample is None else f"sample {sample}"
    where = " of ".join(part for part in (where, split) if part)
    text = f"{rule}: expected {expected}, found {found}" + (f" ({where})" if where else "")
    raise DataError(visible(f"{text}. {todo}" if todo else text))


def check(examples: Examples, contract: Contract, split: str = "") -> Examples:
    """Hold the arrays of a split against a contract.

    Args:
        examples: the arrays.
        contract: what they have to be.
        split: what to call the split in an error.

    Returns:
        The arrays as they are read; see `plain`.

    Raises:
        DataError: they break a rule; names the rule, what was expected and found, the first sample
            that breaks it, and what to do.
    """
    found = plain(examples, split)
    _Check(found, contract, split).run()
    return found


class _Check:
    """Every rule, in the order in which one relies on another."""

    def __init__(self, examples: Examples, contract: Contract, split: str) -> None:
        self._inputs, self._targets = examples.inputs, examples.targets
        self._lengths, self._contract, self._split = examples.lengths, contract, split
        self._every_step = contract.readout == "every_step"

    def run(self) -> None:
        """Raise DataError for the first rule that is broken."""
        self._check_inputs()
        self._check_counts()
        self._check_lengths()
        self._check_target_shapes()
        if self._contract.vocabulary:
            self._check_tokens()
        elif self._inputs.dtype.kind == "f":
            self._check_input_values()
        if self._contract.targets == "classes":
            self._check_classes()
        elif self._targets.dtype.kind == "f":
            self._check_values()
        if self._contract.targets != "own":
            self._check_something_is_asked()

    def _refuse(
        self, rule: str, expected: str, found: str, todo: str, sample: int | None = None
    ) -> NoReturn:
        _refuse(rule, expected, found, todo, sample=sample, split=self._split)

    def _check_inputs(self) -> None:
        shape, contract = self._inputs.shape, self._contract
        features = contract.features
        expected = f"(samples, time, {features or 'features'})"
        if len(shape) != 3:
            todo = "Lay them out as samples, time, features"
            if len(shape) == 2 and features == 1:
                todo = "Write `inputs[:, :, None]`: the last axis has one feature, or the token"
            self._refuse("inputs", f"the shape {expected}", str(shape), todo)
        if features is not None and shape[2] != features:
            todo = "Correct `input_size` in the shape of the task, or the inputs"
            self._refuse("inputs", _features(features), str(shape[2]), todo)
        if shape[1] == 0:
            self._refuse("inputs", "at least one step", "none", "Leave out empty sequences")
        if contract.length is not None and shape[1] != contract.length:
            todo = "Correct `length` in the shape of the task, or cut or pad the inputs"
            self._refuse("inputs", f"{contract.length} steps", str(shape[1]), todo)

    def _check_counts(self) -> None:
        samples = len(self._inputs)
        for name, array in (("targets", self._targets), ("lengths", self._lengths)):
            if array is not None and len(array) != samples:
                todo = "Each sample has inputs, targets and, where they differ, a length"
                self._refuse(name, f"as many as inputs, {samples}", f"{len(array)}", todo)
        if samples == 0:
            todo = "Give every split at least one sample"
            self._refuse("samples", "at least one", "none", todo)

    def _check_lengths(self) -> None:
        lengths, steps = self._lengths, self._inputs.shape[1]
        if lengths is None:
            return
        if lengths.ndim != 1:
            todo = "Give one number for each sample"
            self._refuse("lengths", "the shape (samples,)", str(lengths.shape), todo)
        if self._contract.length is not None:
            todo = "Leave them out, or declare `length=None` in the shape of the task"
            self._refuse("lengths", "none: every sequence has one length", "some", todo)
        wrong = (lengths < 1) | (lengths > steps)
        if wrong.any():
            sample = int(wrong.argmax())
            todo = "A length counts the steps of a sequence, without the padding after them"
            self._refuse("lengths", f"1 to {steps}", str(lengths[sample]), todo, sample)

    def _check_target_shapes(self) -> None:
        kind, outputs, targets = self._contract.targets, self._contract.outputs, self._targets
        integers = targets.dtype.kind != "f"
        if kind == "classes" and not integers:
            todo = "Write `targets.astype(np.int64)`; -100 stands where nothing is asked"
            self._refuse("targets", "classes, as integers", str(targets.dtype), todo)
        if kind == "values" and integers:
            todo = "Write `targets.astype(np.float32)`; NaN stands where nothing is asked"
            self._refuse("targets", "values, as floats", str(targets.dtype), todo)
        leading = ["samples", str(self._inputs.shape[1])] if self._every_step else ["samples"]
        each = targets.shape[len(leading) :]
        if kind == "own":
            # A column of classes, or values in a row, would broadcast to all pairs of samples.
            right = each != (1,) if integers else len(each) > 0
        else:
            right = each == () if kind == "classes" else len(each) == 1
            right = right and (integers or outputs is None or each == (outputs,))
        if self._every_step:
            right = right and targets.shape[1:2] == self._inputs.shape[1:2]
        if right:
            return
        names = leading if integers else [*leading, str(outputs or "outputs")]
        if kind == "own" and not integers:
            names[-1] = "values"
        todo = "The shape and the readout of the task say what its targets are"
        if targets.ndim == len(names) + 1 and targets.shape[-1] == 1:
            todo = "Write `targets[..., 0]`"
        elif targets.ndim == len(names) - 1 and (outputs == 1 or kind == "own"):
            todo = "Write `targets[..., None]`"
        elif integers and each and each[0] == outputs:
            todo = "Write `targets.argmax(-1)`: a class is its number, not a one-hot code"
        shape = f"({', '.join(names)}{',' if len(names) == 1 else ''})"
        self._refuse("targets", f"the shape {shape}", str(targets.shape), todo)

    def _check_tokens(self) -> None:
        inputs, last = self._inputs, self._contract.vocabulary - 1
        if inputs.dtype.kind == "f":
            todo = "Write `inputs.astype(np.int64)`: a token is its number"
            self._refuse("inputs", "tokens, as integers", str(inputs.dtype), todo)
        at = self._first(inputs, lambda tokens: (tokens < 0) | (tokens > last), within=True)
        if at is not None:
            todo = "Correct `vocabulary` in the shape of the task, or the tokens"
            self._refuse("inputs", f"tokens 0 to {last}", str(inputs[at]), todo, at[0])

    def _check_input_values(self) -> None:
        inputs = self._inputs
        wide = inputs.dtype.itemsize > 4

        def wrong(values: np.ndarray) -> np.ndarray:
            found: np.ndarray = ~(np.abs(values) <= _LARGEST) if wide else ~np.isfinite(values)
            return found

        at = self._first(inputs, wrong, within=True)
        if at is not None:
            found = f"{inputs[at]} at step {at[1]}, feature {at[2]}"
            todo = "Fill it in, or leave the sample out"
            self._refuse("inputs", "finite numbers (of float32)", found, todo, at[0])

    def _check_classes(self) -> None:
        targets, outputs = self._targets, self._contract.outputs
        last = np.iinfo(np.int64).max if outputs is None else outputs - 1

        def wrong(classes: np.ndarray) -> np.ndarray:
            found: np.ndarray = (classes != NOT_ASKED) & ((classes < 0) | (classes > last))
            return found

        at = self._first(targets, wrong, within=self._every_step)
        if at is None:
            return
        asked = targets[targets != NOT_ASKED]
        found = f"{targets[at]}; those of the split are {asked.min()} to {asked.max()}"
        expected = "classes 0" + (f" to {last}" if outputs else " and above")
        todo = "Number the classes from 0, or correct `output_size` in the shape of the task"
        self._refuse("targets", f"{expected} (-100: not asked)", found, todo, at[0])

    def _check_values(self) -> None:
        targets, bits = self._targets, self._contract.bits

        def wrong(values: np.ndarray) -> np.ndarray:
            largest = min(_LARGEST, float(np.finfo(values.dtype).max))
            low, high = (0.0, 1.0) if bits else (-largest, largest)
            found: np.ndarray = (values < low) | (values > high)
            return found

        at = self._first(targets, wrong, within=self._every_step)
        if at is not None:
            expected = "values from 0 to 1" if bits else "finite numbers (of float32)"
            todo = "NaN stands where nothing is asked"
            self._refuse("targets", expected, str(targets[at]), todo, at[0])

    def _check_something_is_asked(self) -> None:
        targets = self._targets

        def nothing(rows: slice) -> np.ndarray:
            some = targets[rows]
            asked: np.ndarray = ~np.isnan(some) if some.dtype.kind == "f" else some != NOT_ASKED
            if self._every_step:
                asked = self._valid(asked, rows)
            return np.logical_not(asked.reshape(len(asked), -1).any(axis=1))

        at = _first(len(targets), targets[0].size, nothing)
        if at is not None:
            mark = "NaN" if targets.dtype.kind == "f" else "-100"
            todo = f"Leave the sample out: a mean over nothing is not a number ({mark}: not asked)"
            self._refuse("targets", "something that is asked", "nothing", todo, at[0])

    def _first(
        self, array: np.ndarray, wrong: Callable[[np.ndarray], np.ndarray], *, within: bool
    ) -> tuple[int, ...] | None:
        """Where the first element is wrong, if `within` before the end of its sequence."""

        def look(rows: slice) -> np.ndarray:
            found = wrong(array[rows])
            return self._valid(found, rows) if within else found

        return _first(len(array), array[0].size, look)

    def _valid(self, found: np.ndarray, rows: slice) -> np.ndarray:
        """What was found before the end of each sequence."""
        if self._lengths is None:
            return found
        before = np.arange(found.shape[1]) < self._lengths[rows, None]
        valid: np.ndarray = found & before.reshape(*before.shape, *(1,) * (found.ndim - 2))
        return valid


def _first(samples: int, size: int, look: Callable[[slice], np.ndarray]) -> tuple[int, ...] | None:
    """Index of the first element, sample by sample, for which `look` is true; some at a time."""
    some = max(1, _AT_ONCE // max(1, size))
    for first in range(0, samples, some):
        found = look(slice(first, first + some))
        if found.any():
            row, *rest = (int(i) for i in np.unravel_index(found.argmax(), found.shape))
            return (first + row, *rest)
    return None


def _features(number: int) -> str:
    return "1 feature" if number == 1 else f"{number} features"


def find_and_check(task: Task, name: str) -> tuple[DataSource, dict[str, Examples]]:
    """Find a task's data, load every split, and hold it against the contract.

    The test split is read here to be checked, and dropped; nothing is trained or scored on it.

    Args:
        task: the task.
        name: what to call the task: its name and the distribution it comes from.

    Returns:
        where the data came from, and the checked splits of a search: `train` and `validation`.

    Raises:
        DataError: the data are not to be had, or break a rule; names the task, the split and the
            sample.
    """
    kept: dict[str, Examples] = {}
    try:
        contract = Contract.of(task.shape, task)
        source = _called(task.find, "find the data")
        for split in SPLITS:
            loaded = _called(partial(task.load, source, split), f"load {split}")
            examples = check(loaded, contract, split)
            declared = source.sizes.get(split, "some number")
            if declared != len(examples):
                todo = "Correct `sizes` in what `find` returns"
                _refuse("samples", f"{declared} as declared", str(len(examples)), todo, split=split)
            _try_measures(task, examples, contract, split)
            if split != "test":
                kept[split] = examples
    except MissingDataError:
        raise
    except DataError as error:
        raise DataError(f"task {name}: {error}") from error
    return source, kept


def _called(function: Callable[[], _Found], what: str) -> _Found:
    """What a plugin returns; an error of its own says who made it."""
    try:
        return function()
    except RnnsearchError:
        raise
    except Exception as error:
        msg = f"cannot {what}: {_in_words(error)}"
        raise DataError(msg) from error


def _in_words(error: Exception) -> str:
    return visible(f"{type(error).__name__}: {' '.join(str(error).split())}")


def _try_measures(task: Task, examples: Examples, contract: Contract, split: Split) -> None:
    """Call a task's own loss and score on its targets, for errors that training would meet."""
    both = {"loss": task.loss, "score": task.score}
    own = {what: one for what, one in both.items() if not isinstance(one, Measure)}
    steps, outputs = examples.inputs.shape[1], contract.outputs or 1
    every_step = contract.readout == "every_step"
    some = max(1, _AT_ONCE // (outputs * (steps if every_step else 1)))
    parts = [
        (first, min(first + some, len(examples)), steps) for first in range(0, len(examples), some)
    ]
    if every_step and examples.lengths is not None:
        # Outputs end with the longest sequence of a batch.
        shortest = int(examples.lengths.argmin())
        parts.append((shortest, shortest + 1, int(examples.lengths[shortest])))
    for first, last, steps in parts:
        targets = torch.from_numpy(as_asked(examples, contract, slice(first, last)))
        where = f"samples {first} to {last - 1} of {split}"
        if steps < examples.inputs.shape[1]:
            where += f", whose outputs end after {steps} steps"
        shape = (steps, last - first, outputs) if every_step else (last - first, outputs)
        for what, measure in own.items():
            try:
                with torch.no_grad():
                    found = tuple(measure(torch.zeros(shape), targets).shape)
            except Exception as error:
                msg = f"the task's own {what} fails on {where}: {_in_words(error)}"
                raise DataError(msg) from error
            if found:
                _refuse(what, "one number for a batch", f"the shape {found}", split=split)


def as_asked(examples: Examples, contract: Contract, some: slice = slice(None)) -> np.ndarray:
    """Targets as a loss is given them: integers or float32, nothing asked after the end."""
    targets = examples.targets[some]
    targets = targets.astype(np.float32 if targets.dtype.kind == "f" else np.int64)
    if contract.readout == "every_step" and examples.lengths is not None:
        after = np.arange(targets.shape[1]) >= examples.lengths[some, None]
        targets[after] = np.nan if targets.dtype.kind == "f" else NOT_ASKED
    return targets


def join(first: Examples, second: Examples) -> Examples:
    """Put two splits one after the other; where one has more steps, the other is padded."""
    first, second = plain(first), plain(second)
    lengths = None
    differ = first.inputs.shape[1] != second.inputs.shape[1]
    if differ or first.lengths is not None or second.lengths is not None:
        lengths = np.concatenate((_lengths(first), _lengths(second)))
    return Examples(
        np.concatenate(_alike(first.inputs, second.inputs)),
        np.concatenate(_alike(first.targets, second.targets)),
        lengths,
    )


def _lengths(examples: Examples) -> np.ndarray:
    if examples.lengths is not None:
        return examples.lengths
    return np.full(len(examples), examples.inputs.shape[1])


def _alike(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two arrays with as many steps, where their second axis is steps and not outputs."""
    if first.ndim == 1:
        return first, second
    steps = max(first.shape[1], second.shape[1])

    def padded(array: np.ndarray) -> np.ndarray:
        missing = [(0, 0)] * array.ndim
        missing[1] = (0, steps - array.shape[1])
        return np.pad(array, missing) if missing[1][1] else array

    return padded(first), padded(second)
