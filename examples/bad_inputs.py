"""What a user sees who gets something wrong: ten mistakes, each with the error that answers it.

An error says what is wrong, with both types; where, with the user's own line; and how to mend it. The classes are
Python's and torch's as well: `except ValueError`, `except IndexError` and `except RuntimeError` find them.

    python examples/bad_inputs.py
"""

import contextlib
import sys
import warnings

import jitgrad
from jitgrad import cli


def shapes_that_do_not_broadcast():
    return jitgrad.ones(2, 3) + jitgrad.ones(4)


def inner_sizes_that_differ_in_a_traced_function():
    @jitgrad.trace
    def layer(x, w):
        return (x @ w).tanh()

    return layer(jitgrad.ones(8, 4), jitgrad.ones(3, 4))


def a_dtype_that_the_operation_does_not_take():
    labels = jitgrad.tensor([0.0, 1.0])
    return jitgrad.nn.functional.embedding(labels, jitgrad.rand(10, 3))


def an_axis_that_is_not_there():
    return jitgrad.ones(2, 3).sum(dim=2)


def an_index_out_of_range_in_compiled_code():
    @jitgrad.trace
    def pick(table, rows):
        return table[rows]

    return pick(jitgrad.rand(10, 3), jitgrad.tensor([1, 10]))


def backward_of_several_elements_without_their_gradient():
    x = jitgrad.ones(3, requires_grad=True)
    (x * 2).backward()


def a_second_backward_through_freed_buffers():
    x = jitgrad.ones(3, requires_grad=True)
    y = (x * x).sum()
    y.backward()
    y.backward()


def a_value_overwritten_before_its_backward():
    x = jitgrad.ones(3, requires_grad=True)
    y = x.exp()
    y += 1
    y.sum().backward()


def a_value_asked_for_while_tracing():
    @jitgrad.trace
    def relu(x):
        return x if x.sum() > 0 else x * 0

    return relu(jitgrad.ones(3))


def an_argument_that_takes_ever_new_values():
    @jitgrad.trace(max_compiles=4)
    def power(x, n):
        return x**n

    for n in range(8):
        power(jitgrad.ones(3), n)


MISTAKES = (
    shapes_that_do_not_broadcast,
    inner_sizes_that_differ_in_a_traced_function,
    a_dtype_that_the_operation_does_not_take,
    an_axis_that_is_not_there,
    an_index_out_of_range_in_compiled_code,
    backward_of_several_elements_without_their_gradient,
    a_second_backward_through_freed_buffers,
    a_value_overwritten_before_its_backward,
    a_value_asked_for_while_tracing,
    an_argument_that_takes_ever_new_values,
)

COMMANDS = (
    "dump nowhere.py:f --args f32[2]",
    f"dump {__file__}:an_axis_that_is_not_there --args f31[2]",
    f"dump {__file__}:an_axis_that_is_not_there --stage assembly",
    f"dump {__file__}:an_axis_that_is_not_there",
)

if __name__ == "__main__":
    for mistake in MISTAKES:
        print(f"-- {mistake.__name__.replace('_', ' ')}")
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                mistake()
            except Exception as error:
                print(f"{type(error).__name__}: {error}\n")
        for warning in caught:
            print(f"{warning.category.__name__}: {warning.message}\n")
    for command in COMMANDS:
        print(f"-- $ jitgrad {command}")
        with contextlib.redirect_stderr(sys.stdout):
            status = cli.main(command.split())
        print(f"exit status {status}\n")
