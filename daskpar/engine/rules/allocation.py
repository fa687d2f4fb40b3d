"""Decides how many processors, CUDA devices and threads each node gets: pure, from the facts of the nodes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class NodeFacts:
    """Facts of a worker, asked for when a run connects."""

    address: str
    host: str
    cores: int
    gpus: tuple[str, ...]
    """CUDA devices that it may use, by the names that CUDA_VISIBLE_DEVICES takes: indices, UUIDs, MIG names.
    """
    version: str
    python: str
    pid: int


def processors_per_node(nodes: list[NodeFacts], wanted: int | None) -> dict[str, int]:
    """Processors of each node, by address; at least 1.

    That is `wanted`, else one for each of its devices, else one for each core. One for each device is what
    Azure ML's default for a GPU compute, 1, means on a node with several. Nodes of one host that see the same
    devices share them, and all nodes of one host share its cores.
    """
    if wanted:
        return dict.fromkeys((facts.address for facts in nodes), wanted)
    on_host = Counter(facts.host for facts in nodes)
    seeing = Counter((facts.host, device) for facts in nodes for device in facts.gpus)
    found = {}
    for facts in nodes:
        if facts.gpus:
            found[facts.address] = max(
                1, len(facts.gpus) // max(seeing[facts.host, device] for device in facts.gpus)
            )
        else:
            found[facts.address] = max(1, facts.cores // on_host[facts.host])
    return found


def gpus_per_node(
    nodes: list[NodeFacts], processors: dict[str, int], held: Iterable[tuple[str, str]] = ()
) -> dict[str, tuple[str, ...]]:
    """CUDA devices of each node's processors, by address: one for each processor.

    A node gets devices that it sees and that no other node of its host has. Processors beyond the devices get
    none (empty text). `held`: (host, device) of the nodes that are open already.
    """
    taken = set(held)
    allocated: dict[str, tuple[str, ...]] = {}
    for facts in nodes:
        slots = processors[facts.address] if facts.gpus else 0
        mine = [device for device in facts.gpus if (facts.host, device) not in taken][:slots]
        taken.update((facts.host, device) for device in mine)
        allocated[facts.address] = (*mine, *[""] * (slots - len(mine)))
    return allocated


def threads_per_processor(facts: NodeFacts, nodes: list[NodeFacts], processors: dict[str, int]) -> int:
    """OMP_NUM_THREADS and its like: the host's cores over all our processors on that host, at least 1."""
    # Libraries take all cores by default; several processors that do so slow each other down.
    on_host = sum(processors[other.address] for other in nodes if other.host == facts.host)
    return max(1, facts.cores // max(1, on_host))
