"""What a step's major input holds, and what of it is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from daskpar.data.files import FileList
from daskpar.engine.planning import open_input
from daskpar.errors import InputError
from daskpar.jobspec.model import Input


def test_files_at_a_url_are_listed_only_for_scripts_that_open_urls(tmp_path: Path) -> None:
    (tmp_path / "MLTable").write_text("paths:\n  - file: https://host.invalid/a.png\n")
    data = Input(name="i", type="mltable", mode="eval_mount", path=str(tmp_path))
    with pytest.raises(
        InputError, match=r"lists https://host.invalid/a.png, and nothing is copied from a URL"
    ):
        open_input(data, {})
    opened = open_input(Input(name="i", type="mltable", mode="direct", path=str(tmp_path)), {})
    assert isinstance(opened, FileList) and list(opened.paths) == ["https://host.invalid/a.png"]
