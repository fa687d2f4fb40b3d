"""Lines for pip mean the same wherever they are read, and what they read decides what is built."""

from __future__ import annotations

import json
import os

import pytest

from daskpar.environments.build_order import BuildOrder, order_of
from daskpar.environments.environment_check import environment_problems
from daskpar.environments.pip_lines import expanded
from daskpar.errors import UsageError
from daskpar.jobspec.named_environment import Environment


@pytest.mark.parametrize(
    ("line", "means"),
    [
        ("requests>=2", "requests>=2"),
        ("requests  # for the service", "requests"),
        ("# all of it", None),
        ("requests[socks]>=2; python_version < '3.12'", "requests[socks]>=2; python_version < '3.12'"),
        ("pkg @ https://h/pkg-1.0-py3-none-any.whl", "pkg @ https://h/pkg-1.0-py3-none-any.whl"),
        ("https://h/pkg-1.0.tar.gz#egg=pkg", "https://h/pkg-1.0.tar.gz#egg=pkg"),
        ("git+https://h/pkg.git", "git+https://h/pkg.git"),
        ("--extra-index-url https://h/simple", "--extra-index-url https://h/simple"),
        ("-r https://h/list.txt", "-r https://h/list.txt"),
        (".", "{}"),
        ("./pkg", "{}/pkg"),
        ("../pkg[extra]", "{up}/pkg[extra]"),
        ("wheels/pkg-1.0-py3-none-any.whl", "{}/wheels/pkg-1.0-py3-none-any.whl"),
        ("-e ./pkg", "-e {}/pkg"),
        ("--editable=pkg", "--editable={}/pkg"),
        ("-e git+https://h/pkg.git#egg=pkg", "-e git+https://h/pkg.git#egg=pkg"),
        ("-c limits.txt", "-c {}/limits.txt"),
        ("--constraint ${PLACE}/limits.txt", "--constraint ${PLACE}/limits.txt"),
        ("--find-links ./wheels", "--find-links {}/wheels"),
        ("-f /opt/wheels", "-f /opt/wheels"),
        ("-c 'my limits.txt'", "-c {}/my limits.txt"),
        ("-c ends'", "-c {}/ends'"),
        ("-c 'begins", "-c {}/'begins"),
        ("-c '", "-c {}/'"),
    ],
)
def test_a_line_means_the_same_in_any_folder(tmp_path, line, means):
    found = expanded([line], str(tmp_path))
    wanted = (
        [] if means is None else [means.replace("{}", str(tmp_path)).replace("{up}", str(tmp_path.parent))]
    )
    assert found == wanted


def test_lists_stand_in_place_of_their_names(tmp_path):
    (tmp_path / "more").mkdir()
    (tmp_path / "all.txt").write_text("-r more/base.txt\n--requirement 'more/tools.txt'\n\n# end\nlast\n")
    (tmp_path / "more" / "base.txt").write_text("-c limits.txt\nnumpy==1.26 \\\n  --hash=sha256:1\n./pkg\n")
    (tmp_path / "more" / "tools.txt").write_text("-rbase2.txt\n")
    (tmp_path / "more" / "base2.txt").write_text("six\n")
    lines = [" ".join(line.split()) for line in expanded(["first", "-r all.txt"], str(tmp_path))]
    limits, package = tmp_path / "more" / "limits.txt", tmp_path / "pkg"
    assert lines == ["first", f"-c {limits}", "numpy==1.26 --hash=sha256:1", str(package), "six", "last"]
    (tmp_path / "more" / "base2.txt").write_text("-r ../all.txt\n")
    with pytest.raises(UsageError, match=r"all\.txt lists itself"):
        expanded(["-r all.txt"], str(tmp_path))
    with pytest.raises(UsageError, match=r"`-r .*gone.txt` of its pip section can't be read: No such file"):
        expanded(["-r gone.txt"], str(tmp_path))


def test_what_pip_reads_decides_what_is_built(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in (
        "list.txt",
        "limits.txt",
        "pkg/setup.py",
        "pkg/pkg.py",
        "pkg/__pycache__/pkg.pyc",
        "own/own.py",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    lines = ["-r list.txt", "-c limits.txt", "own", "-f ./wheels", "--find-links=wheels", "./pkg", "-e ./own"]

    def order() -> BuildOrder:
        conda = json.dumps({"dependencies": [{"pip": lines}]})
        return order_of(Environment(name="x", conda=conda, conda_file=str(tmp_path / "x.yml")))

    def changes(name: str, text: str) -> bool:
        before = order().prefix
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
        return order().prefix != before

    assert changes("list.txt", "six") and changes("limits.txt", "six<2") and changes("pkg/pkg.py", "x = 1")
    assert not changes("pkg/__pycache__/pkg.pyc", "x") and not changes("pkg/pkg.egg-info/PKG-INFO", "x")
    assert not changes("own/own.py", "x = 1"), "it is read where it lies"
    assert not changes("wheels/other.whl", "x"), "what is taken of it, nobody knows"
    assert changes("own/pyproject.toml", "[project]")
    assert "six" in order().file.pip, "nodes need not see the list"


def test_the_check_reads_lists_and_shows_no_secret(tmp_path):
    (tmp_path / "list.txt").write_text("no-such-package-here==1\nnone-such @ https://bob:hush@h/x.whl\n")

    def said(line: str) -> str:
        conda = json.dumps({"dependencies": [{"pip": [line]}]})
        environment = Environment(
            name="x", conda=conda, conda_file=str(tmp_path / "x.yml"), where="job.yml:3"
        )
        return " ".join(map(str, environment_problems(environment, "work")))

    text = said("-r list.txt")
    assert "no no-such-package-here (no-such-package-here==1)" in text and "no none-such" in text
    assert "hush" not in text
    assert f"`-r {os.path.join(tmp_path, 'gone.txt')}` of its pip section can't be read" in said(
        "-r gone.txt"
    )
