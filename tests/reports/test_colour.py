"""Where the terminal is coloured, and that the colours change no word."""

from __future__ import annotations

import io
import re

import pytest

from daskpar.reports.colour import coloured, simpler_signs, speaks_utf8, wants_colour
from daskpar.reports.plain_text_writer import PlainTextWriter

from .conftest import planned
from .display_scene import FakeTerminal, Scene, progress, step

TEXT = """warning: score: careful
count: completed in 4.41 s
  3 of 4 mini-batches succeeded, 1 failed; 8 items, 0 failed; 2 failed tries, 1 retried
count: mini-batch 3 failed and is tried again
score  0:00:51  ████░░░░  90 %  18/20 mini-batches  waiting for mini-batch 7 (41 s of 60 s)
Failed after 5.02 s: /runs/x
Next:"""


@pytest.mark.parametrize(
    ("terminal", "env", "wanted"),
    [
        (True, {"TERM": "xterm"}, True),
        (True, {"TERM": "dumb"}, False),
        (True, {}, False),
        (True, {"TERM": "xterm", "NO_COLOR": "1"}, False),
        (True, {"TERM": "xterm", "NO_COLOR": ""}, True),
        (False, {"TERM": "xterm"}, False),
        (False, {"FORCE_COLOR": "1"}, True),
        (False, {"FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
        (True, {"TERM": "xterm", "FORCE_COLOR": "0"}, False),
    ],
)
def test_where_colours_are_wanted(terminal: bool, env: dict[str, str], wanted: bool) -> None:
    assert wants_colour(FakeTerminal() if terminal else io.StringIO(), env) is wanted


def test_a_closed_stream_wants_none() -> None:
    stream = io.StringIO()
    stream.close()
    assert not wants_colour(stream, {"TERM": "xterm"})


def test_colours_change_no_word() -> None:
    shown = coloured(TEXT)
    assert re.sub(r"\x1b\[\d*m", "", shown) == TEXT
    for part in (
        "\x1b[33mwarning:\x1b[0m",
        "count: \x1b[32mcompleted\x1b[0m in",
        "\x1b[31m1 failed\x1b[0m",
        "items, 0 failed",
        "mini-batch 3 failed",
        "\x1b[33mwaiting for mini-batch 7 (41 s of 60 s)\x1b[0m",
        "\x1b[31mFailed\x1b[0m after",
    ):
        assert part in shown


@pytest.mark.parametrize(
    ("env", "speaks"),
    [
        ({"LANG": "C"}, False),
        ({"LANG": "C", "LC_CTYPE": "C.UTF-8"}, False),  # Python says so itself
        ({}, False),
        ({"LANG": "en_GB.UTF-8"}, True),
        ({"LANG": "en_GB.UTF-8", "LC_ALL": "C"}, False),
        ({"LC_ALL": "C.UTF-8"}, True),
        ({"LC_CTYPE": "de_DE.UTF-8"}, True),
    ],
)
def test_a_locale_without_more_than_ascii(env: dict[str, str], speaks: bool) -> None:
    assert speaks_utf8(env) is speaks
    assert simpler_signs("█░… ×").isascii()


def test_a_writer_paints_its_lines_as_asked() -> None:
    for colours, simple, expected in (
        (True, False, "\x1b[31m1 failed"),
        (False, True, ""),
        (False, False, ""),
    ):
        stream = io.StringIO()
        scene = Scene(PlainTextWriter(stream, colours=colours, simple=simple))
        scene.show(step(), planned(20), progress(5), now=1)
        assert ("\x1b" in stream.getvalue()) is False or expected
        assert not simple or stream.getvalue().isascii()
