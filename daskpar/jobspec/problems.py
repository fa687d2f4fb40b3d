"""Collects mistakes and warnings while a spec is read, so that the user sees all of them at once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from daskpar.errors import Problem, SpecError
from daskpar.value_classes import frozen

NODE = "node"
COMPONENT = "component"
COMMAND_LINE = "command line"


@frozen(kw_only=True)
class Place:
    """Where a value was written."""

    file: str
    """Path as shown to the user, or `command line`."""
    line: int | None
    """1-based."""
    path: tuple[str | int, ...] = ()
    """Keys and list positions from the top of the document."""
    folder: Path
    """Absolute folder that relative paths written here start from."""
    origin: str = NODE
    """`node`, `component` or `command line`."""

    @property
    def where(self) -> str:
        """`file:line`, or the file where there is no line."""
        return self.file if self.line is None else f"{self.file}:{self.line}"

    @property
    def source(self) -> str:
        """Where it comes from, as `plan` shows it: `pipeline.yml:12`, `component train.yml:12`."""
        if self.origin == COMMAND_LINE:
            return COMMAND_LINE
        return self.where if self.origin == NODE else f"{self.origin} {self.where}"

    @property
    def dotted(self) -> str:
        """`jobs.train.inputs[0]`."""
        text = ""
        for key in self.path:
            text += f"[{key}]" if isinstance(key, int) else f".{key}" if text else key
        return text

    def below(self, *keys: str) -> Place:
        """The same line, one key or more deeper: for something that is missing, or part of a text."""
        return replace(self, path=(*self.path, *keys))


class Problems:
    """The mistakes, warnings and notes found so far; the same one twice is kept once."""

    def __init__(self) -> None:
        self._errors: dict[str, Problem] = {}
        self._warnings: dict[str, Problem] = {}

    def copy(self) -> Problems:
        """The same problems, for what is found further on."""
        other = Problems()
        other._errors |= self._errors
        other._warnings |= self._warnings
        return other

    def error(self, place: Place, what: str, hint: str = "") -> None:
        """Record a mistake: the job can't run."""
        self._record(self._errors, place, what, hint)

    def warn(self, place: Place, what: str, hint: str = "", *, grave: bool = False) -> None:
        """Record something that has no effect, or another one than the user may think."""
        self._record(self._warnings, place, what, hint, grave)

    @property
    def errors(self) -> tuple[Problem, ...]:
        """All mistakes, in file order."""
        return _in_file_order(self._errors)

    @property
    def warnings(self) -> tuple[Problem, ...]:
        """All warnings, in file order."""
        return _in_file_order(self._warnings)

    def raise_errors(self) -> None:
        """Raise SpecError with all mistakes, if there are any."""
        if self._errors:
            raise SpecError(self.errors, self.warnings)

    @staticmethod
    def _record(found: dict[str, Problem], place: Place, what: str, hint: str, grave: bool = False) -> None:
        problem = Problem(
            file=place.file, line=place.line, path=place.dotted, what=what, hint=hint, grave=grave
        )
        found.setdefault(str(problem), problem)


def _in_file_order(found: dict[str, Problem]) -> tuple[Problem, ...]:
    files = {problem.file: number for number, problem in reversed(list(enumerate(found.values())))}
    return tuple(sorted(found.values(), key=lambda problem: (files[problem.file], problem.line or 0)))
