"""What a step's texts and settings become: arguments, variables, optional segments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

Folder = Any
Text = Callable[..., str]
OPTIONAL = "o: {type: string, optional: true}"


@pytest.mark.parametrize(
    ("extra", "task", "overrides", "arguments"),
    [
        ("", "", {}, ()),
        ("logging_level: DEBUG", "", {}, ("--logging_level", "DEBUG")),
        ("logging_level: DEBUG", "program_arguments: --x 1", {}, ("--x", "1", "--logging_level", "DEBUG")),
        (
            "logging_level: DEBUG",
            "program_arguments: --logging_level WARNING",
            {},
            ("--logging_level", "WARNING"),
        ),
        ("", "", {"logging_level": "INFO"}, ("--logging_level", "INFO")),
        (
            "",
            "program_arguments: --logging_level WARNING",
            {"logging_level": "INFO"},
            ("--logging_level", "WARNING", "--logging_level", "INFO"),
        ),
    ],
)
def test_scripts_find_the_logging_level_among_their_arguments(
    folder: Folder,
    parallel_job: Text,
    extra: str,
    task: str,
    overrides: dict[str, str],
    arguments: tuple[str, ...],
) -> None:
    step = folder.job(parallel_job(extra, task=task), **overrides).steps[0]
    assert step.arguments == arguments


def test_variables_have_optional_segments_too(folder: Folder, parallel_job: Text) -> None:
    extra = "environment_variables: {A: 'x$[[ ${{inputs.o}}]]', B: '$[[${{inputs.images}}]]'}"
    step = folder.job(parallel_job(extra, inputs=OPTIONAL)).steps[0]
    assert step.environment_variables == {"A": "x", "B": str(folder.path / "data")}


@pytest.mark.parametrize(
    "parts",
    [
        {"task": "program_arguments: a $[[--m ${{inputs.o}} end"},
        {"extra": "environment_variables: {A: '$[[${{inputs.o}}'}"},
    ],
)
def test_a_segment_that_is_not_closed(folder: Folder, parallel_job: Text, parts: dict[str, str]) -> None:
    (problem,) = folder.problems(parallel_job(inputs=OPTIONAL, **parts))
    assert "is not closed: an optional segment is" in problem.what


def test_an_item_threshold_among_the_arguments_is_rounded_up(folder: Folder, parallel_job: Text) -> None:
    text = parallel_job(
        "error_threshold: 2.5\nmini_batch_error_threshold: 2.5",
        task="program_arguments: --error_threshold 2.5",
    )
    settings = folder.job(text).steps[0].settings
    assert (settings.error_threshold, settings.mini_batch_error_threshold) == (3, 2)
    assert "'2.5' is no whole number; 3 is used" in "".join(folder.warnings(text))
