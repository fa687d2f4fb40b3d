"""A question to a program is answered, or ends in words."""

from __future__ import annotations

from pathlib import Path

import pytest

from daskpar.errors import UsageError
from daskpar.processor.program_answer import answer_of


def test_what_a_program_says_however_it_ended() -> None:
    command = ["/bin/sh", "-c", "pwd; echo $WORD; cat; printf '\\377' >&2; exit 3"]
    done = answer_of(command, 30, {"WORD": "set"})
    assert (done.returncode, done.stdout, done.stderr) == (3, "/\nset\n", "\ufffd")


@pytest.mark.parametrize(
    ("text", "seconds", "said"),
    [
        ("#!/bin/sh\nexec sleep 100\n", 0.05, "does not answer within 0.05 s"),
        ("#!/no/such/program\n", 30, "can't be started: No such file or directory"),
        ("", 30, "can't be started: Exec format error"),
    ],
)
def test_a_program_that_gives_no_answer_is_named(
    tmp_path: Path, text: str, seconds: float, said: str
) -> None:
    program = tmp_path / "tool"
    program.write_text(text)
    program.chmod(0o700)
    with pytest.raises(UsageError) as raised:
        answer_of([str(program)], seconds)
    assert str(raised.value).startswith(f"{program} {said}")
