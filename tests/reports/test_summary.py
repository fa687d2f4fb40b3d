"""The end of a run in words: plain values in, text out."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from daskpar.events import StepKind
from daskpar.reports.summary import first_failure, job_result_text, next_commands, summary_of_run
from daskpar.results import Counts, Failure, InitFailed, Reason, Status, StepResult

from .conftest import START, ended, failure


def other(
    status: str, first: Failure | InitFailed | None = None, step: str = "train", **counts: int
) -> StepResult:
    return StepResult(
        step=step,
        status=Status(status),
        counts=Counts(**counts),
        seconds=2.0,
        first_failure=first,
    )


def init_failed(time: float) -> InitFailed:
    trace = "Traceback ...\nModuleNotFoundError: No module named 'lightgbm'"
    return InitFailed(
        node=2, processor=5, message="import of score.py failed", trace=trace, log="/run/err.txt", time=time, fatal=True
    )  # fmt: skip


def test_a_completed_run_says_counts_durations_outputs_and_logs(tmp_path: Path) -> None:
    text = summary_of_run(
        run_directory=tmp_path,
        status=Status.COMPLETED,
        reason="",
        seconds=61.0,
        results=[ended(planned=20, succeeded=20, items=200).result],
    )
    assert text == (
        "score: completed in 1 min 0 s\n"
        "  20 of 20 mini-batches succeeded; 200 items\n"
        "  scores: /out/scores.txt (nothing is there)\n"
        f"  logs: {tmp_path}/steps/score/logs\n"
        f"Completed after 1 min 1 s: {tmp_path}"
    )


def test_a_failed_run_ends_with_the_first_failure_in_time_and_what_to_do(tmp_path: Path) -> None:
    late, early = failure(8, time=START + 9, final=True), failure(7, time=START + 3, number=7)
    results = [
        ended(
            "failed",
            "3 failed mini-batches, more than mini_batch_error_threshold 2",
            late,
            planned=20,
            succeeded=10,
            failed=3,
        ).result,
        other("failed", early, planned=5, failed=1),
        other("skipped", step="later"),
    ]
    text = summary_of_run(
        run_directory=tmp_path / "my run",
        status=Status.FAILED,
        reason="step score: too many",
        seconds=5,
        results=results,
    )
    assert text.count("First error") == 1
    first = text[text.index("First error") :]
    assert first.startswith(
        'First error, in step train, mini-batch 7:\n  ValueError: bad, "value" 7\n  items: data/7.csv\n  Traceback'
    )
    assert "  log: logs/user/error/0/process001.txt" in first
    assert "Reason: step score: too many" in first
    assert f"python -m daskpar resume '{tmp_path}/my run'" in first
    assert f"python -m daskpar export '{tmp_path}/my run' --partial FILE" in first
    assert "  scores: " not in text
    assert "later: skipped" in text and "steps/later" not in text


def test_an_entry_script_that_does_not_start_is_the_first_error(tmp_path: Path) -> None:
    text = summary_of_run(
        run_directory=tmp_path,
        status=Status.FAILED,
        reason="init failed",
        seconds=5,
        results=[other("failed", init_failed(START))],
    )
    assert "in step train: import or init() of the entry script failed on node 2:" in text
    assert "ModuleNotFoundError: No module named 'lightgbm'" in text
    assert "export" not in text, "there are no rows to export"


@pytest.mark.parametrize("status", [Status.INTERRUPTED, Status.LOST])
def test_a_run_that_was_stopped_can_be_resumed(tmp_path: Path, status: Status) -> None:
    text = summary_of_run(run_directory=tmp_path, status=status, reason="why", seconds=1, results=[])
    assert text.startswith(f"{status.capitalize()} after 1.00 s: {tmp_path}\nReason: why\nNext:\n")
    assert f"resume {tmp_path} " in text and "--retry-failed" not in text


def test_the_cause_is_left_out_where_there_is_none_to_mend(tmp_path: Path) -> None:
    assert (
        next_commands(tmp_path, [other("completed"), other("interrupted", step="later")])[0][1]
        == "run what is not done"
    )
    assert (
        "once the cause is mended"
        in next_commands(tmp_path, [other("failed"), other("interrupted", step="later")])[0][1]
    )


def test_a_run_that_was_stopped_between_its_steps_can_be_resumed(tmp_path: Path) -> None:
    commands = [
        command
        for command, _ in next_commands(tmp_path, [other("completed"), other("skipped", step="later")])
    ]
    assert commands[0] == f"python -m daskpar resume {tmp_path}"


def test_grave_warnings_come_before_the_last_lines(tmp_path: Path) -> None:
    text = summary_of_run(
        run_directory=tmp_path,
        status=Status.COMPLETED,
        reason="",
        seconds=1.0,
        results=[other("completed")],
        warnings=["job.yml:3: no limit"],
    )
    assert text.endswith(f"\nWarning: job.yml:3: no limit\nCompleted after 1.00 s: {tmp_path}")


def test_outputs_at_a_url_are_looked_at(tmp_path: Path) -> None:
    import fsspec

    fsspec.filesystem("memory").pipe("/looked/at.txt", b"x")
    places = {"there": "memory://looked/at.txt", "not": "memory://looked/not.txt", "odd": "nowhere://x"}
    done = StepResult(
        step="s", status=Status.COMPLETED, reason="", counts=Counts(), seconds=1.0, outputs=places
    )
    text = summary_of_run(
        run_directory=tmp_path, status=Status.COMPLETED, reason="", seconds=1.0, results=[done]
    )
    assert "there: memory://looked/at.txt\n" in text
    assert "not: memory://looked/not.txt (nothing is there)\n" in text
    assert "odd: nowhere://x (what is there could not be looked at: " in text


def test_first_failure_prefers_known_times_and_leaves_completed_steps_out() -> None:
    unknown, known = failure(1, time=0.0), init_failed(START + 100)
    assert first_failure([other("failed", unknown), other("failed", known, step="b")]) == ("b", known)
    assert first_failure([other("completed", failure(1))]) is None
    assert first_failure([other("failed")]) is None


def test_export_is_offered_where_rows_are_committed(tmp_path: Path) -> None:
    def verbs(*results: StepResult) -> list[str]:
        return [command.split()[3] for command, _ in next_commands(tmp_path, list(results))]

    assert verbs(other("failed", succeeded=1, planned=2)) == ["resume", "logs", "export"]
    done = other("completed", succeeded=1, planned=1)
    assert verbs(done, other("failed", planned=2, failed=2)) == ["resume", "logs", "debug"]
    assert verbs(other("failed", init_failed(START), planned=2)) == ["resume", "logs", "debug"]
    assert verbs(done, other("partial", succeeded=1, planned=2)) == ["resume"]
    assert verbs(other("partial", succeeded=1, planned=3, failed=1)) == ["resume", "logs", "debug"]


def test_a_long_traceback_is_cut_and_escapes_are_taken_out(tmp_path: Path) -> None:
    trace = "\n".join(f"\x1b[31mline {i}" for i in range(500))
    first = Failure(index=1, reason=Reason.EXCEPTION, message="boom\x07", trace=trace, time=START)
    text = summary_of_run(
        run_directory=tmp_path, status=Status.FAILED, reason="", seconds=1, results=[other("failed", first)]
    )
    assert "\x1b" not in text and "\x07" not in text
    assert "441 lines left out" in text and "line 499" in text


def test_the_result_of_a_command_step_points_to_its_output() -> None:
    result = StepResult(
        step="prep",
        status=Status.FAILED,
        reason="exit code 2",
        counts=Counts(),
        seconds=0.5,
        exit_code=2,
    )
    text = job_result_text(result, StepKind.COMMAND)
    assert "Exit code: 2" in text and "what the command wrote" in text
    assert "Counts" not in text and "mini-batch" not in text


def test_an_output_that_was_there_before_and_is_as_it_was_is_noted(tmp_path: Path) -> None:
    old, new = tmp_path / "old.txt", tmp_path / "new.txt"
    old.write_text("of another run")
    os.utime(old, (START, START))
    (tmp_path / "started-with.json").write_text("{}")
    new.write_text("of this one")
    os.utime(new, (2e9, 2e9))
    for path, remark in ((old, " (there before; nothing was written there)"), (new, "")):
        result = StepResult(
            step="s",
            status=Status.COMPLETED,
            reason="",
            counts=Counts(),
            seconds=2.0,
            outputs={"o": str(path)},
        )
        text = summary_of_run(
            run_directory=tmp_path, status=Status.COMPLETED, reason="", seconds=1.0, results=[result]
        )
        assert f"  o: {path}{remark}\n" in text


def test_the_cluster_of_the_run_is_in_the_command_that_goes_on(tmp_path: Path) -> None:
    (tmp_path / "started-with.json").write_text('{"cluster": "--compute big"}')
    assert (
        next_commands(tmp_path, [ended("failed", "", None).result])[0][0]
        == f"python -m daskpar resume {tmp_path} --compute big"
    )


def test_items_that_failed_alone_are_counted_and_found(tmp_path: Path) -> None:
    lines = tmp_path / "steps" / "score" / "failed_items.jsonl"
    lines.parent.mkdir(parents=True)
    lines.touch()
    found = other("completed", step="score", planned=60, succeeded=60, items=600, failed_items=3)
    text = summary_of_run(
        run_directory=tmp_path, status=Status.COMPLETED, reason="", seconds=2.0, results=[found]
    )
    assert "60 of 60 mini-batches succeeded; 600 items, 3 failed" in text
    assert f"3 items failed alone: {lines}" in text
    assert "--retry-failed  run the failed items again" in text
    assert "failed_items.jsonl" in job_result_text(found)
