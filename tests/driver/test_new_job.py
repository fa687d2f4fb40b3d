"""What `init` makes of data, without running it."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from daskpar.driver.new_job import look_at, write_job
from daskpar.errors import InputError, UsageError


@pytest.mark.parametrize(
    ("files", "kind", "reader"),
    [
        (
            {"a.csv": b"x,y\n1,2\n", "b.csv": b"x,y\n3,4\n"},
            "table",
            'delimiter: ",", encoding: utf8, header: all_files_same_headers',
        ),
        ({"a.csv": b"x,y\n1,2\n", "b.csv": b"y,x\n3,4\n"}, "table", "header: all_files_different_headers"),
        ({"a.csv": b"1;2\n3;4\n"}, "table", 'delimiter: ";", encoding: utf8, header: no_header'),
        ({"a.csv": "é,b\n1,2\n".encode("latin-1")}, "table", "encoding: iso88591"),
        ({"a.csv": "a;é\n1;2\n".encode("utf-16")}, "table", 'delimiter: ";", encoding: utf16, header: all_'),
        ({"a.csv": b'a,b\n"x\ny",2\n3,4\n'}, "table", "support_multi_line: true"),
        ({"a.csv": b""}, "table", "header: no_header"),
        ({"a.tsv": b"a\tb\n"}, "table", 'delimiter: "\\t"'),
        ({"sub/a.jsonl": b'{"a": 1}\n'}, "table", "read_json_lines"),
        ({"a.json": b'{"a": 1}\n{"a": 2}\n'}, "table", "read_json_lines"),
        ({"a.json": b'{"a": 1}\n'}, "files", ""),
        ({"p.parquet": b"PAR1"}, "table", "read_parquet"),
        ({"a.png": b"x", "b.JPG": b"x"}, "images", ""),
        ({"a.txt": b"x", "b.md": b"x"}, "texts", ""),
        ({"a.txt": b"x", "b.csv": b"x"}, "files", ""),
        ({"a.csv": b"a\n1\n", "_SUCCESS": b"", ".git/x": b""}, "table", "read_delimited"),
        ({"MLTable": b"paths: []", "a.csv": b"a\n"}, "table", ""),
    ],
)
def test_kinds_of_data(tmp_path: Path, files: dict[str, bytes], kind: str, reader: str) -> None:
    for name, content in files.items():
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    seen = look_at(str(tmp_path / "data"), tmp_path / "job")
    assert seen.kind == kind
    assert reader in seen.table
    assert bool(seen.table) == bool(reader)


def test_nothing_is_replaced_and_nothing_half_written(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    with pytest.raises(InputError, match="holds no file"):
        write_job(str(tmp_path / "data"), tmp_path)
    (tmp_path / "data/my file.txt").write_text("x")
    (tmp_path / "code").mkdir()
    (tmp_path / "code/score.py").write_text("mine")
    with pytest.raises(UsageError, match=r"score.py is there already"):
        write_job(str(tmp_path / "data"), tmp_path)
    assert not (tmp_path / "pipeline.yml").exists()
    written, _ = write_job(str(tmp_path / "data/my file.txt"), tmp_path / "other")
    spec = yaml.safe_load(written[0].read_text())
    assert spec["jobs"]["score"]["inputs"]["data"] == {"type": "uri_file", "path": "../data/my file.txt"}
    with pytest.raises(InputError, match="does not exist"):
        write_job(str(tmp_path / "nowhere"), tmp_path / "third")
