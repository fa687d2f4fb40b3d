"""How log files are written."""

from __future__ import annotations

from pathlib import Path

import pytest

from daskpar.reports.log_files import SystemLog, append, replace


def test_text_that_is_no_utf8_is_kept_readable(tmp_path: Path) -> None:
    append(tmp_path / "deep" / "log.txt", "file \udcff\n")
    assert (tmp_path / "deep" / "log.txt").read_bytes() == b"file \\udcff\n"


def test_a_small_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    for text in ("first\n", "second \udcff\n"):
        replace(tmp_path / "deep" / "result.txt", text)
    assert (tmp_path / "deep" / "result.txt").read_bytes() == b"second \\udcff\n"
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["result.txt"]


@pytest.mark.parametrize(
    ("level", "written"), [("DEBUG", "DIWE"), ("INFO", "IWE"), ("WARNING", "WE"), ("ERROR", "E")]
)
def test_a_system_log_leaves_out_what_is_less_severe(tmp_path: Path, level: str, written: str) -> None:
    log = SystemLog(level)
    for name in ("DEBUG", "INFO", "WARNING", "ERROR"):
        log.write(tmp_path / "log.txt", 0.0, name, name[0], name[0])
    lines = (tmp_path / "log.txt").read_text().splitlines()
    assert [line.split("|")[-1] for line in lines[::2]] == list(written)
    assert lines[::2] == lines[1::2]
