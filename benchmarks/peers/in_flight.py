"""Calls of 50 ms, 200 in flight in one process: by hand with a semaphore, and by Ray Data's async actors."""

from __future__ import annotations

import asyncio
import os

from benchmarks.peers.common import main, mark
from benchmarks.scripts.waiting import run

IN_FLIGHT = 200


def paths_in(folder: str) -> list[str]:
    """All files in order."""
    return sorted(entry.path for entry in os.scandir(folder))


def semaphore(folder: str) -> None:
    """`asyncio.Semaphore`, and everything at once."""

    async def all_of_them() -> list[list[str]]:
        room = asyncio.Semaphore(IN_FLIGHT)

        async def one(path: str) -> list[str]:
            async with room:
                return await run([path])

        return await asyncio.gather(*map(one, paths_in(folder)))

    mark("up")
    results = asyncio.run(all_of_them())
    mark("done")
    print(len(results))


def ray_actors(folder: str) -> None:
    """One actor of Ray Data whose async calls are in flight side by side."""
    import ray

    class Caller:
        async def __call__(self, batch):
            return {"name": await run(list(batch["item"]))}

    ray.init(include_dashboard=False, logging_level="error", num_cpus=2)
    mark("up")
    rows = ray.data.from_items(paths_in(folder)).map_batches(
        Caller, batch_size=1, concurrency=1, max_concurrency=IN_FLIGHT
    )
    print(rows.count())
    mark("done")


if __name__ == "__main__":
    main({function.__name__: function for function in (semaphore, ray_actors)})
