"""Single values: what each reader takes, and what it says of the rest."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daskpar.jobspec import scalars
from daskpar.jobspec.model import BySize
from daskpar.jobspec.problems import Place, Problems
from daskpar.jobspec.yaml_source import Value, parse_yaml

HERE = Place(file="job.yml", line=3, path=("jobs", "a", "x"), folder=Path("/"))


def read(reader: Callable[[Value, Problems], object], data: object) -> tuple[object, str]:
    """The value read, and the mistake or warning that was recorded."""
    problems = Problems()
    value = reader(Value(data, HERE), problems)
    return value, " ".join(map(str, [*problems.errors, *problems.warnings]))


@pytest.mark.parametrize(
    ("data", "number", "unit"),
    [
        ("10", 10, 1),
        (10, 10, 1),
        ("10kb", 10, 1024),
        ("10 KB", 10, 1024),
        ("1Mb", 1, 1024**2),
        (" 2gb ", 2, 1024**3),
        ("0", 0, 1),
        ("10240", 10240, 1),
    ],
)
def test_sizes(data: object, number: int, unit: int) -> None:
    assert read(scalars.size, data) == (BySize(number=number, unit=unit), "")


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ("5kbkb", "no mini-batch size"),
        ("1.5mb", 'write "1536kb"'),
        ("0.5 kb", 'write "512"'),
        ("10  kb", "no mini-batch size"),
        ("10b", "no mini-batch size"),
        ("9" * 5000, "no mini-batch size"),
        (".5kb", 'write "512"'),
        ("1tb", "no mini-batch size"),
        ("-1", "no mini-batch size"),
        (-1, "no mini-batch size"),
        ("ten", "'ten' is no mini-batch size"),
        ("", "no mini-batch size"),
        (True, "true is no mini-batch size"),
        (1.5, "no mini-batch size"),
        ({}, "a mapping is no mini-batch size"),
        ("١٠", "no mini-batch size"),
    ],
)
def test_what_is_no_size(data: object, says: str) -> None:
    value, problem = read(scalars.size, data)
    assert value is None
    assert says in problem
    assert problem.startswith("job.yml:3: jobs.a.x: ")


@pytest.mark.parametrize(
    ("reader", "data", "value"),
    [
        (scalars.threshold, 5, 5),
        (scalars.threshold, "5", 5),
        (scalars.threshold, -1, -1),
        (scalars.threshold, 2.0, 2),
        (scalars.retries, 0, 0),
        (scalars.tries, 3, 2),
        (scalars.nodes, -1, -1),
        (scalars.nodes, 4, 4),
        (scalars.processors, "2", 2),
        (scalars.percent, 0, 0.0),
        (scalars.percent, "12.5", 12.5),
        (scalars.percent, 100, 100.0),
        (scalars.seconds, 259200, 259200.0),
        (scalars.seconds, 0.5, 0.5),
        (scalars.seconds, "60", 60.0),
        (scalars.time_limit, 1_000_000, 1_000_000.0),
        (scalars.interval, 0, 0.0),
        (scalars.niceness, 20, 20),
        (scalars.at_least_one, "7", 7),
        (scalars.mini_batches, -3, 0),
        (scalars.switch, "True", True),
        (scalars.switch, "no", False),
        (scalars.switch, 1, True),
        (scalars.switch, 0, False),
        (scalars.niceness, 0, 0),
        (scalars.niceness, "20", 20),
        (scalars.isolation, "Groups ", "groups"),
        (scalars.isolation, "", ""),
        (scalars.isolation, True, "items"),
        (scalars.isolation, "no", ""),
        (scalars.memory, "2gb", 2 * 1024**3),
        (scalars.memory, "1000", 1000),
        (scalars.choice("DEBUG", "INFO"), "INFO", "INFO"),
        (scalars.keys_in_text, '["Store", "Brand"]', ("Store", "Brand")),
        (scalars.keys_in_text, "Store, Brand", ("Store", "Brand")),
    ],
)
def test_values(reader: Callable[[Value, Problems], object], data: object, value: object) -> None:
    assert read(reader, data) == (value, "")


@pytest.mark.parametrize(
    ("reader", "data", "says"),
    [
        (scalars.threshold, True, "has to be a whole number, not true"),
        (scalars.threshold, "five", "has to be a whole number, not 'five'"),
        (scalars.threshold, -2, "has to be -1 or more"),
        (scalars.threshold, float("nan"), "has to be a whole number"),
        (scalars.threshold, [1], "not a list"),
        (scalars.nodes, 0, "1 or more, or -1"),
        (scalars.nodes, -2, "has to be -1 or more"),
        (scalars.processors, 0, "has to be 1 or more"),
        (scalars.percent, 101, "from 0 to 100"),
        (scalars.percent, -0.1, "from 0 to 100"),
        (scalars.seconds, 0, "more than 0 and at most 259200"),
        (scalars.seconds, 259201, "more than 0 and at most 259200"),
        (scalars.seconds, "60s", "not '60s'"),
        (scalars.time_limit, 0, "more than 0"),
        (scalars.interval, -1, "0 (off) or more"),
        (scalars.niceness, 21, "from 0 to 20"),
        (scalars.at_least_one, 0, "1"),
        (scalars.switch, "maybe", "True or False"),
        (scalars.niceness, -1, "0 or more"),
        (scalars.niceness, 21, "has to be from 0 to 20, not 21"),
        (scalars.isolation, "group", "Did you mean 'groups'?"),
        (scalars.isolation, 7, "has to be True, False or groups, not 7"),
        (scalars.memory, "0", "more than 0"),
        (scalars.memory, "10xb", "'10xb' is no size in bytes. Write a number and kb, mb or gb"),
        (scalars.choice("DEBUG", "INFO", "WARNING"), "WARN", "Did you mean 'WARNING'?"),
        (scalars.choice("DEBUG", "INFO", "WARNING"), "info", "Did you mean 'INFO'?"),
        (scalars.keys_in_text, "3", "has to be a list"),
        (scalars.text, 3, "has to be a text, not 3"),
    ],
)
def test_wrong_values(reader: Callable[[Value, Problems], object], data: object, says: str) -> None:
    value, problem = read(reader, data)
    assert value is None
    assert says in problem


def test_a_fraction_is_cut_off_with_a_warning() -> None:
    assert read(scalars.threshold, 2.5) == (2, "job.yml:3: jobs.a.x: 2.5 is no whole number; 2 is used.")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("Store,Brand", "has to be a list of column names"),
        ("[Store, 3]", "has to be the name of a column, not 3"),
        ("[Store, Store]", "given twice"),
        ("[Store, '']", "has to be the name of a column"),
    ],
)
def test_wrong_keys(text: str, says: str) -> None:
    problems = Problems()
    value = parse_yaml(text, HERE, problems)
    assert value is not None
    assert scalars.keys(value, problems) is None
    assert says in str(problems.errors[0])


@pytest.mark.parametrize(
    ("kind", "data", "value"),
    [
        ("", 10, 10),
        ("", True, True),
        ("string", 10, "10"),
        ("string", True, "True"),
        ("integer", "10", 10),
        ("integer", 2.0, 2),
        ("number", "10", 10),
        ("number", "0.5", 0.5),
        ("boolean", "TRUE", True),
        ("boolean", False, False),
    ],
)
def test_literals(kind: str, data: object, value: object) -> None:
    found, problem = read(lambda given, problems: scalars.literal(given, kind, problems), data)
    assert (found, type(found), problem) == (value, type(value), "")


@pytest.mark.parametrize(
    ("kind", "data"), [("integer", "2.5"), ("integer", True), ("number", "x"), ("boolean", "yes"), ("", [1])]
)
def test_wrong_literals(kind: str, data: object) -> None:
    found, problem = read(lambda given, problems: scalars.literal(given, kind, problems), data)
    assert found is None
    assert "has to be" in problem


@pytest.mark.parametrize("written", ["uri_folder", "URI_FOLDER", "UriFolder", "uriFolder", "uri-folder"])
def test_casing_of_types_does_not_matter(written: str) -> None:
    assert scalars.port_word(written) == "uri_folder"


@given(st.integers(0, 10**12), st.sampled_from(["", "kb", "KB", " mb", "gb", "Gb"]))
def test_every_whole_size_is_read(number: int, unit: str) -> None:
    size, problem = read(scalars.size, f"{number}{unit}")
    assert problem == ""
    assert isinstance(size, BySize)
    assert (
        size.number * size.unit
        == number * {"": 1, "kb": 1024, "mb": 1024**2, "gb": 1024**3}[unit.strip().lower()]
    )
