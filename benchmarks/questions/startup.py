"""From the command to the first run() of a job of one mini-batch, next to what its imports alone cost."""

from __future__ import annotations

import sys

from benchmarks import data
from benchmarks.bars import Answer, Settings
from benchmarks.harness import DATA, Command, interleave
from benchmarks.jobs import Job, mltable


def ask(settings: Settings) -> Answer:
    """Start-up, spec and MLTable included, over the imports of pandas, pyarrow and distributed."""
    answer = Answer(question="start-up")
    moments = DATA / "first.txt"
    path, rows = data.scoring_csv(1)
    table = mltable("first", [f"file: {path}"], "read_delimited")
    job = Job(
        name="start-up",
        script="first.py",
        data=table,
        mini_batch_size="10mb",
        environment={"MOMENTS": str(moments)},
    )

    def first_run() -> dict[str, float]:
        return {"first_run": float(moments.read_text())}

    commands = [
        job.command(check=lambda: job.expect(succeeded=1, items=rows), marks=first_run),
        Command(name="imports", argv=(sys.executable, "-c", "import pandas, pyarrow, distributed")),
    ]
    series = interleave(commands, max(5, settings.repeats))
    answer.series["start-up"] = series
    ours = series["daskpar"]
    answer.bar(
        "command → first run()",
        ours.mark("first_run"),
        None,
        unit=" s",
        note=f"whole command {ours.seconds:.2f} s",
    )
    answer.bar(
        "first run() over `import pandas, pyarrow, distributed`",
        ours.mark("first_run") / series["imports"].seconds,
        1.8,
        1.3,
    )
    return answer
