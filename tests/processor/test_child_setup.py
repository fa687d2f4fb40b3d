"""What a processor finds around it when its script is imported, and the logs and profiles that it leaves."""

from __future__ import annotations

import json
import os
import pstats
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.fresh_servers

SCRIPT = """
import json, logging, multiprocessing, os, pickle, subprocess, sys
from azureml_user.parallel_run import EntryScript
from pathlib import Path

def is_open(fd):
    return os.path.exists(f"/proc/self/fd/{fd}")

def init():
    helper = EntryScript()
    facts = {
        "argv": sys.argv, "cwd": os.getcwd(), "name": multiprocessing.current_process().name, "file": __file__,
        "environment": dict(os.environ), "nice": os.nice(0), "path": sys.path, "session": os.getsid(0) == os.getpid(),
        "helper": [helper.agent_name, str(helper.log_dir), str(helper.output_dir), str(helper.working_dir), helper.logging_level],
        "one": EntryScript() is helper and pickle.loads(pickle.dumps(helper)) is helper,
        "modules": sorted(sys.modules), "descriptors": [fd for fd in range(64) if is_open(fd) and os.get_inheritable(fd)],
    }
    Path(os.environ["AZUREML_BI_OUTPUT_PATH"], helper.agent_name).write_text(json.dumps(facts))
    print("printed")
    logging.info("root at info")
    logging.debug("root at debug")
    helper.logger.info("helper's word")
    subprocess.run("echo from a grandchild; echo its complaint >&2", shell=True)
    os.system("echo from C")

def run(mini_batch):
    return helped(mini_batch)

def helped(mini_batch):
    return [1 for _ in mini_batch]
"""


def facts(zoo, number: int = 0, **settings) -> tuple[dict, Path]:
    at = zoo({}, **settings)
    at.submit(0, 1)
    at.wait_ended()
    at.pool.finish()
    return json.loads((at.folder / "out" / f"process{number:03d}").read_text()), at.folder


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "facts.py"
    path.write_text(SCRIPT)
    return str(path)


def test_what_a_script_sees(zoo, script, tmp_path):
    found, folder = facts(
        zoo, entry_script=script, arguments=("--model", "a b"), environment={"MINE": "1"}, nice=3, threads=7
    )
    assert found["argv"] == [script, "--model", "a b"]
    assert found["cwd"] == str(folder / "work/0/process000")
    assert found["name"] == "process000"
    assert found["file"] == script
    assert found["nice"] == os.nice(0) + 3
    assert found["session"] and found["one"]
    assert found["helper"] == [
        "process000",
        str(folder / "logs/user/entry_script_log/0"),
        str(folder / "out"),
        str(folder),
        "INFO",
    ]
    assert found["environment"]["MINE"] == "1"
    assert found["environment"]["AZUREML_RUN_ID"]
    assert "" not in found["path"]
    assert found["descriptors"] == [0, 1, 2], "a program that the script starts would inherit our descriptors"


def test_a_processor_of_files_has_loaded_neither_dask_nor_pandas(zoo, script):
    found, _ = facts(zoo, entry_script=script)
    assert not {"dask", "distributed", "yaml", "pandas", "pyarrow", "psutil"} & set(found["modules"])


@pytest.mark.parametrize("variable", ["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"])
def test_thread_variables_are_set_where_the_user_did_not(zoo, script, monkeypatch, variable):
    monkeypatch.delenv(variable, raising=False)
    found, _ = facts(zoo, entry_script=script, threads=7)
    assert found["environment"][variable] == "7"
    monkeypatch.setenv(variable, "3")
    found, _ = facts(zoo, entry_script=script, threads=7)
    assert found["environment"][variable] == "3"
    found, _ = facts(zoo, entry_script=script, threads=7, environment={variable: "2"})
    assert found["environment"][variable] == "2"


def test_each_slot_has_its_device_and_slots_beyond_them_have_none(zoo, script):
    at = zoo({}, entry_script=script, processors=2, gpus=("3", ""))
    zoo.wait_for(lambda: (at.folder / "out/process000").exists() and (at.folder / "out/process001").exists())
    at.submit(0, 1)
    at.wait_ended()
    at.pool.finish()
    devices = [
        json.loads((at.folder / f"out/process{n:03d}").read_text())["environment"]["CUDA_VISIBLE_DEVICES"]
        for n in (0, 1)
    ]
    assert devices == ["3", ""]


def test_streams_of_everything_below_go_to_the_processors_own_files(zoo, script):
    _, folder = facts(zoo, entry_script=script)
    out = (folder / "logs/user/stdout/0/process000.stdout.txt").read_text()
    assert [line.split("|")[-1] for line in out.splitlines()] == [
        "printed",
        "root at info",
        "from a grandchild",
        "from C",
    ]
    assert (folder / "logs/user/stderr/0/process000.stderr.txt").read_text() == "its complaint\n"
    assert (
        (folder / "logs/user/entry_script_log/0/process000.log.txt").read_text().endswith("|helper's word\n")
    )


@pytest.mark.parametrize("module", ["cProfile", "profile"])
def test_a_profile_shows_the_scripts_functions_and_adds_up_over_lives(zoo, script, module):
    for lives in (1, 2):
        _, folder = facts(zoo, entry_script=script, profiling_module=module)
        stats = pstats.Stats(str(folder / "logs/sys/node/0/process000.profile")).stats
        assert [value[0] for key, value in stats.items() if key[2] == "helped"] == [lives]


def test_memory_over_the_limit_is_an_error_of_that_mini_batch(zoo, tmp_path):
    path = tmp_path / "greedy.py"
    path.write_text(
        "def run(mini_batch):\n    if mini_batch == [1]:\n        bytearray(1 << 31)\n    return mini_batch\n"
    )
    at = zoo({}, entry_script=str(path), memory_limit=1 << 30)
    at.submit(0, 3)
    at.wait_ended()
    assert {index: failure.message for index, failure in at.failures.items()} == {1: "MemoryError"}
    assert sorted(at.rows) == [0, 2]


def test_a_python_without_dask_will_do(zoo, script, tmp_path):
    """Whatever imports Dask, YAML or psutil in a processor fails here."""
    for name in ("dask", "distributed", "yaml", "psutil", "fsspec"):
        (tmp_path / "absent" / name).mkdir(parents=True)
        (tmp_path / "absent" / name / "__init__.py").write_text("raise ImportError('not installed here')\n")
    found, _ = facts(
        zoo,
        entry_script=script,
        environment={"PYTHONPATH": f"{tmp_path / 'absent'}"},
        tabular=True,
        python=sys.executable,
    )
    assert "pandas" in found["modules"]
    assert "daskpar.data.tables.table_reader" in found["modules"]
