"""Who gets which GPU: whole ones, parts, several; what the user lets a step see is kept within."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from daskpar.engine.rules.allocation import NodeFacts, gpus_per_node, processors_per_node
from daskpar.engine.rules.gpu_shares import GpuShares, shares_of, shares_of_step

MIG = ("MIG-1a", "MIG-2b", "MIG-3c")


def node(address: str, gpus: tuple[str, ...]) -> NodeFacts:
    return NodeFacts(address=address, host="one", cores=8, gpus=gpus, version="1", python="python", pid=1)


@pytest.mark.parametrize(
    ("each", "there", "wanted", "expected"),
    [
        (1, ("0", "1"), None, ("0", "1")),
        (1, ("0", "1"), 3, ("0", "1", "")),
        (1, MIG, None, MIG),
        (0.5, ("0", "1"), None, ("0", "1", "0", "1")),
        (0.5, ("0", "1"), 3, ("0", "1", "0")),
        (0.5, ("GPU-7",), None, ("GPU-7", "GPU-7")),
        (0.34, ("0",), None, ("0", "0")),  # three of them would be more than the GPU
        (0.3, ("0",), None, ("0", "0", "0")),
        (0.1, ("0",), 4, ("0", "0", "0", "0")),
        (2, ("0", "1", "2", "3"), None, ("0,1", "2,3")),
        (2, ("0", "1", "2"), None, ("0,1",)),
        (2, ("0", "1", "2"), 2, ("0,1", "")),
        (2, ("0",), None, ("0",)),
        (1, (), None, ()),
        (2, (), 2, ()),
    ],
)
def test_what_each_processor_of_a_node_gets(each, there, wanted, expected):
    shares, nodes = GpuShares(each), [node("a", there)]
    processors = processors_per_node(nodes, wanted, shares)
    assert gpus_per_node(nodes, processors, shares=shares) == {"a": expected}
    assert processors["a"] == (len(expected) or wanted or 8)


@pytest.mark.parametrize(
    ("visible", "there", "expected"),
    [
        (None, ("0", "1"), ("0", "1")),
        ("1", ("0", "1"), ("1",)),
        ("1,0", ("0", "1"), ("1", "0")),
        ("7", ("0", "1"), ()),
        ("", ("0", "1"), ()),
        ("-1", ("0", "1"), ()),
        ("1,-1,0", ("0", "1"), ("1",)),
        ("GPU-7", ("0", "1"), ("GPU-7",)),
        ("GPU-7", ("0",), ("GPU-7",)),
        ("0", ("GPU-7",), ("0",)),
        ("MIG-2b", MIG, ("MIG-2b",)),
        ("GPU-7", (), ()),
    ],
)
def test_what_the_user_lets_a_step_see_is_kept_within(visible, there, expected):
    assert GpuShares(visible=visible).seen(there) == expected


def test_nodes_of_one_host_share_the_parts_and_the_pairs():
    four = ("0", "1", "2", "3")
    nodes = [node("a", four), node("b", four)]
    for each, expected in (
        (0.5, {"a": ("0", "1", "0", "1"), "b": ("2", "3", "2", "3")}),
        (2, {"a": ("0,1",), "b": ("2,3",)}),
    ):
        shares = GpuShares(each)
        assert gpus_per_node(nodes, processors_per_node(nodes, None, shares), shares=shares) == expected


@pytest.mark.parametrize(
    ("each", "on_one", "processors", "needed"),
    [
        (1.0, 1, [1, 1, 2, 3], [0, 1, 2, 3]),
        (0.5, 2, [1, 2, 4, 6], [0, 1, 1, 2]),
        (0.7, 1, [1, 1, 2, 3], [0, 1, 2, 3]),
        (0.34, 2, [1, 2, 4, 6], [0, 1, 1, 2]),
        (2.0, 1, [1, 1, 1, 1], [0, 2, 4, 6]),
    ],
)
def test_how_many_processors_so_many_gpus_are_for_and_how_many_these_need(each, on_one, processors, needed):
    shares = GpuShares(each)
    assert shares.on_one == on_one
    assert [shares.processors(number) for number in range(4)] == processors
    assert [shares.needed(number) for number in range(4)] == needed
    assert GpuShares() == GpuShares(1.0, None)


def test_the_shares_of_a_step_are_what_it_says():
    variables = {"CUDA_VISIBLE_DEVICES": "1"}
    settings = SimpleNamespace(gpus_per_processor=0.5)
    assert shares_of_step(SimpleNamespace(settings=settings, environment_variables=variables)) == GpuShares(
        0.5, "1"
    )
    assert shares_of(SimpleNamespace(gpus_each=2.0, environment={})) == GpuShares(2.0, None)
