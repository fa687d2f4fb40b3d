"""Files fetched from a real S3 server: what comes is what was planned, and what stands in the way is said."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from daskpar.data.fetch_file import fetch_all, fetch_file, remote_kind, whole_files
from daskpar.data.files import ListingNotes, list_files
from daskpar.data.stamps import Stamp
from daskpar.errors import DataUnreached, InputChanged, InputError
from s3_bucket import Bucket, s3_bucket


@pytest.fixture(scope="module")
def served() -> Iterator[Bucket]:
    """A bucket of many objects, on a server of this module."""
    with pytest.MonkeyPatch.context() as patch, s3_bucket(patch) as found:
        for number in range(2_500):
            found.put(f"many/{number % 7}/{number}.txt", b"%d" % number)
        for name in ("one.txt", "two.txt", "sub/three.txt"):
            found.put(f"few/{name}", name.encode())
        for folder in ("few/", "few/sub/", "few/empty/"):  # as consoles mark them
            found.put(folder, b"")
        yield found


@pytest.fixture
def bucket(served: Bucket) -> Bucket:
    """The same, with what it was asked before forgotten on both sides."""
    fsspec.filesystem("s3").invalidate_cache()
    served.requests.clear()
    return served


def test_a_listing_is_paged_and_tells_sizes_and_tags(bucket: Bucket) -> None:
    found = list_files("s3://box/many")
    assert len(found.paths) == len(found.stamps) == 2_500
    assert bucket.requests == {"GET list": 3}
    assert all(stamp.size > 0 and stamp.mark for stamp in found.stamps.values())


def test_what_is_fetched_is_compared_without_a_further_request(bucket: Bucket, tmp_path: Path) -> None:
    files = whole_files("s3://box/few", str(tmp_path / "few"), "folder")
    assert sorted(fetch_all(files)) == [7, 7, 13]
    assert bucket.requests == {"GET list": 1, "GET object": 3}
    fetched = {str(path.relative_to(tmp_path)): path for path in tmp_path.rglob("*.txt")}
    assert sorted(fetched) == ["few/one.txt", "few/sub/three.txt", "few/two.txt"]
    assert fetched["few/two.txt"].read_text() == "two.txt"
    assert fetched["few/two.txt"].stat().st_mode & 0o777 == 0o444
    assert len(list(tmp_path.rglob("*"))) == 5  # nothing half done is left


def test_a_whole_file_is_the_one_that_was_there_when_it_was_begun(bucket: Bucket, tmp_path: Path) -> None:
    # Larger objects are gone on with after an answer that broke off, whatever the object is by then.
    bucket.put("model.bin", b"before")
    files = whole_files("s3://box/model.bin", str(tmp_path / "m"), "file")
    assert fetch_all(files) == [6]
    bucket.put("model.bin", b"behind")
    with pytest.raises(InputChanged, match="has changed"):
        fetch_all(files)


def test_a_file_that_is_another_one_by_now(bucket: Bucket, tmp_path: Path) -> None:
    notes = ListingNotes()
    list_files("s3://box/few", notes)
    url, target = "s3://box/few/one.txt", str(tmp_path / "x")
    for content in (b"ONE.txt", b"longer than it was"):
        bucket.put("few/one.txt", content)
        with pytest.raises(InputChanged, match="has changed since the step was planned") as caught:
            fetch_file(url, target, notes.stamps[url])
        assert not caught.value.gone
    bucket.delete("few/one.txt")
    with pytest.raises(InputChanged, match=r"No such file; it was there .* \(7 bytes\)") as caught:
        fetch_file(url, target, notes.stamps[url])
    assert caught.value.gone and os.listdir(tmp_path) == []
    bucket.put("few/one.txt", b"one.txt")


@pytest.mark.parametrize(
    ("at_once", "own", "asked"),
    [(100, True, 0), (6, True, 1), (100, False, 1)],
    ids=["in one answer", "in parts", "by another package than s3fs"],
)
def test_a_tag_that_is_no_checksum_comes_with_the_bytes_or_is_asked_for(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: int, own: bool, asked: int
) -> None:
    """As of files that were written in several parts; these are replaced by others of the same size."""
    monkeypatch.setattr("daskpar.data.fetch_object.MOST_AT_ONCE", at_once)
    if not own:
        monkeypatch.setattr("daskpar.data.fetch_file.is_of_s3", lambda _: False)
    for tag in ("0123-2", "0123-3"):
        bucket.put("parts/one.txt", b"written", tag)
        notes = ListingNotes()
        fsspec.filesystem("s3").invalidate_cache()
        list_files("s3://box/parts", notes)
        bucket.requests.clear()
        url = "s3://box/parts/one.txt"
        assert fetch_file(url, str(tmp_path / tag), notes.stamps[url]) == 7
        assert bucket.requests["GET object"] == 1 and bucket.requests["HEAD object"] == asked
    bucket.put("parts/one.txt", b"WRITTEN", "0123-4")
    with pytest.raises(InputChanged, match="has changed since the step was planned"):
        fetch_file(url, str(tmp_path / "x"), notes.stamps[url])
    assert not (tmp_path / "x").exists()


def test_an_answer_that_breaks_off_is_asked_for_again(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from aiobotocore.response import AioStreamingBody
    from aiohttp import ClientPayloadError

    read, broken = AioStreamingBody.read, [1, 1]

    async def breaks(body: AioStreamingBody, amount: int) -> bytes:
        piece = await read(body, amount)
        if broken:
            broken.pop()
            raise ClientPayloadError("cut")
        return piece

    monkeypatch.setattr(AioStreamingBody, "read", breaks)
    monkeypatch.setattr("daskpar.data.fetch_object._PAUSE", 0.001)
    notes = ListingNotes()
    list_files("s3://box/few", notes)
    url = "s3://box/few/sub/three.txt"
    fetch_file(url, str(tmp_path / "x"), notes.stamps[url])
    assert (tmp_path / "x").read_text() == "sub/three.txt" and bucket.requests["GET object"] == 3
    broken.extend([1] * 5)
    with pytest.raises(DataUnreached, match="cut"):
        fetch_file(url, str(tmp_path / "y"), notes.stamps[url])
    assert os.listdir(tmp_path) == ["x"]


def test_a_full_disk_is_no_fault_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        def get_file(self, source: str, target: str) -> None:
            Path(target).write_bytes(b"as")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("daskpar.data.fetch_file.filesystem", lambda _: (Full(), "x"))
    with pytest.raises(DataUnreached, match=r"can't be fetched to .*No space left"):
        fetch_file("s3://box/few/two.txt", str(tmp_path / "x"), Stamp(7, 1))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("url", "declared", "kind"),
    [
        ("s3://box/few", "uri_folder", "folder"),
        ("s3://box/few/", "mltable", "folder"),
        ("s3://box", "uri_folder", "folder"),
        ("s3://box/few/two.txt", "uri_file", "file"),
        ("s3://box/few/two.txt", "custom_model", "file"),
        ("s3://box/few", "custom_model", "folder"),
        ("s3://box/none", "uri_folder", "s3://box/none does not exist"),
        ("s3://nobox/x", "uri_folder", "there is no bucket or container 'nobox'"),
        ("s3://box/few", "uri_file", "is a folder, and the input is a file: write type: uri_folder"),
        ("s3://box/few/two.txt", "uri_folder", "is a file, and the input is a folder: write type: uri_file"),
        ("gs://box/x", "uri_folder", "`pip install gcsfs`"),
        ("abfs://box/x", "uri_folder", "`pip install adlfs`"),
    ],
)
def test_what_lies_at_a_url(bucket: Bucket, url: str, declared: str, kind: str) -> None:
    package = {"gs": "gcsfs", "abfs": "adlfs"}.get(url.partition("://")[0])
    if package is not None:
        try:
            __import__(package)
        except ImportError:
            pass
        else:
            pytest.skip(f"{package} is installed")
    if " " not in kind:
        assert remote_kind(url, declared) == kind
        return
    with pytest.raises(InputError) as caught:
        remote_kind(url, declared)
    assert kind in str(caught.value)


def test_missing_credentials_and_a_store_that_is_down(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    filesystem = fsspec.filesystem("s3")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    filesystem.clear_instance_cache()
    with pytest.raises(DataUnreached, match=r"can't be read: EndpointConnectionError"):
        remote_kind("s3://box/few", "uri_folder")
    monkeypatch.setenv("AWS_ENDPOINT_URL", bucket.endpoint)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    filesystem.clear_instance_cache()
    told = "NoCredentialsError.*Give credentials: AWS_ACCESS_KEY_ID.*daskpar.datastores.NAME"
    with pytest.raises(DataUnreached, match=told):
        remote_kind("s3://box/few", "uri_folder")
    with pytest.raises(DataUnreached, match=told):
        fetch_file("s3://box/few/two.txt", str(tmp_path / "x"))
    filesystem.clear_instance_cache()
