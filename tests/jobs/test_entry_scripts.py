"""What an entry script is promised: `init()` and `shutdown()` once in each processor, its context, arguments, folders, logs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest


def rows_of(work, script: str, *, files: int = 1, **more):
    work.files(files)
    ended = work.run({"work": work.parallel(script, **more)})
    assert ended.status == "completed", ended.reason
    return ended, work.rows()


def test_init_and_shutdown_are_called_once_in_each_processor(work):
    script = """
    import os, pathlib
    HERE = pathlib.Path(__file__).parent
    def init():
        with open(HERE / "init", "a") as file:
            file.write(f"{os.getpid()}\\n")
    def run(mini_batch):
        return [os.getpid()]
    def shutdown():
        with open(HERE / "shutdown", "a") as file:
            file.write(f"{os.getpid()}\\n")
    """
    _, rows = rows_of(work, script, files=30, max_concurrency_per_instance=2)
    started, ended = work.rows("code/init"), work.rows("code/shutdown")
    assert len(started) == len(set(started)) == 2
    # A processor that got ready only when all was done is ended without ceremony.
    assert set(rows) <= set(ended) <= set(started)
    assert len(ended) == len(set(ended))


def test_the_context_tells_index_and_keys_and_is_left_out_where_it_is_not_asked_for(work):
    script = """
    import json
    def run(mini_batch, mini_batch_context):
        about = mini_batch_context
        return [json.dumps([str(about.minibatch_index), about.partition_key_value, str(mini_batch.task_id), len(mini_batch)])]
    """
    _, rows = rows_of(work, script, files=2)
    assert [json.loads(row) for row in rows] == [["0", None, "0", 1], ["1", None, "1", 1]]


def test_arguments_environment_and_folders(work):
    script = """
    import json, os, sys
    import helper
    def run(mini_batch):
        return [json.dumps([sys.argv, os.environ["MINE"], os.getcwd(), __file__, helper.WORD, bool(os.environ["AZUREML_RUN_ID"])])]
    """
    work.write("code/helper.py", "WORD = 'helped'")
    ended, rows = rows_of(
        work,
        script,
        arguments="--name 'two words' --error_threshold -1",
        environment_variables={"MINE": "a b"},
    )
    argv, mine, folder, file, word, has_run_id = json.loads(rows[0])
    assert argv[1:] == ["--resource_monitor_interval", "0", "--name", "two words", "--error_threshold", "-1"]
    assert (mine, word, has_run_id) == ("a b", "helped", True)
    assert Path(folder) == ended.path / "steps/work/work/0/process000"
    assert Path(argv[0]) == Path(file) == work.folder / "code/score.py"


def test_two_steps_may_have_scripts_and_helpers_of_the_same_names(work):
    work.files(1)
    script = "import helper\ndef run(mini_batch):\n    return [helper.WORD]\n"
    jobs = {}
    for name in ("one", "two"):
        work.write(f"{name}/helper.py", f"WORD = {name!r}")
        jobs[name] = work.parallel(
            script, code=f"./{name}", outputs={"rows": {"type": "uri_file", "path": f"./{name}.txt"}}
        )
    assert work.run(jobs).status == "completed"
    assert (work.rows("one.txt"), work.rows("two.txt")) == (["one"], ["two"])


@pytest.mark.parametrize(
    ("files", "entry"),
    [
        (
            {
                "package/__init__.py": "",
                "package/part.py": "X = 'here'",
                "package/main.py": "from .part import X\n",
            },
            "package.main",
        ),
        ({"part.py": "X = 'here'", "deep/main.py": "from part import X\n"}, "deep/main.py"),
        ({"part.py": "X = 'here'", "main.py": "from part import X\n"}, "./main.py"),
    ],
)
def test_an_entry_script_may_be_a_module_or_lie_deeper(work, files, entry):
    work.files(1)
    step = work.parallel()
    for name, text in files.items():
        work.write(
            f"code/{name}", text + ("def run(mini_batch):\n    return [X]\n" if "main" in name else "")
        )
    step["task"]["entry_script"] = entry
    ended = work.run({"work": step})
    assert ended.status == "completed", ended.reason
    assert work.rows() == ["here"]


def test_code_behind_a_link_is_found(work):
    work.files(1)
    step = work.parallel("import helper\ndef run(mini_batch):\n    return [helper.X]\n", code="./real")
    work.write("real/helper.py", "X = 5")
    (work.folder / "link").symlink_to(work.folder / "real")
    step["task"]["code"] = "./link"
    assert work.run({"work": step}).status == "completed"
    assert work.rows() == ["5"]


def test_the_helper_names_its_folders_and_logs(work):
    script = """
    import json, os
    from azureml_user.parallel_run import EntryScript
    def run(mini_batch):
        helper = EntryScript()
        assert helper is EntryScript()
        helper.logger.warning("a word for the log")
        return [json.dumps([helper.agent_name, str(helper.working_dir), os.path.isdir(helper.output_dir), str(helper.log_dir)])]
    """
    ended, rows = rows_of(work, script)
    name, working, has_output, logs = json.loads(rows[0])
    assert (name, has_output) == ("process000", True)
    assert Path(working) == ended.path / "steps/work"
    assert Path(logs) == ended.logs["work"] / "user/entry_script_log/0"
    assert "a word for the log" in (Path(logs) / "process000.log.txt").read_text()


def test_what_is_printed_goes_to_the_processors_own_files(work):
    script = """
    import os, sys
    print("at import")
    def init():
        print("at init")
        print("to stderr", file=sys.stderr)
        os.system("echo from a child")
    def run(mini_batch):
        print("at run")
        return mini_batch
    def shutdown():
        print("at shutdown")
    """
    ended, _ = rows_of(work, script)
    user = ended.logs["work"] / "user"
    assert (user / "stdout/0/process000.stdout.txt").read_text().split("\n")[:5] == [
        "at import",
        "at init",
        "from a child",
        "at run",
        "at shutdown",
    ]
    assert "to stderr" in (user / "stderr/0/process000.stderr.txt").read_text()


def test_a_script_that_leaves_its_folder_or_a_grandchild_behind_harms_nobody(work):
    script = """
    import os, subprocess, threading, time
    def init():
        threading.Thread(target=time.sleep, args=(3600,)).start()
    def run(mini_batch):
        subprocess.Popen(["sleep", "3600"], start_new_session=True)
        os.chdir("/")
        return [os.path.exists(mini_batch[0])]
    """
    _, rows = rows_of(work, script, files=3)
    assert rows == ["True"] * 3


def test_a_hundred_megabytes_of_prints_are_kept(work):
    script = """
    LINE = "x" * 1023
    def run(mini_batch):
        for _ in range(100 * 1024):
            print(LINE)
        return mini_batch
    """
    ended, _ = rows_of(work, script)
    assert (ended.logs["work"] / "user/stdout/0/process000.stdout.txt").stat().st_size == 100 << 20


SAID = """
import sys
from pathlib import Path
def init():
    {init}
def run(mini_batch):
    return mini_batch
def shutdown():
    {shutdown}
"""


@pytest.mark.parametrize("turn", range(3))
def test_a_shutdown_that_raises_is_told_however_soon_the_step_ends_after_it(work, turn):
    work.files(1)
    ended = work.run(
        {"work": work.parallel(SAID.format(init="pass", shutdown="raise ValueError('no way down')"))}
    )
    assert ended.status == "completed"
    said = (ended.logs["work"] / "sys" / "master_role.txt").read_text()
    assert "shutdown() raised in process000 of node 0" in said and "ValueError: no way down" in said


@pytest.mark.parametrize(
    ("script", "words"),
    [
        (
            SAID.format(init="raise ValueError('no model')", shutdown="pass"),
            ["init() failed: ValueError: no model", "in init"],
        ),
        (
            "if True:  # else it is known before\n    import nowhere_to_be_found\ndef run(b): pass",
            ["could not be imported: ModuleNotFoundError", "import nowhere_to_be_found"],
        ),
        (
            "import sys\nsys.exit(2)\ndef run(b): pass",
            ["SystemExit: 2 (the script ended itself; its log says what it printed"],
        ),
    ],
)
def test_the_errors_of_a_script_that_does_not_begin_have_their_trace_and_log(work, script, words):
    from daskpar.reports.run_status import logs_text

    work.files(1)
    ended = work.run({"work": work.parallel(script)})
    assert ended.status == "failed"
    text = logs_text(ended.path, errors=True)
    for word in [*words, "stderr"]:
        assert word in text, text
