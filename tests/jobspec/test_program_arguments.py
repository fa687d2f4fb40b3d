"""Splitting program arguments, and the driver's flags among them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daskpar.jobspec.program_arguments import UnclosedQuote, driver_flags, join_arguments, split_arguments

words = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


@pytest.mark.parametrize(
    ("text", "arguments"),
    [
        ("", ()),
        ("  \n ", ()),
        ("--a 1 --b=2", ("--a", "1", "--b=2")),
        ("--a  1\n--b\t2", ("--a", "1", "--b", "2")),
        ("--a 'one two' \"three four\"", ("--a", "one two", "three four")),
        ("--a='one two'x", ("--a=one twox",)),
        ("--a '' \"\"", ("--a", "", "")),
        ("--a ${{ inputs.a }}", ("--a", "${{ inputs.a }}")),
        ("'${{ inputs.a }}'", ("${{ inputs.a }}",)),
        ("x${{ inputs.a }}y${{inputs.b}} z", ("x${{ inputs.a }}y${{inputs.b}}", "z")),
        (r"--path C:\data\new", ("--path", r"C:\data\new")),
        ("--a 1 \\\n--b 2 \\ ", ("--a", "1", "--b", "2")),
        (r"""'{"a": [1, 2]}'""", ('{"a": [1, 2]}',)),
        (r'''"{\"a\": 1}"''', ('{"a": 1}',)),
        (r'"C:\data"', (r"C:\data",)),
        ("'it''s'", ("its",)),
        ("Revenue,Advert,Store,Brand", ("Revenue,Advert,Store,Brand",)),
        ("'\\'", ("\\",)),
    ],
)
def test_split(text: str, arguments: tuple[str, ...]) -> None:
    assert split_arguments(text) == arguments


@given(st.lists(words, max_size=6))
def test_split_undoes_join(arguments: list[str]) -> None:
    assert split_arguments(join_arguments(arguments)) == tuple(arguments)


@pytest.mark.parametrize("text", ["--a 'b", 'x "', "don't"])
def test_an_open_quote_is_an_error(text: str) -> None:
    with pytest.raises(UnclosedQuote, match="is not closed"):
        split_arguments(text)


@pytest.mark.parametrize(
    ("arguments", "values"),
    [
        (("--error_threshold", "5"), {"error_threshold": "5"}),
        (("--error_threshold=5",), {"error_threshold": "5"}),
        (("--error_threshold", "-1"), {"error_threshold": "-1"}),
        (("--error_threshold", "1", "--error_threshold", "2"), {"error_threshold": "2"}),
        (("--copy_logs_to_parent", "--model", "x"), {"copy_logs_to_parent": "True"}),
        (("--copy_logs_to_parent",), {"copy_logs_to_parent": "True"}),
        (("--copy_logs_to_parent", "False"), {"copy_logs_to_parent": "False"}),
        (("--profiling_module=",), {"profiling_module": ""}),
        (
            ("--max-mini-batches-per-processor", "7", "--max_processor_growth=2gb"),
            {"max_mini_batches_per_processor": "7", "max_processor_growth": "2gb"},
        ),
        (("--process_count_per_node", "3", "--nice", "2"), {"process_count_per_node": "3", "nice": "2"}),
        (("--model", "error_threshold", "5"), {}),
        (("-error_threshold", "5"), {}),
        (("--error", "5"), {}),
        (("--input1", "5"), {}),
    ],
)
def test_flags(arguments: tuple[str, ...], values: dict[str, str]) -> None:
    assert driver_flags(arguments).values == values


@pytest.mark.parametrize("arguments", [("--error_threshold",), ("--task_overhead_timeout", "--x")])
def test_a_flag_without_its_value(arguments: tuple[str, ...]) -> None:
    assert driver_flags(arguments).missing == arguments[:1]


@pytest.mark.parametrize(
    ("flag", "right"),
    [
        ("--resource_monitor_interva", "write --resource_monitor_interval"),
        ("--error_treshold", "write --error_threshold"),
        ("--error-threshold", "write --error_threshold"),
        ("--Error_Threshold", "write --error_threshold"),
        ("--first_task_creation_timeouts", "write --first_task_creation_timeout"),
        ("--mini_batch_error_threshold", "set the attribute mini_batch_error_threshold of the step"),
        ("--item_error_threshold=3", "write --error_threshold"),
    ],
)
def test_near_misses_have_no_effect(flag: str, right: str) -> None:
    found = driver_flags((flag, "20"))
    assert found.values == {}
    assert {name: meant.right for name, meant in found.near_misses.items()} == {flag.partition("=")[0]: right}


@pytest.mark.parametrize(
    "flag",
    [
        "--model",
        "--output",
        "--output_dir",
        "--input_data",
        "--log_level",
        "--timeout",
        "--nicer",
        "--run_id",
    ],
)
def test_a_scripts_own_flags_are_no_near_misses(flag: str) -> None:
    assert driver_flags((flag, "x")).near_misses == {}


def test_flags_without_effect_are_named() -> None:
    assert driver_flags(("--append_row_safe_output", "true")).ignored == ("--append_row_safe_output",)
