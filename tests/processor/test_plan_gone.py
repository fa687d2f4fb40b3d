"""A plan that can't be read any more ends the step: its mini-batches are not handed out again without end."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

import daskpar


@pytest.mark.parametrize("what", ["plan.json", "paths"])
def test_a_plan_that_is_gone_ends_the_step_as_lost(tmp_path: Path, what: str) -> None:
    data, code, run_directory = tmp_path / "data", tmp_path / "code", tmp_path / "run"
    data.mkdir(), code.mkdir()
    for number in range(4):
        (data / str(number)).touch()
    plan = run_directory / "steps" / "work" / "plan" / what
    # The first init() takes the plan away before any processor has read it.
    (code / "s.py").write_text(
        f"import os, contextlib\n\ndef init():\n    with contextlib.suppress(FileNotFoundError):\n        os.unlink({str(plan)!r})\n\n"
        "def run(mini_batch):\n    return mini_batch\n"
    )
    step = {
        "type": "parallel",
        "inputs": {"files": {"type": "uri_folder", "path": "./data"}},
        "input_data": "${{inputs.files}}",
        "max_concurrency_per_instance": 1,
        "task": {
            "type": "run_function",
            "code": "./code",
            "entry_script": "s.py",
            "environment": "azureml:any:1",
        },
    }
    (tmp_path / "job.yml").write_text(yaml.safe_dump({"type": "pipeline", "jobs": {"work": step}}))
    ended = daskpar.run(tmp_path / "job.yml", run_dir=run_directory, dashboard=None, display=False)
    assert (ended.status, ended.exit_code) == ("lost", 3)
    assert "plan" in ended.reason
    assert ended.counts["work"].tries_failed == 0
