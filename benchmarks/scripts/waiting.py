"""Waits 50 ms for each mini-batch, as a call to a service does; a row says when that was."""

import asyncio
import os
import time

SECONDS = 0.05


async def run(mini_batch):
    began = time.time()
    await asyncio.sleep(SECONDS)
    return [f"{os.path.basename(path)} {began} {time.time()}" for path in mini_batch]
