"""What a step's major input holds, and what of it is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from daskpar.data.files import FileList
from daskpar.engine.planning import open_input
from daskpar.errors import InputError
from daskpar.jobspec.model import Input


def test_files_at_a_url_may_be_listed_unless_they_can_be_no_local_ones(tmp_path: Path) -> None:
    def listed(mode: str, *names: str) -> list[str]:
        lines = "".join(f"  - file: https://host.invalid/{name}\n" for name in names)
        (tmp_path / "MLTable").write_text(f"paths:\n{lines}")
        opened = open_input(Input(name="i", type="mltable", mode=mode, path=str(tmp_path)), {})
        assert isinstance(opened, FileList)
        return list(opened.paths)

    for mode in ("eval_mount", "direct"):
        assert listed(mode, "a.png", "b%20c.png") == [
            "https://host.invalid/a.png",
            "https://host.invalid/b%20c.png",
        ]
    assert len(listed("direct", "a", "a/b")) == 2
    with pytest.raises(InputError, match=r"https://host.invalid/a is a file, and a folder of .*/a/b too"):
        listed("eval_mount", "a", "a/b")
