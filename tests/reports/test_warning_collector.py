"""Warnings of steps, for the end."""

from __future__ import annotations

from daskpar.events import Warned
from daskpar.reports.warning_collector import WARNINGS_KEPT, WarningCollector


def collected(*warnings: tuple[str, str]) -> list[str]:
    watcher = WarningCollector()
    for step, text in warnings:
        watcher.warned(Warned(time=1.0, step=step, text=text))
    return watcher.texts


def test_each_different_one_is_kept_once_with_its_step() -> None:
    assert collected(("a", "x"), ("b", "x"), ("a", "x"), ("", "of the run")) == ["a: x", "b: x"]


def test_many_are_counted() -> None:
    texts = collected(*(("a", str(number)) for number in range(WARNINGS_KEPT + 3)), ("a", "0"))
    assert len(texts) == WARNINGS_KEPT + 1 and texts[-1].startswith("3 more; sys/master_role.txt")
