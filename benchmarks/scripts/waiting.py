"""Waits 50 ms for each mini-batch, as a call to a service does."""

import asyncio
import os

SECONDS = 0.05


async def run(mini_batch):
    await asyncio.sleep(SECONDS)
    return [os.path.basename(path) for path in mini_batch]
