"""Stacks of a killed processor, as a reader wants them."""

from __future__ import annotations

from daskpar.processor import block_runner
from daskpar.processor.stacks import readable

OURS = block_runner.__file__


def test_the_users_frames_stand_in_the_order_of_a_traceback_and_ours_are_left_out():
    text = (
        "Thread 0x00007f01 (most recent call first):\n"
        '  File "/usr/lib/threading.py", line 320 in wait\n'
        '  File "/home/me/score.py", line 7 in feed\n'
        "\n"
        "Current thread 0x00007f02 [score] (most recent call first):\n"
        '  File "/home/me/score.py", line 30 in slow\n'
        '  File "/home/me/score.py", line 40 in run\n'
        f'  File "{OURS}", line 180 in _run_one\n'
        '  File "<string>", line 1 in <module>\n'
    )
    assert readable(text) == (
        "Thread 0x00007f01 (most recent call last):\n"
        '  File "/home/me/score.py", line 7 in feed\n'
        '  File "/usr/lib/threading.py", line 320 in wait\n'
        "Current thread 0x00007f02 [score] (most recent call last):\n"
        '  File "/home/me/score.py", line 40 in run\n'
        '  File "/home/me/score.py", line 30 in slow\n'
    )


def test_a_stack_of_our_own_is_shown_whole():
    assert OURS in readable(
        f'Current thread 0x1 (most recent call first):\n  File "{OURS}", line 1 in live\n'
    )


def test_what_went_before_the_stacks_stays_and_nothing_gives_nothing():
    text = 'Fatal Python error: Segmentation fault\n\nCurrent thread 0x1 (most recent call first):\n  File "a.py", line 1 in run\n'
    assert readable(text).splitlines()[0] == "Fatal Python error: Segmentation fault"
    assert readable("") == readable("\n") == ""
