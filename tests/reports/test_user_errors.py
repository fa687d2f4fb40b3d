"""The script's errors: in short, in full and by kind, and never without end."""

from __future__ import annotations

import pytest

from daskpar.events import ProcessorState
from daskpar.paths import LogPaths
from daskpar.reports import failure_kinds, user_errors
from daskpar.reports.failure_kinds import FailureKinds
from daskpar.reports.user_errors import UserErrors, trace_text
from daskpar.results import Failure, Reason

from .conftest import START, ended, failure, processor, read, tries_ended


def test_errors_are_written_in_short_in_full_and_by_kind(logs: LogPaths) -> None:
    errors = UserErrors(logs)
    first, second = failure(1, number=1), failure(3, number=3, final=True, time=START + 0.5)
    timeout = failure(2, Reason.TIMEOUT, time=START + 2)
    errors.handle(
        tries_ended(
            [(1, Reason.EXCEPTION), (3, Reason.EXCEPTION), (2, Reason.TIMEOUT)], (first, second, timeout)
        )
    )
    errors.handle(ended("failed"))
    assert read(logs.user_error).splitlines()[1] == (
        '2026-11-23T13:20:00.500000Z 0/process001: mini-batch 3 (data/3.csv) failed (EXCEPTION): ValueError: bad, "value" 3'
    )
    assert 'File "score.py", line 3, in run' in read(logs.trace(0, 1))
    kinds = read(logs.job_error)
    assert kinds.startswith("3 failed tries of run() or of loading, by kind.")
    assert "1. EXCEPTION: 2 failed tries, 1 of them final. First: mini-batch 3 on 0/process001" in kinds
    assert "2. TIMEOUT: 1 failed try, 0 of them final. First: mini-batch 2 on 0/process000" in kinds


def test_an_equal_trace_is_written_once(logs: LogPaths) -> None:
    errors = UserErrors(logs)
    for index in (4, 6, 8):
        errors.handle(tries_ended([(index, Reason.EXCEPTION)], (failure(index),)))
    text = read(logs.trace(0, 0))
    assert text.count("Traceback") == 1
    assert text.count("trace as for mini-batch 4 above") == 2


def test_errors_do_not_fill_the_disk(logs: LogPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(user_errors, "FILE_LIMIT_BYTES", 2000)
    errors = UserErrors(logs)
    for index in range(0, 200, 2):
        errors.handle(tries_ended([(index, Reason.EXCEPTION)], (failure(index, number=index),)))
    errors.close()
    for path in (logs.user_error, logs.trace(0, 0)):
        assert path.stat().st_size < 3000
        assert read(path).count("more errors are not written here") == 1
    assert "100 failed tries" in read(logs.job_error)


def test_kinds_beyond_the_kept_ones_are_counted(logs: LogPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failure_kinds, "KINDS_KEPT", 1)
    errors = UserErrors(logs)
    for reason in (Reason.EXCEPTION, Reason.TIMEOUT, Reason.DIED):
        errors.handle(tries_ended([(0, reason)], (failure(0, reason),)))
    errors.close()
    assert "... and 2 failed tries of other kinds" in read(logs.job_error)


def test_a_failing_init_is_an_error_of_the_script(logs: LogPaths) -> None:
    errors = UserErrors(logs)
    errors.handle(processor(ProcessorState.INIT_FAILED, detail="Traceback ...\nKeyError: 'MODEL'"))
    assert "0/process000: import or init() failed: Traceback ... KeyError: 'MODEL'" in read(logs.user_error)
    assert "    KeyError: 'MODEL'" in read(logs.trace(0, 0))


def test_a_failure_without_a_trace_is_its_message() -> None:
    bare = failure(1)
    text = trace_text(type(bare)(index=1, reason=Reason.DIED, message="killed by SIGSEGV"), 2, START, None)
    assert text == "2026-11-23T13:20:00.000000Z mini-batch 1, try 2: DIED\n    killed by SIGSEGV\n\n"


def test_messages_that_differ_in_numbers_are_one_kind() -> None:
    kinds = FailureKinds()
    for number in (7, 10, 220, 1_000_000):
        one = Failure(index=number, reason=Reason.EXCEPTION, message=f"can't read file-{number}.txt")
        kinds.add_one(one, "0/process000")
    assert [kind.tries for kind in kinds.oldest_first] == [4]
