"""Decides how many nodes there is work for, and what is said while they are waited for: pure."""

from __future__ import annotations

Seconds = float

SAY_AFTER = (10.0, 30.0, 60.0, 120.0, 300.0)
"""When it is said how many nodes are there yet; then every `SAY_EVERY` seconds."""
SAY_EVERY = 300.0


def nodes_for(mini_batches: int, processors: int, instance_count: int) -> int:
    """Nodes that `mini_batches` keep busy, each with so many `processors`; at most `instance_count` (-1: any
    number).
    """
    most = -(-mini_batches // max(1, processors))
    return most if instance_count == -1 else min(most, instance_count)


class NodeWait:
    """Says from time to time how many of the nodes that were asked for are there."""

    def __init__(self, now: Seconds) -> None:
        self._since = now
        self._asked = 0
        self._said = 0.0

    def look(self, asked: int, here: int, now: Seconds) -> str:
        """What to say at `now`; mostly nothing."""
        if asked != self._asked:
            self._asked, self._since, self._said = asked, now, 0.0
        waited = now - self._since
        if here >= asked or waited < next_time(self._said):
            return ""
        self._said = waited
        return waiting_in_words(asked, here, waited)


def next_time(said: Seconds) -> Seconds:
    """After how many seconds of waiting something is said again, when it was last said after `said`."""
    return next((after for after in SAY_AFTER if after > said), said + SAY_EVERY)


def waiting_in_words(asked: int, here: int, waited: Seconds) -> str:
    """`asked for 4 nodes, 1 is here (2 min)`."""
    nodes = "1 node" if asked == 1 else f"{asked} nodes"
    there = "none is" if not here else "1 is" if here == 1 else f"{here} are"
    hours, minutes = divmod(int(waited) // 60, 60)
    if not hours and not minutes:
        time = f"{waited:.0f} s"
    else:
        time = " ".join([*([f"{hours} h"] if hours else []), *([f"{minutes} min"] if minutes else [])])
    return f"asked for {nodes}, {there} here ({time})"
