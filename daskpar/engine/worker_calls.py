"""Calls to workers that open a step there or change what it runs, each on a thread of its own.

A worker that does not answer holds up no other, and the answers come into the driver's inbox.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any

from daskpar.datastores import carried
from daskpar.engine.cluster import bounded
from daskpar.engine.inbox import Inbox, LastStateKnown, StepOpened, WorkerUnheard
from daskpar.engine.rules.backup_dispatch import Overtaken
from daskpar.engine.rules.members import Member
from daskpar.errors import DaskparError
from daskpar.processor import last_state
from daskpar.processor.protocol import ProcessorSettings

if TYPE_CHECKING:
    from distributed import Client

    from daskpar.engine.far_nodes import FarNodes
    from daskpar.rundir.probe import NodeNeeds

logger = logging.getLogger(__name__)

OPEN_SECONDS = 60.0
"""For a worker to answer that it starts the processors of a step; then it is asked once more."""
LAST_STATE_SECONDS = 5.0
"""How long the last state of a lost node is looked for. A node lost with its whole machine leaves none."""
LAST_STATE_TICK_SECONDS = 0.05


def open_on_worker(
    client: Client,
    member: Member,
    settings: ProcessorSettings,
    inbox: Inbox,
    needs: Callable[[], NodeNeeds] | None = None,
    far: FarNodes | None = None,
) -> None:
    """Have a worker start the processors of a step; `StepOpened` follows in `inbox`.

    `needs` gives what the worker must see; without, it is this machine, which sees all. `far`: opens the step
    on workers that do not see the run directory; without, these can't take part.
    """
    from daskpar.engine.heartbeats import watch
    from daskpar.engine.node_probe import view_of
    from daskpar.rundir.probe import NodeView

    answered = threading.Event()

    def ask() -> None:
        trouble = ""
        try:
            why_far = "" if far is None else far.known.get(member.address, "")
            view = NodeView() if needs is None else view_of(client, needs(), member.address, why_far)
            trouble = view.trouble or (view.far if far is None else "")
            if not trouble and view.far and far is not None:
                far.open(member, settings, view)
            elif not trouble:
                _open(client, member, settings)
        except DaskparError as error:
            trouble = str(error)
        except Exception as error:  # whatever it is, it is this node's trouble alone
            trouble = f"{type(error).__name__}: {error}"
        answered.set()
        inbox.put(StepOpened(member.address, member.number, trouble))

    def tell(why: str) -> None:
        inbox.put(WorkerUnheard(member.address, member.number, why))

    threading.Thread(target=carried(ask), daemon=True, name=f"daskpar-open-{member.address}").start()
    if needs is not None:
        look = (client, member.address, answered, tell)
        threading.Thread(target=watch, args=look, daemon=True, name=f"daskpar-hear-{member.address}").start()


def _open(client: Client, member: Member, settings: ProcessorSettings) -> None:
    from daskpar.engine.plugins.node import open_step

    def once() -> None:
        bounded(
            client.run,
            open_step,
            run_id=settings.run_id,
            settings=settings,
            workers=[member.address],
            seconds=OPEN_SECONDS,
        )

    try:
        once()
    except TimeoutError:  # asked again: this process, or the worker, may have been stopped for a while
        once()


def find_last_state(settings: ProcessorSettings, address: str, inbox: Inbox) -> None:
    """Look for what a lost node was running when it died; `LastStateKnown` follows in `inbox` in seconds."""

    def look() -> None:
        found = None
        try:
            deadline = monotonic() + LAST_STATE_SECONDS
            # The fork server writes it when it sees its node die, which is a moment later.
            while (found := last_state.read(settings)) is None and monotonic() < deadline:
                sleep(LAST_STATE_TICK_SECONDS)
        finally:
            inbox.put(LastStateKnown(address, settings.node, found))

    threading.Thread(target=look, daemon=True, name=f"daskpar-last-state-{address}").start()


def close_on_worker(client: Client, address: str, settings: ProcessorSettings) -> None:
    """Have a worker end the processors of a step at once; nobody waits for it."""
    from daskpar.engine.plugins.node import close_step

    _ask_soon(client, address, settings, close_step)


def stop_overtaken_on_worker(
    client: Client, address: str, settings: ProcessorSettings, overtaken: list[Overtaken]
) -> None:
    """Have a worker stop what was overtaken by another copy; nobody waits for it, for it may hang."""
    from daskpar.engine.plugins.node import stop_overtaken

    _ask_soon(client, address, settings, stop_overtaken, overtaken=overtaken)


def give_back_on_worker(client: Client, address: str, settings: ProcessorSettings) -> None:
    """Have a worker give back the blocks that wait there; nobody waits for it."""
    from daskpar.engine.plugins.node import give_back_waiting

    _ask_soon(client, address, settings, give_back_waiting)


def _ask_soon(
    client: Client, address: str, settings: ProcessorSettings, function: Callable[..., Any], **more: Any
) -> None:
    def ask() -> None:
        try:
            step = settings.opened_as
            client.run(
                function, run_id=settings.run_id, step=step, workers=[address], on_error="ignore", **more
            )
        except Exception as error:
            logger.info("node %s could not be asked: %r", address, error)

    threading.Thread(target=ask, daemon=True, name=f"daskpar-ask-{address}").start()
