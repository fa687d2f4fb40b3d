"""The command line of daskpar in a process that ends itself at a named moment: chaos_driver.py MOMENT COUNT WORLD ARGUMENTS...

MOMENT `never` does not; of the others the COUNTth time is deadly. After `unseen`, nobody gets to look at the
input files before; at `in grouping` it is no driver that dies, but the processor that has just been given a grouping pass.
What is done is a line in WORLD/deaths, as the script's are.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

from daskpar import atomic
from daskpar.batches import grouping
from daskpar.driver import step_lifecycle
from daskpar.outputs import assembly, early_copy, journal, ledger
from daskpar.processor import block_queue
from daskpar.rundir import run_directory


class Death:
    """Comes the `count`th time that its moment does."""

    def __init__(self, moment: str, count: int, world: str) -> None:
        self.moment, self.left, self.world = moment, count, world

    def say(self, what: str, pid: int) -> None:
        with open(os.path.join(self.world, "deaths"), "a") as file:
            file.write(f"{what} {pid} kill {self.moment} -1\n")

    def at(self, moment: str, before: Callable[[], None] = lambda: None) -> None:
        if moment != self.moment:
            return
        self.left -= 1
        if self.left == 0:
            self.say("driver", os.getpid())
            before()
            os.kill(os.getpid(), signal.SIGKILL)


def wrap(owner: Any, name: str, make: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    setattr(owner, name, make(getattr(owner, name)))


def arm(death: Death) -> None:
    def committing(commit: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            death.at("before commit")
            found = commit(*args, **kwargs)
            death.at("after commit")
            return found

        return call

    def keeping_piece(keep: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            death.at("before piece")
            found = keep(*args, **kwargs)
            death.at("after piece")
            return found

        return call

    def writing_frame(write: Callable[..., Any]) -> Callable[..., Any]:
        def call(self: Any, data: bytes) -> Any:
            death.at("torn commit", lambda: os.write(self._fd, data[: len(data) // 2]) and None)
            return write(self, data)

        return call

    def saving(replace_json: Callable[..., Any]) -> Callable[..., Any]:
        def call(path: Any, value: Any, **options: Any) -> Any:
            death.at(
                f"{os.path.basename(path)} {value.get('status', '')}",
                lambda: path.with_name(f".{path.name}.tmp").write_bytes(b"{") and None,
            )
            return replace_json(path, value, **options)

        return call

    def looking(_: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *_: threading.Event().wait()

    if death.moment.startswith("unseen "):
        death.moment = death.moment.removeprefix("unseen ")
        wrap(step_lifecycle, "seen_inputs", looking)
    wrap(ledger.Ledger, "commit", committing)
    wrap(ledger.Ledger, "commit_piece", keeping_piece)
    wrap(journal.Journal, "_write_locked", writing_frame)
    wrap(atomic, "replace_json", saving)
    arm_output(death)
    arm_grouping(death)


def arm_output(death: Death) -> None:
    def assembling(write: Callable[..., Any]) -> Callable[..., Any]:
        def call(source: Any, target: Any, *rest: Any) -> Any:
            def half() -> None:
                temporary = assembly.temporary_path(target, rest[-1])
                temporary.write_bytes(b"half of it")

            death.at("assembling", half)
            found = write(source, target, *rest)
            death.at("assembled")
            return found

        return call

    def finishing(finish: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            death.at("assembling")
            found = finish(*args)
            if found:
                death.at("assembled")
            return found

        return call

    def copying(advance: Callable[..., Any]) -> Callable[..., Any]:
        def call(self: Any) -> Any:
            found = advance(self)
            if found:
                death.at("early-copy")
            return found

        return call

    wrap(assembly, "_write", assembling)
    wrap(assembly, "_finish", finishing)
    if death.moment == "early-copy":
        early_copy.LOOK_SECONDS = 0.001
        wrap(early_copy.EarlyCopy, "advance", copying)


def arm_grouping(death: Death) -> None:
    def planning(write_plan: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            death.at("before its plan")
            return write_plan(*args, **kwargs)

        return call

    def giving(give: Callable[..., Any]) -> Callable[..., Any]:
        def call(self: Any, processor: Any, order: Any) -> Any:
            given = give(self, processor, order)
            if self.settings.entry_script == "daskpar.batches.grouping":
                death.at("grouping")
                if death.moment == "in grouping" and death.left > 0:
                    death.left -= 1
                    death.say("processor", processor.pid)
                    os.kill(processor.pid, signal.SIGKILL)
            return given

        return call

    wrap(grouping, "_write_plan", planning)
    wrap(block_queue.BlockQueue, "give", giving)


if __name__ == "__main__":
    arm(Death(sys.argv[1], int(sys.argv[2]), sys.argv[3]))
    assert run_directory.atomic is atomic
    from daskpar.cli import main

    sys.exit(main(sys.argv[4:]))
