"""How an entry script is found, imported and called; each in a Python of its own, since imports leave traces."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from daskpar.processor.entry_script import takes_context

RUN = "def run(mini_batch): return [NAME]\n"


def loaded(script: str, code: Path | None, after: str = "print(entry.run([]))") -> str:
    text = f"""
from daskpar.processor.entry_script import load
entry = load({script!r}, {str(code) if code else None!r})
{after}
"""
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=60)
    return done.stdout.strip() if done.returncode == 0 else done.stderr.strip().splitlines()[-1]


@pytest.mark.parametrize(
    "name",
    ["score.py", "test.py", "queue.py", "json.py", "types.py", "my-score.py", "deep/er/score.py", "os.py"],
)
def test_a_script_is_found_whatever_its_name_is(tmp_path, name):
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"NAME = {name!r}\n" + RUN)
    assert loaded(str(path), tmp_path) == str([name])


def test_a_script_does_not_replace_a_module_that_is_loaded_already(tmp_path):
    (tmp_path / "types.py").write_text("import types as other\nNAME = hasattr(other, 'ModuleType')\n" + RUN)
    assert loaded(str(tmp_path / "types.py"), tmp_path) == "[True]"


def test_the_code_folder_comes_before_everything_else_on_the_path(tmp_path):
    for name in ("code", "code/deep"):
        (tmp_path / name).mkdir()
    (tmp_path / "code/helper.py").write_text("NAME = 'code'\n")
    (tmp_path / "code/deep/helper2.py").write_text("NAME = 'beside'\n")
    (tmp_path / "code/deep/score.py").write_text(
        "import helper, helper2\nNAME = helper.NAME, helper2.NAME, __file__\n" + RUN
    )
    script = str(tmp_path / "code/deep/score.py")
    assert loaded(script, tmp_path / "code") == str([("code", "beside", script)])


def test_a_dotted_module_is_found_below_the_code_folder(tmp_path):
    (tmp_path / "batch").mkdir()
    (tmp_path / "batch/main.py").write_text("NAME = __name__\n" + RUN)
    assert loaded("batch.main", tmp_path) == "['batch.main']"


def test_the_main_part_is_not_run_and_classes_can_be_pickled(tmp_path):
    (tmp_path / "score.py").write_text(
        textwrap.dedent("""
        import pickle
        class Model: pass
        def run(mini_batch): return [type(pickle.loads(pickle.dumps(Model()))).__module__]
        if __name__ == "__main__": raise SystemExit("run as a program")
        """)
    )
    assert loaded(str(tmp_path / "score.py"), tmp_path) == "['score']"


def test_what_the_import_raises_is_raised(tmp_path):
    (tmp_path / "score.py").write_text("import no_such_package_anywhere\n" + RUN)
    assert "no_such_package_anywhere" in loaded(str(tmp_path / "score.py"), tmp_path)


def test_a_script_of_the_async_contract_runs_by_its_plain_run(tmp_path):
    (tmp_path / "score.py").write_text(
        "def enqueue(b, c): pass\ndef check_all_tasks_processed(): return True\nNAME = 1\n" + RUN
    )
    assert loaded(str(tmp_path / "score.py"), tmp_path) == "[1]"


def test_a_script_without_run_is_named(tmp_path):
    (tmp_path / "score.py").write_text("def init(): pass\n")
    assert (
        loaded(str(tmp_path / "score.py"), tmp_path)
        == f"AttributeError: {tmp_path}/score.py has no function run(mini_batch)"
    )


class Callable:
    def __call__(self, mini_batch, context): ...


def wanted(mini_batch, *, extra): ...
def too_many(a, b, c): ...
def nothing(): ...
async def later(mini_batch, context): ...
async def stream(mini_batch):
    yield 1


@pytest.mark.parametrize(
    ("run", "context"),
    [
        (lambda mini_batch: 0, False),
        (lambda mini_batch, mini_batch_context: 0, True),
        (lambda mini_batch, anything: 0, True),
        (lambda mini_batch, context=None: 0, True),
        (lambda mini_batch, my_context=5: 0, True),
        (lambda mini_batch, threshold=0.5: 0, False),
        (lambda mini_batch, /: 0, False),
        (lambda *args: 0, True),
        (lambda mini_batch, **kwargs: 0, False),
        (lambda mini_batch, *, extra=1: 0, False),
        (lambda a, b, c=1: 0, True),
        (Callable(), True),
        (later, True),
        (stream, False),
    ],
)
def test_the_context_is_given_to_those_who_take_it(run, context):
    assert takes_context(run) is context


@pytest.mark.parametrize("run", [wanted, too_many, nothing])
def test_a_run_that_cannot_be_called_is_refused(run):
    with pytest.raises(TypeError, match="run"):
        takes_context(run)
