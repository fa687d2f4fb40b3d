"""Second copies of stragglers: looks for them while nothing waits, starts copies, stops who was overtaken."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import field
from typing import TYPE_CHECKING

from daskpar.engine.block_tasks import BlockTasks
from daskpar.engine.rules.backup_dispatch import BackupDispatcher, Overtaken
from daskpar.engine.rules.backup_rule import BackupRule, Seconds
from daskpar.engine.rules.blame import Interval, width
from daskpar.engine.rules.counter import ThresholdCounter
from daskpar.engine.rules.dispatch import Dispatcher
from daskpar.engine.worker_calls import give_back_on_worker, stop_overtaken_on_worker
from daskpar.events import LongCall
from daskpar.printable import in_brackets
from daskpar.processor.protocol import BlockOrder, LongCalls, ProcessorSettings
from daskpar.value_classes import frozen, mutable

if TYPE_CHECKING:
    from distributed import Client

LOOK_SECONDS = 0.5
"""How often stragglers are looked for."""
_COUNTED = ("run", "loading")
"""What a call does whose mini-batch may be copied."""


@frozen(kw_only=True)
class Straggler:
    """What takes so long that a copy is worth starting."""

    block: int
    start: int
    stop: int
    seconds: Seconds
    """For how long it runs, or nothing was heard of it."""
    hangs: bool
    """Whether that is because its node says nothing any more."""


@mutable(kw_only=True)
class Backups:
    """The second copies of one step. `look` is called in each turn of the driver's loop."""

    dispatcher: BackupDispatcher
    counter: ThresholdCounter
    send: Callable[[str, BlockOrder], None]
    """Hands a block to a node."""
    drop: Callable[[int], None]
    """A block is over."""
    stop: Callable[[str, list[Overtaken]], None]
    """Has a node stop what was overtaken."""
    give_back: Callable[[str], None]
    """Has a node give back the blocks that wait there."""
    started: Callable[[Straggler, str, str], None] = lambda *_: None
    """Called with the address of a straggler's node, and of the one that runs its copy."""
    rule: BackupRule
    _next_look: Seconds = 0.0
    _long: dict[str, tuple[Seconds, LongCalls]] = field(default_factory=dict)
    """What takes long on each node, and when that was said."""
    _heard: dict[int, tuple[list[Interval], Seconds]] = field(default_factory=dict)
    """What is due from each block, and since when that has not changed."""
    _asked: dict[str, list[int]] = field(default_factory=dict)
    """Nodes that were asked to give back what waits -> the blocks that they had then."""

    def long_calls(self, address: str, calls: LongCalls, now: Seconds) -> None:
        """A node tells what takes long there."""
        self._long[address] = (now, calls)

    def look(self, now: Seconds) -> None:
        """Stop what was overtaken; where nothing waits, start copies of what takes long."""
        dispatcher = self.dispatcher
        if dispatcher.copies or dispatcher.overtaken:
            self._stop_overtaken()
        if now < self._next_look:
            return
        self._next_look = now + LOOK_SECONDS
        if dispatcher.waiting or not dispatcher.blocks:
            self._heard.clear()
            return
        if not dispatcher.idle():
            return
        # A node that comes under the address of a lost one has told nothing yet.
        self._long = {node: told for node, told in self._long.items() if node in dispatcher.nodes}
        self._free_waiting()
        counts = self.counter.counts
        usual = self.rule.usual_seconds(dispatcher.sizer.recent, ended=counts.done, planned=counts.planned)
        if usual is not None:
            for straggler in sorted(self._stragglers(now, usual), key=lambda one: -one.seconds):
                self._start(straggler)

    def _stop_overtaken(self) -> None:
        self.dispatcher.end_copies()
        found, self.dispatcher.overtaken = self.dispatcher.overtaken, []
        by_node: dict[str, list[Overtaken]] = {}
        for one in found:
            by_node.setdefault(one.node, []).append(one)
            if one.block not in self.dispatcher.under_way:
                self.drop(one.block)
        for node, of_node in by_node.items():
            self.stop(node, of_node)

    def _start(self, straggler: Straggler) -> None:
        if not self.dispatcher.may_copy(straggler.start, straggler.stop):
            return
        slow = self.dispatcher.blocks[straggler.block].node
        found = self.dispatcher.copy(
            straggler.block, straggler.start, straggler.stop, elsewhere=straggler.hangs
        )
        if found is not None:
            self.counter.add_copies(straggler.stop - straggler.start)
            self.started(straggler, slow, found[0])
            self.send(*found)

    # -- what takes long -------------------------------------------------------------------------------------

    def _stragglers(self, now: Seconds, usual: Seconds) -> Iterator[Straggler]:
        """Mini-batches that run for too long; and blocks of nodes that say nothing any more."""
        dispatcher, rule = self.dispatcher, self.rule
        on_node: dict[str, float] = {}
        for block in dispatcher.blocks.values():
            on_node[block.node] = on_node.get(block.node, 0.0) + width(block.due)
        self._heard = {number: one for number, one in self._heard.items() if number in dispatcher.blocks}
        for number, block in dispatcher.blocks.items():
            if block.piece is not None or not block.due:
                continue
            calls = self._calls_of(block.node)
            named = [call for call in calls if any(a <= call.index < b for a, b in block.due)]
            for call in named:
                age = self._age(block.node, call, now)
                if call.doing in _COUNTED and rule.is_slow(age, usual, call.limit):
                    yield Straggler(
                        block=number, start=call.index, stop=call.index + 1, seconds=age, hangs=False
                    )
            due, since = self._heard.get(number, ([], now))
            if due != block.due:
                since = now
            self._heard[number] = (list(block.due), since)
            ahead = on_node[block.node] / max(1, dispatcher.nodes.get(block.node, 1))
            if not named and rule.is_quiet(now - since, usual, ahead):
                for start, stop in block.due:
                    yield Straggler(block=number, start=start, stop=stop, seconds=now - since, hangs=True)

    def _free_waiting(self) -> None:
        """Blocks that wait where all processors are at something long go back to the queue."""
        nodes = self.dispatcher.nodes
        there: dict[str, list[int]] = {
            node: [] for node, number in nodes.items() if len(self._calls_of(node)) >= number
        }
        if not there:
            return
        for number, block in self.dispatcher.blocks.items():
            if block.node in there:
                there[block.node].append(number)
        for node, blocks in there.items():
            if len(blocks) > nodes[node] and self._asked.get(node) != blocks:
                self._asked[node] = blocks
                self.give_back(node)

    def _calls_of(self, node: str) -> tuple[LongCall, ...]:
        told = self._long.get(node)
        return () if told is None else told[1].calls

    def _age(self, node: str, call: LongCall, now: Seconds) -> Seconds:
        """For how long a call has run; its times are by the clock of its node."""
        received, told = self._long[node]
        return max(0.0, told.time - call.since) + now - received


def backups_of(
    dispatcher: Dispatcher,
    *,
    client: Client,
    settings: ProcessorSettings,
    counter: ThresholdCounter,
    tasks: BlockTasks,
    described: Callable[[int], str],
    number: Callable[[str], int | None],
    warn: Callable[[str], None],
) -> Backups | None:
    """The second copies of the step that `dispatcher` runs; None where it starts none.

    `described`: the items of a mini-batch in words. `number`: that of a node, by its address. `warn` is told
    of the first copy.
    """
    if not isinstance(dispatcher, BackupDispatcher):
        return None
    told: list[Straggler] = []

    def started(straggler: Straggler, slow: str, other: str) -> None:
        if told:
            return
        told.append(straggler)
        what = f"mini-batch {straggler.start}{in_brackets(described(straggler.start))}"
        where = "another processor of that node" if slow == other else f"node {number(other)}"
        why = (
            f"nothing was heard of {what} from node {number(slow)} for {straggler.seconds:.0f} s"
            if straggler.hangs
            else f"{what} has run for {straggler.seconds:.0f} s on node {number(slow)}, "
            "much longer than others"
        )
        warn(
            f"{why}: it is started a second time on {where}; the first result counts, and the other copy is "
            "stopped (said once; --backup False starts no second copies)"
        )

    return Backups(
        dispatcher=dispatcher,
        counter=counter,
        send=tasks.send,
        drop=tasks.drop,
        stop=lambda node, overtaken: stop_overtaken_on_worker(client, node, settings, overtaken),
        give_back=lambda node: give_back_on_worker(client, node, settings),
        started=started,
        rule=BackupRule(),
    )
