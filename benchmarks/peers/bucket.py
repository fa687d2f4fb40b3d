"""Reads from a bucket by hand, in two processes: CSV files with pandas; files, the next ones meanwhile."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import queue
import shutil
import tempfile
import threading
import time
from functools import partial

from benchmarks.peers.common import main, mark

AHEAD = 50
"""Files that each process has at most, one in use, others on their way: half of what daskpar's node keeps."""
AT_ONE_TIME = 8
"""Requests of each process."""


def read(url: str) -> int:
    """Rows of one file."""
    import pandas as pd

    return len(pd.read_csv(url))


def read_csv(*urls: str) -> None:
    """All of them, each by one of two processes."""
    mark("up")
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        print(sum(pool.map(read, urls, chunksize=1)))
    mark("done")


def weigh(each: float, folder: str, keys: list[str]) -> int:
    """The sizes of these files in sum, `each` seconds for one; fetched ahead by a thread, in their order."""
    import s3fs

    found = s3fs.S3FileSystem(asynchronous=True)
    here: queue.SimpleQueue[str] = queue.SimpleQueue()
    loop = asyncio.new_event_loop()
    room = asyncio.Semaphore(AHEAD)

    async def fetch() -> None:
        running = asyncio.Semaphore(AT_ONE_TIME)

        async def one(key: str) -> None:
            path = os.path.join(folder, os.path.basename(key))
            async with running:
                await found._get_file(key, path)
            here.put(path)

        tasks = set()
        for key in keys:
            await room.acquire()
            task = loop.create_task(one(key))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        await asyncio.gather(*tasks)

    thread = threading.Thread(target=lambda: loop.run_until_complete(fetch()))
    thread.start()
    total = 0
    for _ in keys:
        path = here.get()
        time.sleep(each)
        total += os.path.getsize(path)
        os.unlink(path)
        loop.call_soon_threadsafe(room.release)
    thread.join()
    return total


def prefetch(each: str, folder: str) -> None:
    """All objects of a folder, half of them by each of two processes, as `scripts/weigh.py` takes them."""
    mark("up")
    import s3fs

    keys = sorted(s3fs.S3FileSystem().find(folder))
    target = tempfile.mkdtemp()
    try:
        with multiprocessing.get_context("spawn").Pool(2) as pool:
            total = sum(pool.map(partial(weigh, float(each), target), [keys[::2], keys[1::2]], chunksize=1))
        print(total, flush=True)
    finally:
        shutil.rmtree(target)
    mark("done")


if __name__ == "__main__":
    main({"read_csv": read_csv, "prefetch": prefetch})
