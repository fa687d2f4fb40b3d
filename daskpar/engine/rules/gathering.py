"""Says where failures gather: the processor or the node that has far more of them than the others. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from daskpar.paths import process_name
from daskpar.value_classes import frozen

FEWEST = 5
"""Failed tries below which nothing is said: they may be together by chance."""
RATIO = 5.0
"""How many times the share of failures elsewhere it has to be."""
SHARE = 0.5
"""Of all failed tries that have to be there."""


@frozen
class Tally:
    """Tries of one processor or node."""

    tries: int = 0
    failed: int = 0

    def __add__(self, other: Tally) -> Tally:
        return Tally(self.tries + other.tries, self.failed + other.failed)

    def __sub__(self, other: Tally) -> Tally:
        return Tally(self.tries - other.tries, self.failed - other.failed)


Processor = tuple[int, int]
"""Numbers of a node and of a processor on it."""


def where_failures_gather(tallies: Mapping[Processor, Tally]) -> str:
    """One sentence with the node, or else the processor, where failures gather; empty where they do not."""
    nodes: dict[int, Tally] = {}
    for (node, _), tally in tallies.items():
        nodes[node] = nodes.get(node, Tally()) + tally
    total = sum(nodes.values(), Tally())
    worst_node = max(nodes, key=lambda node: nodes[node].failed, default=None)
    if worst_node is None:
        return ""
    on_node = {key: tally for key, tally in tallies.items() if key[0] == worst_node}
    worst = max(on_node, key=lambda key: on_node[key].failed)
    # The processor where it alone stands out, on its node too: the narrower place says more.
    if _stands_out(tallies[worst], total) and _stands_out(tallies[worst], nodes[worst_node]):
        place = f"{process_name(worst[1])} of node {worst[0]}"
        return _sentence(place, tallies[worst], total - tallies[worst])
    if _stands_out(nodes[worst_node], total):
        return _sentence(f"node {worst_node}", nodes[worst_node], total - nodes[worst_node])
    return ""


def _stands_out(here: Tally, total: Tally) -> bool:
    elsewhere = total - here
    if here.failed < FEWEST or not elsewhere.tries or here.failed < SHARE * total.failed:
        return False
    # One more failure elsewhere than there was: few tries do not show that there are none.
    return here.failed / here.tries >= RATIO * (elsewhere.failed + 1) / (elsewhere.tries + 1)


def _sentence(place: str, here: Tally, elsewhere: Tally) -> str:
    return (
        f"failures gather on {place}: {here.failed} of its {here.tries} tries failed, elsewhere "
        f"{elsewhere.failed} of {elsewhere.tries}; it may be the place and not the data"
    )
