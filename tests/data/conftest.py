"""MLTables made for a test."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

MakeTable = Callable[..., Path]


@pytest.fixture
def make_table(tmp_path: Path) -> MakeTable:
    """`make_table({"a.csv": b"…"}, step, …, paths=[…])` writes files and an MLTable with these steps; gives its folder."""

    def make(
        files: dict[str, bytes | str],
        *steps: Any,
        paths: list[dict[str, str]] | None = None,
        name: str = "table",
    ) -> Path:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        for file, content in files.items():
            path = folder / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        document = {
            "paths": paths if paths is not None else [{"file": file} for file in files],
            "transformations": list(steps),
        }
        (folder / "MLTable").write_text(yaml.safe_dump(json.loads(json.dumps(document)), sort_keys=False))
        return folder

    return make
