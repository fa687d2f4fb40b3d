"""Why a processor ended, decided from its exit status and from what its node did to it."""

from __future__ import annotations

import signal
from dataclasses import replace
from pathlib import Path

import pytest

from daskpar.processor.exit_reasons import KillReason, exit_reason, exit_text_in_init
from daskpar.processor.own_ground import LOST_DESCRIPTORS, LOST_LIMITS
from daskpar.processor.protocol import ProcessorSettings
from daskpar.processor.shared_page import Phase
from daskpar.results import Reason
from daskpar.rows.shared_folder import SharedFolder

SETTINGS = ProcessorSettings(
    run_id="r", step="s", node=0, python="", processors=1, entry_script="", code=None, plan="", store=SharedFolder(Path("parts")), shared="", logs="", work="",
    working_dir="", output_dir="", run_timeout=10.0, overhead_timeout=20.0, init_timeout=30.0,
)  # fmt: skip


@pytest.mark.parametrize(
    ("status", "killed_for", "phase", "kernel", "reason", "words"),
    [
        (signal.SIGKILL, "timeout", Phase.RUN, False, Reason.TIMEOUT, "10 s (retry_settings.timeout)"),
        (signal.SIGKILL, "timeout", Phase.LOAD, False, Reason.LOAD_TIMEOUT, "20 s (task_overhead_timeout)"),
        (signal.SIGUSR2, "timeout", Phase.RUN, False, Reason.TIMEOUT, "retry_settings.timeout"),
        (signal.SIGKILL, "memory", Phase.RUN, False, Reason.MEMORY, "largest"),
        (signal.SIGKILL, "not needed", Phase.INIT, True, Reason.DIED, "not needed any more"),
        (signal.SIGKILL, "stopped", Phase.RUN, False, Reason.DIED, "stopped with its step"),
        (signal.SIGKILL, "", Phase.RUN, True, Reason.MEMORY, "by the kernel"),
        (signal.SIGKILL, "", Phase.RUN, False, Reason.DIED, "killed from outside"),
        (signal.SIGSEGV, "", Phase.RUN, True, Reason.DIED, "SIGSEGV"),
        (signal.SIGSEGV | 0x80, "", Phase.RUN, False, Reason.DIED, "SIGSEGV"),
        (7 << 8, "", Phase.RUN, False, Reason.DIED, "exit code 7 in the middle of run()"),
        (0, "", Phase.LOAD, False, Reason.DIED, "exit code 0 in the middle of loading"),
        (120, "", Phase.RUN, False, Reason.DIED, "signal 120"),
        (signal.SIGHUP, "", Phase.RUN, True, Reason.DIED, "SIGHUP"),
        (
            signal.SIGKILL,
            "overtaken",
            Phase.RUN,
            True,
            Reason.DIED,
            "another copy of its mini-batch was first",
        ),
        (signal.SIGKILL, "damaged", Phase.RUN, True, Reason.DIED, "they are daskpar's own"),
        (LOST_DESCRIPTORS << 8, "", Phase.RUN, False, Reason.DIED, "has closed descriptors"),
        (LOST_LIMITS << 8, "", Phase.RUN, False, Reason.DIED, "has set a limit on files"),
        (LOST_LIMITS << 8 | signal.SIGHUP, "", Phase.RUN, False, Reason.DIED, "SIGHUP"),
        (signal.SIGKILL, "timeout", Phase.FLUSH, False, Reason.TIMEOUT, "writing rows took longer than 20 s"),
    ],
)
def test_an_end_is_told_by_its_status_and_by_who_wanted_it(status, killed_for, phase, kernel, reason, words):
    end = exit_reason(
        int(status), killed_for=KillReason(killed_for), phase=phase, settings=SETTINGS, out_of_memory=kernel
    )
    assert end.reason == reason
    assert words in end.text


@pytest.mark.parametrize(
    ("status", "killed_for", "words"),
    [
        (signal.SIGKILL, "timeout", "import or init() took longer than 30 s (--init_timeout)"),
        (5 << 8, "", "exit code 5 in import or init()"),
        (signal.SIGSEGV, "", "died by SIGSEGV"),
        (signal.SIGKILL, "", "killed from outside"),
    ],
)
def test_an_end_in_init_says_so(status, killed_for, words):
    assert words in exit_text_in_init(int(status), killed_for=KillReason(killed_for), settings=SETTINGS)


def test_the_memory_that_a_node_has_is_named_where_it_is_limited():
    def said(memory: int) -> str:
        settings = replace(SETTINGS, node_memory=memory)
        return exit_reason(9, killed_for=KillReason.MEMORY, phase=Phase.RUN, settings=settings).text

    assert "out of memory, which its Dask worker limits to 1.5 GiB, and" in said(3 * 2**29)
    assert "out of memory, and" in said(0)
