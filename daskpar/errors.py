"""Every error that daskpar raises on purpose, each with the exit code of the command line.

DaskparError
├── SpecError            2   the job's YAML is wrong: all mistakes at once
├── UsageError           2   the command line or an argument of a public function is wrong
│   └── LocationError    2   a text names no place that can be reached from here
├── InputError           2   data that a spec names is missing or can't be read (1 once the job runs)
│   └── DataUnreached    2   nobody can say now: a store is down, or refuses (3 once the job runs)
├── RunDirectoryError    2   not a run directory, in use, of a newer version, or changed since
│   └── PlanDamaged      2   a plan of mini-batches has lost something; it can be made anew
├── JobFailed            1   the job ended, and it failed
├── InfrastructureLost   3   the scheduler or every node is gone, the disk is full or read-only
│   └── RowsDamaged      3   committed rows are not what was written; they can be run again
├── PartialRun           4   only some mini-batches were asked for, and these have run
└── Interrupted        130   Ctrl-C, SIGTERM or SIGHUP
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

from daskpar.value_classes import frozen


class DaskparError(Exception):
    """Base of all errors with a message meant for the user; `exit_code` is that of `python -m daskpar`."""

    exit_code = 1


@frozen(kw_only=True)
class Problem:
    """One mistake in a spec: where it is, what is wrong, what to do."""

    file: str
    line: int | None
    """1-based line of the key or value, None where there is none (a missing file)."""
    path: str
    """Dotted path in the document, as `jobs.train.retry_settings.timeout`; empty for the document itself."""
    what: str
    hint: str = ""
    grave: bool = False
    """Of a warning: a limit on failures that has no effect. It is shown again when the run ends."""

    def __str__(self) -> str:
        where = self.file if self.line is None else f"{self.file}:{self.line}"
        path = f" {self.path}:" if self.path else ""
        hint = f" {self.hint}" if self.hint else ""
        return f"{where}:{path} {self.what}{hint}"


class SpecError(DaskparError):
    """The spec has mistakes: `problems` holds all that were found, in file order."""

    exit_code = 2

    def __init__(self, problems: Sequence[Problem], warnings: Sequence[Problem] = ()) -> None:
        super().__init__(problems, warnings)
        self.problems = tuple(problems)
        self.warnings = tuple(warnings)
        """What is no mistake but has no effect, such as an unknown key."""

    def __str__(self) -> str:
        head = (
            "1 mistake in the spec"
            if len(self.problems) == 1
            else f"{len(self.problems)} mistakes in the spec"
        )
        lines = [f"{head}:", *(f"  {problem}" for problem in self.problems)]
        return "\n".join([*lines, *(f"  warning: {warning}" for warning in self.warnings)])


class UsageError(DaskparError):
    """A command-line argument, or an argument of a public function, is wrong."""

    exit_code = 2


class LocationError(UsageError):
    """A text means no location: `what` is wrong with it, and in `hint` what to do (may be empty)."""

    def __init__(self, what: str, hint: str = "") -> None:
        super().__init__(what, hint)
        self.what = what
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.what} {self.hint}".rstrip()


class InputError(DaskparError):
    """Data that the spec names is missing or can't be read; the message names file and line, byte or row."""

    exit_code = 2


class InputChanged(InputError):
    """A file was changed, replaced or removed since the work was planned: what it holds now is not read.

    `path` says which; `gone` where nothing is there now.
    """

    def __init__(self, text: str, *, path: str = "", gone: bool = False) -> None:
        super().__init__(text)
        self.path = path
        self.gone = gone

    def __reduce__(self) -> tuple[object, ...]:
        return _input_changed, (str(self), self.path, self.gone)


def _input_changed(text: str, path: str, gone: bool) -> InputChanged:
    return InputChanged(text, path=path, gone=gone)


class DataUnreached(InputError):
    """Data could not be reached: store or network are down, refuse for now, or want other credentials.

    It says nothing of the data, which may be reached later or from another node.
    """


def input_error(error: BaseException, text: str) -> InputError:
    """`error` of an input in other words, `text`: DataUnreached stays one."""
    return (DataUnreached if isinstance(error, DataUnreached) else InputError)(text)


class RunDirectoryError(DaskparError):
    """A run directory can't be used: foreign, in use, of a newer version, damaged, or its inputs changed."""

    exit_code = 2


class PlanDamaged(RunDirectoryError):
    """A plan of mini-batches is not what was written: a power cut or a failing disk.

    It can be made again from spec and data.
    """


class JobFailed(DaskparError):
    """The job ran and failed; the summary has been printed, and the run keeps what was committed."""

    exit_code = 1


class InfrastructureLost(DaskparError):
    """What the job runs on is gone: scheduler, every node, or the disk; the run can be resumed."""

    exit_code = 3


class RowsDamaged(InfrastructureLost):
    """Committed rows are gone, or are not those that were written; their mini-batches can be run again."""


class PartialRun(DaskparError):
    """Only some of the mini-batches were asked for (--mini-batches, --limit); the run can be resumed."""

    exit_code = 4


class Interrupted(DaskparError):
    """The user or the system asked the run to stop; it can be resumed."""

    exit_code = 130


def nearest(name: str, known: Iterable[str]) -> str:
    """`Did you mean 'x'?` for the known name closest to `name`, or an empty text."""
    found = nearest_name(name, known)
    return f"Did you mean {found!r}?" if found else ""


def yaml_hint(line: str) -> str:
    """What to do about a line that YAML does not read; an empty text where nothing is known."""
    if "\t" in line[: len(line) - len(line.lstrip())]:
        return "The line is indented by a tab; YAML takes blanks only."
    key, colon, value = line.strip().removeprefix("- ").partition(":")
    if "\t" in line.rpartition(":")[2] and not value.strip():
        return 'A tab is written "\\t", in double quotes.'
    value = value.strip()
    if colon and value[:1] in _INDICATORS and (len(value) < 3 or value[0] in "@`%*&!,"):
        quoted = f"'{value}'" if "'" not in value else f'"{value}"'
        return f"A value that begins with {value[0]} has to be quoted: {key.strip()}: {quoted}"
    if colon and key and value[1:].count(": "):
        return "A value that holds a colon and a blank has to be quoted."
    return ""


_INDICATORS = frozenset(",@`%*&!|>{}[]?:-#")
"""Characters that mean something to YAML at the start of a value."""


def nearest_name(name: str, known: Iterable[str]) -> str:
    """The known name closest to `name`, empty where none is near."""
    return next(iter(difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)), "")
