"""Warnings of steps, for the end."""

from __future__ import annotations

from daskpar.events import Warned
from daskpar.reports.warning_collector import MOST, Heard


def heard(*warnings: tuple[str, str]) -> list[str]:
    watcher = Heard()
    for step, text in warnings:
        watcher.hear(Warned(time=1.0, step=step, text=text))
    return watcher.texts


def test_each_different_one_is_kept_once_with_its_step() -> None:
    assert heard(("a", "x"), ("b", "x"), ("a", "x"), ("", "of the run")) == ["a: x", "b: x"]


def test_many_are_counted() -> None:
    told = heard(*(("a", str(number)) for number in range(MOST + 3)), ("a", "0"))
    assert len(told) == MOST + 1 and told[-1].startswith("3 more; sys/master_role.txt")
