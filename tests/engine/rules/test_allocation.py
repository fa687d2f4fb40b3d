"""How many processors, devices and threads each node gets."""

from __future__ import annotations

from dataclasses import replace

import pytest

from daskpar.engine.rules.allocation import (
    NodeFacts,
    gpus_per_node,
    processors_per_node,
    threads_per_processor,
)
from daskpar.processor.gpus.gpu_devices import devices


def facts(address: str, host: str, cores: int = 8, gpus: tuple[str, ...] = ()) -> NodeFacts:
    return NodeFacts(address=address, host=host, cores=cores, gpus=gpus, version="1", python="python", pid=1)


THREE = ("0", "1", "2")
NODES = [
    facts("a", "one"),
    facts("b", "one"),
    facts("c", "two", cores=1),
    facts("d", "three", cores=16, gpus=THREE),
    facts("e", "three", cores=16, gpus=THREE),
]


def test_cores_gpus_and_threads_are_dealt_out_for_each_host():
    processors = processors_per_node(NODES, None)
    assert processors == {"a": 4, "b": 4, "c": 1, "d": 1, "e": 1}
    assert processors_per_node(NODES, 2) == dict.fromkeys("abcde", 2)
    assert gpus_per_node(NODES, dict.fromkeys("abcde", 2)) == {
        "a": (),
        "b": (),
        "c": (),
        "d": ("0", "1"),
        "e": ("2", ""),
    }
    assert threads_per_processor(NODES[0], NODES, processors) == 1
    assert threads_per_processor(NODES[3], NODES, processors) == 8
    assert threads_per_processor(NODES[2], NODES, {**processors, "c": 5}) == 1


def test_where_cores_are_few_each_node_and_each_processor_has_one_all_the_same():
    nodes = [facts(name, "one", cores=2) for name in "abc"]
    assert processors_per_node(nodes, None) == {"a": 1, "b": 1, "c": 1}


def test_nodes_with_devices_of_their_own_keep_them():
    nodes = [facts("a", "one", gpus=("2", "3")), facts("b", "one", gpus=("GPU-7",)), facts("c", "one")]
    processors = processors_per_node(nodes, None)
    assert processors == {"a": 2, "b": 1, "c": 2}
    assert gpus_per_node(nodes, processors) == {"a": ("2", "3"), "b": ("GPU-7",), "c": ()}


def test_nodes_that_see_the_same_devices_in_another_order_share_them():
    nodes = [facts("a", "one", gpus=("0", "1")), facts("b", "one", gpus=("1", "0"))]
    assert gpus_per_node(nodes, processors_per_node(nodes, None)) == {"a": ("0",), "b": ("1",)}


def test_what_an_open_node_holds_is_dealt_to_no_other():
    assert gpus_per_node([NODES[4]], {"e": 2}, [("three", "0"), ("three", "1"), ("two", "2")]) == {
        "e": ("2", "")
    }
    assert gpus_per_node([NODES[4]], {"e": 1}, [("three", device) for device in THREE]) == {"e": ("",)}


@pytest.mark.parametrize(
    ("cores", "threads", "expected"),
    [
        (8, [1], [1]),
        (8, [8], [8]),
        (8, [16], [8]),
        (8, [2, 4], [2, 4]),
        (8, [4, 4], [4, 4]),
        (8, [8, 8], [4, 4]),
        (8, [12, 4], [6, 2]),
        (2, [1, 1, 1], [1, 1, 1]),
        (1, [4], [1]),
    ],
)
def test_a_worker_of_a_cluster_that_is_not_ours_gets_a_core_for_each_of_its_threads(cores, threads, expected):
    """As far as its host has them; each processor's libraries then keep to one thread."""
    nodes = [replace(facts(str(n), "one", cores), threads=count) for n, count in enumerate(threads)]
    processors = processors_per_node(nodes, None)
    assert list(processors.values()) == expected
    assert {threads_per_processor(node, nodes, processors) for node in nodes} == {1}


def test_one_processor_on_such_a_worker_has_its_threads_and_no_more():
    nodes = [replace(facts("a", "one", 64), threads=4), replace(facts("b", "one", 64), threads=8)]
    wanted = processors_per_node(nodes, 2)
    assert [threads_per_processor(node, nodes, wanted) for node in nodes] == [2, 4]


@pytest.mark.parametrize(
    ("threads", "processors", "expected"),
    [
        # On a cluster of ours the cores of a host over all processors there, on another one its own over its own.
        (None, {"a": 1}, {"a": 8}),
        (None, {"a": 4, "b": 1}, {"a": 1, "b": 1}),
        (None, {"a": 2, "b": 1}, {"a": 2, "b": 2}),
        (4, {"a": 1, "b": 2}, {"a": 4, "b": 2}),
        (4, {"a": 5, "b": 9}, {"a": 1, "b": 1}),
    ],
)
def test_the_libraries_of_a_processor_get_its_share_of_the_cores(threads, processors, expected):
    nodes = [replace(facts(name, "one"), threads=threads) for name in processors]
    assert {node.address: threads_per_processor(node, nodes, processors) for node in nodes} == expected


@pytest.mark.parametrize(
    ("visible", "expected"),
    [
        (None, ("0", "2", "10")),
        ("", ()),
        ("-1", ()),
        ("3", ("3",)),
        ("1, 0", ("1", "0")),
        ("0,-1,1", ("0",)),
        ("GPU-8932f937,MIG-GPU-1/1/0", ("GPU-8932f937", "MIG-GPU-1/1/0")),
    ],
)
def test_the_devices_of_a_node(visible, expected):
    assert devices(visible, ["/dev/nvidia10", "/dev/nvidia0", "/dev/nvidia2"]) == expected
