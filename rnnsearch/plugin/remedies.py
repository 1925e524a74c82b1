"""What to do about a check of `rnnsearch.testing` that fails: a sentence for each, by its name.

Apart from the suites, which pytest has to import before anybody else does.
"""

from __future__ import annotations

_PURE = "Keep what a step has to remember in the state that it returns, not on the module"
_COUNT = "Correct `parameter_count`, or what the constructor builds"
_DEFAULTS = (
    "Give each declared option a default in its range, and the constructor an argument of the same "
    "name and default"
)
_SEED = "Draw the first values from torch's own generator, and do not seed it"
_META = (
    "Make tensors on the device of the parameters (`self.zeros`, `new_zeros`), and branch with "
    "`torch.where`"
)
_DTYPE = "Make tensors in the dtype of the parameters (`self.zeros`, `new_zeros`)"
_REACHED = "Use every parameter in the outputs, or keep those that are not trained as buffers"
_GRADIENT = (
    "Look for `detach`, `.data`, rounding, or a gradient of your own that is not that of `forward`"
)
_GROWS = "The budget solver bisects: each more unit has to add parameters"
_STATE_DICT = "Register what is kept with the module (`nn.Parameter`, `register_buffer`)"
_ALONE = "Take no mean, maximum or norm over the batch"
_REFUSE = "Give `refusal` a reason in words for what it does not take, and None for what it does"

REMEDIES = {
    # Cells, wrappers, heads and models
    "declared_options_have_valid_defaults_that_are_the_constructors": _DEFAULTS,
    "declared_options_have_valid_defaults": _DEFAULTS,
    "parameter_count_equals_the_parameters_built": _COUNT,
    "parameter_count_grows_strictly_with_hidden_size": _GROWS,
    "parameter_count_grows_strictly_with_the_hidden_width": _GROWS,
    "parameter_count_grows_strictly_with_the_fine_size": _GROWS,
    "redundant_biases_lie_between_none_and_all": (
        "`redundant_biases` counts only second biases of affine maps"
    ),
    "state_size_equals_the_scalars_of_state_per_sample": (
        "Declare `state_size(cls, input_size, hidden_size, **structure)`: the scalars of all parts "
        "of the state of one sample; `initial_state` gives a tuple of tensors, batch first"
    ),
    "output_size_equals_the_width_of_the_output": (
        "Declare `output_size`, the width of what `forward` gives first; it is hidden_size if unset"
    ),
    "a_step_keeps_the_shapes_of_the_state": (
        "Return a tuple of tensors with the shapes and dtypes of `initial_state`"
    ),
    "carrying_the_state_across_a_split_changes_nothing": _PURE,
    "a_step_gives_the_same_result_whenever_it_is_taken": _PURE,
    "a_run_leaves_nothing_on_the_module": _PURE,
    "a_step_leaves_its_inputs_and_state_as_they_were": (
        "Write nothing in place (`x += y`, `x[...] = y`): make new tensors"
    ),
    "nothing_is_drawn_at_random_inside_the_step": (
        "Set `noise_size`: a step then finds uniform numbers in the last columns of its inputs"
    ),
    "later_inputs_leave_earlier_outputs_bit_identical": "Let a step read its own inputs alone",
    "later_inputs_leave_earlier_outputs_alone_where_it_is_causal": (
        "Declare `capabilities = Capabilities(causal=False)`, or look at no later inputs"
    ),
    "a_sample_gives_the_same_result_alone_as_in_a_batch": _ALONE,
    "padding_changes_nothing_in_either_direction": _ALONE,
    "padding_does_not_change_the_output": "Use `lengths`: steps after the end count for nothing",
    "as_torch_computes_what_the_steps_compute": (
        "Return from `as_torch` the layer whose parameters `forward` uses, or None"
    ),
    "compiled_layers_compute_what_the_steps_compute": (
        "Branch on no value and round nothing; a study trains such a cell eagerly"
    ),
    "gradient_reaches_every_parameter": _REACHED,
    "gradients_equal_finite_differences": _GRADIENT,
    "the_same_seed_gives_the_same_weights": _SEED,
    "a_loaded_state_dict_brings_the_whole_cell": _STATE_DICT,
    "a_loaded_state_dict_brings_the_whole_head": _STATE_DICT,
    "a_copy_computes_the_same": _STATE_DICT,
    "a_cell_sent_to_another_process_computes_the_same": (
        "Keep nothing on the cell that does not pickle, such as a lambda, or that the other "
        "process does not have, such as a global that was changed"
    ),
    "an_exported_and_reloaded_step_computes_the_same": _META,
    "state_and_output_follow_the_dtype_of_the_parameters": _DTYPE,
    "output_follows_the_dtype_of_the_parameters": _DTYPE,
    "builds_and_steps_without_storage": _META,
    "builds_and_runs_without_storage": _META,
    "runs_on_cuda_as_on_the_cpu": _META,
    "the_state_of_the_cell_inside_stands_last": (
        "Put the wrapper's own parts of the state before those of the cell inside"
    ),
    "numbers_drawn_for_the_cell_inside_reach_it_and_nothing_else": (
        "Hand the cell inside its inputs and, behind them, its own drawn numbers alone"
    ),
    "takes_at_least_one_shape_and_refuses_the_others_in_words": _REFUSE,
    "takes_at_least_one_size_and_refuses_the_others_in_words": _REFUSE,
    "a_model_that_is_trained_in_closed_form_has_a_fit": "Give the model a method `fit`",
    "output_has_the_shape_that_the_readout_asks_for": (
        "Give `(batch, output_size)`, or `(time, batch, output_size)` where `shape.readout` is "
        "`every_step`; refuse the readouts that do not apply"
    ),
    "output_has_the_tasks_width_at_one_step_as_at_many": (
        "A head maps the last axis, whatever stands before it; it sees single steps"
    ),
    "two_runs_in_evaluation_mode_are_bit_identical": "Draw nothing in evaluation mode",
    "it_grows_into_a_head_with_a_hidden_layer": "Name a registered head with a `hidden_ratio`",
    "parameters_buffers_and_outputs_are_real": "A state may be complex, and nothing else",
    # Tasks
    "metric_direction_and_no_skill_level_are_declared": (
        "Declare `metric`, a name without blanks, `direction` (`maximize` or `minimize`) and "
        "`no_skill`, a finite number"
    ),
    "shape_is_known_without_reading_data": (
        "Build the `SequenceShape` from constants and options, not from the data"
    ),
    "pickles_to_a_worker": "Keep nothing on the task that does not pickle, such as an open file",
    "the_source_names_the_data_and_counts_them": (
        "Give in `find` the name, the sha256 (64 characters) and the sizes of the three splits as "
        "`load` gives them"
    ),
    "examples_have_the_declared_shape": "Correct `load`, or the shape of the task",
    "what_follows_the_end_of_a_sequence_counts_for_nothing": "Give `lengths` where lengths differ",
    "a_split_is_the_same_every_time": "Shuffle and split with a seed of your own",
    "no_sequence_stands_in_two_splits": (
        "Split by sequence and drop copies, or declare `may_repeat`, the part that may stand twice"
    ),
    "loss_is_a_scalar_with_a_finite_gradient": (
        "Give the mean over what is asked, a tensor of no axes, that depends on the outputs"
    ),
    "metric_is_a_finite_scalar_that_draws_nothing": (
        "Give a tensor of no axes from `score`, the same every time"
    ),
    "who_knows_the_answers_has_the_best_score": (
        "Correct `score`, or declare `best_score`, the score of who knows the answers"
    ),
    "no_skill_is_the_score_of_who_never_looks_at_the_inputs": (
        "Correct `no_skill`: such as the share of the most frequent class, or the variance"
    ),
    "options_other_than_the_default_keep_the_contract": (
        "Correct what depends on the option, or take the value out of its range"
    ),
    # Analyses
    "it_takes_at_least_one_model_and_refuses_the_others_in_words": _REFUSE,
    "findings_have_names_captions_and_something_to_see": (
        "Give each finding a name of small letters, digits and underscores, a sentence, and a "
        "figure or numbers"
    ),
    "a_figure_draws_in_vectors_without_a_display": (
        "Make figures with `matplotlib.figure.Figure`, not with pyplot"
    ),
    "the_model_and_its_examples_are_left_as_they_were": (
        "Work on copies, and under `torch.no_grad` or with `torch.autograd.grad`"
    ),
    "looking_twice_finds_the_same": "Draw from a generator with a seed of its own",
}
"""What to do, by the name of the check without `test_`; others say it themselves."""

# What fails with them where these fail: a failure that follows is not a second fault.
_STEPS = (
    "carrying_the_state_across_a_split_changes_nothing",
    "a_step_gives_the_same_result_whenever_it_is_taken",
    "nothing_is_drawn_at_random_inside_the_step",
    "later_inputs_leave_earlier_outputs_bit_identical",
    "a_sample_gives_the_same_result_alone_as_in_a_batch",
    "padding_changes_nothing_in_either_direction",
    "compiled_layers_compute_what_the_steps_compute",
    "gradients_equal_finite_differences",
    "a_loaded_state_dict_brings_the_whole_cell",
    "a_cell_sent_to_another_process_computes_the_same",
    "an_exported_and_reloaded_step_computes_the_same",
    "two_runs_in_evaluation_mode_are_bit_identical",
    "a_copy_computes_the_same",
    "state_and_output_follow_the_dtype_of_the_parameters",
)
FOLLOWS = {
    "a_run_leaves_nothing_on_the_module": _STEPS,
    "nothing_is_drawn_at_random_inside_the_step": _STEPS,
    "a_step_leaves_its_inputs_and_state_as_they_were": _STEPS,
    "a_sample_gives_the_same_result_alone_as_in_a_batch": (
        "padding_changes_nothing_in_either_direction",
        "padding_does_not_change_the_output",
        "later_inputs_leave_earlier_outputs_bit_identical",
        "compiled_layers_compute_what_the_steps_compute",
    ),
    "parameters_buffers_and_outputs_are_real": (
        "compiled_layers_compute_what_the_steps_compute",
        "gradients_equal_finite_differences",
    ),
    "examples_have_the_declared_shape": (
        "the_arrays_are_of_types_and_shapes_that_every_engine_reads",
        "what_follows_the_end_of_a_sequence_counts_for_nothing",
        "loss_is_a_scalar_with_a_finite_gradient",
        "metric_is_a_finite_scalar_that_draws_nothing",
        "metric_of_a_batch_is_the_mean_over_its_samples",
        "who_knows_the_answers_has_the_best_score",
        "no_skill_is_the_score_of_who_never_looks_at_the_inputs",
        "options_other_than_the_default_keep_the_contract",
        "the_loss_has_a_gradient_only_where_something_is_asked",
        "every_sequence_has_something_to_answer",
    ),
}
