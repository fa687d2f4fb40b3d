"""A program of conda's kind that makes virtual environments, which take a tenth of a second."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

MICROMAMBA = """#!{python}
import json, os, subprocess, sys, time
options = sys.argv[1:]
prefix, file = options[options.index("-p") + 1], options[options.index("-f") + 1]
asked = json.load(open(file))
print("solving for", asked["dependencies"], flush=True)
if "nosuch" in asked["dependencies"]:
    print("error    libmamba Could not solve for environment specs", flush=True)
    print("    The following package could not be found: nosuch", flush=True)
    sys.exit(1)
if "slow" in asked["dependencies"]:
    open(os.environ["SLOW"], "w").close()
    time.sleep(1000)
with open(os.environ["CALLS"], "a") as calls:
    print(*options, file=calls)
subprocess.run([{base!r}, "-m", "venv", "--without-pip", prefix], check=True)
os.makedirs(prefix + "/conda-meta")
os.makedirs(prefix + "/etc/conda/activate.d")
with open(prefix + "/etc/conda/activate.d/gdal.sh", "w") as script:
    script.write('export GDAL_DATA="$CONDA_PREFIX/share/gdal"\\n')
"""


@pytest.fixture
def micromamba(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file to which it writes its calls."""
    folder = tmp_path / "bin"
    folder.mkdir()
    base = os.path.join(sys.base_prefix, "bin", f"python{sys.version_info[0]}.{sys.version_info[1]}")
    (folder / "micromamba").write_text(MICROMAMBA.format(python=sys.executable, base=base))
    (folder / "micromamba").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("DASKPAR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("CALLS", str(tmp_path / "calls"))
    monkeypatch.delenv("MAMBA_EXE", raising=False)
    return tmp_path / "calls"
