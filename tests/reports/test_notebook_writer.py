"""The display in a notebook: one output that changes, and stays as the result."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from daskpar.events import RunEnded, RunStarted
from daskpar.reports import notebook_writer
from daskpar.reports.display import Display, writer_of_process
from daskpar.reports.notebook_writer import MOST_MESSAGES, NotebookWriter, in_notebook
from daskpar.results import Status

from .conftest import START, ended, failure
from .display_scene import Scene, progress, step, warned

Shown = list[tuple[str, str, str, bool]]


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> Shown:
    """What the notebook was told to show: id, text, HTML, whether in the place of what was there."""
    found: Shown = []

    def publish(*what: Any) -> None:
        found.append(what)  # type: ignore[arg-type]

    monkeypatch.setattr(notebook_writer, "publish", publish)
    return found


def run_started(folder: Path) -> RunStarted:
    return RunStarted(
        time=START, name="score", spec="/x.yml", run_directory=str(folder), steps=("score",),
        dashboard="http://127.0.0.1:8787/status?token=abc",
    )  # fmt: skip


def run_ended(status: Status, reason: str = "") -> RunEnded:
    return RunEnded(time=START + 60, status=status, reason=reason, seconds=60, exit_code=status.exit_code)


def test_one_output_changes(shown: Shown) -> None:
    stream = io.StringIO()
    scene = Scene(NotebookWriter(stream))
    scene.show(step("a"), step("b"), progress(5, "a"), progress(6, "b"), now=6)
    scene.show(now=6)  # nothing new
    scene.show(progress(7, "a"), warned("careful <b>"), now=7)
    scene.writer.write(scene.writer.ending())
    assert stream.getvalue() == ""
    assert len({each[0] for each in shown}) == 1
    assert [again for *_, again in shown] == [False, True, True]
    _, plain, html, _ = shown[1]
    assert (
        plain.splitlines()[0] == "warning: score: careful <b>"
        and "a: 0:00:07" in plain
        and "b: 0:00:07" in plain
    )
    assert "careful &lt;b&gt;" in html and '<progress value="7" max="20"' in html and "<b>" not in html
    assert shown[-1][1] == "warning: score: careful <b>"


def test_the_end_of_a_completed_run_is_short(shown: Shown, tmp_path: Path) -> None:
    display = Display(NotebookWriter(io.StringIO()))
    for event in (
        run_started(tmp_path),
        step(),
        progress(20),
        ended(planned=20, succeeded=20),
        run_ended(Status.COMPLETED),
    ):
        display.handle(event)
    display.close()
    address = 'href="http://127.0.0.1:8787/status?token=abc"'
    assert all(address in html for _, _, html, _ in shown[:-1]), "while it can be opened"
    _, plain, html, _ = shown[-1]
    assert "Completed" in html and "20 of 20 mini-batches succeeded" in html and "<progress" not in html
    assert "token" not in plain + html, "it opens nothing any more, and a saved notebook is passed on"


def test_the_end_of_a_failed_run_says_why(shown: Shown, tmp_path: Path) -> None:
    why = failure(3, final=True)
    display = Display(NotebookWriter(io.StringIO()))
    end = ended("failed", "too many <failed>", why, planned=20, succeeded=10, failed=1)
    for event in (
        run_started(tmp_path),
        step(),
        end,
        run_ended(Status.FAILED, "step score: too many <failed>"),
    ):
        display.handle(event)
    display.close()
    _, plain, html, _ = shown[-1]
    assert "too many &lt;failed&gt;" in html and "First error, in score, mini-batch 3 (data/3.csv)" in html
    assert "ValueError: bad, &quot;value&quot; 1" in html and "<failed>" not in html
    assert "First error, in step score, mini-batch 3:" in plain, "for exports to text"


def test_a_notebook_does_not_grow_without_end(shown: Shown, tmp_path: Path) -> None:
    scene = Scene(NotebookWriter(io.StringIO()))
    for number in range(MOST_MESSAGES + 300):
        scene.show(warned(f"text {number}"))
    assert "text 799" not in shown[-1][1] and "text 499" in shown[-1][1] and "text 480" not in shown[-1][1]
    scene.writer.heard(run_started(tmp_path))
    scene.writer.heard(run_ended(Status.COMPLETED))
    scene.writer.write(scene.writer.ending())
    assert "300 more messages" in shown[-1][2]


def test_an_ipython_kernel_is_a_notebook_and_a_plain_shell_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    for shell, expected in ((SimpleNamespace(kernel=1), True), (SimpleNamespace(), False), (None, False)):
        monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda shell=shell: shell))
        assert in_notebook() is expected
    monkeypatch.setitem(
        sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: SimpleNamespace(kernel=1))
    )
    assert type(writer_of_process(io.StringIO())) is NotebookWriter
