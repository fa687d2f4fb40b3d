"""Pipelines: order, independent steps side by side, failed and skipped steps, command steps, outputs, the effective spec; from Python."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path

import pandas as pd
import pytest
import yaml

import daskpar
import warm_python
from daskpar.driver.pipeline_run import PipelineRun

FOLDER = {"type": "uri_folder"}


def link(step: str, output: str = "o") -> dict[str, str]:
    return {"x": f"${{{{parent.jobs.{step}.outputs.{output}}}}}"}


def stdout(ended, step: str) -> str:
    return (ended.logs[step] / "user/std_out.txt").read_text()


def test_steps_run_after_those_they_need_however_they_are_written(work):
    """Each command needs what the one before has left."""
    third = work.command("cat ${{inputs.x}}/y && echo three", inputs=link("second"), outputs={"o": FOLDER})
    second = work.command(
        "cp ${{inputs.x}}/y ${{outputs.o}}/y && echo two >> ${{outputs.o}}/y",
        inputs=link("first"),
        outputs={"o": FOLDER},
    )
    first = work.command("echo one > ${{outputs.o}}/y", outputs={"o": FOLDER})
    ended = work.run({"third": third, "second": second, "first": first})
    assert ended.status == "completed", ended.reason
    assert stdout(ended, "third").split() == ["one", "two", "three"]


def test_independent_steps_run_side_by_side(work):
    """Each writes into the other's pipe and reads from its own, which takes two."""
    for name in ("a", "b"):
        work.write(f"make_{name}", "")
    pipes = f"{work.folder}/pipe_a", f"{work.folder}/pipe_b"
    for pipe in pipes:
        os.mkfifo(pipe)
    one = work.command(f"echo from one > {pipes[0]}; cat {pipes[1]}")
    two = work.command(f"cat {pipes[0]}; echo from two > {pipes[1]}")
    ended = work.run({"one": one, "two": two})
    assert ended.status == "completed", ended.reason
    assert (stdout(ended, "one"), stdout(ended, "two")) == ("from two\n", "from one\n")


@pytest.mark.parametrize("goes_on", [True, False])
def test_continue_on_step_failure_runs_what_does_not_need_the_failed_step(work, monkeypatch, goes_on):
    bad = work.command("exit 3", outputs={"o": FOLDER})
    after = work.command("true", inputs=link("bad"))
    # `slow` ends when `after` has been decided about: then the failure of `bad` is known, when `other` is.
    decided = work.folder / "decided"
    decide = PipelineRun._start_or_skip

    def decides(run, step):
        decide(run, step)
        if step.name == "after":
            decided.touch()

    monkeypatch.setattr(PipelineRun, "_start_or_skip", decides)
    slow = work.command(f"until [ -e {decided} ]; do sleep 0.01; done", outputs={"o": FOLDER})
    other = work.command("true", inputs=link("slow"))
    jobs = {"bad": bad, "after": after, "slow": slow, "other": other}
    ended = work.run(jobs, top={"settings": {"continue_on_step_failure": goes_on}})
    statuses = {name: result.status for name, result in ended.steps.items()}
    assert (ended.status, ended.exit_code) == ("failed", 1)
    assert (statuses["bad"], statuses["after"], statuses["slow"]) == ("failed", "skipped", "completed")
    assert ended.steps["bad"].exit_code == 3
    assert "bad" in ended.steps["after"].reason
    assert statuses["other"] == ("completed" if goes_on else "skipped")
    if not goes_on:
        assert "bad" in ended.steps["other"].reason


def test_a_command_block_is_one_shell_text_whose_words_are_kept(work):
    text = "echo first\necho second >&2\nX=5\necho third $X\nexit 7\necho never\n"
    ended = work.run({"work": work.command(text)})
    assert (ended.status, ended.steps["work"].exit_code) == ("failed", 7)
    assert stdout(ended, "work") == "first\nthird 5\n"
    assert (ended.logs["work"] / "user/std_err.txt").read_text() == "second\n"
    assert "second" in ended.reason
    assert "exit code 7" in ended.reason


def test_a_command_gets_its_code_environment_and_inputs_and_leaves_its_code_alone(work):
    tool = "import os, sys; print(sys.argv[1:], os.environ['A']); open('made', 'w'); open('out/new', 'w'); open('log', 'a').write('more')"
    work.write("code/tool.py", tool)
    work.write("code/out/old", "")
    work.write("code/log", "was")
    step = work.command(
        "python tool.py ${{inputs.n}} '${{inputs.text}}' $[[--more ${{inputs.more}}]]",
        code="./code",
        environment_variables={"A": "b c"},
        inputs={"n": 5, "text": "two words", "more": {"type": "string", "optional": True}},
    )
    del step["inputs"]["more"]["optional"]
    step["inputs"]["more"] = "m"
    ended = work.run({"work": step})
    assert ended.status == "completed", ended.reason
    assert stdout(ended, "work").strip() == "['5', 'two words', '--more', 'm'] b c"
    assert sorted(path.name for path in (work.folder / "code").rglob("*")) == ["log", "old", "out", "tool.py"]
    assert (work.folder / "code/log").read_text() == "was"


def test_code_that_can_not_be_copied_fails_its_step(work, monkeypatch):
    def refused(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("daskpar.engine.code_copy.shutil.copyfile", refused)
    work.write("code/tool.py", "")
    ended = work.run({"work": work.command("true", code="./code")})
    assert (ended.status, ended.exit_code) == ("failed", 1)
    assert "the code can't be copied" in ended.reason and "Permission denied" in ended.reason


def test_a_command_beyond_its_limit_is_killed_with_all_it_started(work):
    ended = work.run({"work": work.command("sleep 600 & sleep 600", limits={"timeout": 1})})
    assert (ended.status, ended.steps["work"].exit_code) == ("failed", 124)
    assert "limits.timeout" in ended.reason


def test_outputs_go_where_the_spec_says(work, tmp_path_factory):
    """A path relative to the spec, a file:// URL, a datastore, and none at all."""
    store = tmp_path_factory.mktemp("store")
    outputs = {
        "relative": {"type": "uri_folder", "path": "./mine"},
        "url": {"type": "uri_file", "path": f"file://{work.folder}/by-url.txt"},
        "stored": {"type": "uri_folder", "path": "azureml://datastores/mine/paths/deep/er"},
        "default": {"type": "uri_folder", "path": "azureml://datastores/workspaceblobstore/paths/x"},
        "free": None,
    }
    text = "; ".join(
        f"echo {name} > ${{{{outputs.{name}}}}}{'' if name == 'url' else '/file'}" for name in outputs
    )
    ended = work.run({"work": work.command(text, outputs=outputs)}, datastores={"mine": str(store)})
    assert ended.status == "completed", ended.reason
    assert (work.folder / "mine/file").read_text() == "relative\n"
    assert (work.folder / "by-url.txt").read_text() == "url\n"
    assert (store / "deep/er/file").read_text() == "stored\n"
    assert (Path(ended.outputs["work.default"]) / "file").read_text() == "default\n"
    assert Path(ended.outputs["work.default"]).is_relative_to(ended.path)
    assert Path(ended.outputs["work.free"]).is_relative_to(ended.path)


def test_rows_may_go_to_a_url(work):
    import fsspec

    work.files(3)
    step = work.parallel(outputs={"rows": {"type": "uri_file", "path": "memory://bucket/rows.txt"}})
    ended = work.run({"work": step})
    assert ended.status == "completed", ended.reason
    assert fsspec.filesystem("memory").cat("/bucket/rows.txt") == b"0000.txt\n0001.txt\n0002.txt\n"


def test_a_pipeline_output_is_where_its_step_writes(work):
    step = work.command("echo x > ${{outputs.o}}/x", outputs={"o": "${{parent.outputs.all}}"})
    ended = work.run({"work": step}, top={"outputs": {"all": {"type": "uri_folder", "path": "./all"}}})
    assert ended.outputs["all"] == ended.outputs["work.o"] == str(work.folder / "all")
    assert (work.folder / "all/x").read_text() == "x\n"


def test_the_effective_spec_loads_again_and_does_the_same(work):
    work.files(3)
    jobs = {
        "work": work.parallel(inputs={"files": {"type": "uri_folder", "path": "${{parent.inputs.files}}"}}),
        "show": work.command("cat ${{inputs.x}}; echo ${{parent.inputs.word}}", inputs=link("work", "rows")),
    }
    jobs["show"]["command"] = "cat ${{inputs.x}}; echo ${{inputs.word}}"
    jobs["show"]["inputs"]["word"] = "${{parent.inputs.word}}"
    top = {"inputs": {"files": {"type": "uri_folder", "path": "./data"}, "word": "hello"}}
    first = work.run(jobs, top=top, overrides={"inputs.word": "bye"})
    assert first.status == "completed", first.reason
    copy = first.path / "effective-spec.yml"
    again = daskpar.run(copy, run_dir=work.folder / "again", dashboard=None, display=False)
    assert again.status == "completed", again.reason
    assert stdout(again, "show") == stdout(first, "show") == "0000.txt\n0001.txt\n0002.txt\nbye\n"


def test_a_component_file_is_a_job_and_a_step(work):
    work.files(2)
    component = {"name": "scoring", "version": 1, **work.parallel()}
    component["inputs"] = {"files": {"type": "uri_folder"}, "word": {"type": "string", "default": "none"}}
    component["outputs"] = {"rows": {"type": "uri_file"}}
    component["task"]["program_arguments"] += " --word ${{inputs.word}}"
    (work.folder / "scoring.yml").write_text(yaml.safe_dump(component))
    alone = daskpar.run(
        work.folder / "scoring.yml",
        inputs={"files": work.folder / "data"},
        run_dir=work.folder / "a",
        dashboard=None,
        display=False,
    )
    assert alone.status == "completed", alone.reason
    [rows] = [path for name, path in alone.outputs.items() if name.endswith("rows")][:1]
    assert Path(rows).read_text() == "0000.txt\n0001.txt\n"
    step = {
        "type": "parallel",
        "component": "./scoring.yml",
        "inputs": {"files": {"type": "uri_folder", "path": "./data"}},
    }
    ended = work.run({"work": step})
    assert ended.status == "completed", ended.reason
    assert Path(ended.outputs["work.rows"]).read_text() == "0000.txt\n0001.txt\n"


# -- from Python -----------------------------------------------------------------------------------------------------------------------

SUMS = "def run(mini_batch):\n    return [f'{row.a} {row.b}' for row in mini_batch.itertuples()]\n"
TABLE = {"inputs": {"files": {"type": "mltable", "path": "${{parent.inputs.data}}", "mode": "direct"}}}
TOP = {"inputs": {"data": {"type": "mltable"}}}


def frame() -> pd.DataFrame:
    return pd.DataFrame({"a": range(20), "b": [f"text {n}" for n in range(20)]}, index=range(100, 120))


@pytest.mark.parametrize("kind", ["pandas", "dask"])
def test_dataframes_are_inputs(work, kind):
    data = frame()
    if kind == "dask":
        import dask.dataframe

        data = dask.dataframe.from_pandas(data, npartitions=3)
    ended = work.run(
        {"work": work.parallel(SUMS, mini_batch_size="1kb", **TABLE)}, top=TOP, inputs={"data": data}
    )
    assert ended.status == "completed", ended.reason
    assert work.rows() == [f"{n} text {n}" for n in range(20)]


def test_a_bag_of_paths_is_an_input(work):
    import dask.bag

    folder = work.files(6)
    bag = dask.bag.from_sequence([str(folder / f"{n:04}.txt") for n in (5, 2, 4)], npartitions=2)
    step = work.parallel(
        inputs={"files": {"type": "mltable", "path": "${{parent.inputs.data}}", "mode": "eval_mount"}}
    )
    ended = work.run({"work": step}, top=TOP, inputs={"data": bag})
    assert ended.status == "completed", ended.reason
    assert work.rows() == ["0005.txt", "0002.txt", "0004.txt"]


def test_what_is_no_input_is_told(work):
    work.files(1)
    with pytest.raises(daskpar.UsageError, match="'data' is a list"):
        work.run({"work": work.parallel(**TABLE)}, top=TOP, inputs={"data": [1]})
    with pytest.raises(daskpar.DaskparError, match="files"):
        work.run({"work": work.parallel(**TABLE)}, top=TOP, inputs={"files": frame()})
    assert not (work.folder / "run").exists()


def test_a_run_says_how_it_ended(work):
    work.files(4)
    ended = work.run(
        {
            "work": work.parallel(
                "def run(mini_batch):\n    return mini_batch if '0003' not in mini_batch[0] else 1 / 0"
            )
        }
    )
    assert (ended.status, ended.exit_code, ended.reason) == ("completed", 0, "")
    assert (ended.counts["work"].succeeded, ended.counts["work"].failed) == (3, 1)
    assert ended.outputs["work.rows"] == str(work.folder / "rows.txt")
    assert (ended.logs["work"] / "job_result.txt").is_file()
    assert "completed" in repr(ended)
    assert ended.check() is ended
    assert "ZeroDivisionError" in ended.steps["work"].first_failure.trace


def test_check_raises_for_a_run_that_failed(work):
    work.files(1)
    ended = work.run({"work": work.parallel("def run(mini_batch):\n    return 1 / 0")})
    with pytest.raises(daskpar.JobFailed, match="no mini-batch succeeded"):
        ended.check()
    assert "ZeroDivisionError" in ended.summary
    assert "0000.txt" in ended.summary


def test_runs_in_a_thread_and_in_a_running_event_loop(work):
    work.files(2)
    jobs = {"work": work.parallel()}
    found = []
    thread = threading.Thread(target=lambda: found.append(work.run(jobs)))
    thread.start()
    thread.join()
    assert found[0].status == "completed"

    async def cell():
        return work.run(jobs, run_dir=work.folder / "run2")

    assert asyncio.run(cell()).status == "completed"


def test_signal_handlers_are_as_before_after_a_run(work):
    import signal

    work.files(1)
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    work.run({"work": work.parallel()})
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == before


def test_collections_are_lazy_and_hold_what_steps_get(work):
    folder = work.files(3)
    work.write("table/a.csv", "x,y\n1,a\n2,b\n")
    work.write(
        "table/MLTable",
        "type: mltable\npaths:\n  - file: ./a.csv\ntransformations:\n  - read_delimited:\n      delimiter: ','\n",
    )
    table = daskpar.read_mltable(str(work.folder / "table"))
    assert table.compute().to_dict("list") == {"x": [1, 2], "y": ["a", "b"]}
    assert [str(path) for path in daskpar.read_files(str(folder)).compute(scheduler="sync")] == [
        str(folder / f"{n:04}.txt") for n in range(3)
    ]


@pytest.mark.parametrize(
    ("place", "said"),
    [("s3://bucket/run", "s3://bucket/run"), ("used", "is not empty"), ("/proc/run", "can't be made")],
)
def test_a_place_where_no_run_can_be_is_told(work, monkeypatch, place, said):
    monkeypatch.chdir(work.folder)
    work.files(1)
    work.write("used/file", "")
    with pytest.raises(daskpar.DaskparError, match=said) as told:
        work.run({"work": work.parallel()}, run_dir=place)
    assert told.value.exit_code == 2
    assert sorted(path.name for path in work.folder.iterdir()) == ["code", "data", "job.yml", "used"]


def test_a_failed_job_leaves_the_output_of_an_earlier_one_alone(work):
    work.files(2)
    work.write("rows.txt", "precious\n")
    assert work.run({"work": work.parallel("def run(mini_batch):\n    return 1 / 0")}).status == "failed"
    assert work.rows() == ["precious"]


@pytest.mark.parametrize("allowed", [True, False])
@pytest.mark.parametrize("what", ["files", "rows"])
def test_an_input_without_items_fails_unless_that_is_allowed(work, what, allowed):
    (work.folder / "data").mkdir()
    more = {}
    if what == "rows":
        work.write("table/a.csv", "x,y\n")
        work.write(
            "table/MLTable",
            "type: mltable\npaths:\n  - file: ./a.csv\ntransformations:\n  - read_delimited:\n      delimiter: ','\n",
        )
        more = {
            "inputs": {"files": {"type": "mltable", "path": "./table", "mode": "direct"}},
            "mini_batch_size": "1kb",
        }
    ended = work.run({"work": work.parallel(arguments="--allow-empty True" if allowed else "", **more)})
    assert ended.status == ("completed" if allowed else "failed")
    assert (work.folder / "rows.txt").exists() == allowed
    if not allowed:
        assert "--allow-empty" in ended.reason


def test_names_may_hold_blanks_quotes_and_any_letters(work):
    odd = "é x & 'q'"
    work.files(2, f"dä ta/{odd}")
    step = work.parallel(
        inputs={"files": {"type": "uri_folder", "path": f"./dä ta/{odd}"}},
        code="./cö de",
        outputs={"rows": {"type": "uri_file", "path": f"./out {odd}/rows.txt"}},
        arguments="--folder ${{inputs.files}}",
    )
    jobs = {"work": step, "show": work.command("cat ${{inputs.x}}", inputs=link("work", "rows"))}
    ended = work.run(jobs, run_dir=work.folder / f"rün {odd}")
    assert ended.status == "completed", ended.reason
    assert stdout(ended, "show").split() == ["0000.txt", "0001.txt"]


def test_a_file_whose_name_is_no_text_is_an_item_like_any_other(work):
    folder = work.files(1)
    (folder / os.fsdecode(b"\xff.txt")).touch()
    ended = work.run({"work": work.parallel()})
    assert ended.status == "completed", ended.reason
    assert (work.folder / "rows.txt").read_bytes() == b"0000.txt\n\xff.txt\n"


INPUTS = {
    "files": ({"type": "uri_folder", "path": "./data"}, {}),
    "rows by size": ({"type": "mltable", "path": "./table", "mode": "direct"}, {"mini_batch_size": "1kb"}),
    "rows by keys": (
        {"type": "mltable", "path": "./table", "mode": "direct"},
        {"mini_batch_size": None, "partition_keys": ["k"]},
    ),
}


@pytest.mark.parametrize("kind", INPUTS)
def test_the_driver_of_a_local_run_does_without_pandas(work, kind):
    """Processors load what they need; here it would be a third of a second and 60 MB for nothing."""
    work.files(3)
    work.write("table/t.csv", "k,x\n" + "".join(f"{i % 3},{i}\n" for i in range(300)))
    work.write("table/MLTable", "paths:\n  - file: ./t.csv\ntransformations:\n  - read_delimited\n")
    data, more = INPUTS[kind]
    step = work.parallel(
        "def run(mini_batch): return [len(mini_batch)] * len(mini_batch)", inputs={"files": data}, **more
    )
    spec = work.spec({"work": step})
    program = work.write(
        "program.py",
        f"""
        import sys, daskpar
        daskpar.run({str(spec)!r}, run_dir={str(work.folder / "run")!r}, dashboard=None, display=False).check()
        print([name for name in ("pandas", "dask.dataframe") if name in sys.modules])
        """,
    )
    ended = warm_python.run(str(program), cwd=work.folder)
    assert ended.stdout.strip() == "[]", ended.stderr
    assert len(work.rows()) == (3 if kind == "files" else 300)


@pytest.mark.parametrize("display", [None, False])
def test_values_that_were_lost_are_told_at_the_end_where_nothing_is_shown_before(work, display, capfd):
    work.write("table/t.csv", "k,x\n" + "".join(f"{i},{'no number' if i % 2 else i}\n" for i in range(10)))
    work.write("table/MLTable", """
        paths:
          - file: ./t.csv
        transformations:
          - read_delimited
          - convert_column_types: [{columns: x, column_type: int}]
    """)  # fmt: skip
    inputs = {"files": {"type": "mltable", "path": "./table", "mode": "direct"}}
    ended = work.run(
        {"work": work.parallel("def run(m): return list(m.x)", inputs=inputs, mini_batch_size="1mb")},
        display=display,
    )
    assert ended.status == "completed", ended.reason
    assert ("5 values of column 'x' became null" in ended.summary) == (display is False)
    assert ("5 values of column 'x' became null" in capfd.readouterr().err) == (display is None)


@pytest.mark.parametrize("given", [False, True], ids=["as written", "a DataFrame"])
def test_a_job_is_read_and_built_once(work, monkeypatch, given):
    """With data from Python and with the warnings that `--quiet` shows before the start, too."""
    from daskpar.driver.options import Options
    from daskpar.driver.start_run import start_run
    from daskpar.jobspec import load

    counted: list[str] = []
    for name in ("read_yaml", "build_job"):
        real = getattr(load, name)
        monkeypatch.setattr(
            load,
            name,
            lambda *args, real=real, name=name, **more: (counted.append(name), real(*args, **more))[1],
        )
    work.write("table/MLTable", "paths:\n  - file: ./t.csv\ntransformations:\n  - read_delimited\n")
    work.write("table/t.csv", "a\n1\n2\n")
    table = {"type": "mltable", "path": "./table", "mode": "direct"}
    step = work.parallel(
        "def run(frame): return list(frame.a)",
        inputs={"files": "${{parent.inputs.t}}"},
        mini_batch_size=None,
        environment_variables={"OUT": "${{outputs.rows}}"},
    )
    spec = work.spec({"work": step}, inputs={"t": table}, unknown_key=1)
    warned: list[str] = []
    options = Options(dashboard=None, display=False, show_warning=warned.append)
    inputs = {"t": pd.DataFrame({"a": [1, 2]})} if given else {}
    ended = start_run(spec, inputs, work.folder / "run", options)
    assert ended.status == "completed", ended.reason
    assert counted == ["read_yaml", "build_job"]
    assert len(warned) == 1 and "'unknown_key' is no setting of a pipeline" in warned[0]


def test_a_path_that_another_run_takes_meanwhile_is_left_to_it(work, monkeypatch):
    from daskpar.driver.options import Options
    from daskpar.driver.start_run import start_run
    from daskpar.rundir import new_path

    monkeypatch.chdir(work.folder)
    monkeypatch.setattr(new_path.time, "strftime", lambda *_: "20260102-030405")
    other = work.folder / "runs" / "job-20260102-030405"
    other.mkdir(parents=True)
    unseen = iter([False])
    real = os.path.lexists
    monkeypatch.setattr(new_path.os.path, "lexists", lambda path: next(unseen, None) is None and real(path))
    spec = work.spec({"a": work.command("echo ${{name}} > ${{outputs.o}}/name", outputs={"o": FOLDER})})
    ended = start_run(spec, {}, None, Options(dashboard=None, display=False))
    assert (ended.status, ended.path.name) == ("completed", f"{other.name}-2")
    assert (ended.path / "steps/a/outputs/o/name").read_text() == f"{other.name}-2_a\n"
    assert list(other.iterdir()) == []


def test_nothing_is_made_for_a_bad_spec(work, monkeypatch):
    monkeypatch.chdir(work.folder)
    side = {"x": {"type": "uri_folder", "path": "azureml://datastores/nowhere/paths/x"}}
    spec = work.spec({"a": work.command("ls", inputs=side)})
    with pytest.raises(daskpar.SpecError, match="the datastore 'nowhere' is not known here"):
        daskpar.run(spec, inputs={}, dashboard=None, display=False)
    assert [path.name for path in work.folder.iterdir()] == ["job.yml"]


def test_resume_from_takes_the_datastores_of_the_earlier_run(work):
    work.files(2)
    place = {"type": "uri_folder", "path": "azureml://datastores/mine/paths/data"}
    step = work.parallel(inputs={"files": place})
    ended = work.run({"work": step}, datastores={"mine": str(work.folder)})
    assert ended.status == "completed", ended.reason
    step = work.parallel(inputs={"files": place}, arguments=f"--resume_from {ended.path}")
    again = daskpar.run(work.spec({"work": step}), dashboard=None, display=False)
    assert (again.status, again.path) == ("completed", ended.path)
