"""Everything that the logs of a step say about one mini-batch: `daskpar logs --mini-batch N`."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from pathlib import Path

from daskpar.errors import UsageError
from daskpar.paths import LogPaths
from daskpar.printable import printable
from daskpar.reports.hints import name_of
from daskpar.reports.job_report import TRY_COLUMNS
from daskpar.reports.live_state import read_live
from daskpar.reports.run_status import steps_to_show
from daskpar.reports.wording import counted, cut_lines, duration, indent, local_time, number
from daskpar.rundir.run_directory import RunDirectory
from daskpar.rundir.step_folder import StepFolder


def mini_batch_text(path: Path | str, index: int, step: str | None = None) -> str:
    """What is known of mini-batch `index`: what it holds, each try with its failure, and its logs.

    Raises UsageError where the run has no such mini-batch, or several steps that have it and none is named.
    """
    run = RunDirectory.open(path, lock=False)
    folders = [folder for folder in steps_to_show(run, step) if folder.plan.is_dir()]
    if not folders:
        raise UsageError(f"no step of {run.path} has planned mini-batches" + (f": {step!r}" if step else ""))
    having = [folder for folder in folders if 0 <= index < planned(folder)]
    if not having:
        most = ", ".join(f"{f.name}: 0 to {number(planned(f) - 1)}" for f in folders if planned(f))
        raise UsageError(f"there is no mini-batch {index} in {run.path}. Mini-batches of its steps: {most}.")
    if len(having) > 1:
        names = ", ".join(folder.name for folder in having)
        raise UsageError(f"several steps have a mini-batch {index}: {names}. Say which one with --step.")
    return printable("\n".join(_lines(having[0], index, alive=run.holder() is not None)))


def planned(folder: StepFolder) -> int:
    """How many mini-batches a step's plan has; 0 where it can't be read."""
    from daskpar.batches.names import MiniBatchNames

    try:
        return MiniBatchNames(folder.plan).count
    except Exception:  # a plan that is damaged, or of a newer version
        return 0


def _lines(folder: StepFolder, index: int, *, alive: bool) -> list[str]:
    name = name_of(folder.plan, index)
    lines = [f"{folder.name}: mini-batch {number(index)}" + (f" ({name})" if name else "")]
    tries = list(tries_of(folder.logs, index))
    if not tries:
        lines.append("  no try of it has ended yet")
    places: dict[str, None] = {}
    for row in tries:
        places[row["Process"]] = None
        took = "" if row["Elapsed Seconds"] == "N/A" else f" after {duration(float(row['Elapsed Seconds']))}"
        what = (
            row["Status"] if row["Error Category"] == "N/A" else f"{row['Status']} ({row['Error Category']})"
        )
        lines.append(
            f"  try {row['Picked Count']} on {row['Process']}, {row['Process Start Time']}: {what}{took}; "
            f"{counted(int(row['Total']), 'item')}, {row['Failed']} failed"
        )
        if row["Error Message"] != "N/A":
            lines.append(indent(row["Error Message"], "    "))
    lines += _running(folder, index) if alive else []
    for place in places:
        lines += _of_process(folder.logs, place, index)
    return lines


def tries_of(logs: LogPaths, index: int) -> Iterator[dict[str, str]]:
    """The rows of `processed_mini-batches.csv` that are of one mini-batch; the file may be of any size."""
    start = f"{index},"
    try:
        with logs.processed.open(encoding="utf-8", errors="replace") as file:
            found = [line for line in file if line.startswith(start) and line.endswith("\n")]
    except OSError:
        return
    with logs.processed.open(encoding="utf-8", errors="replace") as file:
        columns = next(csv.reader([file.readline()]), list(TRY_COLUMNS))
    for row in csv.DictReader(found, fieldnames=columns):
        if all(row.get(column) is not None for column in TRY_COLUMNS):
            yield row


def _running(folder: StepFolder, index: int) -> list[str]:
    """Since when the mini-batch has been running, where it is and that is more than a few seconds; a line."""
    state = folder.state()
    live = None if state is None else read_live(folder, state)
    call = next((each for each in live.long_calls if each.index == index), None) if live else None
    if live is None or call is None:
        return []
    doing = "loading" if call.doing == "loading" else "running"
    again = f", try {call.tries + 1}" if call.tries else ""
    took = duration(max(live.time - call.since, 0.0))
    return [f"  it has been {doing} for {took}, since {local_time(call.since)}{again}"]


def _of_process(logs: LogPaths, place: str, index: int) -> list[str]:
    """The traces of the mini-batch in the log of the processor at `place`, and where that printed."""
    node, _, process = place.partition("/process")
    if not node.isdigit() or not process.isdigit():
        return []
    where = (int(node), int(process))
    lines = [indent(cut_lines(text), "  | ") for text in traces_of(logs.trace(*where), index)]
    known = [("trace", logs.trace(*where))] if lines else []
    known += [("stdout", logs.stdout(*where)), ("stderr", logs.stderr(*where))]
    return [*lines, *(f"  {name}: {path}" for name, path in known if path.is_file())]


def traces_of(path: Path, index: int) -> list[str]:
    """The entries of a mini-batch in a file of full traces, which is read line by line."""
    begins = re.compile(r"\d{4}-\d\d-\d\dT\S+ (?:mini-batch|import)")
    wanted = re.compile(rf"\S+ mini-batch {index}, try ")
    entries: list[list[str]] = []
    inside = False
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            for line in file:
                if begins.match(line):
                    inside = wanted.match(line) is not None
                    entries += [[]] if inside else []
                if inside:
                    entries[-1].append(line)
    except OSError:
        return []
    return ["".join(entry).strip("\n") for entry in entries]
