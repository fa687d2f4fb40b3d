"""What a text means as a location: one table for specs, MLTables, options, configuration and fingerprints."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from daskpar.data.formats.byte_source import ByteSource
from daskpar.data.mltable.open import open_mltable
from daskpar.errors import DaskparError, LocationError, UsageError
from daskpar.jobspec.load import load_job
from daskpar.jobspec.model import Step
from daskpar.locations import datastore_of, is_url, join, read_bytes, resolve
from daskpar.named_places import Datastores

STORES = {
    "here": "/stores/here",
    "bucket": "s3://bucket/base/",
    "home": "~/store",
    "file": "file:///stores/a%20b",
    "relative": "store",
}
FULL = "azureml://subscriptions/1/resourcegroups/2/workspaces/3"
LOCAL = {
    # relative to the folder of the file that names it, normalised
    "x.csv": "/base/x.csv",
    "./x": "/base/x",
    "../x/": "/x",
    "./a/../x": "/base/x",
    ".": "/base",
    ".\\a\\x.csv": "/base/a/x.csv",
    "x y": "/base/x y",
    "a%20b.csv": "/base/a%20b.csv",  # a name, not a URL
    "/abs/x": "/abs/x",
    "~/x": "/home/me/x",
    "~nobody-of-this-name/x": "/base/~nobody-of-this-name/x",
    # as URLs of files, in which %20 is a blank
    "file:///abs/a%20b": "/abs/a b",
    "FILE:///abs/x": "/abs/x",
    "file:/abs/x": "/abs/x",
    "file:./x": "/base/x",
    "file:x": "/base/x",
    "file://x": "/base/x",
    # Azure's own dump puts `azureml:` before local paths
    "azureml:./x": "/base/x",
    "azureml:/abs/x": "/abs/x",
    "AzureML:~/x": "/home/me/x",
    # in a datastore, with and without `/paths/`, whatever the case of the words
    "azureml://datastores/here/paths/a/b.csv": "/stores/here/a/b.csv",
    "azureml://datastores/here/paths/": "/stores/here",
    "azureml://datastores/here/paths//a": "/stores/here/a",
    "azureml://datastores/here/a.csv": "/stores/here/a.csv",
    "azureml://datastores/here": "/stores/here",
    "AzureML://Datastores/here/Paths/a": "/stores/here/a",
    f"{FULL}/datastores/here/paths/a": "/stores/here/a",
    "azureml://datastores/here/paths/datastores/bucket/paths/a": "/stores/here/datastores/bucket/paths/a",
    "azureml://datastores/home/paths/a": "/home/me/store/a",
    "azureml://datastores/file/paths/a": "/stores/a b/a",
    "azureml://datastores/relative/paths/a": "/here/store/a",
}
URLS = {
    "s3://b/k": "s3://b/k",
    "https://host/x?y=1": "https://host/x?y=1",
    "S3://Box/Key": "s3://Box/Key",
    "s3://b/a::b": "s3://b/a::b",  # a name
    "wasbs://box@account.blob.core.windows.net/k": "abfs://box@account.blob.core.windows.net/k",
    "azureml://datastores/bucket/paths/a/b": "s3://bucket/base/a/b",
    "azureml://datastores/bucket": "s3://bucket/base",
}
NONE = {
    "": "the path is empty",
    "s3://": "names no bucket or container. Write s3://BUCKET",
    "s3:/b/k": "is no URL. Write two slashes: s3://b/k",
    "zip://a.csv::s3://b/x.zip": "is a chain of file systems",
    "simplecache::s3://b/k": "is a chain of file systems",
    "azureml:iris:1": "an asset of an Azure ML workspace (a registered data asset)",
    "azureml:iris@latest": "an asset of an Azure ML workspace",
    "azureml://registries/r/data/d/versions/1": "only Azure ML can look up",
    "azureml://datastores/her/paths/a": "the datastore 'her' is not known here. Did you mean 'here'?",
    "azureml://datastores/xyz/paths/a": "`--datastore xyz=PLACE` says which folder or URL it is",
}


@pytest.fixture(autouse=True)
def places(monkeypatch: pytest.MonkeyPatch) -> None:
    """A home and a working directory; neither need exist."""
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setattr("os.getcwd", lambda: "/here")


@pytest.mark.parametrize(("text", "place"), [*LOCAL.items(), *URLS.items()])
def test_what_a_text_means(text: str, place: str) -> None:
    assert resolve(text, "/base", STORES) == place
    assert resolve(text, Path("/base"), STORES) == place


@pytest.mark.parametrize(
    ("text", "place"), [("x.csv", "memory://b/t/x.csv"), ("/abs", "/abs"), ("~", "/home/me")]
)
def test_what_a_text_means_in_a_file_at_a_url(text: str, place: str) -> None:
    assert resolve(text, "memory://b/t", {}) == place


@pytest.mark.parametrize(("text", "why"), NONE.items())
def test_what_means_no_place(text: str, why: str) -> None:
    with pytest.raises(LocationError) as caught:
        resolve(text, "/base", STORES)
    assert why in str(caught.value)
    assert f"{caught.value.what} {caught.value.hint}".rstrip() == str(caught.value)


def test_no_datastore_at_all_says_what_to_do() -> None:
    with pytest.raises(UsageError, match=r"Known datastores: none\. `--datastore x=PLACE` says"):
        resolve("azureml://datastores/x/paths/y", "/base", {})


@pytest.mark.parametrize(
    ("text", "place"),
    [(text, place) for text, place in {**LOCAL, **URLS}.items() if not datastore_of(text)],
)
def test_a_datastore_may_be_at_each_of_them(text: str, place: str) -> None:
    expected = place if not place.startswith("/base") else place.replace("/base", "/here", 1)
    expected = "/x" if text == "../x/" else expected
    assert Datastores({"s": text})["s"] == expected


def test_a_datastore_is_in_no_other_one() -> None:
    with pytest.raises(UsageError, match=r"the datastore s: the datastore 'here' is not known here"):
        Datastores({"s": "azureml://datastores/here/paths/x"})


def test_datastores_given_need_no_look_at_the_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    import dask

    stores = Datastores({"s": "/s"})
    monkeypatch.setattr("dask.config.get", lambda *_: pytest.fail("asked for"))
    assert stores["s"] == "/s"
    monkeypatch.undo()
    with dask.config.set({"daskpar.datastores": {"s": "/t", "c": "~/c"}}):
        assert dict(Datastores({"s": "/s"})) == {"s": "/s", "c": str(Path("~/c").expanduser())}


def test_joining_below_a_url() -> None:
    assert join("memory://box/dir", "../x/y.csv") == "memory://box/x/y.csv"
    assert join("memory://box", "MLTable") == "memory://box/MLTable"
    assert join("memory://box", "sub\\y.csv") == "memory://box/sub/y.csv"


def test_urls() -> None:
    assert is_url("abfss://a@b/c") and is_url("file:///x")
    assert not is_url("/a://b") and not is_url("a/b:c") and not is_url("c:/x") and not is_url("c://x")


# the same in each place where a location may stand

FORMS = [
    "./data",
    "{folder}/data",
    "file:./data",
    "file:{folder}/data",
    "file://{folder}/data",
    "azureml:./data",
    "azureml:{folder}/data",
    "azureml://datastores/s/paths/data",
    "azureml://datastores/s/data",
    "AZUREML://Datastores/s/paths/data",
    "~/data",
]


@pytest.fixture
def real(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with data, a spec's script and an MLTable's file in it."""
    monkeypatch.undo()
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "x.csv").write_text("a\n1\n")
    (tmp_path / "data" / "script.py").write_text("def run(batch): return batch\n")
    return tmp_path


@pytest.mark.parametrize("form", FORMS)
def test_each_form_is_understood_in_each_place(form: str, real: Path) -> None:
    text, data = form.format(folder=real), real / "data"
    (real / "MLTable").write_text(f"paths:\n- folder: {text}\n")
    assert list(open_mltable(str(real), {"s": str(real)}).paths) == [  # type: ignore[union-attr]
        f"{data}/script.py",
        f"{data}/x.csv",
    ]
    spec = real / "job.yml"
    spec.write_text(
        f"""
        type: pipeline
        jobs:
          a:
            type: parallel
            inputs: {{i: {{type: uri_folder, path: "{text}"}}}}
            outputs: {{o: {{type: uri_folder, path: "{text}/out"}}}}
            input_data: ${{{{inputs.i}}}}
            task: {{type: run_function, code: "{text}", entry_script: script.py}}
        """
    )
    step: Step = load_job(spec, datastores={"s": str(real)}).steps[0]
    assert (step.inputs["i"].path, step.outputs["o"].path, str(step.code)) == (
        str(data),
        f"{data}/out",
        str(data),
    )


def test_both_readers_say_why_and_where(real: Path) -> None:
    (real / "MLTable").write_text("paths:\n- folder: azureml://datastores/t/paths/x\n")
    with pytest.raises(
        DaskparError, match=r"MLTable:2: the datastore 't' is not known here\. Did you mean 'st'"
    ):
        open_mltable(str(real), {"st": "/x"})
    spec = real / "job.yml"
    spec.write_text(
        "type: pipeline\njobs:\n  a:\n    type: command\n    command: ls\n"
        "    inputs:\n      i: {type: uri_folder, path: azureml://datastores/t/paths/x}\n"
    )
    with pytest.raises(
        DaskparError, match=r"job\.yml:7: .*the datastore 't' is not known here\. Did you mean 'st'"
    ):
        load_job(spec, datastores={"st": "/x"})


# filesystems


class Versioned(MemoryFileSystem):
    """As S3 has it: the second argument of `cat_file` is no offset."""

    protocol = "versioned"
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]

    def cat_file(
        self, path: str, version_id: str | None = None, start: int | None = None, end: int | None = None
    ) -> bytes:
        assert version_id is None
        path = path.removeprefix("versioned:/")
        return bytes(super().cat_file(path, start=start, end=end))


@pytest.fixture
def versioned() -> Iterator[str]:
    fsspec.register_implementation("versioned", Versioned, clobber=True)
    fsspec.filesystem("versioned").pipe_file("/box/x", b"0123456789")
    yield "versioned://box/x"


def test_ranges_reach_a_filesystem_by_name(versioned: str) -> None:
    assert read_bytes(versioned) == b"0123456789"
    assert read_bytes(versioned, 2, 5) == b"234"
    assert read_bytes(versioned, 7) == b"789"
    with ByteSource(versioned) as source:
        assert source.read(3, 4) == b"3456"
