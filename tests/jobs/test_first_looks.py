"""A new process knows the datastores of Dask's configuration at its first look at a URL, whichever door it is."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

import daskpar
from daskpar import datastores
from daskpar.cli import main
from daskpar.driver.measure import measure
from s3_bucket import Bucket, in_configuration, s3_bucket

pytestmark = [pytest.mark.timeout(180), pytest.mark.filterwarnings("ignore::DeprecationWarning")]
QUIET: dict[str, Any] = {"dashboard": None, "display": False}
NAMES = ["a.txt", "b.txt", "c.txt"]


@pytest.fixture(autouse=True)
def bucket(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Bucket]:
    """A bucket with three files, of which the configuration alone says where it is."""
    monkeypatch.chdir(tmp_path)
    with s3_bucket(monkeypatch) as found:
        for name in NAMES:
            found.put(f"in/{name}", b"text")
        in_configuration(monkeypatch, found)
        yield found


def names(files: list[str]) -> list[str]:
    return [os.path.basename(file) for file in files]


def forget() -> None:
    """As a new process, which has looked at no URL yet."""
    import fsspec

    datastores._known = {}
    fsspec.filesystem("s3").clear_instance_cache()


def mapped(output: str, **more: Any) -> daskpar.Run:
    run = daskpar.map_mini_batches(names, NAMES_AT, output=output, run_dir="run", **QUIET, **more)
    forget()
    return run


NAMES_AT = [f"s3://box/in/{name}" for name in NAMES]
SCRIPT = """
import os, daskpar
def names(files):
    return [os.path.basename(file) for file in files]
run = daskpar.map_mini_batches(
    names, "azureml://datastores/lake/paths/in/*.txt", output="s3://box/out/rows.jsonl", format="jsonl",
    run_dir="run", dashboard=None, display=False,
)
print([row["value"] for row in run.check().to_bag().compute(scheduler="sync")])
assert "rows: s3://box/out/rows.jsonl\\n" in run.summary, run.summary
"""


def test_a_process_that_has_only_its_configuration(tmp_path: Path, bucket: Bucket) -> None:
    """And nothing of the credentials is in the run directory."""
    options = {"key": "x", "secret": "very-secret", "endpoint_url": bucket.endpoint}
    stores = {"lake": {"url": "s3://box", "storage_options": options}}
    (tmp_path / "dask.yaml").write_text(yaml.safe_dump({"daskpar": {"datastores": stores}}))
    environment = {**os.environ, "DASK_CONFIG": str(tmp_path / "dask.yaml")}

    def said(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, *arguments], env=environment, capture_output=True, text=True, check=False
        )
        assert not done.returncode, done.stderr
        return done.stdout

    assert said("-c", SCRIPT).strip() == str(NAMES)
    assert said("-c", SCRIPT).strip() == str(NAMES), "of the run that is completed already"
    assert "rows: s3://box/out/rows.jsonl\n" in said("-m", "daskpar", "status", "run")
    kept = [file.read_bytes() for file in (tmp_path / "run").rglob("*") if file.is_file()]
    assert kept and not any(b"very-secret" in content for content in kept)


@pytest.mark.parametrize("format", ["parquet", "jsonl", "csv"])
def test_rows_of_an_earlier_process(format: str) -> None:
    """Also where other processes compute what is lazy, which know what they are sent alone."""
    run = mapped(f"s3://box/out/rows.{format}", format=format)
    assert list(run.to_pandas()["value"]) == NAMES
    forget()
    lazy, bag = run.to_dask(), run.to_bag()
    forget()
    assert list(lazy.compute(scheduler="sync")["value"]) == NAMES
    assert [row["value"] for row in bag.compute(scheduler="sync")] == NAMES


def test_a_run_that_is_completed_already() -> None:
    mapped("azureml://datastores/lake/paths/out/rows.csv", format="csv")
    run = daskpar.resume("run")
    assert "rows: s3://box/out/rows.csv\n" in run.summary
    assert list(run.to_pandas()["value"]) == NAMES


def test_rows_that_no_store_gives(bucket: Bucket) -> None:
    run = mapped("s3://box/out/rows.csv", format="csv")
    bucket.stop()
    try:
        with pytest.raises(daskpar.InputError, match=r"s3://box/out/rows\.csv can't be read: Endpoint"):
            run.to_pandas()
    finally:
        bucket.start()


@pytest.mark.parametrize("start", ["s3://box", "azureml://datastores/lake/paths"])
def test_an_export(start: str, bucket: Bucket) -> None:
    def some(items: list[int]) -> list[int]:
        return [7 // item for item in items]

    more: dict[str, Any] = {"format": "csv", "mini_batch_error_threshold": 0, "max_retries": 0}
    assert daskpar.map_mini_batches(some, [1, 0], run_dir="run", **more, **QUIET).status == "failed"
    forget()
    assert main(["export", "run", "--partial", f"{start}/exported/rows.csv"]) == 0
    assert bucket.objects("exported/") == {"rows.csv": b"value\n7\n"}


def test_an_export_to_where_nobody_may_write(capsys: pytest.CaptureFixture[str]) -> None:
    daskpar.map_mini_batches(
        lambda items: [7 // items[0]], [1, 0], run_dir="run", format="csv",
        mini_batch_error_threshold=0, max_retries=0, **QUIET,
    )  # fmt: skip
    assert main(["export", "run", "--partial", "s3://other/rows.csv"]) == 3
    said = capsys.readouterr().err
    assert "s3://other/rows.csv can't be written: NoCredentialsError" in said
    assert "daskpar.datastores.NAME" in said and "export to another place" in said


@pytest.mark.parametrize("start", ["s3://box", "azureml://datastores/lake/paths"])
def test_a_first_job(start: str) -> None:
    """Which names the data as it was named."""
    assert main(["init", f"{start}/in", "--folder", "first"]) == 0
    spec = yaml.safe_load(Path("first/pipeline.yml").read_text())
    assert spec["jobs"]["score"]["inputs"]["data"] == {"type": "uri_folder", "path": f"{start}/in"}
    forget()
    found = measure(Path("first/pipeline.yml"), 1, {}, {})["score"]
    assert found.planned == 3 and not found.trouble


def test_lazy_collections(bucket: Bucket) -> None:
    bucket.put("table/MLTable", b"paths:\n- pattern: ./*.csv\ntransformations:\n- read_delimited\n")
    bucket.put("table/x.csv", b"a\n1\n2\n")
    for start in ("s3://box", "azureml://datastores/lake/paths"):
        forget()
        assert list(daskpar.read_files(f"{start}/in").compute(scheduler="sync")) == NAMES_AT
        forget()
        for cut in ({}, {"mini_batch_size": "1kb"}, {"partition_keys": ["a"]}):
            frame = daskpar.read_mltable(f"{start}/table", **cut)
            forget()
            assert list(frame.compute(scheduler="sync")["a"]) == [1, 2]


def test_lazy_collections_with_options_of_the_call(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    import dask

    bucket.put("table/MLTable", b"paths:\n- file: azureml://datastores/own/paths/x.csv\n")
    bucket.put("x.csv", b"a\n")
    options = dask.config.get("daskpar.datastores")["lake"]
    monkeypatch.setitem(dask.config.config, "daskpar", {})
    frame = daskpar.read_mltable("azureml://datastores/own/paths/table", datastores={"own": options})
    assert [str(path) for path in frame.compute(scheduler="sync")["Path"]] == ["s3://box/x.csv"]
    forget()
    found = daskpar.read_files("s3://box/in", datastores={"own": options})
    assert list(found.compute(scheduler="sync")) == NAMES_AT
    forget()
    with pytest.raises(daskpar.InputError, match=r"s3://box/table/MLTable.*daskpar\.datastores"):
        daskpar.read_mltable("s3://box/table")
    with pytest.raises(daskpar.InputError, match=r"s3://box/in can't be listed: NoCred.*datastores"):
        daskpar.read_files("s3://box/in")


def test_a_frame_of_a_run(bucket: Bucket) -> None:
    """Its files are read by the workers that stage it."""
    bucket.put("table/MLTable", b"paths:\n- pattern: ./*.csv\ntransformations:\n- read_delimited\n")
    bucket.put("table/x.csv", b"a\n1\n2\n")
    run = daskpar.map_mini_batches(lambda rows: rows, daskpar.read_mltable("s3://box/table"), **QUIET)
    pd.testing.assert_frame_equal(run.check().to_pandas(), pd.DataFrame({"a": [1, 2]}))
