"""Settings and program arguments agree: a flag that a setting names is one that the driver takes out of the arguments."""

from __future__ import annotations

from dataclasses import fields

from daskpar.driver.plan_text import SHOWN
from daskpar.jobspec import scalars
from daskpar.jobspec.model import DriverSettings
from daskpar.jobspec.program_arguments import SWITCHES, WITH_EFFECT, WITHOUT_EFFECT
from daskpar.jobspec.step_settings import SETTINGS

NO_SETTING = {"append_row_file_name"}
"""Flags with an effect that are part of another setting (`append_row_to`)."""
NOT_SHOWN = {"resume_from"}
"""Settings that `daskpar plan` does not show."""


def test_the_driver_finds_the_flag_of_each_setting() -> None:
    assert {flag for setting in SETTINGS for flag in setting.flags} == WITH_EFFECT - NO_SETTING


def test_flags_without_a_value_are_switches() -> None:
    switches = {
        flag for setting in SETTINGS for flag, read in setting.flags.items() if read is scalars.switch
    }
    assert switches == SWITCHES - WITHOUT_EFFECT


def test_plan_shows_each_setting_of_the_driver() -> None:
    assert {field.name for field in fields(DriverSettings)} - set(SHOWN) == NOT_SHOWN
