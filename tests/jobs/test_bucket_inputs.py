"""Inputs at URLs come to scripts as local files, whatever becomes of the store, the files and the processes."""

from __future__ import annotations

import functools
import http.server
import os
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask
import pytest

import daskpar
from daskpar.batches.plan import Plan
from daskpar.driver.found_mini_batch import Wanted, find_in_child
from s3_bucket import Bucket, s3_bucket
from waiting import until

SCRIPT = """
import argparse, os, pathlib, signal, time
parser = argparse.ArgumentParser()
for name in ("data", "model", "words"):
    parser.add_argument("--" + name)
given, _ = parser.parse_known_args()
calls = pathlib.Path(os.environ["CALLS"])
def init():
    global words
    words = pathlib.Path(given.words).read_text().split() if given.words else []
    if given.model:
        pathlib.Path(given.model, "deep", "conf.json").write_text("changed by a copy's owner")
def run(mini_batch):
    with calls.open("a") as opened:
        opened.write(f"{mini_batch[0]}\\n")
    time.sleep(float(os.environ.get("SLEEP", "0")))
    first = os.path.basename(mini_batch[0])
    if os.environ.get("DIES") == first and not os.path.exists(str(calls) + ".died"):
        pathlib.Path(str(calls) + ".died").touch()
        os.rename(mini_batch[0], str(calls) + ".moved")
        os.kill(os.getpid(), signal.SIGKILL)
    return [f"{os.path.relpath(path, given.data)} {pathlib.Path(path).read_text()}" for path in mini_batch]
"""


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    """A bucket with 12 small files in two folders, a model, and a list of words."""
    with s3_bucket(monkeypatch) as found:
        for number in range(12):
            found.put(f"in/{'ab'[number % 2]}/{number:02d}.txt", f"text {number}".encode())
        found.put("models/m/weights.bin", b"w" * 1000)
        found.put("models/m/deep/conf.json", b"{}")
        found.put("side/stop words.txt", b"the a an")
        yield found


def step(
    work: Any, *, script: str = SCRIPT, inputs: dict[str, Any] | None = None, **more: Any
) -> dict[str, Any]:
    """A step over the files of the bucket."""
    data = {"type": "uri_folder", "path": "s3://box/in", "mode": "ro_mount"}
    own = {
        "inputs": {"files": data, **(inputs or {})},
        "environment_variables": {"CALLS": str(work.folder / "calls"), **more.pop("variables", {})},
        "max_concurrency_per_instance": 2,
    }
    return work.parallel(script, **{**own, **more})


def calls(work: Any) -> int:
    return len((work.folder / "calls").read_text().split()) if (work.folder / "calls").exists() else 0


@pytest.fixture(autouse=True)
def own_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What other tests and runs on this machine have there is none of our business. Sockets want a short path."""
    with tempfile.TemporaryDirectory(prefix="bucket-") as folder:
        monkeypatch.setattr(tempfile, "tempdir", folder)
        monkeypatch.setenv("TMPDIR", folder)
        with dask.config.set({"temporary-directory": folder}):
            yield


def left_behind() -> list[str]:
    """Folders of nodes that this machine still has."""
    places = [Path(tempfile.gettempdir()), *Path(tempfile.gettempdir()).glob("dask-scratch-space/*")]
    return [str(path) for place in places for path in place.glob("daskpar-fetched-*")]


def meanwhile(work: Any) -> threading.Thread:
    thread = threading.Thread(target=work)
    thread.start()
    return thread


def test_folders_files_and_models_are_local_in_steps_of_both_kinds(work: Any, bucket: Bucket) -> None:
    """The credentials come with the datastore alone, and are written down nowhere."""
    for name in ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        os.environ.pop(name)
    options = {"key": "the-access-key", "secret": "the-very-secret", "endpoint_url": bucket.endpoint}
    lake = "azureml://datastores/lake/paths"
    side = {
        "model": {"type": "custom_model", "path": f"{lake}/models/m", "mode": "download"},
        "words": {"type": "uri_file", "path": f"{lake}/side/stop words.txt"},
    }
    files = {"type": "uri_folder", "path": f"{lake}/in"}
    first = step(
        work,
        inputs={"files": files, **side},
        arguments="--data ${{inputs.files}} --model ${{inputs.model}} --words ${{inputs.words}}",
        mini_batch_size="2",
        variables={"DIES": "04.txt"},
        retry_settings={"max_retries": 1, "timeout": 30},
    )
    command = "cat ${{inputs.words}} ${{inputs.model}}/deep/conf.json > ${{outputs.seen}}"
    second = work.command(command, inputs=side, outputs={"seen": {"type": "uri_file", "path": "./seen.txt"}})
    ended = work.run(
        {"first": first, "second": second},
        datastores={"lake": {"url": "s3://box", "storage_options": options}},
    )
    assert ended.status == "completed", ended.summary
    assert ended.steps["first"].counts.tries_failed == 1  # the killed one: its retry finds a moved file again
    expected = [
        f"{folder}/{number:02d}.txt text {number}"
        for folder, numbers in (("a", range(0, 12, 2)), ("b", range(1, 12, 2)))
        for number in numbers
    ]
    assert work.rows() == expected
    assert (work.folder / "seen.txt").read_text() == "the a an{}"
    # Each once for each step that wants it; the moved one again.
    assert bucket.requests["GET object"] == 12 + 2 * 3 + 1
    assert not [
        path for path in work.folder.rglob("*") if path.is_file() and b"the-very-secret" in path.read_bytes()
    ]
    assert left_behind() == []


def test_what_changes_or_goes_is_named_and_charged_at_once(work: Any, bucket: Bucket) -> None:
    """A store that throttles meanwhile is asked again, and that is charged to nobody."""
    bucket.refusals = 5

    def plot() -> None:
        until(lambda: calls(work) >= 2)
        bucket.put("in/b/09.txt", b"text X")  # as long as before
        bucket.delete("in/b/11.txt")

    plotting = meanwhile(plot)
    ended = work.run(
        {
            "work": step(
                work,
                arguments="--data ${{inputs.files}} --fetch_cache 20",
                variables={"SLEEP": "0.1"},
                retry_settings={"max_retries": 2, "timeout": 30},
            )
        }
    )
    plotting.join()
    counts = ended.steps["work"].counts
    assert (counts.succeeded, counts.failed, counts.retried) == (10, 2, 0)
    assert bucket.refusals == 0
    log = "".join(
        path.read_text() for path in (work.folder / "run/steps/work/logs/user/error").rglob("*.txt")
    )
    assert "s3://box/in/b/11.txt can't be read: No such file; it was there when the step was planned" in log
    assert "s3://box/in/b/09.txt has changed since the step was planned" in log
    assert left_behind() == []


def test_a_store_that_is_down_costs_nothing_and_the_run_goes_on_when_it_is_there_again(
    work: Any, bucket: Bucket
) -> None:
    def plot() -> None:
        until(lambda: calls(work) >= 2)
        bucket.stop()

    plotting = meanwhile(plot)
    ended = work.run(
        {
            "work": step(
                work,
                arguments="--data ${{inputs.files}} --fetch_cache 20 --progress_update_timeout 6",
                variables={"SLEEP": "0.1"},
            )
        }
    )
    plotting.join()
    assert (ended.status, ended.exit_code) == ("lost", 3), ended.summary
    assert "no data was reached for" in ended.reason and ended.steps["work"].counts.tries_failed == 0
    bucket.start()
    again = daskpar.resume(work.folder / "run", dashboard=None, display=False)
    assert again.status == "completed" and len(work.rows()) == 12
    assert left_behind() == []


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Not on the terminal."""


@pytest.fixture
def web(tmp_path: Path) -> Iterator[str]:
    """The address of a web server with a folder that can be listed, and one that can't."""
    root = tmp_path / "web"
    (root / "in" / "a b").mkdir(parents=True)
    (root / "in" / "a b" / "1.txt").write_text("one")
    (root / "in" / "2.txt").write_text("two")
    (root / "hidden").mkdir()
    (root / "hidden" / "index.html").write_text("<p>nothing to see</p>")
    handler = functools.partial(_Quiet, directory=str(root))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = meanwhile(server.serve_forever)
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def test_files_of_the_web_and_lists_of_files_in_an_mltable(work: Any, web: str, bucket: Bucket) -> None:
    work.write("table/MLTable", f"paths:\n  - file: {web}/in/2.txt\n  - pattern: s3://box/in/a/0[24].txt\n")
    script = "import os\ndef run(mini_batch):\n    return [f'{os.path.isfile(p)} {open(p).read()}' for p in mini_batch]\n"
    jobs = {
        "page": step(
            work,
            script=script,
            inputs={"files": {"type": "uri_folder", "path": f"{web}/in"}},
            outputs={"rows": {"type": "uri_file", "path": "./page.txt"}},
        ),
        "list": step(
            work,
            script=script,
            name="list.py",
            inputs={"files": {"type": "mltable", "path": "./table", "mode": "eval_mount"}},
            outputs={"rows": {"type": "uri_file", "path": "./list.txt"}},
        ),
    }
    assert work.run(jobs).status == "completed"
    assert work.rows("page.txt") == ["True two", "True one"]
    assert work.rows("list.txt") == ["True two", "True text 2", "True text 4"]
    files = {"type": "uri_folder", "path": f"{web}/hidden"}
    ended = work.run({"work": step(work, inputs={"files": files})}, run_dir=work.folder / "other")
    assert "shows no links to files below it" in ended.summary


def test_one_mini_batch_is_tried_with_its_files(work: Any, bucket: Bucket) -> None:
    side = {"words": {"type": "uri_file", "path": "s3://box/side/stop words.txt"}}
    data = {"type": "uri_folder", "path": "s3://box/in"}
    arguments = "--data ${{inputs.files}} --words ${{inputs.words}}"
    spec = work.spec({"work": step(work, arguments=arguments, inputs={"files": data, **side})})
    tried = daskpar.debug(spec, "a/04.txt")
    assert tried.succeeded and "a/04.txt text 4" in str(tried.appended)


def test_a_table_is_planned_read_and_tried_with_the_options_of_its_datastore(
    work: Any, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other processes plan it and find the mini-batch that is tried: they know the options as well."""
    for name in ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        os.environ.pop(name)
    bucket.put("table/rows.csv", b"a,b\n1,2\n3,4\n")
    bucket.put("table/MLTable", b"paths: [{file: ./rows.csv}]\ntransformations: [read_delimited]\n")
    options = {"key": "key", "secret": "secret", "endpoint_url": bucket.endpoint}
    lake: Any = {"lake": {"url": "s3://box", "storage_options": options}}
    data = {"type": "mltable", "path": "azureml://datastores/lake/paths/table", "mode": "direct"}
    script = "def run(mini_batch):\n    return list(mini_batch['b'])\n"
    jobs = {"work": step(work, script=script, inputs={"files": data}, mini_batch_size="1kb")}
    ended = work.run(jobs, datastores=lake)
    assert ended.status == "completed", ended.summary
    assert work.rows() == ["2", "4"]
    monkeypatch.setattr("daskpar.datastores._known", {})  # as in a process that has just begun
    wanted = Wanted(source=work.spec(jobs), overrides={}, datastores=lake, inputs={}, mounts=False)
    scratch = work.folder / "scratch"
    scratch.mkdir()
    found = find_in_child(wanted, scratch)
    assert list(Plan.open(found.plan).load(found.index)["b"]) == [2, 4]
