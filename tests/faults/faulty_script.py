"""An entry script to which happens what a schedule says, at the moment that it says.

--world DIR (default: the folder of this file) holds the schedule, `faults.json`, and gets what happened: `calls` (for each call of
run(): mini-batch, process, worker, time), `inits` and `shutdowns` (process), and `deaths` (for each fault: processor or node, process,
fault, moment, mini-batch, time). A line is written before anything else happens.
"""

import os
import time

from fault_moments import BEFORE_RUN, CURRENT, arm, moment
from fault_world import WORKER, line

arm()
moment("import")


def init():
    line("inits", os.getpid())
    moment("init")


def run(mini_batch, context):
    index = CURRENT["index"] = int(context.minibatch_index)
    line("calls", index, os.getpid(), WORKER, time.monotonic())
    for prepare in BEFORE_RUN:
        prepare(index)
    return moment("run", index, rows_of(mini_batch, index))


def rows_of(mini_batch, index):
    """What run() returns where no fault is planned."""
    if not hasattr(mini_batch, "columns"):
        return [
            f"{index} {os.path.basename(item)}" if isinstance(item, str) else f"row {item}"
            for item in mini_batch
        ]
    rows = mini_batch[["key", "row"]]
    rows.insert(0, "mini_batch", index)
    return rows


def shutdown():
    line("shutdowns", os.getpid())
    moment("shutdown")
