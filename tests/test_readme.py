"""What the README shows is what happens: its first job is run as printed, its commands and settings exist."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pandas
import pytest

import warm_python
from daskpar.cli import VERBS
from daskpar.driver.plan_text import SHOWN
from daskpar.jobspec.program_arguments import WITH_EFFECT

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def block(name: str) -> str:
    """The code block below the line that names a file."""
    found = re.search(rf"^`{re.escape(name)}`[^\n]*\n\n```\w*\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    assert found, f"README.md shows no {name}"
    return found[1]


def test_the_first_job_does_what_the_readme_says(tmp_path: Path) -> None:
    (tmp_path / "letters").mkdir()
    for lines, letter in enumerate("abcdefgh", start=1):
        (tmp_path / "letters" / f"{letter}.txt").write_text("line\n" * lines)
    for name in ("pipeline.yml", "count_lines.py"):
        (tmp_path / name).write_text(block(name))
    argv = [sys.executable, "-m", "daskpar", "pipeline.yml", "--dashboard", "none"]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "lines.txt").read_text() == block("lines.txt")
    counted = next(line for line in README.splitlines() if line.startswith("  3 of 4 mini-batches"))
    assert counted in done.stdout.splitlines()
    shown = re.search(r"^```\ncount: completed.*?^```", README, re.MULTILINE | re.DOTALL)
    assert shown and shape(shown[0].strip("`\n"), "/home/you/first") == shape(
        done.stdout.strip(), str(tmp_path)
    )


def test_the_table_does_what_the_readme_says(tmp_path: Path) -> None:
    (tmp_path / "prices").mkdir()
    (tmp_path / "prices/1.csv").write_text("store,price,quantity\na,1.5,2\nb,2.0,\na,3,4\n")
    for name in ("prices/MLTable", "table.yml", "total.py"):
        (tmp_path / name).write_text(block(name))
    ended = warm_python.run("daskpar", "table.yml", "--dashboard", "none", cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    rows = pandas.read_parquet(tmp_path / "rows.parquet")
    assert rows["store"].tolist() == ["a", "b", "a"] and rows["total"].fillna(-1).tolist() == [
        3.0,
        -1.0,
        12.0,
    ]


def shape(text: str, folder: str) -> list[str]:
    """The lines of an end without what differs from run to run: its folder, times, sizes."""
    text = re.sub(r"lines-\d+-\d+", "RUN", text.replace(folder, "FOLDER"))
    return re.sub(r"\d+\.\d+ (s|[kMG]B)\b", "SOME", text).splitlines()


@pytest.mark.parametrize("verb", VERBS)
def test_each_command_is_in_the_table(verb: str) -> None:
    assert re.search(rf"^\| `(.*\b)?{verb}( (SPEC|RUN|FOLDER|SHELL|DATA)|`)", README, re.MULTILINE)


def test_each_setting_that_plan_lists_is_explained() -> None:
    named = set(re.findall(r"`(?:--|[a-z_]+\.)?([a-z_]+)`", README))
    assert set(SHOWN) <= named


def test_each_option_that_the_readme_names_exists(tmp_path: Path) -> None:
    shown = {
        option for line in README.splitlines() for option in re.findall(r"(?<![\w-])--[a-z][a-z_-]+", line)
    }
    helped = "".join(warm_python.run("daskpar", verb, "--help", cwd=tmp_path).stdout for verb in VERBS)
    of_dask = {"--local-directory"}
    of_containers = {"--gpus", "--device", "--volume", "--filter", "--userns", "--network", "--pid", "--ipc",
                     "--name", "--cpus", "--entrypoint", "--workdir", "--detach", "--restart"}  # fmt: skip
    others = of_dask | of_containers
    elsewhere = {"--dist", "--only", "--repeats", "--small", "--resource_monitor_interva", *others}
    unknown = {
        option for option in shown - elsewhere if option not in helped and option[2:] not in WITH_EFFECT
    }
    assert not unknown


def test_the_main_command_names_files_that_are_there() -> None:
    commands = re.findall(r"^python3\.11 -m venv .*$", README, re.MULTILINE)
    assert len(commands) == 2, "one line to run, one line to test"
    for path in re.findall(r"notebooks/\S+", commands[0]):
        assert (ROOT / path).exists()
    for extra in re.findall(r"'\.\[(\w+)\]'", README):
        assert f"{extra} = [" in (ROOT / "pyproject.toml").read_text()
