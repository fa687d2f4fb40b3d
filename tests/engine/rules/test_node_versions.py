"""Which nodes are said to have other packages than the driver."""

from __future__ import annotations

from daskpar.engine.rules.allocation import NodeFacts
from daskpar.engine.rules.node_versions import differences

OWN = {"Python": "3.11", "pandas": "3.1.1"}


def facts(address: str, **packages: str) -> NodeFacts:
    return NodeFacts(
        address=address,
        host="h",
        cores=1,
        gpus=(),
        version="1",
        python="p",
        pid=1,
        packages={**OWN, **packages},
    )


def test_the_same_packages_are_not_mentioned():
    assert differences([facts("a"), facts("b")], OWN) == {}


def test_what_only_one_side_has_is_not_compared():
    assert differences([facts("a", polars="1")], OWN) == {}


def test_each_other_version_is_told_once_with_its_workers():
    nodes = [facts("a", pandas="2.2.3"), facts("b"), facts("c", pandas="2.2.3", Python="3.12")]
    found = differences(nodes, OWN)
    assert list(found) == [("pandas", "2.2.3"), ("Python", "3.12")]
    assert "workers a, c: pandas 2.2.3 there, 3.1.1 here" in found["pandas", "2.2.3"]
    assert "worker c: Python 3.12 there, 3.11 here" in found["Python", "3.12"]


def test_many_workers_are_counted():
    [text] = differences([facts(name, pandas="2") for name in "abcdef"], OWN).values()
    assert "workers a, b, c and 3 more" in text


def test_as_many_workers_as_are_shown_are_all_named():
    [text] = differences([facts(name, pandas="2") for name in "abc"], OWN).values()
    assert text.startswith("workers a, b, c: ")
