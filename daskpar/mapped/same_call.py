"""Goes on with the run of an earlier, equal call of `map_mini_batches`, or reuses what it has made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from daskpar.errors import RunDirectoryError
from daskpar.rundir.json_files import read_json
from daskpar.rundir.lock import holder

if TYPE_CHECKING:
    from daskpar.driver.options import Options
    from daskpar.driver.result import Run
    from daskpar.jobspec.given_spec import GivenSpec
    from daskpar.rundir.run_directory import RunDirectory

CALL = "call.json"
"""What a run was called with."""
INPUT = "data"
"""The name of the input that is split."""


def go_on(place: Path, spec: GivenSpec, call: Mapping[str, Any], options: Options) -> Run | None:
    """The earlier run in `place`, gone on with or reused; None where it had not begun and is removed.

    Raises RunDirectoryError where it is of another call.
    """
    from daskpar.driver.result import completed_before
    from daskpar.driver.start_run import resume_run
    from daskpar.results import Status
    from daskpar.rundir.removal import take_away
    from daskpar.rundir.run_directory import RunDirectory

    user = holder(place)  # asked first: who has just made the run writes down a moment later what it is
    before = read_json(place / CALL)
    if before is None and user is not None:
        raise RunDirectoryError(
            f"{place} is in use by {user}: wait until that ends, or choose another name or run_dir"
        )
    if before is None or not isinstance(before.get("function"), dict):
        raise RunDirectoryError(
            f"{place} is a run, but none of map_mini_batches: choose another name or run_dir"
        )
    directory = RunDirectory.open(place, lock=False)
    if _had_not_begun(directory):
        with RunDirectory.open(place) as held:
            # Asked again: who was just writing its data may have gone on meanwhile, to its end even.
            if _had_not_begun(held):
                take_away(place)
                return None
        return go_on(place, spec, call, options)
    changes = _changes(before, call)
    completed = directory.identity.status == Status.COMPLETED
    failed = sum(state.counts.failed for folder in directory.steps() if (state := folder.state()) is not None)
    again = completed and options.retry_failed and failed > 0
    if completed and not again:
        changes += _changed_values(directory, spec) if not changes else []
    if changes and (not options.allow_changes or (completed and not again)):
        advice = "choose another name or run_dir, or remove the folder"
        if not completed:
            advice += "; allow_changes=True goes on with it and mixes old and new rows"
        listed = "\n".join(f"  - {change}" for change in changes)
        raise RunDirectoryError(f"{place} is the run of another call:\n{listed}\nTo start anew, {advice}.")
    if completed and not again:
        more = f"; {failed} mini-batches failed: retry_failed=True runs them again" if failed else ""
        _say(f"{place.name}: completed already, its rows are reused ({place}){more}", options)
        return completed_before(directory)
    what = "the failed mini-batches are run again" if again else "goes on where it was"
    _say(f"{place.name}: {what} ({place})", options)
    return resume_run(place, replace(options, given_spec=spec))


def _had_not_begun(directory: RunDirectory) -> bool:
    """Whether the earlier process ended while its data was written, before any step."""
    begun = any(folder.state() is not None for folder in directory.steps())
    staged = directory.staged_inputs / INPUT
    return not begun and (
        not directory.started_with.is_file() or (staged.is_dir() and not (staged / "MLTable").is_file())
    )


def _changes(before: Mapping[str, Any], call: Mapping[str, Any]) -> list[str]:
    was, now = before["function"], call["function"]
    found = []
    if was.get("digest") != now["digest"]:
        other = f"the function was {was.get('name')}, is {now['name']}"
        same = f"the function {now['name']} is not what it was, or a value that it uses is another"
        found.append(same if was.get("name") == now["name"] else other)
    if before.get("data") != call["data"]:
        found.append("data is not what it was (for a Dask collection: its name in Dask is another)")
    return found


def _changed_values(directory: RunDirectory, spec: GivenSpec) -> list[str]:
    """What shapes the rows of a completed run and is not as it was: settings, scripts, files."""
    from daskpar.driver.resume import changes_of_call

    return changes_of_call(directory, spec)


def _say(text: str, options: Options) -> None:
    if options.display is not False:
        print(text, flush=True)
