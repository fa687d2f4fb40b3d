"""Messages from a processor that its node alone reads; it passes all others (`protocol`) on to the driver.

A processor gets `BlockOrder`s, and None when it is to call `shutdown()` and end; one with many calls in
flight also `HandBack`.
"""

from __future__ import annotations

from daskpar.value_classes import frozen


@frozen
class InitDone:
    """`init()` has returned."""


@frozen
class InitRaised:
    """Import or `init()` raised."""

    what: str
    """Which of them, as the start of a sentence."""
    message: str
    trace: str
    certain: bool = False
    """Whether another try would end the same way: a module that is not there."""


@frozen
class Unreached:
    """The data of a mini-batch could not be reached."""

    trouble: str
    missing: str = ""
    """The file that this node does not see, where that is the trouble."""


@frozen
class BlockDone:
    """A block's range is done up to `stop`; `unreached` where that is so for want of the next one's data."""

    block: int
    token: str
    stop: int
    unreached: Unreached | None = None


@frozen
class HandBack:
    """Node: give back all that has not begun."""


@frozen
class HandedBack:
    """[start, stop) of a block will not be run; `unreached` where that is for want of the data of `start`."""

    block: int
    token: str
    start: int
    stop: int
    unreached: Unreached | None = None


NOTHING_LEFT = HandedBack(-1, "", 0, 0)
"""The end of what is handed back: all that was given before has begun, or was named."""


@frozen
class Unheeded:
    """A call goes on although its time is up and it was cancelled: only the end of the process ends it."""

    block: int
    index: int
    slot: int
    loading: bool
    """Whether it is its data that takes so long."""
    trace: str = ""
    """Where the script is."""


@frozen
class DiskFailed:
    """The disk refuses rows, or no longer has the plan."""

    message: str


@frozen
class ShutdownDone:
    """`shutdown()` has returned, or raised: `trace`."""

    trace: str = ""
