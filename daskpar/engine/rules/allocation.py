"""Decides how many processors, CUDA devices and threads each node gets: pure, from the facts of the nodes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import field

from daskpar.engine.rules.gpu_shares import ONE_EACH, GpuShares
from daskpar.value_classes import frozen


@frozen(kw_only=True)
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
    threads: int | None = None
    """Tasks that the worker runs at a time, which is what its cluster gives it of the host; None on a
    cluster of ours, which gives it all.
    """
    memory: int | None = None
    """The worker's memory limit in bytes; None without."""
    packages: Mapping[str, str] = field(default_factory=dict)
    """Versions of Python and of the packages that values depend on."""


def processors_per_node(
    nodes: list[NodeFacts], wanted: int | None, shares: GpuShares = ONE_EACH
) -> dict[str, int]:
    """Processors of each node, by address; at least 1.

    That is `wanted`, else one for each of its devices (or as `shares` say), else one for each of its cores
    (`cores_of`). One for each device is what Azure ML's default for a GPU compute, 1, means on a node with
    several. Nodes of one host that see the same devices share them.
    """
    if wanted:
        return dict.fromkeys((facts.address for facts in nodes), wanted)
    seen = {facts.address: shares.seen(facts.gpus) for facts in nodes}
    seeing = Counter((facts.host, device) for facts in nodes for device in seen[facts.address])
    found = {}
    for facts in nodes:
        if mine := seen[facts.address]:
            most = max(seeing[facts.host, device] for device in mine)
            found[facts.address] = shares.processors(len(mine) // most)
        else:
            found[facts.address] = cores_of(facts, nodes)
    return found


def cores_of(facts: NodeFacts, nodes: list[NodeFacts]) -> int:
    """How many cores of its host the node of `facts` may use, at least 1; `nodes` are all there are.

    On a cluster that is not ours as many as its worker has threads, and where the workers of a host have more
    threads than that has cores, its share by threads. On one of ours the nodes of a host share it evenly.
    """
    on_host = [other for other in nodes if other.host == facts.host]
    if facts.threads is None:
        return max(1, facts.cores // max(1, len(on_host)))
    threads = sum(other.threads or 0 for other in on_host)
    if threads <= facts.cores:
        return max(1, facts.threads)
    return max(1, facts.cores * facts.threads // threads)


def gpus_per_node(
    nodes: list[NodeFacts],
    processors: dict[str, int],
    held: Iterable[tuple[str, str]] = (),
    shares: GpuShares = ONE_EACH,
) -> dict[str, tuple[str, ...]]:
    """CUDA devices of each node's processors, by address: a text for each processor, as `shares` say.

    A node gets devices that it sees and that no other node of its host has. Processors beyond the devices get
    none (empty text). `held`: (host, device) of the nodes that are open already.
    """
    taken = set(held)
    allocated: dict[str, tuple[str, ...]] = {}
    for facts in nodes:
        seen = shares.seen(facts.gpus)
        slots = processors[facts.address] if seen else 0
        free = [device for device in seen if (facts.host, device) not in taken]
        mine = free[: shares.needed(slots)]
        taken.update((facts.host, device) for device in mine)
        allocated[facts.address] = shares.dealt(mine, slots)
    return allocated


def threads_per_processor(facts: NodeFacts, nodes: list[NodeFacts], processors: dict[str, int]) -> int:
    """OMP_NUM_THREADS and its like, at least 1.

    On a cluster of ours the host's cores over all our processors on it, else the node's cores over its own.
    """
    # Libraries take all cores by default; several processors that do so slow each other down.
    if facts.threads is not None:
        return max(1, cores_of(facts, nodes) // max(1, processors[facts.address]))
    on_host = sum(processors[other.address] for other in nodes if other.host == facts.host)
    return max(1, facts.cores // max(1, on_host))
