"""Whether the files of calls in flight still answer, asked when their time is up; the other calls go on.

Many calls pass their timeout together where what they wait for is gone, so one question stands for all.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

from daskpar.batches.plan import Plan
from daskpar.locations import is_url
from daskpar.processor.silent_data import FILES_AT_MOST, SilentData

FILES_IN_ALL = 64
"""Files that one question asks for, where so many or fewer calls are meant; else one of each."""
LOOK_SECONDS = 0.05
"""Between two looks for the answer."""


Calls = list[tuple[int, "asyncio.Future[str]"]]
"""Index of the mini-batch -> what gets the answer."""


class SilentCalls:
    """The questions of one processor, one after the other; `plan` is the folder of the step's plan."""

    def __init__(self, plan: str) -> None:
        self._plan = plan
        self._waiting: Calls = []
        self._meant: Calls = []
        """Those that the question on its way is for."""
        self._task: asyncio.Task[None] | None = None
        self._thread: ThreadPoolExecutor | None = None
        """Starts the processes that ask, which takes a while."""

    async def trouble(self, index: int) -> str:
        """What is wrong with the files of mini-batch `index`, in words; empty where they answer, or where it
        has no files that can be asked for.
        """
        answer = asyncio.get_running_loop().create_future()
        self._waiting.append((index, answer))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._ask_all())
            self._task.add_done_callback(self._over)
        found: str = await answer
        return found

    async def _ask_all(self) -> None:
        while self._waiting:
            self._meant, self._waiting = self._waiting, []
            elsewhere = await self._asked(self._meant)
            self._waiting += elsewhere

    def _over(self, _: asyncio.Task[None]) -> None:
        # Nothing is left, unless the script has cancelled all tasks: a call has still taken too long.
        _answer([*self._meant, *self._waiting], "")
        self._meant, self._waiting = [], []

    async def _asked(self, calls: Calls) -> Calls:
        """Answer these calls but those whose files lie elsewhere than what does not answer."""
        try:
            files = files_of(self._plan, [index for index, _ in calls])
            question = await self._begun([path for of_one in files for path in of_one])
        except Exception:  # it can't be asked; the calls have still taken too long, which is what counts then
            question = None
        trouble: str | None = ""
        while question is not None and (trouble := question.trouble()) is None:
            await asyncio.sleep(LOOK_SECONDS)
        if question is None or not trouble:
            return _answer(calls, "")
        mounts = mount_points()
        gone = mount_of(question.silent, mounts)
        with_trouble = [
            question.silent in own or gone in [mount_of(path, mounts) for path in own] for own in files
        ]
        _answer([call for call, bad in zip(calls, with_trouble, strict=True) if bad], trouble)
        return [call for call, bad in zip(calls, with_trouble, strict=True) if not bad]

    async def _begun(self, paths: list[str]) -> SilentData | None:
        if not paths:
            return None
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, "daskpar-silent-calls")
        return await asyncio.get_running_loop().run_in_executor(self._thread, SilentData, paths)


def _answer(calls: Calls, text: str) -> Calls:
    for _, answer in calls:
        if not answer.done():  # else its call was cancelled once more
            answer.set_result(text)
    return []


def files_of(plan: str, indices: list[int]) -> list[list[str]]:
    """Some local files of each of these mini-batches."""
    each = max(1, min(FILES_AT_MOST, FILES_IN_ALL // len(indices)))
    opened = Plan.open(plan)
    return [[path for path in opened.some_files(index, each) if not is_url(path)] for index in indices]


def mount_points() -> list[str]:
    """Where file systems are mounted, the longest path first; empty elsewhere than on Linux."""
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
            found = {line.split(" ")[4].replace("\\040", " ") for line in file}
    except (OSError, IndexError):
        return []
    return sorted(found, key=len, reverse=True)


def mount_of(path: str, mounts: list[str]) -> str:
    """The mount that `path` lies below, by its name alone: who looks at it may wait without end."""
    return next((mount for mount in mounts if path.startswith(mount.rstrip("/") + "/")), path)
