"""What a script printed last, without what we write into its log ourselves."""

from __future__ import annotations

from pathlib import Path

import pytest

from daskpar.batches.records import PACK
from daskpar.paths import LogPaths
from daskpar.processor.last_words import KINDS, LastWords, last_lines
from daskpar.processor.protocol import Flushed
from daskpar.processor.std_streams import failure_in_log
from daskpar.results import Failure, Reason

TRACE = "Traceback (most recent call last):\n  File a\nValueError: x\n"
OURS = failure_in_log("3", "ValueError: x", TRACE) + "\n"  # as `write_stderr` ends it


@pytest.mark.parametrize(
    ("log", "said"),
    [
        ("", ""),
        ("a\n\nb\n", "a\nb"),
        ("".join(f"{i}\n" for i in range(50)), "\n".join(map(str, range(42, 50)))),
        (f"before\n{OURS}", "before"),
        (f"{OURS}after\n{OURS}", "after"),
        (f"mini-batch 0: starting\nrow 5 is bad\n{OURS}", "mini-batch 0: starting\nrow 5 is bad"),
        ("mini-batch 0: starting\nrow 5 is bad\n\nmore\n", "mini-batch 0: starting\nrow 5 is bad\nmore"),
        (
            f"before\n{failure_in_log('3 (a)', 'x: two' + chr(10) * 3 + 'parts', TRACE)}\nafter\n",
            "before\nafter",
        ),
        (f"postgres://me:{'s3cret' * 300}@host/{'x' * 600}", f"postgres://me:***@host/{'x' * 600}"),
        ("no line break", "no line break"),
        ("x" * 9000, "…" + "x" * 2000),
    ],
)
def test_the_last_lines_are_the_scripts_own(log: str, said: str) -> None:
    assert last_lines(log) == said


def test_each_kind_of_failure_gets_them_once(tmp_path: Path) -> None:
    logs = LogPaths(tmp_path)
    logs.stderr(0, 5).parent.mkdir(parents=True)
    logs.stderr(0, 5).write_text("usage: score.py\nerror: --n is missing\n")
    words = LastWords(logs, 0)

    def flushed(message: str, sizes: tuple[int, int] | None = None) -> str:
        record = PACK.pack(1, 1, 0, 1, 0, 0, 0.0, 0.0, 0.0, 0.0, 0, 5, 0, 3, int(Reason.EXCEPTION), 1)
        failure = Failure(index=1, reason=int(Reason.EXCEPTION), message=message, log_sizes=sizes)
        one = Flushed(
            block=0, token="", part="", offset=0, length=0, crc=0, records=record, failures=(failure,)
        )
        return words.added(one).failures[0].printed

    assert flushed("row 7 is bad") == f"{logs.stderr(0, 5)}\nusage: score.py\nerror: --n is missing"
    assert flushed("row 8 is bad") == ""
    assert flushed("another kind", (0, 16)) == f"{logs.stderr(0, 5)}\nusage: score.py"
    assert [bool(flushed("x" * n)) for n in range(KINDS + 5)].count(True) == KINDS - 2
