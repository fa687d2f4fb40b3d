"""Dask's configuration is read by libyaml, and nothing else in the process is read otherwise."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import yaml

from daskpar.driver.import_ahead import _configuration_read_fast

fast = pytest.mark.skipif(not hasattr(yaml, "CSafeLoader"), reason="PyYAML has no libyaml here")


def reader_in(module: str) -> Any:
    """`yaml.safe_load`, as code of that module calls it."""
    names: dict[str, Any] = {"__name__": module}
    exec("import yaml\ndef read(stream): return yaml.safe_load(stream)", names)
    return names["read"]


@fast
@pytest.mark.parametrize(
    ("module", "is_fast"),
    [("dask.config", True), ("distributed.config", True), ("dask_of_ours", False), ("script", False)],
)
def test_who_is_read_fast(module: str, is_fast: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[Any] = []
    load = yaml.load
    monkeypatch.setattr(yaml, "load", lambda stream, Loader: (used.append(Loader), load(stream, Loader))[1])
    read = reader_in(module)
    with _configuration_read_fast():
        assert read("a: [1, 2]") == {"a": [1, 2]}
    assert used == [yaml.CSafeLoader if is_fast else yaml.SafeLoader]


def test_loaders_of_other_threads_are_what_they_always_are() -> None:
    """Such as a class that is derived from one just then, or a tag that is added to it."""
    usual = yaml.SafeLoader
    with _configuration_read_fast():
        assert yaml.SafeLoader is usual


def test_two_runs_that_start_at_once_leave_it_as_it_was() -> None:
    before = yaml.SafeLoader, yaml.safe_load
    inside, end = threading.Event(), threading.Event()

    def first() -> None:
        with _configuration_read_fast():
            inside.set()
            end.wait(10)

    def second() -> None:
        with _configuration_read_fast():
            pass

    threads = [threading.Thread(target=each) for each in (first, second)]
    threads[0].start()
    assert inside.wait(10)
    threads[1].start()
    end.set()
    for thread in threads:
        thread.join(10)
    assert (yaml.SafeLoader, yaml.safe_load) == before
