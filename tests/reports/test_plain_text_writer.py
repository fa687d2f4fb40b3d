"""The display in a file or pipe: plain lines, not too many."""

from __future__ import annotations

import io

import pytest

from daskpar.reports.plain_text_writer import PlainTextWriter, plain_pause

from .display_scene import Scene, progress, step


def test_plain_lines_come_seldom_and_at_each_change_of_phase() -> None:
    stream = io.StringIO()
    scene = Scene(PlainTextWriter(stream))
    scene.show(step(), now=0)
    scene.show(progress(0, doing="listing"), now=1)
    scene.show(progress(0, doing="listing 40 %"), now=2)
    scene.show(progress(0), now=3)
    for second in range(4, 20):
        scene.show(progress(second), now=second)
    lines = stream.getvalue().splitlines()
    assert [line.split("  ")[0] for line in lines] == [
        "score: 0:00:01", "score: 0:00:03", "score: 0:00:08", "score: 0:00:13", "score: 0:00:18",
    ]  # fmt: skip
    assert "\x1b" not in stream.getvalue() and "\r" not in stream.getvalue()


@pytest.mark.parametrize(("age", "pause"), [(0, 5), (100, 5), (600, 30), (100_000, 60)])
def test_a_long_job_does_not_fill_its_log(age: float, pause: float) -> None:
    assert plain_pause(age) == pause
