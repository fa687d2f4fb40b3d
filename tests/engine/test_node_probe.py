"""What nodes are asked before they take part, on an invented client."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from daskpar.engine import node_probe
from daskpar.engine.plugins.node import clear_marks_here, probe_here
from daskpar.rundir.probe import NodeNeeds, NodeView


@pytest.mark.parametrize("known", ["", "it was found before"])
def test_an_environment_is_built_once_also_on_a_node_that_does_not_see_the_run_directory(
    tmp_path, monkeypatch, known
):
    built: list[str] = []
    asked: list[tuple[Any, str]] = []
    monkeypatch.setattr(
        "daskpar.engine.own_python.build_on", lambda client, address, text: built.append(text) or ""
    )
    monkeypatch.setattr(
        node_probe, "unshared", lambda needs, mark, view: view if view.far else NodeView(far="another folder")
    )

    def run(function: Any, *, workers: list[str], far: str = "", **_: Any) -> dict[str, NodeView]:
        asked.append((function, far))
        return {workers[0]: NodeView(far=far)}

    needs = NodeNeeds(run_directory=str(tmp_path), build="numpy")
    view = node_probe.view_of(SimpleNamespace(run=run), needs, "a", known)  # type: ignore[arg-type]
    assert built == ["numpy"]
    if known:
        assert view.far == known and asked == [(probe_here, known)]
    else:  # what it has left in a folder that only it sees is taken away there
        assert view == replace(view, far="another folder")
        assert asked == [(probe_here, ""), (clear_marks_here, ""), (probe_here, "another folder")]
