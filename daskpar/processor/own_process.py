"""Tells a processor from copies of it that the script has forked and that come back into our code."""

from __future__ import annotations

import os

from daskpar.own_calls import OWN
from daskpar.processor.std_streams import flush_streams


class OwnProcess:
    """The process that this is made in."""

    def __init__(self) -> None:
        self.pid = OWN.getpid()
        # What has been printed so far is the parent's to write: a forked copy that ends by sys.exit would
        # write it again.
        os.register_at_fork(before=self._before_fork)

    def _before_fork(self) -> None:
        if OWN.getpid() == self.pid:
            flush_streams()

    def exit_if_copy(self) -> None:
        """End this process if it is a forked copy: nothing of ours may happen twice."""
        if OWN.getpid() != self.pid:
            flush_streams()
            OWN.exit(0)
