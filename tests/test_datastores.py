"""Datastores with options of their own: how they are written, what they open, and that nothing shows them."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Iterator
from typing import Any

import dask
import fsspec
import pytest

from daskpar import datastores, masking
from daskpar.datastores import as_datastore, known_options, options_of, remember, take_options
from daskpar.driver.options import Datastores, all_datastores
from daskpar.errors import InputError, UsageError
from daskpar.locations import filesystem

SECRET = "wJalrXUtnFEMI-secret"


class Strict(fsspec.AbstractFileSystem):  # type: ignore[misc]
    """A filesystem that takes no option which it does not know."""

    protocol = "strict"

    def __init__(self, secret: str = "") -> None:
        super().__init__()


@pytest.fixture(autouse=True)
def forgotten(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a test makes known is unknown to the next one."""
    monkeypatch.setattr(datastores, "_known", {})
    monkeypatch.setattr(masking, "_known", set())
    yield


@pytest.mark.parametrize(
    ("written", "why"),
    [
        ({"storage_options": {}}, "the datastore lake has no url"),
        ({"url": ""}, "has no url"),
        ({"url": "s3://b", "storage_option": {}}, "'storage_option' is no key .* mean 'storage_options'"),
        ({"url": "s3://b", "account": "x"}, "'account' is no key of a datastore. It has url and"),
        ({"url": "s3://b", "storage_options": ["key"]}, "has to map names to values"),
        ({"url": "s3://b", "storage_options": {1: "key"}}, "has to map names to values"),
        ({"url": "/mnt/b", "storage_options": {"key": SECRET}}, "for a URL, and /mnt/b is a local folder"),
        ({"url": "s3://b", "storage_options": {"key": "${env:NOT_SET}"}}, "`export NOT_SET=...`"),
    ],
)
def test_mistakes_are_told_without_values(written: dict[str, Any], why: str) -> None:
    with pytest.raises(UsageError, match=why) as caught:
        as_datastore("lake", written)
    assert SECRET not in str(caught.value)


def test_options_come_from_the_environment_where_they_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OUR_SECRET", SECRET)
    options = {"secret": "${env:OUR_SECRET}", "client_kwargs": {"list": ["${env:OUR_SECRET}", 1]}}
    store = as_datastore("lake", {"url": "s3://b", "storage-options": options})
    assert store.options == {"secret": SECRET, "client_kwargs": {"list": [SECRET, 1]}}
    assert SECRET not in repr(store)


def test_the_innermost_datastore_counts() -> None:
    remember("s3://b/", {"key": "outer"})
    remember("s3://b/in", {"key": "inner"})
    remember("abfss://c@a.dfs.core.windows.net", {"account_key": "x"})
    keys = {url: options_of(url).get("key") for url in ("s3://b", "s3a://b/x", "s3://b/in/x", "s3://b/into")}
    assert keys == {"s3://b": "outer", "s3a://b/x": "outer", "s3://b/in/x": "inner", "s3://b/into": "outer"}
    assert options_of("s3://bb/x") == {} == options_of("gs://b/x")
    assert options_of("abfs://c@a.dfs.core.windows.net/x")
    remember("s3://b/in", {})
    assert options_of("s3://b/in/x") == {"key": "outer"}


def test_they_go_to_other_processes_and_are_never_shown() -> None:
    remember("s3://b", {"secret": SECRET, "client_kwargs": {"token": "a-token"}, "anon": False})
    sent = known_options()
    assert SECRET not in repr(sent)
    assert masking.hidden(f"refused: {SECRET} a-token") == "refused: *** ***"
    remember("s3://b", {})
    take_options(pickle.loads(pickle.dumps(sent)))
    assert options_of("s3://b/x")["secret"] == SECRET


def test_those_of_the_configuration_and_those_that_are_given() -> None:
    configured = {
        "lake": {"url": "s3://lake/base", "storage_options": {"key": "configured"}},
        "mine": {"url": "s3://mine", "storage_options": {"key": "configured"}},
        "plain": "s3://plain",
    }
    given = {"mine": {"url": "s3://mine", "storage_options": {"key": "given"}}}
    with dask.config.set({"daskpar.datastores": configured}):
        assert all_datastores(given) == {"lake": "s3://lake/base", "mine": "s3://mine", "plain": "s3://plain"}
        assert options_of("s3://lake/base/x") == {"key": "configured"}
        assert options_of("s3://mine/x") == {"key": "given"}
        # A run that goes on knows the place by its name, and the options by the configuration.
        assert all_datastores({"lake": "s3://lake/base"})["lake"] == "s3://lake/base"
        assert options_of("s3://lake/base/x") == {"key": "configured"}
    with dask.config.set({"daskpar.datastores": {"lake": "s3://lake/base"}}):
        all_datastores({})
        assert options_of("s3://lake/base/x") == {}, "those of an earlier run in this process"
    one, two = ({"url": "s3://same", "storage_options": {"key": key}} for key in "ab")
    with pytest.raises(UsageError, match="the datastores one and two are both s3://same"):
        Datastores({"one": one, "two": two})


def test_a_filesystem_is_opened_with_them() -> None:
    remember("s3://b", {"key": "k", "secret": SECRET, "endpoint_url": "http://127.0.0.1:9"})
    opened, inner = filesystem("s3://b/x")
    assert (opened.key, opened.secret, inner) == ("k", SECRET, "b/x")
    assert filesystem("s3://c/x")[0].key is None


@pytest.mark.parametrize(
    ("url", "module", "package"),
    [
        ("abfs://c@a.dfs.core.windows.net/x", "adlfs", "adlfs"),
        ("gs://b/x", "gcsfs", "gcsfs"),
        ("https://example.invalid/x", "aiohttp", "aiohttp"),
    ],
)
def test_a_missing_package_is_named(
    monkeypatch: pytest.MonkeyPatch, url: str, module: str, package: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.delitem(sys.modules, "fsspec.implementations.http", raising=False)
    monkeypatch.setattr(sys.modules["fsspec.registry"], "_registry", {})
    with pytest.raises(InputError, match=rf"takes the package {package}, .*`pip install {package}`"):
        filesystem(url)


def test_wrong_schemes_and_options_are_told() -> None:
    with pytest.raises(InputError, match="no package is known that opens nothing://"):
        filesystem("nothing://b/x")
    fsspec.register_implementation("strict", Strict, clobber=True)
    remember("strict://b", {"no_such_option": 1, "secret": SECRET})
    with pytest.raises(InputError, match=r"its storage_options are refused: .*no_such_option") as caught:
        filesystem("strict://b/x")
    assert SECRET not in str(caught.value)
