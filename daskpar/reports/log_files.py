"""The text that tells a user what each log is (`logs/readme.txt`), and how log files are written."""

from __future__ import annotations

from pathlib import Path

README = """\
Logs of one step of a daskpar run. Start with job_result.txt: it says how the step ended, why, and where to look.

readme.txt                                    this text
job_progress_overview.<yyyymmddhh>.txt        how far the step was, line by line; a new file for each day and each start of the run
job_result.txt                                final status, reason, counts, the first error of the script, where to look
job_error.txt                                 the script's errors by kind, each with the first place where it occurred

user/                                         from your script
  error.txt                                   one line for each failed try
  error/<node>/<process>.txt                  full tracebacks; for a timeout, where each thread was when it was killed
  stdout/<node>/<process>.stdout.txt          what it printed (and logged through the root logger)
  stderr/<node>/<process>.stderr.txt          what it wrote to stderr, C code and child processes included
  entry_script_log/<node>/<process>.log.txt   EntryScript().logger

sys/                                          from daskpar
  master_role.txt                             planning, nodes, processors, warnings, result
  node/<node>/_main.txt                       the processors of a node: started, ready, ended
  node/<node>/<process>.txt                   what a processor ran: failed tries; with logging_level DEBUG every mini-batch
  node/<node>/<process>.stacks.txt            where its threads were when it was killed (empty: it was not)
  job_report/processed_mini-batches.csv       one row for each try of a mini-batch
  job_report/process_summary.csv              one row for each processor
  job_report/node_summary.csv                 one row for each node
  metrics/<time>/progress.csv                 progress over time, for programs
  perf/<node>/node_resource_usage.csv         processor, memory, disk and network use of the node
  perf/<node>/node_disk_usage.csv             space on its disks
  perf/<node>/processes_resource_usage.csv    what each processor used

<node> is the index of the node (a Dask worker) in the step: 0, 1, ...; <process> is processNNN. A processor that was killed or
died is replaced by one with a new number. sys/perf is written every resource_monitor_interval seconds (0: never).
"""


COMMAND_README = """\
Logs of one command step of a daskpar run. Start with job_result.txt: it says how the step ended, why, and where to look.

readme.txt                                    this text
job_progress_overview.<yyyymmddhh>.txt        when it started and ended; a new file for each start of the run
job_result.txt                                final status, reason, exit code
user/std_out.txt                              what the command wrote to stdout
user/std_err.txt                              what it wrote to stderr
sys/master_role.txt                           settings, warnings, result
"""


def append(path: Path, text: str) -> None:
    """Add text to a log file in one write, making its folder where needed; nothing is held open between two
    calls.
    """
    data = text.encode("utf-8", "backslashreplace")
    try:
        handle = path.open("ab", buffering=0)
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = path.open("ab", buffering=0)
    with handle:
        handle.write(data)


def replace(path: Path, text: str) -> None:
    """Write a whole small file, so that a reader sees the old or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.new")
    beside.write_text(text, encoding="utf-8", errors="backslashreplace")
    beside.replace(path)
