"""Failed items at a URL: those of before are replaced, and nobody else's objects are touched."""

from __future__ import annotations

from pathlib import Path

import fsspec

from daskpar.outputs.failed_items_upload import upload_failed_items


def test_those_of_before_are_replaced_and_other_objects_stay(tmp_path: Path) -> None:
    store = fsspec.filesystem("memory")
    for name in ("MLTable", "rows/part-00000.parquet", "rows/part-00001.parquet", "rows/mine.txt", "mine"):
        store.pipe_file(f"/failed/bad/{name}", b"old")
    place = tmp_path / "failed" / "bad"
    (place / "rows").mkdir(parents=True)
    (place / "MLTable").write_text("new")
    (place / "rows" / "part-00000.parquet").write_text("new")
    upload_failed_items(place, "memory://failed/bad", stopped=lambda: "")
    assert {name: store.cat_file(name) for name in store.find("/failed/bad")} == {
        "/failed/bad/MLTable": b"new",
        "/failed/bad/rows/part-00000.parquet": b"new",
        "/failed/bad/rows/mine.txt": b"old",
        "/failed/bad/mine": b"old",
    }
    (tmp_path / "bad.jsonl").write_text("{}")
    upload_failed_items(tmp_path / "bad.jsonl", "memory://failed/bad.jsonl", stopped=lambda: "")
    assert store.cat_file("/failed/bad.jsonl") == b"{}" and list(tmp_path.iterdir()) == []
    store.rm("/failed", recursive=True)
