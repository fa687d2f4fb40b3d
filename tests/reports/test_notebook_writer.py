"""The display in a notebook: one line that changes."""

from __future__ import annotations

import io
import sys
from types import SimpleNamespace

import pytest

from daskpar.reports.display import writer_of_process
from daskpar.reports.notebook_writer import NotebookWriter, in_notebook

from .display_scene import Scene, progress, step, warned


def test_a_notebook_has_one_line_that_changes() -> None:
    stream = io.StringIO()
    writer = NotebookWriter(stream)
    scene = Scene(writer)
    scene.show(step("a"), step("b"), progress(5, "a"), progress(6, "b"), now=6)
    scene.show(progress(7, "a"), warned("careful"), now=7)
    writer.write(writer.ending())
    assert "\x1b" not in stream.getvalue()
    visible = [line.split("\r")[-1] for line in stream.getvalue().split("\n")]
    assert visible == ["warning: score: careful", ""]
    assert "a: 0:00:07" in stream.getvalue() and "  |  b: 0:00:07" in stream.getvalue()


def test_an_ipython_kernel_is_a_notebook_and_a_plain_shell_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    for shell, expected in ((SimpleNamespace(kernel=1), True), (SimpleNamespace(), False), (None, False)):
        monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda shell=shell: shell))
        assert in_notebook() is expected
    monkeypatch.setitem(
        sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: SimpleNamespace(kernel=1))
    )
    assert type(writer_of_process(io.StringIO())) is NotebookWriter
