"""The Dask tasks of a step's blocks: each is sent to its node, and released when its block is over."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import field
from typing import TYPE_CHECKING, Any

from daskpar.engine.inbox import Inbox, TaskEnded
from daskpar.processor.protocol import BlockOrder
from daskpar.value_classes import mutable

if TYPE_CHECKING:
    from distributed import Client, Future


@mutable
class BlockTasks:
    """Tasks under way. How each ends comes as `TaskEnded` into `inbox`."""

    client: Client
    run_id: str
    step: str
    inbox: Inbox
    _futures: dict[int, Future[Any]] = field(default_factory=dict)

    def send(self, address: str, order: BlockOrder) -> None:
        """Hand a block to a node."""
        from daskpar.engine.plugins.node import run_block

        # Positional values: submit would take keywords of its own names for itself. The worker is fixed: what
        # a lost node has not done is given out again by the dispatcher, under a new number.
        future = self.client.submit(
            run_block,
            self.run_id,
            self.step,
            order,
            key=f"daskpar-{self.step}-block-{order.block}-{self.run_id}",
            workers=[address],
            allow_other_workers=False,
            pure=False,
            retries=0,
        )
        self._futures[order.block] = future
        future.add_done_callback(lambda ended, block=order.block: self._done(block, ended))

    def _done(self, block: int, future: Future[Any]) -> None:
        error = repr(future.exception()) if future.status == "error" else ""
        self.inbox.put(TaskEnded(block, future.status, error))

    def drop(self, block: int) -> None:
        """A block is over."""
        if (future := self._futures.pop(block, None)) is not None:
            future.release()

    def keep(self, blocks: Container[int]) -> None:
        """All but `blocks` are over."""
        for block in [number for number in self._futures if number not in blocks]:
            self.drop(block)
