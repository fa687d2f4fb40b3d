"""A smoke test of some mini-batches: kept apart from a whole run, and the start of one."""

from __future__ import annotations

import pytest

import daskpar
from daskpar.reports.run_status import status_text

SCRIPT = """
import os
from pathlib import Path
def run(mini_batch):
    name = os.path.basename(mini_batch[0])
    with open(Path(__file__).with_name("calls"), "a") as calls:
        calls.write(name + "\\n")
    if name == "0004.txt" and not Path(__file__).with_name("mended").exists():
        raise ValueError("no " + name)
    return [f"{name} of {len(mini_batch)}"]
"""


def jobs(work, **more):
    """A step over files, one that reads what it wrote, and an independent one with two mini-batches."""
    work.files(2, "few")
    return {
        "work": work.parallel(SCRIPT, **more),
        "after": work.command(
            "wc -l < ${{inputs.rows}} > ${{outputs.number}}",
            inputs={"rows": {"type": "uri_file", "path": "${{parent.jobs.work.outputs.rows}}"}},
            outputs={"number": {"type": "uri_file", "path": "./number.txt"}},
        ),
        "small": work.parallel(
            name="small.py",
            inputs={"files": {"type": "uri_folder", "path": "./few"}},
            outputs={"rows": {"type": "uri_file", "path": "./small.txt"}},
        ),
    }


def test_a_limit_applies_to_each_parallel_step(work):
    work.files(9)
    work.write("rows.txt", "of an earlier run\n")
    run = work.run(jobs(work), limit=3)
    assert (run.status, run.exit_code, run.reason) == (
        "partial",
        4,
        "step work: 3 of 9 mini-batches, as asked",
    )
    statuses = {name: step.status for name, step in run.steps.items()}
    assert statuses == {"work": "partial", "after": "skipped", "small": "completed"}
    assert run.steps["after"].reason == "step work is partial, as asked"
    partial = work.folder / "run/steps/work/partial/rows.txt"
    assert f"rows of these: {partial}" in run.summary and "6 not run" in run.summary
    assert partial.read_text() == "0000.txt of 1\n0001.txt of 1\n0002.txt of 1\n"
    assert run.outputs["work.rows"] == str(partial)
    assert list(run.to_pandas("work")["line"]) == partial.read_text().splitlines()
    assert work.rows() == ["of an earlier run"] and work.rows("small.txt") == ["0000.txt", "0001.txt"]
    with pytest.raises(daskpar.PartialRun, match="3 of 9"):
        run.check()
    said = status_text(run.path)
    assert "job: partial" in said and "python -m daskpar resume" in said and str(partial) in said

    # More of them, one of which fails: still partial, and the failure is told.
    options = {"dashboard": None, "display": False}
    more = daskpar.resume(run, mini_batches=[0, 4, 8], **options)
    assert (more.status, more.reason) == ("partial", "step work: 5 of 9 mini-batches, as asked")
    assert more.counts["work"].failed == 1 and "ValueError: no 0004.txt" in more.summary
    assert "python -m daskpar debug" in more.summary

    work.write("code/mended", "")
    whole = daskpar.resume(run, allow_changes=True, **options)
    assert whole.status == "completed" and not partial.exists()
    assert work.rows() == [f"{number:04}.txt of 1" for number in range(9)]
    assert work.rows("number.txt") == ["9"]
    calls = (work.folder / "code/calls").read_text().split()
    assert sorted(calls) == sorted([*(f"{number:04}.txt" for number in range(9)), "0004.txt"])


def test_what_fails_fails_a_partial_run_too(work):
    work.files(9)
    step = work.parallel(SCRIPT, mini_batch_error_threshold=0)
    run = work.run({"work": step}, mini_batches=range(3, 6))
    assert (run.status, run.exit_code) == ("failed", 1)
    none = work.run({"work": work.parallel(SCRIPT)}, mini_batches=4, run_dir=work.folder / "none")
    assert (none.status, none.steps["work"].reason[:28]) == ("failed", "no mini-batch succeeded; the")
    wrong = work.run({"work": work.parallel(SCRIPT)}, mini_batches="8-9", run_dir=work.folder / "wrong")
    assert wrong.exit_code == 1 and "mini-batch 9 is asked for" in wrong.reason
    with pytest.raises(daskpar.UsageError, match="at least 1"):
        work.run({"work": work.parallel(SCRIPT)}, limit=0)


def test_all_of_them_are_the_whole(work):
    work.files(3)
    run = work.run({"work": work.parallel()}, limit=3)
    assert run.status == "completed" and len(work.rows()) == 3
