"""One entry script for every test of faults: a table of named faults, and a schedule of when they happen.

The suites of `jobs`, `processor` and `chaos` copy it into the code folder of their jobs with `install`, and say with `schedule` what
happens when. The files beside this one run in processors only: they import each other by their bare names.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

SCRIPT = "faulty_script.py"
"""The entry script."""
_FILES = (SCRIPT, "fault_moments.py", "fault_table.py", "fault_world.py")


def install(code: Path) -> None:
    """Copy the entry script and its modules into a code folder, which is made if need be."""
    code.mkdir(parents=True, exist_ok=True)
    for name in _FILES:
        shutil.copy(Path(__file__).with_name(name), code)


def schedule(world: Path, faults: Mapping[str, str | list[str]]) -> None:
    """Say what happens from now on.

    `faults` maps a moment to the name of a fault (each time) or to a list of names (the first time, the second, ..., then "ok").
    A moment is "import", "init", "shutdown", or one of a mini-batch: "load 7", "run 7", "write 7" (half of its rows are in the part
    file) or "say 7" (all rows are there, the driver does not know yet).
    `world` is the folder that the program argument --world names; without it, the folder of the entry script.
    """
    (world / "faults.json").write_text(json.dumps(dict(faults)))
