"""Nodes that do not see the run directory: whole jobs on workers in mount namespaces without it."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

import daskpar
from far_worker import FarCluster, far_cluster
from s3_bucket import s3_bucket
from waiting import until

pytestmark = pytest.mark.timeout(180)

MANY = """
import os, sys, time
import beside
from azureml_user.parallel_run import EntryScript
def init():
    print("init on", os.environ["WHERE"])
def run(mini_batch):
    name = os.path.basename(mini_batch[0])
    side = sys.argv[sys.argv.index("--side") + 1]
    os.unlink(os.path.join(side, name)) if os.path.exists(os.path.join(side, name)) else None
    if name == "0002.txt":
        print("about to fail")
        raise ValueError("no good in " + __file__)
    if name == "0003.txt":
        time.sleep(1000)
    if name == "0004.txt":
        return [beside.text(name) * 700_000]  # more than a message may carry
    if name == "0005.txt":
        with open(os.path.join(EntryScript().output_dir, "own.txt"), "w") as file:
            file.write("mine")
    return [beside.text(name)]
"""


@pytest.fixture(scope="module")
def places(tmp_path_factory) -> Path:
    """A folder whose `runs` and `code` far workers do not see; `data` is everywhere."""
    return tmp_path_factory.mktemp("far")


@pytest.fixture(scope="module")
def cluster(places) -> Iterator[FarCluster]:
    """One whose two nodes no test takes away."""
    with far_cluster(places / "machines", places / "runs", places / "hidden") as found:
        found.start("a", WHERE="a")
        found.start("b", WHERE="b")
        found.wait(2, patience=0.1)
        yield found


@pytest.fixture
def own_cluster(places, tmp_path_factory) -> Iterator[FarCluster]:
    """One of three nodes whose nodes a test may kill."""
    with far_cluster(
        tmp_path_factory.mktemp("own") / "machines", places / "runs", places / "hidden"
    ) as found:
        for name in ("c", "d", "e"):
            found.start(name, WHERE=name)
        found.wait(3, patience=0.1)
        yield found


def told(run) -> str:
    """All that the logs of its steps tell."""
    return "".join(path.read_text() for path in run.path.rglob("*.txt") if path.is_file())


def test_code_and_plan_are_sent_and_rows_logs_and_stacks_come_back(work, places, cluster):
    code = places / "hidden" / "many"
    work.write(f"{code}/beside.py", "def text(name):\n    return name\n")
    work.files(12)
    work.files(12, "side")
    step = work.parallel(
        MANY,
        code=str(code),
        arguments="--side ${{inputs.side}}",
        inputs={
            "files": {"type": "uri_folder", "path": "./data"},
            "side": {"type": "uri_folder", "path": "./side", "mode": "download"},
        },
        resources={"instance_count": 2},
        retry_settings={"max_retries": 0, "timeout": 1},
    )
    ended = work.run({"work": step}, scheduler=str(cluster.scheduler), run_dir=places / "runs" / "many")
    assert ended.status == "completed", ended.reason
    names = [f"{number:04}.txt" for number in range(12) if number not in (2, 3)]
    assert work.rows() == [name * 700_000 if name == "0004.txt" else name for name in names]
    failed = ended.failures().set_index("index")
    assert f'File "{code}/score.py", line 13' in failed.traceback[2]
    assert f"no good in {code}/score.py" in failed.message[2]
    assert f'File "{code}/score.py", line 15 in run' in failed.traceback[3]
    logs = told(ended)
    assert "init on a" in logs and "init on b" in logs
    assert (work.folder / "own.txt").read_text() == "mine"
    assert "an output of the step with a URL loses nothing" in logs
    assert "about to fail" in logs and "Current thread" in logs
    assert "daskpar-node-" not in (ended.logs["work"] / "user" / "error.txt").read_text()
    assert len(list((work.folder / "side").iterdir())) == 12
    assert not list((places / "runs").rglob("sent"))
    until(lambda: not cluster.left(), "the end of the nodes' folders")


GROUPED = """
def run(mini_batch):
    if mini_batch.x.isin([5, 6]).any():
        raise ValueError("no good")
    return mini_batch[["store", "x"]]
"""
AGAIN = """
import os
def run(mini_batch):
    return [f"{os.path.basename(path)} {sum(1 for _ in open(path))}" for path in mini_batch]
"""


def test_keys_are_grouped_bad_items_isolated_and_rows_read_by_the_next_step(work, places, cluster):
    rows = [(number % 5, number) for number in range(100)]
    work.write("table/a.csv", "store,x\n" + "".join(f"{store},{x}\n" for store, x in rows))
    work.write(
        "table/MLTable",
        "paths:\n  - file: ./a.csv\ntransformations:\n  - read_delimited:\n      delimiter: ','\n",
    )
    group = work.parallel(
        GROUPED,
        code=str(places / "hidden" / "group"),
        arguments="--isolate_failed_items groups",
        inputs={"table": {"type": "mltable", "path": "./table", "mode": "direct"}},
        outputs={"rows": {"type": "uri_file"}},
        input_data="${{inputs.table}}",
        mini_batch_size=None,
        partition_keys=["store"],
        resources={"instance_count": 2},
    )
    again = work.parallel(
        AGAIN,
        code=str(places / "hidden" / "again"),
        inputs={"files": {"type": "uri_file", "path": "${{parent.jobs.group.outputs.rows}}"}},
    )
    run_dir = places / "runs" / "grouped"
    ended = work.run({"group": group, "again": again}, scheduler=str(cluster.scheduler), run_dir=run_dir)
    assert ended.status == "completed", ended.reason
    found = (run_dir / "steps/group/outputs/rows").read_text().splitlines()
    assert found == [f"{store} {x}" for store, x in sorted(rows) if x not in (5, 6)]
    assert work.rows() == ["rows 98"]
    items = [json.loads(line) for line in ended.failed_items["group"].read_text().splitlines()]
    assert sorted(item["row"]["x"] for item in items) == [5, 6], items


COUNT = """
import os, pathlib, sys
seen, fetched, out, table, models, link = map(pathlib.Path, sys.argv[1:])
print("counting on", os.environ["WHERE"], "in", os.getcwd())
words = (seen / "a.txt").read_text() + fetched.read_text() + pathlib.Path("data/a.txt").read_text()
assert pathlib.Path("beside.txt").read_text() == "beside"
out.write_text(words)
(table / "deep").mkdir()
(table / "empty").mkdir()
(table / "deep" / "rows.csv").write_text("x\\n" + "1\\n" * 3_000_000)
(table / "run.sh").write_text("echo hi")
(table / "run.sh").chmod(0o755)
(models / "m.bin").write_bytes(b"model")
link.write_text("one")
pathlib.Path("outputs").mkdir()
pathlib.Path("outputs/kept.txt").write_text("kept")
print("done", file=sys.stderr)
"""


def test_a_command_runs_there_and_what_it_makes_comes_back(work, places, cluster, monkeypatch):
    code = places / "hidden" / "it's code"
    work.write(f"{code}/count.py", COUNT)
    work.write(f"{code}/data/big.bin", "left out")
    work.write(f"{places}/hidden/beside.txt", "beside")
    work.write("seen/a.txt", "seen ")
    (code / "data").rename(code / "other")
    (code / "data").symlink_to(work.folder / "seen")
    run_dir = places / "runs" / "it's a run"
    first = work.command(
        "python count.py ${{inputs.seen}} \"${{inputs.fetched}}\" ${{outputs.out}} '${{outputs.table}}' "
        "${{outputs.models}} ${{outputs.link}}",
        code=str(code),
        additional_includes=[str(places / "hidden" / "beside.txt")],
        inputs={
            "seen": {"type": "uri_folder", "path": "./seen"},
            "fetched": {"type": "uri_file", "path": "azureml://datastores/lake/paths/in/b.txt"},
        },
        outputs={
            "out": {"type": "uri_file"},
            "table": {"type": "uri_folder", "path": str(places / "hidden" / "table")},
            "models": {"type": "uri_folder", "path": "azureml://datastores/lake/paths/out/models"},
            "link": {"type": "uri_file", "path": "azureml://datastores/lake/paths/out/one.txt"},
        },
    )
    second = work.command(
        "cat ${{inputs.out}} ${{inputs.table}}/deep/rows.csv | wc -c > ${{outputs.size}} && "
        "cat ${{inputs.model}}/m.bin",
        inputs={
            "out": {"type": "uri_file", "path": "${{parent.jobs.first.outputs.out}}"},
            "table": {
                "type": "uri_folder",
                "path": "${{parent.jobs.first.outputs.table}}",
                "mode": "download",
            },
            "model": {"type": "uri_folder", "path": "${{parent.jobs.first.outputs.models}}"},
        },
        outputs={"size": {"type": "uri_file", "path": "./size.txt"}},
    )
    third = work.command("echo so; echo far >&2; exit 7")
    with s3_bucket(monkeypatch) as bucket:
        bucket.put("in/b.txt", b"fetched ")
        options = {"key": "key", "secret": "verysecret17", "endpoint_url": bucket.endpoint}
        ended = work.run(
            {"first": first, "second": second, "third": third},
            top={"settings": {"continue_on_step_failure": True}},
            scheduler=str(cluster.scheduler),
            run_dir=run_dir,
            datastores={"lake": {"url": "s3://box", "storage_options": options}},
        )
        found = bucket.objects("out/")
    assert ended.steps["third"].exit_code == 7 and "far" in ended.steps["third"].reason
    assert ended.steps["second"].status == "completed", ended.steps
    assert found == {"models/m.bin": b"model", "one.txt": b"one"}
    out, table = run_dir / "steps/first/outputs/out", places / "hidden" / "table"
    assert out.read_text() == "seen fetched seen "
    assert (table / "empty").is_dir() and (table / "run.sh").stat().st_mode & 0o111
    assert (work.folder / "size.txt").read_text().strip() == str(18 + 2 + 6_000_000)
    logs = told(ended)
    assert "counting on" in logs and "done" in logs and "model" in logs
    assert (run_dir / "steps/first/work/outputs/kept.txt").read_text() == "kept"
    until(lambda: not cluster.left(), "the end of the nodes' folders")


def test_what_far_nodes_can_not_do_is_said_before_anything_runs(work, places, cluster):
    work.files(2)
    hidden = places / "hidden" / "data"
    hidden.mkdir()
    (hidden / "x.txt").write_text("x")
    folder = {"filled": {"type": "uri_folder"}}
    given = {"files": {"type": "uri_folder", "path": str(hidden)}}
    hidden_input = {"given": {"type": "uri_folder", "path": str(hidden)}}
    steps = {
        rf"does not see the output 'filled' at {places}.*URL": work.parallel(append=False, outputs=folder),
        rf"does not see the input 'files' at {hidden}.*URL": work.parallel(inputs=given),
        rf"does not see the input 'given' at {hidden}.*need a URL": work.command(
            "echo hi", inputs=hidden_input
        ),
    }
    for number, (message, step) in enumerate(steps.items()):
        with pytest.raises(daskpar.UsageError, match=message) as error:
            work.run(
                {"work": step}, scheduler=str(cluster.scheduler), run_dir=places / "runs" / f"bad-{number}"
            )
        assert "node tcp://" in str(error.value)
        assert not list((places / "runs" / f"bad-{number}").rglob("stdout"))


UPLOADS = """
import os, pathlib, sys
out = pathlib.Path(sys.argv[sys.argv.index("--models") + 1])
def run(mini_batch):
    name = os.path.basename(mini_batch[0])
    tried = pathlib.Path(os.environ["TRIED"], name)
    again = tried.exists()
    tried.touch()
    if name in ("2.txt", "3.txt") and not again:
        (out / (name + ".half")).write_text("half")
        if name == "2.txt":
            raise ValueError("the first time")
        os.kill(os.getpid(), 9)
    (out / (name + ".model")).write_text("model of " + pathlib.Path(mini_batch[0]).read_text())
    return [name]
"""


def test_far_nodes_fetch_and_upload_with_credentials_that_only_the_driver_has(
    work, places, cluster, monkeypatch
):
    code, tried = places / "hidden" / "uploads", places / "tried"
    tried.mkdir()
    work.write(f"{code}/.gitignore", "*.pkl\nscore.py\n")
    work.write(f"{code}/model.pkl", "")
    step = work.parallel(
        UPLOADS,
        code=str(code),
        arguments="--models ${{outputs.models}}",
        inputs={"files": {"type": "uri_folder", "path": "azureml://datastores/lake/paths/in"}},
        outputs={
            "rows": {"type": "uri_file", "path": "azureml://datastores/lake/paths/out/rows.txt"},
            "models": {"type": "uri_folder", "path": "azureml://datastores/lake/paths/out/models"},
        },
        resources={"instance_count": 2},
        retry_settings={"max_retries": 1, "timeout": 30},
        environment_variables={"TRIED": str(tried)},
    )
    run_dir = places / "runs" / "uploads"
    with s3_bucket(monkeypatch) as bucket:
        for number in range(8):
            bucket.put(f"in/{number}.txt", b"%d" % number)
        options = {"key": "key", "secret": "verysecret17", "endpoint_url": bucket.endpoint}
        for name in ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.delenv(name)
        lake = {"lake": {"url": "s3://box", "storage_options": options}}
        ended = work.run({"work": step}, scheduler=str(cluster.scheduler), run_dir=run_dir, datastores=lake)
        assert ended.status == "completed", ended.reason
        found = bucket.objects("out/")
    names = [f"{number}.txt" for number in range(8)]
    assert found == {
        "rows.txt": "".join(f"{name}\n" for name in names).encode(),
        **{f"models/{name}.model": f"model of {name[0]}".encode() for name in names},
    }
    logs = told(ended)
    assert "(without model.pkl, by .gitignore)" in logs and "ValueError: the first time" in logs
    files = (path for path in run_dir.rglob("*") if path.is_file())
    assert not [path for path in files if b"verysecret17" in path.read_bytes()]
    until(lambda: not cluster.left(), "the end of the nodes' folders")


SLOW = """
import os, time
def run(mini_batch):
    time.sleep(0.05)
    return [os.path.basename(path) + "." * 300_000 for path in mini_batch]
"""


def test_a_node_is_lost_the_driver_is_killed_and_a_worker_comes_late(work, places, own_cluster):
    cluster = own_cluster
    work.files(80)
    step = work.parallel(SLOW, code=str(places / "hidden" / "slow"), resources={"instance_count": -1})
    run_dir = places / "runs" / "slow"
    parts = run_dir / "steps" / "work" / "parts"

    def rows_are_there(least: int) -> bool:
        return sum(part.stat().st_size for part in parts.glob("*.part")) > least

    arguments = [
        str(work.spec({"work": step})),
        "--scheduler",
        str(cluster.scheduler),
        "--run-dir",
        str(run_dir),
    ]
    first = work.start(*arguments)
    until(lambda: rows_are_there(2_000_000), "rows", process=first)
    cluster.workers["c"].kill()
    until(lambda: rows_are_there(6_000_000), "more rows", process=first)
    first.send_signal(signal.SIGKILL)
    first.wait(30)
    cluster.workers["d"].kill()
    until(lambda: not cluster.left(), "the end of the nodes' folders")
    second = work.start("resume", str(run_dir), "--scheduler", str(cluster.scheduler))
    until(lambda: rows_are_there(9_000_000), "more rows", process=second)
    cluster.start("near", near=True)
    out, _ = second.communicate(timeout=120)
    assert second.returncode == 0, out
    assert work.rows() == [f"{number:04}.txt" + "." * 300_000 for number in range(80)]
    until(lambda: not cluster.left(), "the end of the nodes' folders")


def test_a_command_loses_its_node_and_then_its_driver(work, places, own_cluster):
    cluster = own_cluster
    run_dir, go = places / "runs" / "lost-command", work.folder / "go"
    logged, own = (run_dir / "steps/work" / below for below in ("logs/user/std_out.txt", "outputs/own"))
    text = f"echo on $WHERE; mkdir ${{{{outputs.own}}}}/$WHERE-$$; until test -e {go}; do sleep 0.02; done"
    spec = work.spec({"work": work.command(text, outputs={"own": {"type": "uri_folder"}})})
    scheduler = ("--scheduler", str(cluster.scheduler))

    def began() -> list[str]:
        return logged.read_text().split()[1::2] if logged.exists() else []

    first = work.start(str(spec), *scheduler, "--run-dir", str(run_dir))
    until(lambda: len(began()) == 1, "the command", process=first)
    cluster.workers[began()[0]].kill()
    until(lambda: len(began()) == 2, "the command on another node", process=first)
    first.send_signal(signal.SIGKILL)
    first.wait(30)
    until(lambda: not cluster.left(), "the end of the nodes' folders")
    go.touch()
    second = work.cli("resume", str(run_dir), *scheduler)
    assert second.returncode == 0, second.stdout
    assert [path.name.split("-")[0] for path in own.iterdir()] == began()[2:]
    until(lambda: not cluster.left(), "the end of the nodes' folders")
