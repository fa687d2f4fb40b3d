"""Dask's configuration is read by libyaml; nothing else is another one for that."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import yaml

from daskpar.driver.import_ahead import _configuration_read_fast

fast = pytest.mark.skipif(not hasattr(yaml, "CSafeLoader"), reason="PyYAML has no libyaml here")


@fast
def test_what_is_read_meanwhile_is_read_fast_and_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[Any] = []
    load = yaml.load
    monkeypatch.setattr(yaml, "load", lambda stream, Loader: (used.append(Loader), load(stream, Loader))[1])
    text = "a: [1, 2.5, yes, ~, 2026-11-27]\nb: {c: 'd'}\n"
    with _configuration_read_fast():
        found = yaml.safe_load(text)
    assert found == yaml.safe_load(text)
    assert issubclass(used[0], yaml.CSafeLoader) and used[1] is yaml.SafeLoader


def test_tags_that_others_have_added_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    own = {**yaml.SafeLoader.yaml_constructors, "!twice": lambda loader, node: 2 * int(node.value)}
    monkeypatch.setattr(yaml.SafeLoader, "yaml_constructors", own)
    with _configuration_read_fast():
        assert yaml.safe_load("a: !twice 4") == {"a": 8}


def test_loaders_of_other_threads_are_what_they_always_are() -> None:
    """Such as a class that is derived from one just then, or a tag that is added to it."""
    usual = yaml.SafeLoader
    with _configuration_read_fast():
        assert yaml.SafeLoader is usual


def test_two_runs_that_start_at_once_leave_it_as_it_was() -> None:
    before = yaml.SafeLoader, yaml.safe_load
    inside, both, first_ends, second_ends = (threading.Event() for _ in range(4))

    def read(begun: threading.Event, ends: threading.Event) -> None:
        with _configuration_read_fast():
            begun.set()
            ends.wait(10)

    first = threading.Thread(target=read, args=[inside, first_ends])
    second = threading.Thread(target=read, args=[both, second_ends])
    first.start()
    assert inside.wait(10)
    second.start()
    both.wait(0.2)  # it may have to wait for the first one
    first_ends.set()
    first.join(10)
    second_ends.set()
    second.join(10)
    assert (yaml.SafeLoader, yaml.safe_load) == before
