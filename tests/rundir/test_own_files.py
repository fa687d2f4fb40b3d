"""A run directory from somebody else: nothing outside of it is read, shown, copied, changed or removed."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

import daskpar
from daskpar.errors import RunDirectoryError
from daskpar.outputs import journal_frames
from daskpar.outputs.export import export_partial
from daskpar.outputs.journal_reader import read_journal
from daskpar.reports.run_status import logs_text, status_text
from daskpar.rows.shared_folder import SharedFolder
from daskpar.rundir.run_directory import RunDirectory

SECRET = "the neighbour's secret"


@pytest.fixture
def run(work) -> Path:
    """A run that has failed, with committed rows and errors."""
    work.files(6)
    script = (
        "import os\ndef run(mini_batch):\n    assert '0003' not in mini_batch[0]\n    return list(mini_batch)"
    )
    ended = work.run(
        {"work": work.parallel(script, mini_batch_error_threshold=0, retry_settings={"max_retries": 0})}
    )
    assert ended.status == "failed"
    (work.folder / "secret.txt").write_text(SECRET)
    (work.folder / "secrets").mkdir()
    (work.folder / "secrets/error.txt").write_text(SECRET)
    return ended.path


STEP = "steps/work"
FILES = [
    "run.json",
    "lock",
    "started-with.json",
    "effective-spec.yml",
    "shown.json",
    f"{STEP}/step.json",
    f"{STEP}/outputs-before.json",
    f"{STEP}/journal",
    f"{STEP}/plan/plan.json",
    f"{STEP}/plan/paths",
    f"{STEP}/logs/job_error.txt",
    f"{STEP}/logs/job_result.txt",
    f"{STEP}/logs/sys/master_role.txt",
]
FOLDERS = [
    "steps",
    STEP,
    f"{STEP}/plan",
    f"{STEP}/parts",
    f"{STEP}/logs",
    f"{STEP}/logs/user",
    f"{STEP}/logs/sys",
]


def all_refuse(run: Path, target: Path) -> None:
    """No verb reads it, and each says why."""
    for verb in (
        lambda: status_text(run),
        lambda: logs_text(run),
        lambda: logs_text(run, errors=True),
        lambda: export_partial(run, str(target)),
        lambda: daskpar.resume(run, dashboard=None, display=False),
    ):
        with pytest.raises(RunDirectoryError) as refused:
            verb()
        assert SECRET not in str(refused.value)
        assert "link" in str(refused.value) or "not what daskpar writes" in str(refused.value)
    assert not target.exists()


@pytest.mark.parametrize("name", FILES)
def test_a_link_in_the_place_of_a_file_is_refused(work, run, name):
    (run / name).unlink(missing_ok=True)
    (run / name).symlink_to(work.folder / "secret.txt")
    all_refuse(run, work.folder / "out.txt")
    assert (work.folder / "secret.txt").read_text() == SECRET


@pytest.mark.parametrize("name", FOLDERS)
def test_a_link_in_the_place_of_a_folder_is_refused(work, run, name):
    (run / name).rename(work.folder / "moved")
    (run / name).symlink_to(work.folder / "moved")
    all_refuse(run, work.folder / "out.txt")


def test_a_link_in_the_place_of_a_part_is_refused(work, run):
    part = next((run / STEP / "parts").iterdir())
    part.unlink()
    part.symlink_to(work.folder / "secret.txt")
    all_refuse(run, work.folder / "out.txt")


def test_a_pipe_in_the_place_of_a_file_does_not_make_anybody_wait(work, run):
    (run / STEP / "journal").unlink()
    os.mkfifo(run / STEP / "journal")
    all_refuse(run, work.folder / "out.txt")


def test_links_that_a_script_made_are_its_own(work, run):
    for folder in (run / STEP / "work", run / STEP / "logs/user/entry_script_log/0", run / "outputs"):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "latest").symlink_to(work.folder / "secret.txt")
    assert "failed" in status_text(run)


def test_a_run_directory_may_be_reached_by_a_link(work, run):
    (work.folder / "link").symlink_to(run)
    assert "failed" in status_text(work.folder / "link")


@pytest.mark.parametrize("name", ["../../../secret.txt", "/etc/passwd", "..", ".", "", "a/../../x", "x\0y"])
def test_a_part_is_a_name_and_no_path(tmp_path, name):
    store = SharedFolder(tmp_path / "parts")
    store.prepare()
    for use in (store.open, store.size, store.place_of):
        with pytest.raises(RunDirectoryError, match="is damaged: its journal names the part"):
            use(name)


def test_a_journal_that_names_a_file_elsewhere_exports_nothing(work, run):
    """Also where the file that it names is long enough."""
    journal = run / STEP / "journal"
    path = "../../../secret.txt"
    number, *_ = read_journal(journal).parts
    body = journal_frames.PART_PACK.pack(journal_frames.FrameKind.PART, number) + path.encode()
    with journal.open("ab") as file:
        file.write(journal_frames.frame(body))
    assert read_journal(journal).parts[number] == path
    with pytest.raises(RunDirectoryError, match=r"names the part '\.\./\.\./\.\./secret\.txt'"):
        export_partial(run, str(work.folder / "out.txt"))
    with pytest.raises(daskpar.DaskparError, match="names the part"):
        daskpar.resume(run, dashboard=None, display=False).check()
    assert not (work.folder / "out.txt").exists()


def test_a_step_that_names_another_one_is_damaged(run):
    """Else the parts of `../../other` would be removed when the step is complete."""
    file = run / STEP / "step.json"
    file.write_text(file.read_text().replace('"step": "work"', '"step": "../../other"'))
    with pytest.raises(RunDirectoryError, match="names the step"):
        status_text(run)


@pytest.mark.parametrize("umask", [0o022, 0o000])
def test_a_run_directory_is_its_owners(tmp_path, umask):
    before = os.umask(umask)
    try:
        RunDirectory.create(tmp_path / "runs/r", "job", "job.yml", new=True).close()
    finally:
        os.umask(before)
    assert stat.S_IMODE(os.stat(tmp_path / "runs/r").st_mode) == 0o700
    assert stat.S_IMODE(os.stat(tmp_path / "runs").st_mode) == 0o777 & ~umask


def test_files_that_hold_values_are_their_owners_wherever_they_are(work):
    """Also in a folder that was there, and keeps its rights: so it can be shared with nodes of other users."""
    work.files(1)
    run = work.folder / "run"
    run.mkdir()
    run.chmod(0o755)
    before = os.umask(0o022)
    try:
        work.run({"work": work.parallel(environment_variables={"A": "1"})}, run_dir=run).check()
    finally:
        os.umask(before)

    def mode(path: Path) -> int:
        return stat.S_IMODE(path.stat().st_mode)

    assert mode(run) == 0o755
    values = ["effective-spec.yml", "started-with.json", "shown.json", "report.html", f"{STEP}/step.json"]
    values += [f"{STEP}/outputs-before.json"]
    assert {name: oct(mode(run / name)) for name in values if (run / name).exists()}.keys() >= {*values[:5]}
    assert {mode(run / name) for name in values if (run / name).exists()} == {0o600}
    assert mode(work.folder / "rows.txt") == 0o644  # an output is the user's, as the umask says
