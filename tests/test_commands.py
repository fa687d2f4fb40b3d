"""The commands that look at runs, follow them, and remove them; what they do with specs: test_cli.py."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from daskpar.cells import rows_of
from daskpar.cli import VERBS, main
from daskpar.commands.keeping import seconds_of
from daskpar.commands.looking import cut_to_height
from daskpar.commands.output import is_gone
from daskpar.commands.running import commands_folded
from daskpar.driver.resume import write_started_with
from daskpar.errors import RunDirectoryError, UsageError
from daskpar.results import Counts, Status
from daskpar.rundir.find_runs import find_runs, latest_run
from daskpar.rundir.run_directory import RunDirectory
from daskpar.rundir.step_folder import StepState
from waiting import until

WAITS = """
import os, pathlib, sys, time
HERE = pathlib.Path(__file__).parent
def run(mini_batch):
    name = os.path.basename(mini_batch[0])
    print("run of", name, flush=True)
    if name == "0001.txt":
        print("no such column", file=sys.stderr, flush=True)
        raise ValueError("bad file")
    while name == "0002.txt" and not (HERE / "go").exists():
        time.sleep(0.02)
    return [name]
"""


def made(path: Path, status: str = "completed", created: float = 1e9, **output: str) -> Path:
    """A run directory that says it ended so, a day after it was created."""
    path.parent.mkdir(parents=True, exist_ok=True)
    run = RunDirectory.create(path, "job", path / "job.yml")
    write_started_with(run, overrides={}, staged={}, datastores={})
    counts = Counts(planned=3, succeeded=2, failed=1, items=3, failed_items=1, tries_failed=1)
    state = StepState(
        step="work",
        kind="parallel",
        status=Status(status),
        started=created,
        counts=counts,
        seconds=3.0,
        outputs=output,
    )
    run.step("work").save(state)
    run.update(status=Status(status), created=created, ended=created + 86_400, exit_code=0)
    run.close()
    return path


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with three runs: in `runs`, beside it, and further below."""
    monkeypatch.chdir(tmp_path)
    made(tmp_path / "runs" / "first", created=1e9)
    made(tmp_path / "second", "failed", created=1.2e9)
    made(tmp_path / "a" / "b" / "third", created=1.1e9)
    return tmp_path


def said(capsys: pytest.CaptureFixture[str], *argv: str, code: int = 0) -> str:
    assert main(list(argv)) == code
    return capsys.readouterr().out


# -- which run


def test_ls_lists_the_runs_below_a_folder(here, capsys):
    lines = said(capsys, "ls").splitlines()
    assert [line.split()[:2] for line in lines[1:]] == [
        ["runs/first", "completed"],
        ["a/b/third", "completed"],
        ["second", "failed"],
    ]
    assert "3 done, 1 failed" in lines[1] and "2001-09-0" in lines[1]
    assert len(said(capsys, "ls", "a").splitlines()) == 2
    assert said(capsys, "ls", "runs/first").splitlines()[1].startswith("runs/first")
    (here / "second" / "run.json").write_text("{")
    assert "unreadable" in said(capsys, "ls")


def test_links_hidden_folders_and_what_is_in_a_run_are_not_searched(here):
    made(here / "runs" / "first" / "outputs" / "runs" / "inner")
    made(here / ".hidden" / "run")
    (here / "link").symlink_to(here / "a")
    assert [run.path.name for run in find_runs(here)] == ["first", "third", "second"]
    assert latest_run(here) == here / "second"
    assert latest_run(here / "runs" / "first" / "steps") == here / "runs" / "first"
    assert latest_run(here / ".hidden" / "none") is None


@pytest.mark.parametrize("argv", [["status"], ["resume"], ["logs"], ["export", "--partial", "x.txt"]])
def test_the_latest_run_is_taken_and_named(here, capsys, argv):
    main(argv)
    shown = capsys.readouterr()
    assert "run: second (the latest)" in shown.err
    assert str(here / "second") in shown.out + shown.err


def test_a_run_may_be_named_as_in_runs_and_without_any_that_is_said(here, capsys, monkeypatch):
    assert "completed" in said(capsys, "status", "first")
    (here / "empty").mkdir()
    monkeypatch.chdir(here / "empty")
    assert main(["status"]) == 2
    assert "there is no run in" in capsys.readouterr().err
    assert main(["ls", "nowhere"]) == 2


def test_the_shapes_of_json(here, capsys):
    status = json.loads(said(capsys, "status", "second", "--json"))
    assert status["version"] == 1
    assert (status["status"], status["exit_code"], status["started"]) == (
        "failed",
        0,
        "2008-01-10T21:20:00.000000Z",
    )
    [step] = status["steps"]
    assert step["mini_batches"] == {
        "planned": 3, "succeeded": 2, "failed": 1, "empty": 0, "running": 0, "waiting": 0
    }  # fmt: skip
    assert step["progress"] is None and step["items"] == {"done": 3, "failed": 1}
    listed = json.loads(said(capsys, "ls", "--json"))
    assert [Path(run["run"]).name for run in listed["runs"]] == ["first", "third", "second"]
    (here / "bad.yml").write_text("type: pipeline\njobs: {a: {type: command}}\ncolour: blue\n")
    checked = json.loads(said(capsys, "validate", "bad.yml", "--json", code=2))
    assert not checked["valid"]
    assert checked["mistakes"][0]["path"] == "jobs.a" and checked["mistakes"][0]["line"] == 2
    (here / "good.yml").write_text("type: pipeline\njobs: {a: {type: command, command: echo x}}\n")
    assert json.loads(said(capsys, "validate", "good.yml", "--json"))["valid"]
    plan = json.loads(said(capsys, "plan", "good.yml", "--json"))
    assert plan["steps"][0]["settings"]["command"] == {"value": "echo x", "source": "good.yml:2"}
    assert json.loads(said(capsys, "schema"))["$schema"].endswith("2020-12/schema")


# -- clean


def test_clean_asks_keeps_what_lies_elsewhere_and_never_takes_a_running_run(here, capsys, monkeypatch):
    kept, link = here / "rows.txt", here / "runs" / "first" / "link"
    kept.write_text("rows")
    (here / "precious").mkdir()
    link.symlink_to(here / "precious")
    made(
        here / "runs" / "with-rows",
        created=1.3e9,
        rows=str(kept),
        own=str(here / "runs/with-rows/outputs/x.txt"),
    )
    (here / "runs/with-rows/outputs").mkdir()
    (here / "runs/with-rows/outputs/x.txt").write_text("x")
    (here / "runs/with-rows/outputs").chmod(0o500)
    held = RunDirectory.open(here / "second")
    monkeypatch.setattr("sys.stdin", type("Pipe", (), {"isatty": lambda _: False})())
    assert main(["clean"]) == 2
    shown = capsys.readouterr()
    assert f"stays: {kept}" in shown.out and "goes with it: " in shown.out
    assert "second is kept: it is running" in shown.err and "--yes" in shown.err
    assert "1 run would be removed" in said(capsys, "clean", "--dry-run", "--keep", "2")
    assert "nothing to remove" in said(capsys, "clean", "a", "--older-than", "10w", "--keep", "1")
    assert len(find_runs(here)) == 4
    said(capsys, "clean", "--yes")
    assert [run.path.name for run in find_runs(here)] == ["second"]
    assert kept.read_text() == "rows" and (here / "precious").is_dir()
    held.close()
    assert main(["clean", "runs"]) == 2
    assert "is no run" in capsys.readouterr().err
    said(capsys, "clean", "second", "--yes")
    assert not (here / "second").exists()


def test_clean_does_what_the_answer_says(here, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin", type("Terminal", (), {"isatty": lambda _: True})())
    answers = iter(["n", "", "y"])
    monkeypatch.setattr("builtins.input", lambda _: next(answers))
    for left in (3, 3, 2):
        said(capsys, "clean", "second")
        assert len(find_runs(here)) == left


def test_clean_keeps_the_latest_however_they_are_named(here, capsys):
    assert "nothing to remove" in said(capsys, "clean", "--keep", "4", "--yes")
    assert "nothing to remove" in said(capsys, "clean", "second", "first", "--keep", "9", "--yes")
    assert len(find_runs(here)) == 3
    said(capsys, "clean", "second", "a", "first", "--keep", "1", "--yes")
    assert [run.path.name for run in find_runs(here)] == ["second"]


@pytest.mark.parametrize("verb", ["clean", "status", "resume", "logs", "report", "debug", "ls"])
def test_an_empty_name_is_no_run(here, capsys, verb):
    assert main([verb, ""]) == 2
    assert "empty" in capsys.readouterr().err or verb == "ls"
    with pytest.raises(UsageError, match="is empty"):
        RunDirectory.open("")


def test_clean_that_is_interrupted_or_may_not_says_so(here, capsys, monkeypatch):
    held = RunDirectory.open(here / "second")
    assert main(["clean", "second", "--yes"]) == 2
    assert "nothing was removed" in capsys.readouterr().out
    held.close()
    removed = []

    def stop(found):
        if removed:
            raise KeyboardInterrupt
        removed.append(found)

    monkeypatch.setattr("daskpar.rundir.removal.remove", stop)
    assert main(["clean", "--yes"]) == 130
    assert "after 1 of 3 runs" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "seconds"), [("7d", 604_800), ("1.5h", 5400), ("2", 172_800), ("30 m", 1800)]
)
def test_ages(text, seconds):
    assert seconds_of(text) == seconds


def test_an_age_that_is_none():
    with pytest.raises(UsageError, match="7d, 12h"):
        seconds_of("a week")


# -- the rest of the command line


def test_commands_to_copy_are_quoted(here, capsys):
    folder = here / "a b" / "jobs"
    (here / "data.csv").write_text("x,y\n1,2\n")
    assert "plan 'a b/jobs/pipeline.yml'" in said(capsys, "init", "data.csv", "--folder", str(folder))
    made(here / "c d")
    with pytest.raises(RunDirectoryError, match="resume 'c d'"):
        RunDirectory.create(here / "c d", "job", "job.yml")


@pytest.mark.parametrize("folder", ["data.csv", "data.csv/x", "x" * 300, "a\0b"])
def test_init_says_where_it_may_not_write(here, capsys, folder):
    (here / "data.csv").write_text("x,y\n1,2\n")
    before = sorted(here.iterdir())
    assert main(["init", "data.csv", "--folder", folder]) == 2
    assert "--folder" in capsys.readouterr().err
    assert sorted(here.iterdir()) == before


def test_a_verb_that_is_misspelt(capsys):
    assert main(["stauts"]) == 2
    assert "Did you mean 'status'?" in capsys.readouterr().err


def test_commands_of_a_summary_stand_above_what_they_do_on_a_narrow_terminal():
    text = "Completed  well\nNext:\n  python -m x 'a  b'  go on\n  python -m y         look"
    assert commands_folded(text, 80) == text
    assert commands_folded(text, 25).split("\n") == [
        "Completed  well",
        "Next:",
        "  python -m x 'a  b'",
        "      go on",
        "  python -m y",
        "      look",
    ]
    assert commands_folded("no  table", 3) == "no  table"


def test_what_is_watched_fits_the_terminal_and_says_what_is_left_out():
    text = "\n".join(["a" * 25, *"bcdefg"])
    assert cut_to_height(text, 10, 11) == text
    assert cut_to_height(text, 10, 8).split("\n")[1:] == ["b", "c", "d", "… 3 more "]
    assert rows_of(cut_to_height(text, 10, 8), 10) < 8


def test_nobody_reads_where_the_reader_has_left_and_dev_null_is_no_reader():
    with open(os.devnull, "w") as nowhere:
        assert not is_gone(nowhere)
    reading, writing = os.pipe()
    with os.fdopen(writing, "w") as stream:
        assert not is_gone(stream)
        os.close(reading)
        assert is_gone(stream)


@pytest.mark.parametrize(
    "argv", [["job.yml", "--dry-run"], ["run", "job.yml", "--dryrun"], ["resume", "--dry-run"]]
)
def test_who_wants_a_dry_run_is_told_of_plan(capsys, argv):
    assert main(argv) == 2
    assert "daskpar plan SPEC" in capsys.readouterr().err


def test_what_excludes_each_other_is_said(here, capsys):
    assert main(["logs", "first", "--errors", "--mini-batch", "1"]) == 2
    assert "give one of them" in capsys.readouterr().err
    assert main(["logs", "first", "--mini-batch", "1"]) == 2
    assert "has planned mini-batches" in capsys.readouterr().err


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_completion_knows_all_commands(capsys, shell):
    text = said(capsys, "completion", shell)
    assert all(verb in text for verb in VERBS)
    if shell == "bash":
        check = "compgen -W 'x' >/dev/null; eval \"$SCRIPT\"; COMP_WORDS=(daskpar st); COMP_CWORD=1; _shtab_daskpar; echo ${COMPREPLY[@]}"
        done = subprocess.run(
            ["bash", "-c", check],
            env={**os.environ, "SCRIPT": text},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.split() == ["status"]


def test_completion_offers_names_as_they_are(here, capsys):
    """A name is never run, and one with a blank stays one."""
    names = ["$(touch PWNED)", "`touch PWNED`", "my run", "my(run)"]
    for name in names:
        (here / "runs" / name).mkdir()
        (here / "runs" / name / "run.json").touch()
    script = said(capsys, "completion", "bash")
    check = 'eval "$SCRIPT"; COMP_WORDS=(daskpar status "$TYPED"); COMP_CWORD=2; _shtab_daskpar 2>/dev/null; printf "%s\\n" "${COMPREPLY[@]}"'
    for typed, offered in (
        ("runs/", [*names, "first"]),
        ("'runs/my r", ["my run"]),
        ("runs/my\\ r", ["my run"]),
        ("runs/$(", ["$(touch PWNED)"]),
    ):
        env = {**os.environ, "SCRIPT": script, "TYPED": typed}
        done = subprocess.run(["bash", "-c", check], env=env, capture_output=True, text=True, check=True)
        assert set(done.stdout.splitlines()) == {f"runs/{name}" for name in offered}
    assert not (here / "PWNED").exists()


def test_output_that_knows_no_more_than_ascii_is_written_all_the_same(here):
    made(here / "runs" / "größe", created=1.4e9)
    argv = [sys.executable, "-m", "daskpar", "ls"]
    env = {**os.environ, "PYTHONIOENCODING": "ascii", "LANG": "C"}
    done = subprocess.run(argv, env=env, capture_output=True, check=True)
    assert b"gr\\xf6\\xdfe" in done.stdout and done.stdout.isascii()


def test_a_running_job_is_seen_from_other_processes(work, monkeypatch, capsys):
    monkeypatch.chdir(work.folder)
    work.files(6)
    retries = {"max_retries": 0, "timeout": 3600}
    work.spec({"work": work.parallel(WAITS, mini_batch_error_threshold=2, retry_settings=retries)})
    process = work.start("job.yml", "--run-dir", "runs/one", "--dashboard", "none")
    live = work.folder / "runs/one/steps/work/progress.json"
    until(lambda: live.exists() and json.loads(live.read_text())["counts"]["failed"] == 1, process=process)
    watching = work.start("status", "--watch", "--json", stderr=None)
    following = work.start("logs", "--follow", stderr=None)
    try:
        status = said(capsys, "status")
        assert "2 of 6 mini-batches done, 1 of them failed" in status and "not run" not in status
        assert "1 running, 3 waiting" in status
        assert main(["export", "--partial", "rows.txt"]) == 2
        assert "is the output rows of step work" in capsys.readouterr().err
        assert main(["clean", "--yes"]) == 0
        assert "is kept: it is running" in capsys.readouterr().err
        assert "no try of it has ended yet" in said(capsys, "logs", "--mini-batch", "2")
        first = json.loads(watching.stdout.readline())
        assert first["steps"][0]["mini_batches"]["running"] == 1
        followed = ""
        while "run of 0002.txt" not in followed:
            followed += following.stdout.readline()
        assert "work 0/process000 stdout | run of 0000.txt" in followed
        (work.folder / "code/go").touch()
        ended, _ = process.communicate(timeout=60)
        assert process.returncode == 0, ended
        last = watching.communicate(timeout=60)[0].splitlines()[-1]
        assert json.loads(last)["status"] == "completed"
        assert "run of 0005.txt" in following.communicate(timeout=60)[0]
    finally:
        for each in (watching, following, process):
            each.kill()
            each.wait()
    assert not live.exists()
    assert "Completed, 1 of 6 mini-batches failed, after" in ended
    assert ended.count("succeeded") == 1, "each sentence once"
    one = said(capsys, "logs", "--mini-batch", "1")
    assert "mini-batch 1 (0001.txt)" in one and "RUN_EXCEPTION" in one and "ValueError: bad file" in one
    errors = said(capsys, "logs", "--errors")
    assert "the script printed last:" in errors
    assert "        run of 0001.txt\n" in errors and "        no such column\n" in errors
    assert "run of 0002.txt" not in errors, "printed later"
    assert main(["logs", "--step", "zz"]) == 2
    assert "there is no step 'zz' in the job" in capsys.readouterr().err
