"""What `resume` runs, leaves alone, refuses and says."""

from __future__ import annotations

import json
import shutil
import threading
import time

import pytest
import yaml

import daskpar
from daskpar.errors import RunDirectoryError, UsageError

QUIET = {"dashboard": None, "display": False}


def broken_at(chaos, *indices: int, **kwargs):
    """A job whose mini-batches `indices` fail for good, and more than it may have."""
    return chaos(faults={f"run {index}": ["raise"] * 9 for index in indices}, retries=0, **kwargs)


def test_a_run_that_failed_by_its_threshold_goes_on_when_the_cause_is_mended(chaos):
    job = broken_at(chaos, 5, 31, settings={"mini_batch_error_threshold": 0})
    ended = job.run()
    assert (ended.status, ended.exit_code) == ("failed", 1)
    assert not job.output.exists()
    done = {index for index in job.committed() if index not in (5, 31)}
    job.set_faults({})
    again = job.resume()
    assert again.status == "completed", again.reason
    job.check_output()
    assert all(len(job.calls()[index]) == 1 for index in done)
    assert again.steps["work"].counts.failed == 0


def test_raising_the_threshold_is_no_change_that_is_refused(chaos):
    job = broken_at(chaos, 5, settings={"mini_batch_error_threshold": 0})
    assert job.run().status == "failed"
    job.settings["mini_batch_error_threshold"] = 3
    job.timeout, job.retries, job.processors = 9, 1, 1
    faults = dict(job.faults)
    job.write()
    job.set_faults(faults)
    again = job.resume()
    assert again.status == "completed", again.reason
    assert again.steps["work"].counts.failed == 1
    rows = [line for line in job.undisturbed().decode().splitlines() if not line.startswith("5 ")]
    assert job.output.read_text().splitlines() == rows


def test_a_completed_run_is_left_alone_unless_its_failed_ones_are_asked_for(chaos):
    job = broken_at(chaos, 5, 31)
    assert job.run().status == "completed"
    before, stamp = len(job.lines("calls")), job.output.stat().st_mtime_ns
    again = job.resume()
    assert (again.status, again.exit_code) == ("completed", 0)
    assert again.steps["work"].counts.failed == 2
    assert (len(job.lines("calls")), job.output.stat().st_mtime_ns) == (before, stamp)
    job.set_faults({})
    (job.folder / "job.yml").touch()
    retried = job.resume(retry_failed=True)
    assert retried.status == "completed", retried.reason
    job.check_output()
    assert {int(line[0]) for line in job.lines("calls")[before:]} == {5, 31}
    job.check_leftovers()
    # And now nothing has failed: it is left alone even so.
    assert job.resume(retry_failed=True).status == "completed"
    assert len(job.lines("calls")) == before + 2


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("code", "faulty_script.py is changed"),
        ("more input", "00999.txt is new"),
        ("less input", "00003.txt is gone"),
        ("size", "mini_batch_size was '2', is '3'"),
        ("arguments", "--new"),
        ("environment", "environment_variables.COLOUR"),
    ],
)
def test_what_results_depend_on_must_not_change(chaos, change, said):
    job = broken_at(chaos, 5, settings={"mini_batch_error_threshold": 0})
    assert job.run().status == "failed"
    if change == "code":
        with open(job.folder / "code" / "faulty_script.py", "a") as file:
            file.write("# other\n")
    elif change == "more input":
        (job.folder / "data" / "00999.txt").touch()
    elif change == "less input":
        (job.folder / "data" / "00003.txt").unlink()
    else:
        document = yaml.safe_load((job.folder / "job.yml").read_text())
        step = document["jobs"]["work"]
        if change == "size":
            step["mini_batch_size"] = "3"
        elif change == "arguments":
            step["task"]["program_arguments"] += " --new"
        else:
            step["environment_variables"] = {"COLOUR": "red"}
        (job.folder / "job.yml").write_text(yaml.safe_dump(document))
    calls = len(job.lines("calls"))
    with pytest.raises(RunDirectoryError, match="--allow-changes") as refused:
        job.resume()
    assert said in str(refused.value)
    assert len(job.lines("calls")) == calls
    if change == "code":
        job.set_faults({})
        assert job.resume(allow_changes=True).status == "completed"
        job.check_output()


def test_what_is_not_known_of_the_input_is_said(chaos, capsys):
    job = broken_at(chaos, 5, settings={"mini_batch_error_threshold": 0})
    assert job.run().status == "failed"
    path = job.run_dir / "steps" / "work" / "step.json"
    state = json.loads(path.read_text())
    del state["fingerprint"]["inputs"]  # its driver ended before they were looked at
    path.write_text(json.dumps(state))
    job.set_faults({})
    again = job.resume(display=None)
    assert again.status == "completed", again.reason
    assert "whether some are new, gone, or changed at a URL is not known" in " ".join(
        capsys.readouterr().err.split()
    )
    job.check_output()


def test_a_run_in_use_is_refused_and_one_whose_driver_died_is_not(chaos):
    job = chaos(faults={"run 9": ["call"]}, timeout=60)
    job.write()
    ended: list = []
    driver = threading.Thread(target=lambda: ended.append(job.run()))
    driver.start()
    job.wait_for_line("wanted")
    with pytest.raises(RunDirectoryError, match="in use by process"):
        job.resume()
    with pytest.raises(RunDirectoryError):
        daskpar.run(job.folder / "job.yml", run_dir=job.run_dir, **QUIET)
    (job.folder / "go").touch()
    driver.join()
    job.check(ended[0], charged=0)


def test_two_runs_at_once_in_one_folder(chaos, monkeypatch):
    job = chaos()
    spec = job.write()
    monkeypatch.chdir(job.folder)
    ended: list = []
    drivers = [threading.Thread(target=lambda: ended.append(daskpar.run(spec, **QUIET))) for _ in range(2)]
    for driver in drivers:
        driver.start()
    for driver in drivers:
        driver.join()
    assert [one.status for one in ended] == ["completed", "completed"]
    assert ended[0].path != ended[1].path
    job.check_output()


@pytest.mark.parametrize("what", ["nothing", "foreign", "newer", "damaged run.json"])
def test_what_is_no_run_directory_of_ours_is_refused(chaos, what):
    job = broken_at(chaos, 5, settings={"mini_batch_error_threshold": 0})
    if what == "nothing":
        with pytest.raises(RunDirectoryError, match="does not exist"):
            job.resume()
        return
    job.run()
    identity = job.run_dir / "run.json"
    value = json.loads(identity.read_text())
    if what == "foreign":
        identity.write_text(json.dumps({"kind": "other"}))
    elif what == "newer":
        identity.write_text(json.dumps({**value, "format": 99, "version": "9.0"}))
    else:
        identity.write_text("{")
    said = {
        "foreign": "not a run directory of daskpar",
        "newer": "newer daskpar",
        "damaged run.json": "damaged",
    }[what]
    with pytest.raises(RunDirectoryError, match=said):
        job.resume()


def test_a_damaged_journal_keeps_what_is_whole(chaos):
    job = chaos(faults={"run 50": ["raise"] * 9}, retries=0, settings={"mini_batch_error_threshold": 0})
    job.run()
    journal = job.run_dir / "steps" / "work" / "journal"
    data = bytearray(journal.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 40] = b"\0" * 40
    journal.write_bytes(bytes(data) + b"torn")
    done = job.committed() - {50}
    assert done
    job.set_faults({})
    again = job.resume()
    assert again.status == "completed", again.reason
    job.check_output()
    assert all(len(job.calls()[index]) == 1 for index in done)
    assert list(journal.parent.glob("journal.damaged-*"))


def test_lost_rows_of_a_part_file_are_run_again(chaos):
    """As after a power cut: the journal tells of rows that never reached the disk."""
    job = broken_at(chaos, 50, settings={"mini_batch_error_threshold": 0})
    job.run()
    for part in (job.run_dir / "steps" / "work" / "parts").iterdir():
        with open(part, "rb+") as file:
            file.truncate(part.stat().st_size // 2)
    job.set_faults({})
    again = job.resume()
    assert again.status == "completed", again.reason
    job.check_output()


def test_another_boot_since_has_every_row_checked(chaos, monkeypatch):
    job = broken_at(chaos, 50, settings={"mini_batch_error_threshold": 0})
    job.run()
    part = max((job.run_dir / "steps" / "work" / "parts").iterdir(), key=lambda path: path.stat().st_size)
    data = bytearray(part.read_bytes())
    data[:10] = b"\0" * 10  # a hole where a page never reached the disk
    part.write_bytes(bytes(data))
    monkeypatch.setattr("daskpar.outputs.part_check.same_boot", lambda earlier: False)
    monkeypatch.setattr("daskpar.outputs.journal.boot_id", lambda: "another boot")
    job.set_faults({})
    again = job.resume()
    assert again.status == "completed", again.reason
    job.check_output()


@pytest.mark.parametrize(
    ("kind", "name"), [("files", "paths"), ("table", "plan.arrow"), ("grouped", "groups-00000.arrow")]
)
def test_a_plan_that_a_power_cut_took_is_made_anew(chaos, kind, name):
    job = broken_at(chaos, 20, kind=kind, mini_batches=30, settings={"mini_batch_error_threshold": 0})
    assert job.run().status == "failed"
    done = job.committed() - {20}
    assert done
    (lost,) = (job.run_dir / "steps" / "work" / "plan").glob(name)
    lost.write_bytes(b"")
    job.set_faults({})
    with open(job.folder / "code" / "faulty_script.py", "a") as file:
        file.write("# mended\n")
    (new := job.folder / "data" / ("99999.txt" if kind == "files" else "MLTable.bak")).touch()
    if kind == "files":
        with pytest.raises(daskpar.JobFailed, match="has changed since"):
            job.resume(allow_changes=True).check()
        with pytest.raises(daskpar.JobFailed, match="has changed since"):
            job.resume().check()  # what was allowed to change is not what the plan was made from
    new.unlink()
    again = job.resume(allow_changes=True)
    assert again.status == "completed", again.reason
    job.check_output()
    assert all(len(job.calls()[index]) == 1 for index in done)


def chain(job, *, fails: bool):
    """After the parallel step: a command that counts its rows, and one that copies the count; the first run of it may fail."""
    job.write()
    document = yaml.safe_load((job.folder / "job.yml").read_text())
    script = f"test -e {job.folder}/mended || exit 3; " if fails else ""
    document["jobs"]["count"] = {
        "type": "command",
        "command": f"echo half > ${{{{outputs.counted}}}}/left-over; {script}echo x >> {job.folder}/counted; "
        "rm ${{outputs.counted}}/left-over; wc -l < ${{inputs.rows}} > ${{outputs.counted}}/count",
        "inputs": {"rows": "${{parent.jobs.work.outputs.rows}}"},
        "outputs": {"counted": {"type": "uri_folder", "path": "./counted-rows"}},
        "environment": "azureml:any:1",
    }
    (job.folder / "job.yml").write_text(yaml.safe_dump(document))
    return job.folder / "job.yml"


def test_an_unfinished_command_is_run_again_in_a_clean_folder(chaos):
    job = chaos()
    spec = chain(job, fails=True)
    ended = daskpar.run(spec, run_dir=job.run_dir, **QUIET)
    assert (ended.status, ended.steps["work"].status, ended.steps["count"].exit_code) == (
        "failed",
        "completed",
        3,
    )
    calls = len(job.lines("calls"))
    (job.folder / "mended").touch()
    again = job.resume()
    assert again.status == "completed", again.reason
    assert len(job.lines("calls")) == calls, "the completed step was run again"
    assert (job.folder / "counted-rows" / "count").read_text().split() == ["120"]
    assert not (job.folder / "counted-rows" / "left-over").exists()
    assert (job.folder / "counted-rows.unfinished-1" / "left-over").read_text() == "half\n"


def test_steps_after_one_whose_failed_ones_are_retried_run_again(chaos):
    job = broken_at(chaos, 5)
    spec = chain(job, fails=False)
    assert daskpar.run(spec, run_dir=job.run_dir, **QUIET).status == "completed"
    assert (job.folder / "counted-rows" / "count").read_text().split() == ["118"]
    job.set_faults({})
    again = job.resume(retry_failed=True)
    assert again.status == "completed", again.reason
    assert (job.folder / "counted-rows" / "count").read_text().split() == ["120"]
    assert (job.folder / "counted").read_text().split() == ["x", "x"]


def test_resume_from_as_a_program_argument(chaos):
    job = broken_at(chaos, 5, settings={"mini_batch_error_threshold": 0})
    assert job.run().status == "failed"
    done = job.committed() - {5}
    job.arguments = f"--resume_from {job.run_dir}"
    job.faults = {}
    again = daskpar.run(job.write(), **QUIET)
    assert again.status == "completed", again.reason
    assert again.path == job.run_dir
    job.check_output()
    assert all(len(job.calls()[index]) == 1 for index in done)


def test_resume_from_in_another_spec_is_refused(chaos):
    job = broken_at(chaos, 5, settings={"mini_batch_error_threshold": 0})
    assert job.run().status == "failed"
    calls = len(job.lines("calls"))
    job.arguments = f"--resume_from {job.run_dir}"
    other = job.write().rename(job.folder / "other.yml")
    with pytest.raises(UsageError, match=r"other\.yml, but .* is a run of .*job\.yml"):
        daskpar.run(other, **QUIET)
    assert len(job.lines("calls")) == calls


def test_a_run_directory_beside_resume_from_is_said_to_be_unused(chaos, capsys):
    job = broken_at(chaos, 5, settings={"mini_batch_error_threshold": 0})
    assert job.run().status == "failed"
    job.arguments = f"--resume_from {job.run_dir.name}"
    job.faults = {}
    again = daskpar.run(job.write(), run_dir=job.folder / "new", dashboard=None)
    assert again.status == "completed", again.reason
    assert not (job.folder / "new").exists()
    assert f"no run directory is made at {job.folder / 'new'}" in capsys.readouterr().err


def test_a_spec_that_is_gone_is_named(chaos):
    job = broken_at(chaos, 5, settings={"mini_batch_error_threshold": 0})
    job.run()
    shutil.move(job.folder / "job.yml", job.folder / "elsewhere.yml")
    with pytest.raises(RunDirectoryError, match=r"job\.yml of this run is gone"):
        job.resume()


def test_an_interrupted_run_directory_says_when_it_was_last_written(chaos):
    began = time.time()
    job = broken_at(chaos, 5, settings={"mini_batch_error_threshold": 0})
    job.run()
    value = json.loads((job.run_dir / "run.json").read_text())
    assert value["status"] == "failed"
    assert value["ended"] >= began
