"""Which files of a code folder a node is sent."""

from __future__ import annotations

import pytest

from daskpar.engine.shipped.ignore_rules import IgnoreRules
from daskpar.engine.shipped.parcels import files_of_code

RULES = [
    ("data/", "data", True, True),
    ("data/", "deep/data", True, True),
    ("data/", "data", False, False),
    ("/data", "data", True, True),
    ("/data", "deep/data", True, False),
    ("*.csv", "deep/a.csv", False, True),
    ("*.csv", "a.csv.py", False, False),
    ("a/*.csv", "a/b.csv", False, True),
    ("a/*.csv", "a/deep/b.csv", False, False),
    ("a/**/b", "a/b", True, True),
    ("a/**/b", "a/x/y/b", True, True),
    ("**/tmp", "x/tmp", True, True),
    ("logs/**", "logs/x/y", False, True),
    ("logs/**", "logs", True, False),
    ("[ab]?.py", "a1.py", False, True),
    ("[!ab]1.py", "a1.py", False, False),
    ("# a comment", "# a comment", False, False),
    (r"\#x", "#x", False, True),
    (r"\!x", "!x", False, True),
    ("x   ", "x", False, True),
    ("", "x", False, False),
    ("/", "x", True, False),
    ("[", "[", False, True),
    ("[a]", "a", False, True),
    ("[]]x", "]x", False, True),
    ("**/tmp", "tmp", True, True),
    ("a**/b", "axx/b", True, True),  # stars beside a letter cross no folder
    ("a**/b", "axx/y/b", True, False),
    ("a**b", "axxb", False, True),
    ("a**bc", "axc", False, False),
    ("a***bc", "axbc", False, True),
    (r"a\*b", "a*b", False, True),
    (r"a\*b", "axb", False, False),
    (r"a\?", "a?", False, True),
    (r"\[a]", "[a]", False, True),
    (r"x\ ", "x ", False, True),
    ("a.b", "axb", False, False),
]


@pytest.mark.parametrize(("rule", "path", "folder", "out"), RULES)
def test_a_rule_leaves_out_what_git_would(rule, path, folder, out):
    assert IgnoreRules([rule]).leave_out(path, folder=folder) is out


def test_the_last_rule_that_fits_decides():
    rules = IgnoreRules(["*.csv\n", "!small.csv\r\n", "deep/small.csv"])
    assert [rules.leave_out(path, folder=False) for path in ("a.csv", "small.csv", "deep/small.csv")] == [
        True,
        False,
        True,
    ]


def test_what_belongs_to_a_code_folder(tmp_path):
    code = tmp_path / "code"
    for name in (
        *(
            "score.py",
            "pkg/__init__.py",
            "pkg/__pycache__/x.pyc",
            ".git/config",
            "venv/pyvenv.cfg",
            "venv/lib/a.py",
        ),
        *("runs/one/run.json", "out/big.csv", "keep.csv", "data/given.txt", "empty/x.log"),
    ):
        path = code / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
    (code / ".amlignore").write_text("*.csv\n!keep.csv\n*.log\n")
    (code / ".gitignore").write_text("score.py\n")
    (code / "loop").symlink_to(code)
    (code / "nowhere").symlink_to(tmp_path / "nothing")
    (tmp_path / "elsewhere.py").write_text("")
    (code / "linked.py").symlink_to(tmp_path / "elsewhere.py")
    found = [name for _, name in files_of_code(code, [str(code / "data")], code / "runs" / "one")]
    assert [name for name in found if not (code / name).is_dir()] == [
        *(".amlignore", ".gitignore", "keep.csv", "linked.py", "pkg/__init__.py", "score.py"),
    ]


@pytest.mark.parametrize("rule", ["*.py", "src/"])
def test_the_entry_script_is_never_left_out_and_what_is_left_out_is_told(tmp_path, rule):
    code = tmp_path / "code"
    (code / "src").mkdir(parents=True)
    (tmp_path / "runs").mkdir()
    for name in ("src/score.py", "src/other.py", "model.pkl", "a.csv"):
        (code / name).touch()
    (code / ".gitignore").write_text(f"*.pkl\n{rule}\n")
    left_out: list[str] = []
    found = files_of_code(code, [], tmp_path / "runs", str(code / "src" / "score.py"), left_out)
    assert {name for _, name in found} - {"src"} == {".gitignore", "a.csv", "src/score.py"}
    assert left_out == ["model.pkl", "src/" if rule == "src/" else "src/other.py"]
