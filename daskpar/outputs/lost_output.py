"""Checks whether the output of a completed step is still where it was put; if not, says what to do."""

from __future__ import annotations

import os

from daskpar.locations import filesystem, is_url, kind_at
from daskpar.named_places import know_configured
from daskpar.outputs.row_folder import part_files
from daskpar.paths import shell_path
from daskpar.rows.registry import store_of
from daskpar.rundir.step_folder import StepFolder


def rows_gone(step: StepFolder, output: str) -> str:
    """What to say where the completed step's rows were put at `output`, or in it, and are no longer there.

    Empty where they are there. Raises what the store of a URL raises.
    """
    state = step.state()
    if state is None or not state.rows:
        return ""
    if is_url(state.rows):
        know_configured()
    itself = state.rows.rstrip("/") == output.rstrip("/")
    if not (itself or state.rows.startswith(f"{output.rstrip('/')}/")) or _exists(state.rows):
        return ""
    if state.rows.endswith("/"):
        what = f"the part files in {state.rows} are"
    else:
        what = "it is" if itself else f"{state.rows} is"
    if store_of(step).exists():  # kept where some mini-batches failed
        run = shell_path(step.path.parent.parent)
        export = f"python -m daskpar export {run} --partial FILE --step {step.name}"
        return f"{what} no longer there; `{export}` writes its rows again"
    return f"{what} no longer there, and its rows are gone with it: start a new run"


def _exists(place: str) -> bool:
    if place.endswith("/"):  # a folder, which is made before the rows are there
        return bool(part_files(place))
    if not is_url(place):
        return os.path.exists(place)
    files, inner = filesystem(place)
    return kind_at(files, inner) != ""
