"""YAML text to values with places: lines, mistakes in the YAML itself, and what PyYAML would let through."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from daskpar.jobspec.problems import Place, Problems
from daskpar.jobspec.yaml_source import Value, parse_yaml, read_yaml

TOP = Place(file="job.yml", line=None, folder=Path("/spec"))


def parsed(text: str) -> tuple[Value | None, list[str]]:
    problems = Problems()
    return parse_yaml(text, TOP, problems), [str(problem) for problem in problems.errors]


def test_the_line_is_that_of_the_key() -> None:
    value, errors = parsed("a: 1\nb:\n  - x\n  - c:\n      d: 2\n")
    assert value is not None and errors == []
    listed = value.get("b")
    assert listed is not None
    assert listed.place.line == 2
    deep = listed.elements()[1].get("c", "d")
    assert deep is not None
    assert (deep.place.line, deep.place.dotted, deep.data) == (5, "b[1].c.d", 2)


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("a: [1\nb: 2", 2, "broken YAML"),
        ("a: 'x\n", 2, "broken YAML"),
        ("a: 1\nb: {c: ${{inputs.x}}}\n", 2, "broken YAML"),
        ("a:\n\t- 1\n", 2, "broken YAML"),
        ("a: 1\nb: 2\na: 3\n", 3, "the key is given twice, first in line 1"),
        ("a: 1\n---\nb: 1\n", 2, "broken YAML"),
        ("a: *no\n", 1, "broken YAML"),
        ("a: !!python/object/apply:os.system [ls]\n", 1, "is not used in a job"),
        ('a: "x\\0"\n', 1, "NUL character"),
        ("a: !!set {x, y}\n", 1, "is not used in a job"),
        ("x: 1\na: !secret x\n", 2, "secret"),
        ("a: &a [*a]\n", 1, "alias"),
        ("? [1, 2]\n: 3\n", 1, "a key has to be a text"),
        ("a: \x01\n", 1, "#x0001 is not allowed"),
        ("", None, "empty"),
        ("# only a comment\n", None, "empty"),
    ],
)
def test_broken_yaml(text: str, line: int | None, says: str) -> None:
    problems = Problems()
    parse_yaml(text, TOP, problems)
    (problem,) = problems.errors
    assert problem.line == line
    assert says in problem.what


def test_an_unquoted_binding_in_braces_gets_a_hint() -> None:
    _, errors = parsed("a: {c: ${{inputs.x}}}\n")
    assert errors[0].endswith("A binding inside { } or [ ] has to be quoted.")


@pytest.mark.parametrize("text", ["a:\n\tb: 1\n", "a:\n  b: 1\n  \tc: 2\n", "jobs:\n  a: x\n\tb: y\n"])
def test_a_tab_is_called_by_its_name(text: str) -> None:
    _, errors = parsed(text)
    assert errors[0].endswith("The line is indented by a tab; YAML takes blanks only.")


def test_aliases_of_aliases_are_no_bomb() -> None:
    text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
    for level in range(1, 9):
        text += f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]\n"
    _, errors = parsed(text)
    assert "too many values" in errors[0]


def test_deep_nesting_is_an_error() -> None:
    _, errors = parsed("[" * 3000 + "]" * 3000)
    assert "too deeply" in errors[0]


def test_merge_keys_and_anchors_are_as_in_yaml() -> None:
    value, errors = parsed("base: &b {x: 1, y: 2}\njob:\n  <<: *b\n  y: 3\n")
    assert value is not None and errors == []
    assert value.plain() == {"base": {"x": 1, "y": 2}, "job": {"x": 1, "y": 3}}


def test_dates_are_text_and_keys_too() -> None:
    value, _ = parsed("start: 2026-01-31\n1: x\non: y\n")
    assert value is not None
    assert value.plain() == {"start": "2026-01-31", "1": "x", "on": "y"}


def test_a_byte_order_mark_is_no_content(tmp_path: Path) -> None:
    path = tmp_path / "a.yml"
    path.write_bytes(b"\xef\xbb\xbfa: 1\n")
    value = read_yaml(path, Problems())
    assert value is not None and value.plain() == {"a": 1}


@pytest.mark.parametrize(
    ("content", "says"), [(b"a: 1\nb: \xff\n", "a.yml:2: the file is not UTF-8 text."), (None, "can't read")]
)
def test_unreadable_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None, says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "a.yml"
    if content is not None:
        path.write_bytes(content)
    problems = Problems()
    assert read_yaml(path, problems) is None
    assert says in str(problems.errors[0])


def test_a_folder_is_no_spec(tmp_path: Path) -> None:
    problems = Problems()
    assert read_yaml(tmp_path, problems) is None
    assert "is a folder" in str(problems.errors[0])


some_text = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8)
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | some_text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(some_text, inner, max_size=3),
    max_leaves=12,
)


@given(st.dictionaries(some_text, plain, min_size=1, max_size=4))
def test_values_are_those_of_pyyaml(document: dict[str, object]) -> None:
    text = yaml.safe_dump(document)
    value, errors = parsed(text)
    assert errors == []
    assert value is not None and value.plain() == yaml.safe_load(text)
