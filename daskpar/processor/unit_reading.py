"""Decides when a unit that is costly to read (a row group of Parquet) is read by a second processor: pure.

Who runs what is left of a unit:

    the very first mini-batches run            whoever has read it: nobody knows yet what is slow
    a mini-batch takes longer than others do   others, where reading it again takes less time than the wait
    its reader will come to it in a moment     its reader
    its reader has much to do before           whoever is free
"""

from __future__ import annotations

Seconds = float

FIRST_SECONDS = 5.0
"""What the very first mini-batches of a node may take before they count as slow, where units are costly."""
MOST_MINI_BATCHES = 2
MOST_READINGS = 5.0
"""A free processor leaves a block to the reader of its unit for no longer than so many mini-batches take, and
so many readings: to save less time is not worth what is read twice."""


def patience(*, very_first: bool, reload: Seconds) -> Seconds:
    """How much longer than expected a call may take before what follows it in its unit is given away.

    `very_first`: no mini-batch of its block and none on its node has ended yet; `reload`: what another
    reading takes, as far as that is known.
    """
    return FIRST_SECONDS if very_first else reload


def waits_for_reader(wait: Seconds, each: Seconds, reload: Seconds) -> bool:
    """Whether a block of a unit is left to the processor that has read the unit, though another one is free.

    `wait`: until its reader has run what stands before the block; `each`: what a mini-batch takes; `reload`:
    what another reading takes.
    """
    return wait <= max(reload, min(MOST_MINI_BATCHES * each, MOST_READINGS * reload))
