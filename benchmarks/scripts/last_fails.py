"""The last mini-batches raise until a file is there; then they note when the first of them began."""

import os
import time
from pathlib import Path

LAST = int(os.environ["LAST"])
MENDED = Path(os.environ["MENDED"])
MOMENTS = Path(os.environ["MOMENTS"])


def run(mini_batch):
    """The length of every path."""
    if mini_batch.task_id >= LAST:
        if not MENDED.exists():
            raise ValueError("not mended yet")
        if not MOMENTS.exists():
            MOMENTS.write_text(str(time.time()))
    return [len(path) for path in mini_batch]
