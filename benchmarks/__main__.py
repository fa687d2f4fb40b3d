"""`python -m benchmarks`: ask every question, keep the results, print one table, draw one figure."""

from __future__ import annotations

import argparse
import compileall
import importlib
import json
import os
import platform
import subprocess
import sys
import time
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

from benchmarks.bars import Answer, Settings
from benchmarks.harness import RESULTS, ROOT, Wrong, adopt_orphans
from benchmarks.report import draw, table

QUESTIONS = {
    "engine-alone": "many_tiny",
    "distinct-files": "distinct_files",
    "million-files": "million_files",
    "csv-score": "csv_score",
    "row-formats": "row_formats",
    "csv-10kb": "csv_10kb",
    "small-tables": "small_tables",
    "parquet-score": "parquet_score",
    "wide": "wide",
    "many-models": "many_models",
    "grouping": "grouping",
    "skew": "skew",
    "hang": "hang",
    "kill": "kill",
    "start-up": "startup",
    "safety": "safety",
    "resume": "resume",
    "reading": "reading",
    "in-flight": "in_flight",
    "bucket-inputs": "bucket_inputs",
}


def main() -> int:
    """Run; 0 when every must is kept, 1 when one is missed or could not be measured."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__, allow_abbrev=False)
    parser.add_argument(
        "--only",
        nargs="+",
        choices=QUESTIONS,
        default=list(QUESTIONS),
        metavar="NAME",
        help=", ".join(QUESTIONS),
    )
    parser.add_argument(
        "--repeats", type=int, default=3, help="interleaved runs of each competitor (default 3)"
    )
    parser.add_argument(
        "--small",
        action="store_true",
        help="tiny data: shows that everything works, the numbers mean nothing",
    )
    parser.add_argument(
        "--report",
        type=Path,
        metavar="FILE",
        help="measure nothing; table and figure of an earlier results file",
    )
    arguments = parser.parse_args()
    if arguments.report:
        records = [json.loads(line) for line in arguments.report.read_text().splitlines()]
        return show(records, arguments.report)
    settings = Settings(repeats=arguments.repeats, small=arguments.small)
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"{time.strftime('%Y%m%d-%H%M%S')}{'-small' if settings.small else ''}.jsonl"
    adopt_orphans()
    for folder in ("daskpar", "benchmarks"):
        # An installed package is compiled too, and so are those of the peers.
        compileall.compile_dir(ROOT / folder, quiet=1)
    records = []
    with path.open("w") as file:
        for name in arguments.only:
            records.append(ask(name, settings))
            file.write(json.dumps(records[-1]) + "\n")
            file.flush()
    return show(records, path)


def show(records: list[dict[str, object]], path: Path) -> int:
    """Print the table, draw the figure."""
    text, kept = table(records)
    print(text)
    figure = draw(records, path.with_suffix(".png"))
    print(f"\nresults {path}\n{figure}")
    return 0 if kept else 1


def ask(name: str, settings: Settings) -> dict[str, object]:
    """Ask one question; an error becomes part of its answer, and the next question is asked all the same."""
    print(f"{name}", flush=True)
    os.sync()  # writes that the question before has left would slow this one down
    answer, wrong = Answer(question=name), ""
    try:
        answer = importlib.import_module(f"benchmarks.questions.{QUESTIONS[name]}").ask(settings)
    except (Wrong, AssertionError, OSError) as error:
        wrong = f"{type(error).__name__}: {error}"
        print(f"    FAILED: {wrong}")
    return {
        "question": name,
        "time": time.time(),
        "bars": [
            {**asdict(bar), "passes": bar.passes, "reaches_goal": bar.reaches_goal} for bar in answer.bars
        ],
        "series": {
            title: {name: one.as_record() for name, one in many.items()}
            for title, many in answer.series.items()
        },
        "skipped": answer.skipped,
        "wrong": wrong,
        "settings": asdict(settings),
        "versions": versions(),
    }


def versions() -> dict[str, object]:
    """The commit that was measured, the versions of its libraries, and the cores of this machine."""
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True
    ).stdout.strip()
    packages = ("dask", "distributed", "pandas", "pyarrow", "numpy")
    return {
        "commit": commit,
        "python": platform.python_version(),
        "cores": len(os.sched_getaffinity(0)),
        **{package: version(package) for package in packages},
    }


if __name__ == "__main__":
    sys.exit(main())
