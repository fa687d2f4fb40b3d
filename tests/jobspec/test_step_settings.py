"""Settings and program arguments agree: a flag that a setting names is one that the driver takes out of the arguments."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from daskpar.driver.plan_text import SHOWN
from daskpar.jobspec import scalars
from daskpar.jobspec.model import BySize, DriverSettings
from daskpar.jobspec.problems import COMMAND_LINE, NODE, Place, Problems
from daskpar.jobspec.program_arguments import SWITCHES, WITH_EFFECT, WITHOUT_EFFECT, DriverFlags
from daskpar.jobspec.step_settings import BY_KEY, SETTINGS, ChosenSettings, choose_settings
from daskpar.jobspec.yaml_source import Value

NO_SETTING = {"append_row_file_name"}
"""Flags with an effect that are part of another setting (`append_row_to`)."""
NOT_SHOWN = {"resume_from"}
"""Settings that `daskpar plan` does not show."""


def test_the_driver_finds_the_flag_of_each_setting() -> None:
    assert {flag for setting in SETTINGS for flag in setting.flags} == WITH_EFFECT - NO_SETTING


def test_flags_without_a_value_are_switches() -> None:
    readers = (scalars.switch, scalars.isolation)  # which read True
    switches = {flag for setting in SETTINGS for flag, read in setting.flags.items() if read in readers}
    assert switches == SWITCHES - WITHOUT_EFFECT


def test_plan_shows_each_setting_of_the_driver() -> None:
    assert {field.name for field in fields(DriverSettings)} - set(SHOWN) == NOT_SHOWN


def place(file: str, line: int | None, origin: str = NODE) -> Place:
    return Place(file=file, line=line, path=("jobs", "a"), folder=Path("/"), origin=origin)


def choose(
    node: dict[tuple[str, ...], object] | None = None,
    flags: dict[str, str] | None = None,
    overrides: dict[str, object] | None = None,
) -> tuple[ChosenSettings, list[str]]:
    """What is chosen of values in the YAML (line 5), in the program arguments (line 9) and on the command line."""
    problems = Problems()
    chosen = choose_settings(
        lambda at: Value(node[at], place("job.yml", 5)) if node and at in node else None,
        {name: Value(data, place("-", None, COMMAND_LINE)) for name, data in (overrides or {}).items()},
        DriverFlags(values=flags or {}),
        lambda flag: place("job.yml", 9),
        problems,
    )
    return chosen, [str(problem) for problem in problems.errors]


def test_without_a_word_the_defaults_of_the_article_hold() -> None:
    chosen, errors = choose()
    assert errors == [] and set(chosen.sources.values()) == {"default"}
    assert chosen.driver_settings() == DriverSettings()
    others = {name: chosen.values[name] for name in ("partition_keys", "instance_count")}
    assert others == {"partition_keys": (), "instance_count": 1}
    assert chosen.values["mini_batch_size"] == BySize(number=0, unit=1)
    assert chosen.values["max_concurrency_per_instance"] is None


ATTRIBUTE = ("retry_settings", "timeout")
NODE_SAYS, FLAG_SAYS, LINE_SAYS = "job.yml:5", "program argument job.yml:9", "command line"


@pytest.mark.parametrize(
    ("node", "flags", "overrides", "value", "source"),
    [
        ({ATTRIBUTE: 5}, {}, {}, 5.0, NODE_SAYS),
        ({}, {"run_invocation_timeout": "6"}, {}, 6.0, FLAG_SAYS),
        ({}, {"score_run_timeout": "6"}, {}, 6.0, FLAG_SAYS),
        ({}, {}, {"timeout": "7"}, 7.0, LINE_SAYS),
        (
            {ATTRIBUTE: 5},
            {"run_invocation_timeout": "6"},
            {},
            6.0,
            f"{FLAG_SAYS} (overrules {NODE_SAYS}: 5.0)",
        ),
        ({ATTRIBUTE: 5}, {}, {"timeout": "7"}, 7.0, f"{LINE_SAYS} (overrules {NODE_SAYS}: 5.0)"),
        (
            {ATTRIBUTE: 5},
            {"run_invocation_timeout": "6", "score_run_timeout": "8"},
            {"timeout": "7"},
            7.0,
            f"{LINE_SAYS} (overrules {FLAG_SAYS}: 6.0, {NODE_SAYS}: 5.0)",
        ),
        ({ATTRIBUTE: "${{inputs.t}}"}, {"run_invocation_timeout": "6"}, {}, 6.0, FLAG_SAYS),
        ({ATTRIBUTE: "${{inputs.t}}"}, {}, {}, 60.0, "default"),
    ],
)
def test_the_command_line_wins_over_a_program_argument_and_that_over_an_attribute(
    node: dict[tuple[str, ...], object],
    flags: dict[str, str],
    overrides: dict[str, object],
    value: float,
    source: str,
) -> None:
    chosen, errors = choose(node, flags, overrides)
    assert (errors, chosen.values["timeout"], chosen.sources["timeout"]) == ([], value, source)


def test_an_overruled_size_or_list_of_keys_is_shown_as_it_was_written() -> None:
    chosen, _ = choose(
        {("mini_batch_size",): "10kb", ("partition_keys",): [Value("a", place("job.yml", 5))]},
        {"mini_batch_size": "1 MB", "partition_keys": "b,c"},
    )
    assert chosen.sources["mini_batch_size"].endswith(f"(overrules {NODE_SAYS}: 10kb)")
    assert chosen.values["partition_keys"] == ("b", "c")
    assert chosen.sources["partition_keys"].endswith(f"(overrules {NODE_SAYS}: a)")


@pytest.mark.parametrize("where", ["node", "flags", "overrides"])
def test_a_mistake_is_told_also_in_a_value_that_is_overruled(where: str) -> None:
    values: dict[str, dict[Any, Any]] = {
        "node": {ATTRIBUTE: 5},
        "flags": {"run_invocation_timeout": "5"},
        "overrides": {"timeout": "5"},
    }
    values[where] = {key: "soon" for key in values[where]}
    chosen, errors = choose(**values)
    assert len(errors) == 1 and "soon" in errors[0]
    assert chosen.values["timeout"] == 5.0


def test_the_number_of_tries_is_one_more_than_that_of_retries() -> None:
    """Azure counts tries in the program argument and retries in the attribute."""
    assert choose({("retry_settings", "max_retries"): 3})[0].values["max_retries"] == 3
    assert choose(flags={"run_max_try": "3"})[0].values["max_retries"] == 2
    assert choose(overrides={"max_retries": "3"})[0].values["max_retries"] == 3


def test_set_takes_the_name_of_a_setting_and_its_place_in_the_step() -> None:
    assert BY_KEY["timeout"] is BY_KEY["retry_settings.timeout"]
    assert BY_KEY["instance_count"] is BY_KEY["resources.instance_count"]
    assert BY_KEY["nice"].keys == ("nice",)
