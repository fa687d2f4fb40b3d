"""What `map_mini_batches` takes a URL for; its first look has the options of the configured datastores."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import dask
import pytest

from daskpar import datastores
from daskpar.datastores import own_options
from daskpar.driver.staged_collections import PathList
from daskpar.errors import DataUnreached, InputError, LocationError
from daskpar.mapped.given_data import GivenData, given_data
from s3_bucket import Bucket, in_configuration, s3_bucket

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture(autouse=True)
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    """Some files and a table, in a store that the configuration alone knows."""
    with s3_bucket(monkeypatch) as found:
        for key in ("in/a.txt", "in/b.png", "in/deep/c.png", "in/[1].png", "table/MLTable", "table/x.csv"):
            found.put(key, b"a\n1\n")
        in_configuration(monkeypatch, found)
        yield found


def given(data: Any) -> GivenData:
    with own_options():
        return given_data(data, None, None)


@pytest.mark.parametrize("start", ["s3://box", "azureml://datastores/lake/paths", "S3://box"])
@pytest.mark.parametrize(
    ("name", "type", "path"),
    [
        ("in", "uri_folder", "in"),
        ("in/", "uri_folder", "in"),
        ("in/a.txt", "uri_file", "in/a.txt"),
        ("in/[1].png", "uri_file", "in/[1].png"),
        ("table", "mltable", "table"),
        ("table/MLTable", "mltable", "table"),
    ],
)
def test_one_place(start: str, name: str, type: str, path: str) -> None:
    found = given(f"{start}/{name}")
    assert (found.type, found.path.rstrip("/"), found.staged) == (type, f"s3://box/{path}", None)
    assert found.token == found.path


@pytest.mark.parametrize("start", ["s3://box", "azureml://datastores/lake/paths"])
@pytest.mark.parametrize(
    ("pattern", "files"),
    [("in/*.png", ["[1].png", "b.png"]), ("in/**/?.png", ["b.png", "deep/c.png"])],
)
def test_a_pattern(start: str, pattern: str, files: list[str]) -> None:
    found = given(f"{start}/{pattern}")
    assert isinstance(found.staged, PathList)
    assert found.staged.paths == [f"s3://box/in/{name}" for name in files]
    assert (found.token, found.mini_batch_size) == (f"s3://box/{pattern}", "1")


def test_a_datastore_may_be_a_folder(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.txt").touch()
    monkeypatch.setitem(dask.config.config, "daskpar", {"datastores": {"here": str(tmp_path)}})
    found = given("azureml://datastores/here/paths/a.txt")
    assert (found.type, found.path) == ("uri_file", str(tmp_path / "a.txt"))
    staged = given("azureml://datastores/here/paths/*.txt").staged
    assert isinstance(staged, PathList) and staged.paths == [str(tmp_path / "a.txt")]


@pytest.mark.parametrize(
    ("data", "why"),
    [
        ("s3://box/other", "s3://box/other does not exist"),
        ("s3://box/in/*.gif", r"no file matches s3://box/in/\*.gif"),
        ("azureml://datastores/lakes/paths/in", "'lakes' is not known here. Did you mean 'lake'"),
    ],
)
def test_nothing_there(data: str, why: str) -> None:
    with pytest.raises((InputError, LocationError), match=why):
        given(data)


def test_a_bucket_that_is_not_there(monkeypatch: pytest.MonkeyPatch, bucket: Bucket) -> None:
    options = {"key": "x", "secret": "x", "endpoint_url": bucket.endpoint}
    stores = {"other": {"url": "s3://no-box", "storage_options": options}}
    monkeypatch.setitem(dask.config.config, "daskpar", {"datastores": stores})
    with pytest.raises(InputError, match=r"s3://no-box/in does not exist: there is no bucket .*'no-box'"):
        given("s3://no-box/in")


@pytest.mark.parametrize(
    "data", ["s3://other/in", "s3://other/in/*.png", ["s3://box/in/a.txt", "s3://other/x"]]
)
def test_without_credentials_nothing_begins(data: Any) -> None:
    """Mini-batches would wait for the store."""
    with pytest.raises(DataUnreached, match=r"s3://other/(in|x).*NoCredentialsError.*datastores"):
        given(data)


def test_a_store_that_is_down(bucket: Bucket) -> None:
    bucket.stop()
    try:
        with pytest.raises(DataUnreached, match="s3://box/in can't be read: EndpointConnectionError"):
            given("s3://box/in")
    finally:
        bucket.start()


def test_one_file_of_each_store_is_asked_for(bucket: Bucket) -> None:
    """Whether a list of files is all there shows when they are fetched."""
    bucket.requests.clear()
    found = given(["s3://box/in/a.txt", "s3://box/in/gone", "azureml://datastores/lake/paths/in/b.png"])
    assert isinstance(found.staged, PathList) and len(found.staged.paths) == 3
    assert bucket.requests["HEAD object"] == 2


def test_other_options_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of a run that goes on beside it."""
    monkeypatch.setattr(datastores, "_known", {})
    with own_options():
        datastores.remember("s3://of-a-run", {"key": "k"})
        given("s3://box/in")
        assert datastores.known_options() == {"s3://of-a-run": {"key": "k"}}
