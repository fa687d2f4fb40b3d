"""The MLTable file as a document: lines of repeated keys and of values that contain themselves."""

from __future__ import annotations

from pathlib import Path

from daskpar.data.mltable.document import read_document


def test_the_last_of_repeated_keys_counts_and_gives_the_line(tmp_path: Path) -> None:
    (tmp_path / "MLTable").write_text("paths:\n- file: a\n- file: b\npaths:\n- file: c\n")
    document = read_document(str(tmp_path / "MLTable"))
    assert [(item.text, item.line) for item in document.items] == [("c", 5)]


def test_metadata_may_contain_itself(tmp_path: Path) -> None:
    (tmp_path / "MLTable").write_text("metadata: &a {x: *a}\npaths:\n- file: c\n")
    assert [item.line for item in read_document(str(tmp_path)).items] == [3]
