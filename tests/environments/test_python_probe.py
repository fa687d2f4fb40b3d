"""What is known of a Python before anything runs in it: what it is, and what it lacks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import daskpar
from daskpar.chosen_python import ChosenPython
from daskpar.environments.python_probe import lacks, look_at
from daskpar.errors import SpecError, UsageError
from daskpar.processor.python_variables import activated
from other_pythons import of_another_version


@pytest.fixture(scope="module")
def bare(tmp_path_factory) -> str:
    """A virtual environment without any package."""
    folder = tmp_path_factory.mktemp("bare") / "env"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    return str(folder / "bin" / "python")


def program(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def test_this_python_is_seen_as_it_is():
    found = look_at(sys.executable, ("pandas", "json", "no_such_module"))
    assert found.python.version == ".".join(map(str, sys.version_info[:3]))
    assert {"pandas", "pyarrow"} <= dict(found.python.packages).keys()
    assert found.missing == ("no_such_module",)


def test_a_package_that_was_installed_meanwhile_is_seen(bare):
    """As in a notebook, where a missing package is installed and the job run again."""
    assert look_at(bare, ("fresh_module",)).missing == ("fresh_module",)
    site = next(Path(bare).parent.parent.glob("lib/python*/site-packages"))
    (site / "fresh_module.py").touch()
    assert look_at(bare, ("fresh_module",)).missing == ()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("echo '[3, 8, 1]'", "is Python 3.8.1; processors run in Python 3.9 and newer"),
        ("echo hello", r"is no Python that works \(exit code 0\): hello"),
        ("echo 'bad library' >&2; exit 3", r"is no Python that works \(exit code 3\): bad library"),
        ("echo '[3, 12, 1]'; echo 'broken site' >&2", "is no Python that works.*broken site"),
        (
            """echo '[3, 12, 1]'; echo '{"packages": [], "missing": [], "implementation": "pypy"}'""",
            "is pypy",
        ),
    ],
)
def test_what_is_no_python_for_processors(tmp_path, text, says):
    with pytest.raises(UsageError, match=says):
        look_at(program(tmp_path / "python", text))


def test_an_old_python_runs_commands(tmp_path):
    assert (
        look_at(program(tmp_path / "python", "echo '[2, 7, 18]'"), for_commands=True).python.version
        == "2.7.18"
    )


@pytest.mark.parametrize(
    ("there", "says"),
    [
        (
            (),
            "has no pandas and no pyarrow, and the step's mini-batches are tables: /x/bin/python -m pip install pandas pyarrow",
        ),
        ((("pandas", "2.2.3"),), "has no pyarrow"),
        (
            (("pandas", "1.1.5"), ("pyarrow", "26.0")),
            "has pandas 1.1.5, and 1.5 is needed: /x/bin/python -m pip install 'pandas>=1.5'",
        ),
        ((("pandas", "1.5.3"), ("pyarrow", "12.0.1")), ""),
        ((("pandas", "3.0.0rc1"), ("pyarrow", "26")), ""),
    ],
)
def test_what_tables_need(there, says):
    found = lacks(ChosenPython(python="/x/bin/python", packages=there), ("pandas", "pyarrow"))
    assert says in found and bool(says) == bool(found)


TABLE = (
    "type: mltable\npaths:\n  - file: ./a.csv\ntransformations:\n  - read_delimited:\n      delimiter: ','\n"
)


def test_everything_wrong_is_said_at_once(work, bare, monkeypatch):
    """With the line of the environment: a table without pandas, a missing module, nothing there, an unknown name."""
    work.files(1)
    work.write("table/MLTable", TABLE)
    work.write("table/a.csv", "a\n1\n")
    table = {"inputs": {"t": {"type": "mltable", "path": "./table"}}, "input_data": "${{inputs.t}}"}
    table["mini_batch_size"] = "1kb"
    table["outputs"] = {"rows": {"type": "uri_file", "path": "./of_table.txt"}}
    steps = {
        "table": work.parallel(code="./one", **table),
        "module": work.parallel(
            "import json, yaml\ndef run(b): return b", code="./two", append=False, outputs=None
        ),
        "gone": work.parallel(code="./three", append=False, outputs=None),
        "conda": work.command("true"),
        "empty": work.command("true"),
    }
    (work.folder / "folder").mkdir()
    monkeypatch.chdir(work.folder)
    environments = {
        "table": bare,
        "module": bare,
        "gone": "./gone",
        "conda": "conda:no-such",
        "empty": "./folder",
    }
    with pytest.raises(SpecError) as caught:
        daskpar.validate(work.spec(steps), environments=environments)
    text = str(caught.value)
    for says in (
        "jobs.table.environment",
        "has no pandas and no pyarrow",
        "imports 'yaml', which",
        f"{bare} -m pip install pyyaml",
        f"there is nothing at {work.folder}/gone (--environment gone)",
        "there is no conda environment 'no-such'",
        f"the folder {work.folder}/folder holds no bin/python",
        "5 mistakes in the spec",
    ):
        assert says in text
    with pytest.raises(UsageError, match="no step has an environment of that name"):
        daskpar.validate(work.spec(steps), environments={"tabel": bare})


def test_check_holds_this_python_to_the_conda_file(work, monkeypatch):
    """A warning of `validate` without a choice, a mistake with `check`, silence with `ours`."""
    work.files(1)
    step = work.parallel()
    step["task"]["environment"] = {
        "name": "scoring",
        "conda_file": {
            "dependencies": [
                "python>=3.9",
                "pandas=0.25",
                "numpy",
                "cudatoolkit",
                {"pip": ["no-such-package==1", "azureml-core"]},
            ]
        },
    }
    spec = work.spec({"work": step})
    (warning,) = daskpar.validate(spec)
    assert "pandas=0.25" in str(warning) and "no no-such-package (no-such-package==1)" in str(warning)
    assert "--environment scoring=build" in str(
        warning
    ) and "pip install 'pandas==0.25.*' no-such-package==1" in str(warning)
    for silent in ("python>=3.9", "numpy (", "cudatoolkit", "azureml-core"):
        assert silent not in str(warning)
    assert daskpar.validate(spec, environments={"scoring": "ours"}) == ()
    with pytest.raises(SpecError, match=r"pandas=0\.25"):
        work.run({"work": step}, environments={"scoring": "check"})
    assert not (work.folder / "run").exists()


def test_variables_of_an_activated_environment(tmp_path):
    given = {
        "PATH": "/bin",
        "VIRTUAL_ENV": "/other",
        "PYTHONHOME": "/other",
        "CONDA_PREFIX": "/other",
        "KEPT": "1",
    }
    for prefix in ("venv", "conda", "plain"):
        (tmp_path / prefix / "bin").mkdir(parents=True)
    (tmp_path / "venv/pyvenv.cfg").touch()
    (tmp_path / "conda/conda-meta").mkdir()
    scripts = tmp_path / "conda/etc/conda/activate.d"
    scripts.mkdir(parents=True)
    (scripts / "a.sh").write_text('export DATA="$CONDA_PREFIX/share two"\necho loud\n')
    (scripts / "b.sh").write_text("export NEXT=${DATA}x KEPT=2\n")
    venv, conda, plain = (
        activated(f"{tmp_path}/{prefix}/bin/python", given) for prefix in ("venv", "conda", "plain")
    )
    assert venv == {
        "PATH": f"{tmp_path}/venv/bin{os.pathsep}/bin",
        "KEPT": "1",
        "VIRTUAL_ENV": f"{tmp_path}/venv",
    }
    assert plain == {"PATH": f"{tmp_path}/plain/bin{os.pathsep}/bin", "KEPT": "1"}
    assert conda["CONDA_PREFIX"] == f"{tmp_path}/conda" and conda["CONDA_DEFAULT_ENV"] == "conda"
    assert (conda["DATA"], conda["NEXT"], conda["KEPT"]) == (
        f"{tmp_path}/conda/share two",
        f"{tmp_path}/conda/share twox",
        "2",
    )
    (scripts / "c.sh").write_text("exit 3\n")
    assert "DATA" not in activated(f"{tmp_path}/conda/bin/python", {**given, "AGAIN": "1"}), (
        "they have failed"
    )


LOADED = """
import sys
sys.path.insert(0, {root!r})
import daskpar.processor.host, daskpar.processor.child_setup, daskpar.processor.uploading_runner
import daskpar.processor.in_flight.in_flight_runner, daskpar.rows.registry, daskpar.batches.plan
print(sorted({{"numpy", "pandas", "pyarrow", "dask", "yaml"}} & set(sys.modules)))
from daskpar.processor.protocol import BlockOrder, ReleaseReason
from daskpar.batches.plan_arrow import itertools
print(BlockOrder(block=1, token="x", start=0, stop=4).is_retry, str(ReleaseReason.SLOW), "pairwise" in dir(__import__("itertools")))
"""


def test_what_processors_load_runs_in_an_older_python():
    """The standard library is enough for lists of files; scripts there see the Python as it is."""
    other = of_another_version()
    root = str(Path(daskpar.__file__).parent.parent)
    done = subprocess.run([other, "-S", "-c", LOADED.format(root=root)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    loaded, values = done.stdout.splitlines()
    assert loaded == "[]"
    minor = int(look_at(other).python.version.split(".")[1])
    assert values == f"False slow {minor >= 10}"
