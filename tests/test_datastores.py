"""Datastores with options of their own: how they are written, what they open, and that nothing shows them."""

from __future__ import annotations

import pickle
import sys
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import dask
import fsspec
import pytest

from daskpar import datastores, masking
from daskpar.datastores import (
    StorageOptions,
    as_datastore,
    carried,
    known_options,
    options_for,
    options_of,
    own_options,
    remember,
    take_options,
)
from daskpar.driver import start_run
from daskpar.driver.options import Options
from daskpar.errors import InputError, UsageError
from daskpar.locations import filesystem
from daskpar.named_places import Datastores, all_datastores

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


def test_another_process_gets_those_of_its_files_and_no_others() -> None:
    for name in ("lake", "lake/in", "other"):
        remember(f"s3://{name}", {"key": name})
    found = options_for(["/local/x", "s3://lake/x", "s3a://lake/in/x", "s3://lake/y", "gs://other/x"])
    assert found == {"s3://lake": {"key": "lake"}, "s3://lake/in": {"key": "lake/in"}}
    assert not options_for(["/local/x"])


class Key(str):
    """A known URL; while it is looked at, another run makes its own known."""

    def rstrip(self, *characters: Any) -> str:  # type: ignore[override]
        remember("s3://of-another-run", {"key": "k"})
        return super().rstrip(*characters)


def test_another_thread_may_make_some_known_while_one_is_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datastores, "_known", {Key("s3://a"): {"key": "a"}, Key("s3://b"): {"key": "b"}})
    assert options_of("s3://b/x") == {"key": "b"} and options_of("s3://of-another-run") == {"key": "k"}


def test_runs_at_once_have_their_own_for_one_url_and_later_ones_get_none_of_earlier_ones(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Each step sends its cluster what is known when it starts: that must not be the secrets of other runs."""
    both_began = threading.Barrier(2, timeout=60)
    seen: dict[str, list[StorageOptions | Mapping[str, Any]]] = {}

    def begin(spec: Path, _: object, __: object, options: Options) -> Any:
        all_datastores(options.datastores)
        if spec.name != "later":
            both_began.wait()
        with ThreadPoolExecutor(1) as threads:
            of_a_thread = threads.submit(carried(options_of), "s3://lake/x").result()
        seen[spec.name] = [known_options(), options_of("s3://lake/x"), of_a_thread]
        return None

    def run(name: str, stores: Mapping[str, Any]) -> None:
        start_run.start_run(tmp_path / name, {}, None, Options(datastores=stores))

    monkeypatch.setattr(start_run, "_start", begin)
    at_once = [
        threading.Thread(
            target=run, args=(name, {"lake": {"url": "s3://lake", "storage_options": {"key": name}}})
        )
        for name in "ab"
    ]
    for thread in at_once:
        thread.start()
    for thread in at_once:
        thread.join()
    run("later", {"lake": "s3://lake", "own": {"url": "s3://own", "storage_options": {"key": "own"}}})
    assert seen == {
        **{name: [{"s3://lake": {"key": name}}, {"key": name}, {"key": name}] for name in "ab"},
        "later": [{"s3://own": {"key": "own"}}, {}, {}],
    }
    assert options_of("s3://own/rows") == {"key": "own"}, "what it has written is read afterwards"


def test_what_a_node_is_sent_stays_with_what_it_is_for() -> None:
    """A worker of Dask serves several runs, in the process of one of them even."""
    sent = StorageOptions({"s3://b": {"secret": SECRET}})
    with own_options(sent):
        assert options_of("s3://b/x") == {"secret": SECRET}
    assert options_of("s3://b/x") == {} and masking.hidden(SECRET) == "***"


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
