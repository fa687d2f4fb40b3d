"""Runs `python -m daskpar` and writes down what memory this process, the driver, had at most.

Takes the same arguments; the file is named by `DRIVER_PEAK` in the environment.
"""

from __future__ import annotations

import atexit
import os
from pathlib import Path


def write_peak() -> None:
    """In bytes: the largest resident size since this program was loaded, mapped files included."""
    text = Path("/proc/self/status").read_text()
    Path(os.environ["DRIVER_PEAK"]).write_text(str(int(text.split("VmHWM:")[1].split()[0]) * 1024))


if __name__ == "__main__":
    from daskpar.__main__ import main

    atexit.register(write_peak)
    main()
