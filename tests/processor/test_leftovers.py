"""What a processor leaves behind meets no other one: folders, temporary files, shared memory."""

from __future__ import annotations

import os
import textwrap
from pathlib import Path

import pytest

from daskpar.processor import leftovers
from waiting import until

pytestmark = pytest.mark.fresh_servers

SCRIPT = """
import os, sys, tempfile, time
from multiprocessing import shared_memory
FIRST = os.environ["WORLD"] + "/first"
def run(mini_batch):
    os.mkdir("scratch")
    if not os.path.exists(FIRST):
        memory = shared_memory.SharedMemory(create=True, size=1000)
        for number in range(100):
            open(os.path.join(tempfile.mkdtemp(), "file"), "w").close()
        text = f"{memory.name}\\n{tempfile.gettempdir()}\\n{os.getpid()}"
        with open(FIRST + ".new", "w") as file:
            file.write(text)
        os.rename(FIRST + ".new", FIRST)
        END
    os.rmdir("scratch")
    return ["done"]
"""
ENDS = {
    "hang": "time.sleep(3600)",
    "exit": "os._exit(3)",
    "crash": "import ctypes; ctypes.string_at(0)",
    "family": "os.fork(); time.sleep(3600)",
}


@pytest.fixture
def killed(zoo, tmp_path):
    """A pool of which a processor has ended in its first call; what it had: shared memory, folder, process."""

    def run(end, **settings):
        code = tmp_path / "code"
        code.mkdir()
        (code / "leaves.py").write_text(textwrap.dedent(SCRIPT.replace("END", ENDS[end])))
        at = zoo(
            {},
            count=2,
            entry_script=str(code / "leaves.py"),
            environment={"WORLD": str(tmp_path), **settings},
            run_timeout=2.0 if "sleep" in ENDS[end] else 60.0,
            max_retries=1,
        )
        at.submit(0, 1)
        at.wait_ended()
        return at, (tmp_path / "first").read_text().split("\n")

    return run


@pytest.mark.parametrize("end", ENDS)
def test_what_a_killed_processor_had_is_gone_before_the_next_one(killed, tmp_path, end):
    at, (memory, temporary, pid) = killed(end)
    assert pid in temporary
    at.submit(0, 1, block=2, tries=1)
    at.wait_ended(2)
    assert at.rows == {0: "done\n"}
    assert not os.path.exists(f"/dev/shm/{memory}")
    until(lambda: not os.path.exists(temporary), "the end of the temporary files")
    assert os.listdir(tmp_path / "work/0/process000") == []
    assert os.listdir(next((tmp_path / "work/0").glob("process000.before-*"))) == ["scratch"]


def test_it_is_gone_at_the_end_of_the_step_too(killed):
    at, (memory, temporary, _) = killed("hang")
    at.pool.close()
    assert not os.path.exists(f"/dev/shm/{memory}")
    assert not os.path.exists(temporary)


def test_the_folder_that_a_user_names_stays(killed, tmp_path):
    (tmp_path / "mine").mkdir()
    _, (_, temporary, _) = killed("hang", TMPDIR=str(tmp_path / "mine"))
    assert temporary == str(tmp_path / "mine")
    assert len(os.listdir(temporary)) >= 100


def test_shared_memory_of_others_stays(killed):
    from multiprocessing import shared_memory

    mine = shared_memory.SharedMemory(create=True, size=10)
    try:
        at, _ = killed("hang")
        at.pool.close()
        assert os.path.exists(f"/dev/shm/{mine.name}")
    finally:
        mine.close()
        mine.unlink()


def test_a_folder_that_holds_something_is_kept_beside_the_fresh_one(tmp_path):
    folder = tmp_path / "work" / "process000"
    leftovers.fresh_folder(folder)
    leftovers.fresh_folder(folder)
    assert os.listdir(folder.parent) == ["process000"]
    (folder / "result").touch()
    leftovers.fresh_folder(folder)
    assert os.listdir(folder) == []
    assert (Path(f"{folder}.before-{os.getpid()}") / "result").exists()


def test_temporary_files_never_go_through_a_link_of_somebody_else(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", "/tmp")
    (tmp_path / "theirs").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "theirs")
    leftovers.use_temporary_folder(str(tmp_path / "link"))
    assert os.environ["TMPDIR"] == "/tmp"
