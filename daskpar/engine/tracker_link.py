"""The driver's end of the tracker: puts it on the scheduler, receives what it sends, and takes it away."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING

from daskpar.engine.cluster import RESUME, bounded
from daskpar.engine.inbox import Inbox
from daskpar.engine.plugins.tracker_messages import TrackerClosed, Wire, from_wire
from daskpar.engine.rules.counter import ThresholdCounter
from daskpar.errors import InfrastructureLost
from daskpar.results import Counts
from daskpar.value_classes import frozen

if TYPE_CHECKING:
    from distributed import Client

logger = logging.getLogger(__name__)


@frozen(kw_only=True)
class TrackerLink:
    """The tracker of one step of run `run_id`; its messages come into `inbox`."""

    client: Client
    run_id: str
    step: str
    inbox: Inbox
    label: str = ""
    """Name of the step among the metrics; empty: it has none."""
    divides: bool = False
    """Whether failed mini-batches are divided; then only the driver knows how these end."""
    files: bool = False
    """Whether items are files."""
    rate_limit: float | None = None
    """Calls a second of all processors of the step together; None: any number."""

    @property
    def _topic(self) -> str:
        from daskpar.engine.plugins.tracker import tracker_name

        return tracker_name(self.run_id, self.step)

    def open(self, counter: ThresholdCounter) -> None:
        """Put the tracker on the scheduler; it counts on from `counter`.

        Raises InfrastructureLost when the scheduler does not answer.
        """
        from daskpar.engine.plugins.tracker import Tracker

        tracker = Tracker(
            run_id=self.run_id,
            step=self.step,
            driver=self.client.id,
            thresholds=counter.thresholds,
            counts=counter.counts,
            label=self.label,
            divides=self.divides,
            files=self.files,
            rate_limit=self.rate_limit,
        )
        try:
            # First the handler: what the tracker sends before there is one would be lost. There is no
            # subscription: the tracker sends to this client alone, and Dask's scheduler keeps each topic for
            # ever.
            self.client._event_handlers[self._topic] = self._receive
            bounded(self.client.register_plugin, tracker, name=self._topic)
        except (TimeoutError, OSError) as error:
            raise InfrastructureLost(f"the Dask scheduler does not answer ({error}); {RESUME}") from error

    def _receive(self, event: tuple[float, Wire]) -> None:
        message = from_wire(event[1])
        if isinstance(message, TrackerClosed):
            self.client._event_handlers.pop(self._topic, None)
        else:
            self.inbox.put(message)

    def taken(self, address: str, size: int) -> None:
        """Tell a node that so many bytes of what it has sent are here; never waits."""
        from daskpar.engine.plugins.tracker import taken_name

        if self.client.status == "running":
            message = {"op": taken_name(self._topic), "address": address, "size": size}
            self.client._send_to_scheduler(message)

    def stop_nodes(self, reason: str) -> None:
        """Have the nodes start no further call of `run()` and kill running ones after two seconds."""
        from daskpar.engine.plugins.tracker import ask_tracker

        try:
            bounded(
                self.client.run_on_scheduler, ask_tracker, run_id=self.run_id, step=self.step, reason=reason
            )
        except Exception:
            logger.warning("could not ask the nodes to stop; they are closed instead", exc_info=True)

    def close(self, asked: Iterable[str], counts: Counts) -> None:
        """Take the tracker away; `asked`: addresses of the workers that were asked to open the step,
        `counts`: what its metrics show from now on.

        Raises what the scheduler raises, TimeoutError when it does not answer.
        """
        from daskpar.engine.plugins.guard import remove_tracker

        if self.client.status == "running":
            bounded(
                self.client.run_on_scheduler,
                remove_tracker,
                name=self._topic,
                asked=list(asked),
                counts=counts,
            )
