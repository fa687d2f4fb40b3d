"""Pythons other than the one that runs the tests: a virtual environment with another pandas, and other versions."""

from __future__ import annotations

import fcntl
import functools
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

PANDAS = "2.2.3"


def with_another_pandas(folder: Path) -> str:
    """A virtual environment of this Python in `folder`, made once, with pandas 2.2; its executable.

    All else is that of this Python, which spares most of what would have to be fetched.
    """
    folder.mkdir(parents=True, exist_ok=True)
    made = folder / f"pandas-{PANDAS}-{sys.version_info[0]}.{sys.version_info[1]}"
    python = made / "bin" / "python"
    with open(folder / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (made / "ready").exists():
            shutil.rmtree(made, ignore_errors=True)
            _make(made)
            (made / "ready").touch()
    return str(python)


def _make(made: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(made)], check=True)
    own = next((made / "lib").glob("python*")) / "site-packages"
    (own / "others.pth").write_text(sysconfig.get_path("purelib") + "\n")
    wanted = [f"pandas=={PANDAS}", "pytz", "tzdata"]
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "-q",
        "--no-deps",
        "--no-compile",
        "--disable-pip-version-check",
    ]
    if shutil.which("uv"):
        command = ["uv", "pip", "install", "-q", "--no-deps"]
    done = subprocess.run(
        [*command, "--target", str(own), *wanted], capture_output=True, text=True, timeout=100
    )
    if done.returncode:
        pytest.skip(f"pandas {PANDAS} can't be fetched: {done.stderr.strip()[-300:]}")


@functools.cache
def of_another_version() -> str:
    """A Python of another minor version, 3.9 rather than others; skips where there is none."""
    versions = [f"3.{minor}" for minor in (9, 10, 12, 13, 11) if minor != sys.version_info[1]]
    roots = [Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser() / "versions"]
    for version in versions:
        places = [place for root in roots for place in sorted(root.glob(f"{version}.*/bin/python"))]
        found = shutil.which(f"python{version}")
        for place in [*map(str, places), *([found] if found else [])]:
            asked = subprocess.run(
                [place, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"],
                capture_output=True,
                text=True,
            )
            if asked.stdout.strip() == version:
                return place
    pytest.skip(f"no Python of another version is found ({', '.join(versions)})")
