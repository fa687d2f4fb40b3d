"""Where failures gather is said only where chance does not explain it."""

from __future__ import annotations

import pytest

from daskpar.engine.rules.gathering import FEWEST, Tally, where_failures_gather


@pytest.mark.parametrize(
    ("tallies", "place"),
    [
        ({}, ""),
        ({(0, 0): (100, 50)}, ""),
        ({(0, 0): (100, 50), (0, 1): (100, 0)}, "process000 of node 0: 50 of its 100 tries"),
        ({(0, 0): (100, FEWEST), (0, 1): (100, 0)}, "process000 of node 0"),
        ({(0, 0): (100, FEWEST - 1), (0, 1): (100, 0)}, ""),
        ({(0, 0): (100, 50), (0, 1): (100, 40)}, ""),
        ({(0, 0): (100, 4), (0, 1): (100, 4), (1, 0): (200, 0)}, "node 0: 8 of its 200 tries failed, elsewhere 0 of 200;"),
        ({(0, 0): (90, 90), (0, 1): (95, 95), (1, 0): (200, 1)}, "node 0: 185 of its 185 tries"),
        ({(0, 0): (90, 2), (1, 7): (95, 80), (1, 1): (200, 1)}, "process007 of node 1"),
        ({(0, 0): (1000, 20), **{(0, n): (100, 5) for n in range(1, 9)}}, ""),
        ({(0, 0): (6, 6), (0, 1): (3, 0)}, ""),
        ({(0, 0): (FEWEST - 1, FEWEST - 1), (0, 1): (1000, 0)}, ""),
        ({(0, 0): (20, 20), **{(n, 0): (1000, 15) for n in range(1, 9)}}, ""),
    ],
    ids=[
        "nothing ran",
        "the only one",
        "one of two",
        "as few as count",
        "too few",
        "both",
        "all of a node",
        "the whole node rather than one of two",
        "one of a node",
        "spread",
        "too few tries elsewhere",
        "all of them, but few",
        "all of one, but most failures are elsewhere",
    ],
)  # fmt: skip
def test_where_failures_gather(tallies, place):
    said = where_failures_gather({key: Tally(*counts) for key, counts in tallies.items()})
    assert (place in said) if place else not said
