"""A full or read-only disk ends a run cleanly, whatever was being written, and a resume finishes it."""

from __future__ import annotations

import errno
import os

import pytest

import daskpar
from daskpar import atomic
from daskpar.errors import DaskparError
from daskpar.outputs import early_copy

LIMITED = """

from daskpar.rows.shared_folder import PartFile

def _limited(self, data, before=0, append=PartFile.append):
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))
    try:
        return append(self, data, before)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


PartFile.append = _limited
"""


class Disk:
    """Behind the one function that writes the run's own files: refuses with `number` from the `after`th write to a `name` on."""

    def __init__(self, monkeypatch, name: str, number: int, after: int) -> None:
        self.names, self.number, self.left, self.full = name.split(), number, after, True
        self.write = atomic.write_all
        monkeypatch.setattr(atomic, "write_all", self)

    def __call__(self, fd: int, data: bytes) -> None:
        if self.full and any(name in os.readlink(f"/proc/self/fd/{fd}") for name in self.names):
            self.left -= 1
            if self.left <= 0:
                # As the kernel does it: a part of it is there.
                self.write(fd, bytes(data)[: len(data) // 2])
                raise OSError(self.number, os.strerror(self.number))
        self.write(fd, data)


@pytest.mark.parametrize(
    ("name", "number", "after", "kind"),
    [
        ("/journal", errno.ENOSPC, 1, "files"),
        ("/journal", errno.ENOSPC, 4, "grouped"),
        ("/journal", errno.EIO, 3, "table"),
        ("/journal", errno.EDQUOT, 5, "files"),
        ("/.rows.txt /output.early", errno.ENOSPC, 1, "files"),
        ("/.rows.txt /output.early", errno.EROFS, 1, "table"),
        ("/.rows.txt /output.early", errno.EIO, 1, "grouped"),
        ("/.step.json", errno.ENOSPC, 2, "files"),
        ("/.run.json", errno.ENOSPC, 2, "table"),
    ],
)
def test_the_drivers_own_writing_fails(chaos, monkeypatch, name, number, after, kind):
    job = chaos(
        kind=kind, faults={"run 9": ["kill"], "write 20": ["kill"], "say 40": ["kill"], "run 33": ["raise"]}
    )
    disk = Disk(monkeypatch, name, number, after)
    ended = job.run()
    assert (ended.status, ended.exit_code) == ("lost", 3), ended.reason
    assert "resume" in ended.summary
    assert not job.output.exists() or job.output.read_bytes() == job.undisturbed()
    done = job.committed() if name != "/.run.json" else set()
    job.wait_for_no_process()
    disk.full = False
    again = job.resume()
    assert again.status == "completed", again.reason
    job.check_output()
    assert all(len(job.calls()[index]) >= 1 for index in done)
    job.check_leftovers()


def test_a_disk_that_refuses_the_output_as_it_grows_is_asked_again_at_the_end(chaos, monkeypatch):
    job = chaos(kind="table", faults={"run 9": ["kill"], "run 33": ["raise"]})
    monkeypatch.setattr(early_copy, "LOOK_SECONDS", 0.001)
    disk = Disk(monkeypatch, "/output.early", errno.ENOSPC, 1)
    ended = job.run()
    assert ended.status == "completed", ended.reason
    assert disk.left <= 0
    job.check_output()
    job.check_leftovers()


def test_a_run_that_can_not_even_start_says_so(chaos, monkeypatch):
    job = chaos()
    Disk(monkeypatch, "/.run.json", errno.ENOSPC, 1)
    with pytest.raises(DaskparError, match="disk is full"):
        job.run()
    assert job.lines("calls") == []


def test_processors_that_can_not_write_their_rows_end_the_step(chaos):
    """A limit on the size of files stands for a full disk: no rights are needed for it."""
    job = chaos(mini_batches=40)
    job.write()
    script = job.folder / "code" / "faulty_script.py"
    text = script.read_text()
    script.write_text(text + LIMITED)
    ended = daskpar.run(job.folder / "job.yml", run_dir=job.run_dir, dashboard=None, display=False)
    assert (ended.status, ended.exit_code) == ("lost", 3), ended.reason
    assert "rows can't be written" in ended.reason
    assert not job.output.exists()
    job.wait_for_no_process()
    script.write_text(text)
    again = job.resume(allow_changes=True)
    assert again.status == "completed", again.reason
    job.check_output()


def test_a_read_only_output_folder_is_said_before_the_first_mini_batch(chaos, monkeypatch):
    job = chaos()

    opening = atomic.open_new

    def open_new(path, *mode):
        if os.path.basename(path).startswith(".rows.txt"):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        return opening(path, *mode)

    monkeypatch.setattr(atomic, "open_new", open_new)
    ended = job.run()
    assert (ended.status, ended.exit_code) == ("lost", 3), ended.reason
    assert "rows.txt" in ended.reason and "read-only" in ended.reason and "resume" in ended.reason
    assert job.lines("calls") == []
    monkeypatch.undo()
    again = job.resume()
    assert again.status == "completed", again.reason
    job.check_output()
    job.check_leftovers()


def test_an_output_folder_that_can_not_be_written_is_said_before_the_first_mini_batch(chaos):
    job = chaos()
    (job.folder / "locked").write_text("a file where a folder is wanted")
    job.settings = {"outputs": {"rows": {"type": "uri_file", "path": "./locked/rows.txt"}}}
    try:
        ended = job.run()
    except DaskparError as error:
        assert "locked" in str(error)
    else:
        assert ended.status in ("failed", "lost")
        assert "locked" in ended.reason
    assert job.lines("calls") == []
