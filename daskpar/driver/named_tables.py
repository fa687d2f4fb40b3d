"""Reads the MLTables that a job names, which are configuration: their mistakes are the job's."""

from __future__ import annotations

import os
import re
from pathlib import Path

from daskpar.errors import InputError, Problem
from daskpar.jobspec.model import FILE_LIST_MODES, ParallelStep, PipelineJob
from daskpar.jobspec.yaml_source import shown_path
from daskpar.locations import is_url

_PLACED = re.compile(r"(?P<file>.*?):(?P<line>\d+): (?P<what>.*)", re.DOTALL)


def table_problems(job: PipelineJob) -> tuple[Problem, ...]:
    """What is wrong in the MLTables that are there before the job runs, with file and line. Opens no data."""
    folders = {
        data.path.rstrip("/")
        for step in job.steps
        for name, data in step.inputs.items()
        if data.type == "mltable"
        and data.made_by is None
        and isinstance(step, ParallelStep)
        and (name in step.input_data or data.mode not in FILE_LIST_MODES)
        and not is_url(data.path)
        and os.path.isfile(os.path.join(data.path, "MLTable"))
    }
    if not folders:
        return ()
    from daskpar.data.mltable.document import read_document

    problems = []
    for folder in sorted(folders):
        try:
            read_document(folder)
        except InputError as error:
            problems.append(_problem(str(error), folder))
    return tuple(problems)


def _problem(text: str, folder: str) -> Problem:
    placed = _PLACED.fullmatch(text)
    file = Path(placed["file"] if placed else os.path.join(folder, "MLTable"))
    what = placed["what"] if placed else text.removeprefix(f"{file}: ")
    line = int(placed["line"]) if placed else None
    return Problem(
        file=shown_path(file), line=line, path="", what=f"{what}." if what[-1] not in ".!?" else what
    )
