"""Outputs in a bucket: exactly the files of the tries that count lie there, whatever was killed or resumed."""

from __future__ import annotations

import os
import pickle
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import daskpar
import warm_python
from daskpar import datastores, locations
from daskpar.datastores import StorageOptions, known_options, options_of, remember
from daskpar.driver.pipeline_run import PipelineRun
from daskpar.locations import filesystem
from daskpar.named_places import all_datastores
from daskpar.outputs import step_uploads
from daskpar.outputs.file_upload import upload_file
from s3_bucket import Bucket, s3_bucket
from waiting import until

pytestmark = pytest.mark.timeout(180)

SECRET = "verysecretkey17"
SCRIPT = """
import argparse, os, pathlib, time, uuid
def init():
    global out, one, marks
    parser = argparse.ArgumentParser()
    parser.add_argument("--models")
    parser.add_argument("--one")
    found, _ = parser.parse_known_args()
    out, one, marks = pathlib.Path(found.models), found.one, pathlib.Path(os.environ["MARKS"])
    (out / "deep").mkdir()
    (out / "about.txt").write_text("made by init")
def first_time(name):
    try:
        (marks / name).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True
def run(mini_batch):
    name = os.path.basename(mini_batch[0])
    with open(marks / "calls", "a") as calls:
        calls.write(name + "\\n")
    time.sleep(float(os.environ["SECONDS_EACH"]))
    if first_time("first-" + name):
        (out / ("of a first try-" + uuid.uuid4().hex)).write_text("half")
        if name == "03.txt":
            raise ValueError("the first time")
        if name == "05.txt":
            os.kill(os.getpid(), 9)
        for left in out.glob("of a first try-*"):
            left.rename(out / "deep" / (name + "-" + uuid.uuid4().hex))
    else:
        (out / "deep" / (name + "-" + uuid.uuid4().hex)).write_text("half")
    (out / "deep" / (name + ".model")).write_text("model of " + name)
    if name == "00.txt" and one:
        pathlib.Path(one).write_text("one")
    return [name]
def shutdown():
    (out / "bye.txt").write_text("bye")
"""
KILLED = """
import os, signal, sys
import daskpar
from daskpar.outputs.journal import Journal
append, calls = Journal.append, []
def dies(*arguments):
    calls.append(1)
    if len(calls) == 3:  # its files are uploaded, and it is not committed
        os.kill(os.getpid(), signal.SIGKILL)
    return append(*arguments)
Journal.append = dies
daskpar.run(sys.argv[1], run_dir=sys.argv[2], dashboard=None, display=False)
"""


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    """A server with an empty bucket."""
    with s3_bucket(monkeypatch) as found:
        yield found


@pytest.fixture
def bucket(store: Bucket) -> str:
    """The URL of the bucket."""
    return "s3://box"


def objects(place: str) -> dict[str, bytes]:
    import s3fs

    files = s3fs.S3FileSystem(skip_instance_cache=True, use_listings_cache=False)
    root = place.removeprefix("s3://")
    return {name.removeprefix(f"{root}/"): files.cat_file(name) for name in files.find(root)}


def models_and_rest(place: str) -> tuple[dict[str, bytes], list[str]]:
    """The objects whose names are known, and of which mini-batches the others are."""
    found = objects(place)
    random = [name for name in found if name.startswith("deep/") and not name.endswith(".model")]
    return {name: data for name, data in found.items() if name not in random}, sorted(
        name.removeprefix("deep/").partition("-")[0] for name in random
    )


def job(folder: Path, *, count: int = 8, seconds: float = 0.02, **outputs: Any) -> Path:
    """A step `work` over `count` files that fills an output, and a command `after` with two outputs."""
    (folder / "code").mkdir()
    (folder / "marks").mkdir()
    (folder / "data").mkdir()
    for number in range(count):
        (folder / "data" / f"{number:02d}.txt").write_text("text")
    (folder / "code" / "script.py").write_text(SCRIPT)
    arguments = outputs.pop("arguments", "")
    after = outputs.pop("after", {})
    step = {
        "type": "parallel",
        "inputs": {"data": {"type": "uri_folder", "path": "./data"}},
        "outputs": outputs,
        "input_data": "${{inputs.data}}",
        "mini_batch_size": "1",
        "max_concurrency_per_instance": 2,
        "retry_settings": {"max_retries": 2, "timeout": 60},
        "environment_variables": {"MARKS": str(folder / "marks"), "SECONDS_EACH": str(seconds)},
        "task": {
            "type": "run_function",
            "code": "./code",
            "entry_script": "script.py",
            "environment": "azureml:any:1",
            "program_arguments": "--models ${{outputs.models}} --resource_monitor_interval 0 "
            + ("--one ${{outputs.one}} " if "one" in outputs else "")
            + arguments,
            "append_row_to": "${{outputs.rows}}",
        },
    }
    jobs: dict[str, Any] = {"work": step}
    if after:
        jobs["after"] = {
            "type": "command",
            "command": f"echo ran >> {folder}/marks/commands; mkdir ${{{{outputs.made}}}}/a; "
            "for n in 1 2 3; do echo $n > ${{outputs.made}}/a/$n; done; echo all > ${{outputs.file}}",
            "environment": "azureml:any:1",
            "outputs": after,
        }
    spec = folder / "job.yml"
    settings = {"default_datastore": "azureml:lake"}
    spec.write_text(yaml.safe_dump({"type": "pipeline", "settings": settings, "jobs": jobs}))
    return spec


def run(spec: Path, **options: Any) -> Any:
    return daskpar.run(
        spec, **{"run_dir": spec.parent / "run", "dashboard": None, "display": False, **options}
    )


MODELS = {f"deep/{n:02d}.txt.model": f"model of {n:02d}.txt".encode() for n in range(8)}
ALONE = {"about.txt": b"made by init", "bye.txt": b"bye"}
ROWS = b"".join(b"%02d.txt\n" % n for n in range(8))


def test_each_file_of_the_tries_that_count_and_no_other(tmp_path: Path, bucket: str) -> None:
    """Files of tries that raised or died, of `init()` and `shutdown()`, of one file, of rows, of a command."""
    spec = job(
        tmp_path,
        models={"type": "uri_folder", "path": f"{bucket}/models", "mode": "upload"},
        one={"type": "uri_file", "path": f"{bucket}/one.txt"},
        rows={"type": "uri_file"},
        after={
            "made": {"type": "uri_folder", "path": "azureml://datastores/lake/paths/made"},
            "file": {"type": "uri_file", "path": f"{bucket}/file.txt"},
        },
    )
    lake = {"url": f"{bucket}/lake", "storage_options": {"key": "key", "secret": SECRET}}
    ended = run(spec, datastores={"lake": lake})
    assert ended.status == "completed", ended.summary
    known, random = models_and_rest(f"{bucket}/models")
    assert known == {**MODELS, **ALONE}
    assert random == [f"{n:02d}.txt" for n in range(8)]
    rest = {name: data for name, data in objects(bucket).items() if not name.startswith("models/")}
    assert rest == {
        "one.txt": b"one",
        "file.txt": b"all\n",
        "lake/azureml/run/work/rows": ROWS,
        **{f"lake/made/a/{n}": b"%d\n" % n for n in (1, 2, 3)},
    }
    assert f"models: {bucket}/models" in ended.summary
    uploads = tmp_path / "run" / "steps" / "work" / "uploads"
    assert [path.name for path in uploads.iterdir()] == ["log"]  # nothing local is left
    for path in (tmp_path / "run").rglob("*"):
        assert not path.is_file() or SECRET.encode() not in path.read_bytes(), path


def test_a_driver_that_is_killed_leaves_what_an_undisturbed_run_leaves(tmp_path: Path, bucket: str) -> None:
    """Between an upload and its commit; then a store refuses one of the files of a command."""
    spec = job(
        tmp_path,
        models={"type": "uri_folder", "path": f"{bucket}/models"},
        rows={"type": "uri_folder", "path": f"{bucket}/rows"},
        arguments="--append_row_format jsonl --append_row_join path",
        after={
            "made": {"type": "uri_folder", "path": f"{bucket}/made"},
            "file": {"type": "uri_file", "path": f"{bucket}/file.txt"},
        },
    )
    text = yaml.safe_load(spec.read_text())
    script = (tmp_path / "code" / "script.py").read_text()
    (tmp_path / "code" / "script.py").write_text(script.replace("return [name]", "return [{'name': name}]"))
    text["jobs"]["after"]["inputs"] = {
        "rows": {"type": "uri_folder", "path": "${{parent.jobs.work.outputs.rows}}"}
    }
    text["jobs"]["after"]["command"] += "; cat ${{inputs.rows}}/*.jsonl | wc -l > ${{outputs.made}}/count"
    spec.write_text(yaml.safe_dump(text))
    (tmp_path / "killed.py").write_text(KILLED)
    killed = warm_python.run(str(tmp_path / "killed.py"), str(spec), str(tmp_path / "run"), cwd=tmp_path)
    assert killed.returncode == -signal.SIGKILL, killed.stderr

    def refuses(path: str, target: str) -> None:
        if target.endswith("/a/2"):
            raise OSError("refused for good")
        upload_file(path, target)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(step_uploads, "upload_file", refuses)
        ended = daskpar.resume(tmp_path / "run", dashboard=None, display=False)
    assert (ended.status, ended.steps["work"].status) == ("lost", "completed"), ended.summary
    assert f"{bucket}/made/a/2 can't be written: refused for good" in ended.reason
    assert (tmp_path / "marks" / "commands").read_text() == "ran\n"
    ended = daskpar.resume(tmp_path / "run", dashboard=None, display=False)
    assert ended.status == "completed", ended.summary
    assert (tmp_path / "marks" / "commands").read_text() == "ran\n"  # only its files were missing
    known, random = models_and_rest(f"{bucket}/models")
    assert known == {**MODELS, **ALONE}
    assert random == [f"{n:02d}.txt" for n in range(8)]
    assert objects(f"{bucket}/made") == {
        "count": b"8\n",  # of the rows, which came from the bucket
        **{f"a/{n}": b"%d\n" % n for n in (1, 2, 3)},
    }
    assert objects(f"{bucket}/rows")["part-00000.jsonl"].count(b"\n") == 8
    assert objects(bucket)["file.txt"] == b"all\n"


def test_a_store_that_goes_away_costs_nothing_and_what_lasts_is_resumed(
    tmp_path: Path, store: Bucket, bucket: str
) -> None:
    spec = job(
        tmp_path,
        models={"type": "uri_folder", "path": f"{bucket}/models"},
        rows={"type": "uri_file", "path": f"{bucket}/rows.txt"},
        arguments="--progress_update_timeout 6",  # a resume's first requests may meet connections of before
        seconds=0.05,
    )

    def plot() -> None:
        until(lambda: (tmp_path / "marks" / "first-02.txt").exists())
        store.stop()

    plotting = threading.Thread(target=plot)
    plotting.start()
    ended = run(spec)
    plotting.join()
    assert (ended.status, ended.exit_code) == ("lost", 3), ended.summary
    assert "can't be written" in ended.reason and "resume" in ended.reason
    store.start()
    again = daskpar.resume(tmp_path / "run", dashboard=None, display=False)
    assert again.status == "completed", again.summary
    assert again.steps["work"].counts.failed == 0
    known, random = models_and_rest(f"{bucket}/models")
    assert (known, len(random)) == ({**MODELS, **ALONE}, 8)
    assert objects(bucket)["rows.txt"] == ROWS


def test_what_can_not_be_written_ends_before_any_work(tmp_path: Path, bucket: str) -> None:
    spec = job(
        tmp_path,
        models={"type": "uri_folder", "path": "s3://no-such-box/models"},
        rows={"type": "uri_file", "path": f"{bucket}/rows.txt"},
    )
    with pytest.raises(
        daskpar.DaskparError, match=r"output 'models' of step 'work'.*there is no s3://no-such-box"
    ):
        run(spec)
    assert os.listdir(tmp_path / "marks") == [] and objects(bucket) == {}


def test_a_run_keeps_its_own_options_for_a_store_that_another_run_opens_with_others(
    tmp_path: Path, store: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one begins before each step of this one: what is fetched, uploaded and joined then is its own."""
    for name in ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    spec = job(
        tmp_path,
        count=3,
        models={"type": "uri_folder", "path": "s3://box/models"},
        rows={"type": "uri_file", "path": "s3://box/rows.txt"},
        after={
            "made": {"type": "uri_folder", "path": "s3://box/made"},
            "file": {"type": "uri_file", "path": "s3://box/file.txt"},
        },
    )
    document = yaml.safe_load(spec.read_text())
    document["jobs"]["work"]["inputs"] = {
        "data": {"type": "uri_folder", "path": "s3://box/in"},
        "words": {"type": "uri_file", "path": "s3://box/words.txt"},
    }
    spec.write_text(yaml.safe_dump(document))
    store.put("words.txt", b"words")
    for number in range(3):
        store.put(f"in/{number:02d}.txt", b"text")
    mine = {"key": "key", "secret": SECRET, "endpoint_url": store.endpoint}
    nowhere = {"key": "other", "secret": "other-secret", "endpoint_url": "http://127.0.0.1:9"}
    sent: list[StorageOptions] = []
    real = PipelineRun._run_lifecycle

    def after_another_begins(running: PipelineRun, step: Any) -> Any:
        for other in ({"url": "s3://box", "storage_options": nowhere}, {"url": "s3://elsewhere"}):
            begins = threading.Thread(target=all_datastores, args=[{"lake": other}])
            begins.start()
            begins.join()
        sent.append(known_options())
        return real(running, step)

    outside: set[str] = set()

    def look_up(url: str) -> Any:
        if datastores._own.get() is None:
            outside.add(threading.current_thread().name)
        return options_of(url)

    monkeypatch.setattr(PipelineRun, "_run_lifecycle", after_another_begins)
    with monkeypatch.context() as patch:
        patch.setattr(locations, "options_of", look_up)
        ended = run(spec, datastores={"lake": {"url": "s3://box", "storage_options": mine}})
    assert not outside, "threads that do not know for which run they work"
    assert ended.status == "completed", ended.summary
    assert sent == [{"s3://box": mine}] * 2
    assert "could not be looked at" not in ended.summary
    assert options_of("s3://box/rows.txt") == nowhere, "outside of runs the last one counts"
    names = [f"{n:02d}.txt" for n in range(3)]
    assert ended.to_pandas()["line"].tolist() == names, "but a run reads its own rows"
    assert [*ended.to_bag().compute(scheduler="sync")] == names
    assert SECRET.encode() not in pickle.dumps(ended) and SECRET not in repr(vars(ended))
    remember("s3://box", mine)
    assert pickle.loads(pickle.dumps(ended)).to_pandas()["line"].tolist() == names
    with filesystem("s3://box")[0].open("s3://box/rows.txt", "rb") as rows:
        assert rows.read() == b"".join(b"%02d.txt\n" % n for n in range(3))
