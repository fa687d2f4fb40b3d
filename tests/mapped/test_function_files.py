"""A function is pickled with its variables, its source, and a digest that only another function changes."""

from __future__ import annotations

import functools
import io
import os
import pickle
import subprocess
import sys
import textwrap
import threading

import pytest

from daskpar.errors import UsageError
from daskpar.mapped.function_files import function_files, name_of

LOCK = threading.Lock()


def of_two(a, b, c):
    return [a, b, c]


def made(function, **how):
    return function_files(function, named_rows=True, **how)


def local_function(count):
    lock = threading.Lock()

    def inner(batch):
        with lock:
            return [count]

    return inner


def local_class():
    held = threading.Lock()

    class Model:
        def __init__(self, size):
            self.lock = held

        def __call__(self, batch):
            return [1]

    return Model


class NotCalled:
    pass


@pytest.mark.parametrize(
    ("function", "how", "said"),
    [
        (3, {}, "function can't be of type int"),
        (lambda: 1, {}, r"lambda\(\) can't be called as lambda\(mini_batch\)"),
        (of_two, {}, r"of_two\(a, b, c\) can't be called"),
        (len, {"init_args": (1,)}, "init_args and init_kwargs are for a class, and len is a function"),
        (NotCalled, {}, "objects of the class NotCalled can't be called: give it a method __call__"),
        (local_class(), {}, "Model can't be made with init_args and init_kwargs: missing a required argument: 'size'"),
        (local_class(), {"init_args": (1,)}, "Model can't be sent to other processes: the variable 'held' is a lock"),
        (local_function(1), {}, "inner can't be sent to other processes: the variable 'lock' is a lock .*__init__"),
        (functools.partial(of_two, 1, LOCK), {}, "of_two can't be sent to other processes: argument .* is a lock"),
    ],
)  # fmt: skip
def test_what_can_not_be_called_or_sent_is_told(function, how, said):
    with pytest.raises(UsageError, match=said):
        made(function, **how)


def test_names_are_those_that_people_know():
    assert [name_of(each) for each in (len, functools.partial(of_two, 1), lambda x: x, local_class())] == [
        "len",
        "of_two",
        "lambda",
        "Model",
    ]


def test_the_pickle_says_what_a_processor_needs_first():
    def scored(batch):
        return len(batch)

    files = made(scored).files
    facts = pickle.loads(files["function/function.pkl"])  # the first of two
    assert (facts["name"], facts["named_rows"], facts["folder"]) == ("scored", True, os.getcwd())
    assert facts["sources"][__file__].split() == ["def", "scored(batch):", "return", "len(batch)"]


def plain(batch):
    return batch


def with_axis(batch, axis=None):
    return batch


def with_second(batch, second):
    return batch


def with_context(batch, mini_batch_context=None):
    return batch


def with_any(*arguments, **more):
    return arguments


@pytest.mark.parametrize(
    ("function", "wanted"),
    [
        (plain, False),
        (with_axis, False),
        (with_second, True),
        (with_context, True),
        (with_any, False),
        (max, False),
    ],
)
def test_the_context_is_for_those_who_ask_for_it(function, wanted):
    pickled = io.BytesIO(made(function).files["function/function.pkl"])
    pickle.load(pickled)
    assert pickle.load(pickled)["with_context"] is wanted


PROGRAM = """
import sys
from daskpar.mapped.function_files import function_files
LIMIT, NAMES = {limit}, {{"a", "b", "c", "d"}}
class Base:
    kinds = frozenset("abc")
    def __call__(self, batch):
        return [helper(each) for each in batch if each in NAMES and super().__hash__()]
class Model(Base):
    def __init__(self): super().__init__(); self.me = Model
def helper(x):
    "A comment moves lines, and changes nothing."
    return helper(x - 1) if x > LIMIT else {{"p", "q"}}
sys.path.insert(0, {folder!r})
import local_rules
def plain(batch): return [local_rules.rule(helper(each)) for each in batch]
print(*(function_files(each, named_rows=True).digest for each in (Model, plain, lambda x: helper(x))))
"""


def test_the_digest_changes_with_the_function_alone(tmp_path):
    rules = tmp_path / "local_rules.py"
    rules.write_text("def rule(x): return x\n")

    def digests(limit, seed, before=""):
        name = tmp_path / f"program{seed}.py"  # the code stands in another file, on other lines
        name.write_text(before + textwrap.dedent(PROGRAM.format(limit=limit, folder=str(tmp_path))))
        environment = {**os.environ, "PYTHONHASHSEED": str(seed), "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(
            [sys.executable, str(name)], capture_output=True, text=True, check=True, env=environment
        )
        return done.stdout.split()

    first = digests(3, 1)
    assert len(set(first)) == 3 and digests(3, 2, "# moved\n\n") == first
    assert not set(digests(4, 3)) & set(first), "a variable that they use has another value"
    rules.write_text("def rule(x): return -x\n")
    again = digests(3, 4)
    assert (again[0], again[2]) == (first[0], first[2]) and again[1] != first[1], "a module of the user's"
