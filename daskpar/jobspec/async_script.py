"""Tells from the text of an entry script whether its calls can be in flight side by side."""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from enum import StrEnum
from functools import lru_cache
from pathlib import Path

from daskpar.jobspec.problems import Place, Problems
from daskpar.jobspec.script_check import PARSING, FoundScript, Names
from daskpar.jobspec.step_settings import ChosenSettings
from daskpar.jobspec.yaml_source import shown_path
from daskpar.results import AZURE_FUNCTIONS


class RunKind(StrEnum):
    """What `run` of a script is."""

    ASYNC = "async"
    """`async def`, in each of its definitions."""
    PLAIN = "plain"
    UNKNOWN = "unknown"
    """Imported, assigned or decorated: only its import tells."""


def run_kind(script: Path | None) -> RunKind:
    """What `run` of the script is, as far as its text says."""
    names = _names(script)
    if names is None or names.anything or "run" in names.otherwise:
        return RunKind.UNKNOWN
    definitions = names.functions.get("run", [])
    if not definitions or any(one.decorator_list for one in definitions):
        return RunKind.UNKNOWN
    kinds = {isinstance(one, ast.AsyncFunctionDef) for one in definitions}
    if len(kinds) > 1:
        return RunKind.UNKNOWN
    return RunKind.ASYNC if kinds == {True} else RunKind.PLAIN


AZURE_IN_FLIGHT = 10
"""Mini-batches under way at a time in Azure's async mode, where nobody says how many."""


def calls_in_flight(script: Path | None, settings: ChosenSettings, uploaded: Sequence[str] = ()) -> int:
    """How many calls are in flight in one processor; 0: they follow each other.

    `uploaded`: the outputs at URLs that the script fills. Whose file is whose is known of calls that follow
    each other, so `async def run` is then called as an ordinary function is.
    """
    if uploaded:
        return 0
    wanted = settings.values["concurrent_mini_batches"]
    number = wanted if isinstance(wanted, int) else 0
    if settings.values["amlbi_async_mode"]:
        return number or AZURE_IN_FLIGHT
    if run_kind(script) is RunKind.ASYNC:
        return number or 1
    return number if number > 1 else 0


def check_in_flight(
    found: FoundScript,
    settings: ChosenSettings,
    uploaded: Sequence[str],
    place_of: Callable[[str], Place],
    problems: Problems,
) -> None:
    """Record where the script can't do what is asked of it: many calls at a time, or Azure's async mode.

    `uploaded`: the outputs at URLs that the script fills.
    """
    if found.path is None:
        return
    values, script = settings.values, shown_path(found.path)
    asked = "--amlbi_async_mode" if values["amlbi_async_mode"] else "--concurrent_mini_batches"
    if uploaded and (values["amlbi_async_mode"] or values["concurrent_mini_batches"] not in (None, 1)):
        problems.error(
            place_of(asked),
            f"{asked} does not go together with the output {uploaded[0]} at a URL: of calls side by side "
            "nobody can tell which has written a file, and a file is uploaded with its mini-batch.",
            f"Leave {asked} out, return rows instead of files, or write mode: direct for the output: then "
            "the script gets the URL and writes there itself.",
        )
    if values["amlbi_async_mode"]:
        names = _names(found.path)
        lacking = (
            [] if names is None or names.anything else [n for n in AZURE_FUNCTIONS if n not in names.bound]
        )
        if lacking:
            problems.error(
                place_of("--amlbi_async_mode"),
                f"--amlbi_async_mode True needs the functions {', '.join(AZURE_FUNCTIONS)}, and {script} "
                f"lacks {', '.join(lacking)}.",
                "Define them, or leave --amlbi_async_mode out: then run() is called, and where that is async "
                "def run(mini_batch), --concurrent_mini_batches says how many are in flight.",
            )
    elif values["concurrent_mini_batches"] not in (None, 1) and run_kind(found.path) is RunKind.PLAIN:
        problems.error(
            place_of("--concurrent_mini_batches"),
            f"--concurrent_mini_batches {values['concurrent_mini_batches']} needs async def run(mini_batch), "
            f"and run of {script} is an ordinary function, which does one at a time.",
            "Make it async def, or raise max_concurrency_per_instance: that many processes run it side by "
            "side.",
        )
    in_flight = values["amlbi_async_mode"] or run_kind(found.path) is RunKind.ASYNC
    if in_flight and values["profiling_module"]:
        problems.error(
            place_of("--profiling_module"),
            "--profiling_module measures ordinary functions; calls that are in flight side by side would all "
            "be measured together.",
            "Leave it out, or profile one mini-batch by python -m cProfile.",
        )


@lru_cache(16)
def _parsed(path: str, stamp: int) -> Names | None:
    try:
        with PARSING:
            tree = ast.parse(Path(path).read_bytes(), filename=path)
    except (SyntaxError, OSError, ValueError, RecursionError):
        return None  # a mistake of its own
    names = Names()
    names.collect(tree.body)
    names.bound |= {n for node in ast.walk(tree) if isinstance(node, ast.Global) for n in node.names}
    return names


def _names(script: Path | None) -> Names | None:
    """What the script binds at its top level; None where nobody can say."""
    if script is None:
        return None
    try:
        return _parsed(str(script), script.stat().st_mtime_ns)
    except OSError:
        return None
