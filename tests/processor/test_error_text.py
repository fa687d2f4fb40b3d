"""Exceptions of user code as a user wants to read them."""

from __future__ import annotations

import errno

import pytest

from daskpar.processor import entry_script
from daskpar.processor.error_text import (
    MESSAGE_CHARACTERS,
    TRACE_CHARACTERS,
    comes_again,
    describe_error,
    user_traceback,
)


class NoText(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no")


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("empty"), "ValueError: empty"),
        (ValueError(), "ValueError"),
        (NoText(), "NoText: (its text can't be made)"),
        (SystemExit(2), "SystemExit: 2 (the script ended itself; its log says what it printed before)"),
        (
            OSError(errno.EROFS, "Read-only file system", "/in/a.txt"),
            "OSError: [Errno 30] Read-only file system: '/in/a.txt' (scripts can't change their inputs: write to "
            "an output, or give the input mode: download to have a private copy)",
        ),
        (ValueError("x" * 10_000), "ValueError: " + "x" * MESSAGE_CHARACTERS),
    ],
)
def test_an_error_is_its_name_and_its_text(error, text):
    assert describe_error(error) == text


def test_a_traceback_begins_at_the_users_first_line(tmp_path):
    script = tmp_path / "a b.py"
    script.write_text("import json\njson.loads('{')\n")
    with pytest.raises(ValueError) as raised:
        entry_script.load(str(script), None)
    raised.value.__traceback__ = raised.value.__traceback__.tb_next  # without this test's own frame
    lines = user_traceback(raised.value).splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert str(script) in lines[1]


def test_the_middle_of_a_long_traceback_is_left_out():
    text = user_traceback(ValueError("x" * 100_000 + "end"))
    assert text.startswith("ValueError: xxx") and text.endswith("end\n")
    assert "\n...\n" in text and len(text) < TRACE_CHARACTERS + 2000


@pytest.mark.parametrize(
    ("text", "certain"),
    [
        ("import not_there_at_all", True),
        ("from os import not_there_at_all", True),
        ("def broken(:", True),
        ("raise ImportError('libx.so: cannot open shared object file')", False),
        ("open('/not/there')", False),
        ("raise SystemExit(1)", False),
    ],
)
def test_errors_that_come_again(text: str, certain: bool) -> None:
    with pytest.raises(BaseException) as caught:
        exec(text, {})
    assert comes_again(caught.value) is certain
