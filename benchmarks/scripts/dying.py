"""Every second call ends in SIGKILL; each call notes when it began and, before it dies, when it died."""

import os
import signal
import time


def init():
    """Nothing to prepare."""


def run(mini_batch):
    """Note the time, then die or not."""
    began = time.time()
    number = int(os.path.basename(mini_batch[0]))
    dies = number % 2 == 0
    with open(os.environ["MOMENTS"], "a") as moments:
        moments.write(f"{number} {began} {time.time() if dies else 0}\n")
    if dies:
        os.kill(os.getpid(), signal.SIGKILL)
    return list(mini_batch)
