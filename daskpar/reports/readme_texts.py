"""The texts of `logs/readme.txt`, which say what each file of a step's log tree holds."""

from __future__ import annotations

from daskpar.events import StepKind

README_TEXTS = {
    StepKind.PARALLEL: """\
Logs of one step of a daskpar run.
Start with job_result.txt: it says how the step ended, why, and where to look.

readme.txt                                    this text
job_progress_overview.<yyyymmddhh>.txt        how far the step was, line by line;
                                              a new file for each start of the run
job_result.txt                                final status, reason, counts, the first error of the script
job_error.txt                                 the script's errors by kind, and where each occurred first
failed_mini-batches.csv                       every item of the mini-batches that failed: files, rows or keys;
                                              written when the step ends, where any failed

user/                                         from your script
  error.txt                                   one line for each failed try
  error/<node>/<process>.txt                  full tracebacks; for a timeout, where each thread was
                                              when it was killed
  stdout/<node>/<process>.stdout.txt          what it printed (and logged through the root logger)
  stderr/<node>/<process>.stderr.txt          what it wrote to stderr, C code and child processes included
  entry_script_log/<node>/<process>.log.txt   EntryScript().logger

sys/                                          from daskpar
  master_role.txt                             planning, nodes, processors, warnings, result
  node/<node>/_main.txt                       the processors of a node: started, ready, ended
  node/<node>/<process>.txt                   what a processor ran: failed tries;
                                              with logging_level DEBUG every mini-batch
  node/<node>/<process>.stacks.txt            where its threads were when it was killed or crashed,
                                              below a line with its pid and start (nothing: it was not)
  job_report/processed_mini-batches.csv       one row for each try of a mini-batch
  job_report/process_summary.csv              one row for each processor
  job_report/node_summary.csv                 one row for each node
  metrics/<time>/progress.csv                 progress over time, for programs
  perf/<node>/node_resource_usage.csv         processor, memory, disk and network use of the node
  perf/<node>/node_disk_usage.csv             space on its disks
  perf/<node>/node_gpu_usage.csv              use and memory of its GPUs, where it has any
  perf/<node>/processes_resource_usage.csv    what each processor used

<node> is the index of the node (a Dask worker) in the step: 0, 1, ...; <process> is processNNN.
A processor that was killed, died or was replaced is followed by one with the same number, in a new process:
its logs go on in the same files. _main.txt says when; each start has a line of its own in the stacks file.
sys/perf is written every resource_monitor_interval seconds (0: never).
""",
    StepKind.COMMAND: """\
Logs of one command step of a daskpar run.
Start with job_result.txt: it says how the step ended, why, and where to look.

readme.txt                                    this text
job_progress_overview.<yyyymmddhh>.txt        when it started and ended; a new file for each start of the run
job_result.txt                                final status, reason, exit code
user/std_out.txt                              what the command wrote to stdout
user/std_err.txt                              what it wrote to stderr
sys/master_role.txt                           settings, warnings, result
""",
}
"""Kind of step -> text."""
