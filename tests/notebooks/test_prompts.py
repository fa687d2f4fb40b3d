"""The example of many calls in flight, made small: a service that throttles, fails and hangs costs no row."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import warm_python
from daskpar.rundir.run_directory import RunDirectory

PROMPTS = 120
SMALLER = {
    "make_data.py": {"PROMPTS = 2000": f"PROMPTS = {PROMPTS}"},
    # Each kind of trouble comes among so few, too: what it draws is the same each time.
    "server.py": {
        "if throttled():": "if throttled() or luck > 0.97:",
        "luck < 0.002": "luck < 0.01",
        "luck < 0.003": "luck < 0.03",
    },
    "pipeline.yml": {"timeout: 2 ": "timeout: 1 ", "max_retries: 3": "max_retries: 12"},
}


def test_prompts_are_all_answered_in_order(tmp_path: Path, monkeypatch) -> None:
    folder = tmp_path / "prompts"
    origin = Path(__file__).parent.parent.parent / "notebooks/prompts"
    shutil.copytree(origin, folder, ignore=shutil.ignore_patterns("data", "runs"))
    for name, changes in SMALLER.items():
        text = (folder / name).read_text()
        for before, after in changes.items():
            assert before in text, f"{name} has no {before!r} any more"
            text = text.replace(before, after)
        (folder / name).write_text(text)
    assert warm_python.run(str(folder / "make_data.py"), cwd=folder).returncode == 0
    server = subprocess.Popen(
        [sys.executable, "-I", str(folder / "server.py"), "0"], stdout=subprocess.PIPE, text=True
    )
    try:
        assert server.stdout is not None
        monkeypatch.setenv("MODEL_AT", server.stdout.readline().split()[-1])
        options = ("--run-dir", str(tmp_path / "run"), "--dashboard", "none")
        done = warm_python.run("daskpar", "pipeline.yml", *options, cwd=folder, timeout=100)
    finally:
        server.kill()
        server.communicate()
    assert done.returncode == 0, done.stderr
    answers = (tmp_path / "run/steps/ask/outputs/answers").read_text().splitlines()
    rows = [json.loads(line) for line in answers]
    assert [row["id"] for row in rows] == list(range(PROMPTS))
    assert all(row["answer"] == f"The answer to {len(row['prompt'])} signs." for row in rows)
    state = RunDirectory.open(tmp_path / "run").step("ask").state()
    assert state is not None and state.counts.throttled > 0 and state.counts.retried > 0
    assert "throttled" in done.stdout
