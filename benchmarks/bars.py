"""Bars: measured numbers, each with the limit that the project sets itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from benchmarks.harness import Series


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One line of the table. Lower is better, unless `at_least`."""

    question: str
    what: str
    measured: float
    must: float | None
    """None: measured for information."""
    goal: float | None = None
    unit: str = "×"
    at_least: bool = False
    note: str = ""

    @property
    def passes(self) -> bool:
        """Whether the must is kept."""
        return self.must is None or self._keeps(self.must)

    @property
    def reaches_goal(self) -> bool:
        """Whether the goal is reached."""
        return self.goal is not None and self._keeps(self.goal)

    def _keeps(self, limit: float) -> bool:
        return self.measured >= limit if self.at_least else self.measured <= limit


@dataclass(kw_only=True)
class Answer:
    """What a question gives back: its bars and the runs behind them."""

    question: str
    bars: list[Bar] = field(default_factory=list)
    series: dict[str, Mapping[str, Series]] = field(default_factory=dict)
    """Title -> the series measured together."""
    skipped: list[str] = field(default_factory=list)
    """What could not be measured here, and why."""

    def bar(
        self, what: str, measured: float, must: float | None, goal: float | None = None, **more: object
    ) -> None:
        """Add a line."""
        self.bars.append(
            Bar(question=self.question, what=what, measured=measured, must=must, goal=goal, **more)
        )  # type: ignore[arg-type]

    def skip(self, what: str) -> None:
        """Say what is left out, at once and in the report."""
        print(f"    left out: {what}")
        self.skipped.append(what)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How to measure."""

    repeats: int = 3
    small: bool = False
    """A smoke run: everything works, the numbers mean nothing."""

    def scaled(self, full: int, small: int) -> int:
        """A size for the full or the smoke run."""
        return small if self.small else full
