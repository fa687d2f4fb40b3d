"""What a command has made on a far node is brought whole, or not at all."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from daskpar.engine import far_command
from daskpar.engine.command_task import NodeSilent, run_command, upload_outputs
from daskpar.engine.far_command import FarTry
from daskpar.engine.plugins import far_files
from daskpar.engine.plugins.node import NodePlugin, plugin_name
from daskpar.processor.command_settings import CommandLayout, CommandSettings
from daskpar.processor.output_sweep import Uploads

SETTINGS = CommandSettings(run_id="r", step="s", command="true", cwd="/", stdout="", stderr="")


def worker(folder: str) -> Any:
    """One with the plugin of the run, which has this folder for it; empty: it was started anew."""
    plugin = NodePlugin("r")
    made = SimpleNamespace(address="tcp://a", plugins={plugin_name("r"): plugin})
    plugin._folder = SimpleNamespace(path=folder) if folder else None  # type: ignore[assignment]
    plugin.worker = made  # type: ignore[assignment]
    return made


class Sender:
    """Calls a worker; `meanwhile` happens when pieces are asked for the first time."""

    def __init__(self, on: Any, meanwhile: Any = lambda: None) -> None:
        self.on, self.meanwhile = on, meanwhile

    def call(self, address: str, function: Any, seconds: float, **arguments: Any) -> Any:
        if function is far_files.read_pieces:
            self.meanwhile()
            self.meanwhile = lambda: None
        return asyncio.run(function(self.on, "r", **arguments))


def bring(node: Path, place: Path, sender: Sender) -> bool:
    command = SimpleNamespace(settings=SETTINGS, sender=sender, stopped=lambda: "", show=lambda doing: None)
    one = FarTry(command=command, address="tcp://a", sent=None, here=SETTINGS, places=None)  # type: ignore[arg-type]
    return one._bring_tree(str(node), str(place))


@pytest.fixture
def node(tmp_path, monkeypatch) -> Path:
    """The output folder of a command on its node: small files, an empty one, a large one."""
    monkeypatch.setattr(far_command, "PIECE_BYTES", 8)
    out = tmp_path / "node" / "out"
    (out / "deep" / "empty").mkdir(parents=True)
    for name, text in (("a", "one"), ("deep/b", ""), ("large", "x" * 30)):
        (out / name).write_text(text)
    return out


def cut(path: Path) -> None:
    os.truncate(path, max(0, path.stat().st_size - 1))


def test_all_that_a_folder_holds_is_brought(node, tmp_path):
    place = tmp_path / "here"

    def grow() -> None:
        with (node / "a").open("a") as file:
            file.write(" and what a process of its own writes later")

    assert bring(node, place, Sender(worker(str(node.parent)), grow))
    found = {str(path.relative_to(place)) for path in place.rglob("*")}
    assert found == {"a", "deep", "deep/b", "deep/empty", "large"}
    assert all((place / name).read_bytes() == (node / name).read_bytes() for name in ("a", "deep/b", "large"))
    assert not bring(node / "none", tmp_path / "nowhere", Sender(worker(str(node.parent))))


@pytest.mark.parametrize("harm", [cut, Path.unlink])
@pytest.mark.parametrize("name", ["a", "large"])
def test_less_than_was_said_is_not_taken_for_whole(node, tmp_path, harm, name):
    with pytest.raises(NodeSilent, match=r"bytes are there any more"):
        bring(node, tmp_path / "here", Sender(worker(str(node.parent)), lambda: harm(node / name)))
    assert not (tmp_path / "here" / name).exists()


@pytest.mark.parametrize("folder", ["", "/another/folder"])
def test_a_worker_that_was_started_anew_has_not_written_nothing(node, tmp_path, folder, monkeypatch):
    for path in (node, node / "none"):
        with pytest.raises(NodeSilent, match="worker tcp://a has been started anew"):
            bring(path, tmp_path / "here", Sender(worker(folder)))
    with pytest.raises(RuntimeError, match="started anew"):
        asyncio.run(far_files.filled_names(worker(folder), "r", filled=f"{node}/"))
    monkeypatch.setattr("daskpar.engine.command_task.get_worker", lambda: worker(folder))
    layout = CommandLayout(root=str(node.parent), run=f"{node.parent}/run")
    settings = CommandSettings(
        run_id="r",
        step="s",
        command="true",
        cwd="/",
        stdout="",
        stderr="",
        layout=layout,
        uploads=Uploads(outputs=(), root=str(tmp_path)),
    )
    for task in (lambda: run_command(settings), lambda: upload_outputs(settings, "token")):
        with pytest.raises(NodeSilent, match="tcp://a has been started anew"):
            task()
