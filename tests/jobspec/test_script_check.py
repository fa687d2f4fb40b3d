"""What is said of an entry script without running it."""

from __future__ import annotations

from pathlib import Path

import pytest

from daskpar.jobspec.script_check import check_script, find_script

GOOD = {
    "plain": "def run(batch): return batch",
    "context": "def run(batch, context): return batch",
    "defaults": "def run(batch, context=None, *, more=1): return batch",
    "star": "def run(*args): return args",
    "assigned": "def go(b): return b\nrun = go",
    "lambda": "run = lambda batch: batch",
    "imported": "from other import run",
    "imported as": "from other import go as run",
    "imported star": "from other import *",
    "in a branch": "import os\nif os.name:\n    def run(b): return b\nelse:\n    run = None",
    "in try": "try:\n    from fast import run\nexcept ImportError:\n    def run(b): return b",
    "class": "class run:\n    def __init__(self, batch): pass",
    "decorated": "import functools\n@functools.cache\ndef run(): return lambda b: b",
    "annotated": "run: object = print",
    "unpacked": "init, run = print, print",
    "global": "def init():\n    global run\n    run = print",
    "one branch fits": "import os\nif os.name:\n    def run(b): return b\nelse:\n    def run(): return []",
    "init with defaults": "def init(x=1): pass\ndef run(b): return b\ndef shutdown(*a): pass",
    "encoding": "# -*- coding: latin-1 -*-\ndef run(b): return b",
    "match": "match 1:\n    case 1:\n        def run(b): return b",
}
WRONG = {
    "no run": ("def init(): pass", None, "has no function run"),
    "Run": ("def Run(b): return b", None, "Did you mean 'Run'?"),
    "nested": ("def init():\n    def run(b): return b", None, "has no function run"),
    "method": ("class A:\n    def run(self, b): return b", None, "has no function run"),
    "no arguments": ("\ndef run(): return []", 2, "run takes no arguments"),
    "three": ("def run(a, b, c): return []", 1, "run requires 3 arguments"),
    "keyword": ("def run(a, *, b): return []", 1, "requires the keyword argument b"),
    "async": ("async def run(a, b, c): return []", 1, "run requires 3 arguments"),
    "init": (
        "def init(x): pass\ndef run(b): return b",
        1,
        "init requires 1 argument; it is called without any",
    ),
    "shutdown": ("def run(b): return b\ndef shutdown(a, b): pass", 2, "shutdown requires 2 arguments"),
    "syntax": ("def run(b):\n  return (b\n", 2, "no valid Python"),
    "empty": ("", None, "has no function run"),
    "null byte": ("a\0", None, ""),
}


@pytest.mark.parametrize("name", GOOD)
def test_good_scripts(tmp_path: Path, name: str) -> None:
    path = tmp_path / "script.py"
    path.write_text(GOOD[name])
    assert check_script(path) == ()


@pytest.mark.parametrize("name", WRONG)
def test_wrong_scripts(tmp_path: Path, name: str) -> None:
    text, line, says = WRONG[name]
    path = tmp_path / "script.py"
    path.write_text(text)
    (problem,) = check_script(path)
    assert says in f"{problem.what} {problem.hint}"
    assert line is None or problem.line == line


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("script.py", "{code}/script.py"),
        ("./script.py", "{code}/script.py"),
        ("script", "{code}/script.py"),
        ("deep/er/task.py", "{code}/deep/er/task.py"),
        ("deep\\er\\task.py", "{code}/deep/er/task.py"),
        ("deep.er.task", "deep.er.task"),
        ("deep/er/task", "deep.er.task"),
        ("package", "package"),
        ("json.tool", "json.tool"),
    ],
)
def test_where_scripts_are_found(tmp_path: Path, written: str, name: str) -> None:
    for file in ("script.py", "deep/er/task.py", "package/__init__.py"):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text("def run(b): return b")
    found = find_script(written, tmp_path)
    assert found is not None
    assert found.name == name.format(code=tmp_path)


@pytest.mark.parametrize("written", ["other.py", "json.nothing", "no such", "", "deep/er", "json.tool.py"])
def test_what_is_not_found(tmp_path: Path, written: str) -> None:
    (tmp_path / "deep/er").mkdir(parents=True)
    assert find_script(written, tmp_path) is None
