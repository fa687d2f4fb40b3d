"""Tries one mini-batch in this process, with a debugger at hand, and says what a run would make of it."""

from __future__ import annotations

import atexit
import bdb
import faulthandler
import os
import shutil
import signal
import sys
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

from daskpar.driver import script_surroundings as surroundings
from daskpar.driver.found_mini_batch import Found
from daskpar.errors import InputError, Interrupted
from daskpar.paths import RunPaths
from daskpar.value_classes import frozen

if TYPE_CHECKING:
    from daskpar.batches.plan import Plan
    from daskpar.processor.entry_script import Entry
    from daskpar.processor.script_loop import ScriptLoop
    from daskpar.rows.item_columns import ColumnsBefore

SHOWN_LINES = 60
"""Lines of what would be appended that are shown."""
SHOWN_ROWS = 50
"""Rows of Parquet that are shown: few enough for their names, the gap and the types to be seen too."""
KEPT_NAMED = 5
"""Files that are named where a try has written any."""


@frozen(kw_only=True)
class Stops:
    """Where a debugger stops."""

    at_once: bool = False
    """Before `run()` too, not only where an exception was raised."""
    port: int | None = None
    """Of an editor's debugger (debugpy), with its breakpoints, in place of pdb."""


@frozen(kw_only=True, repr=False)
class Trial:
    """What came of a mini-batch that was tried: what `daskpar.debug` returns."""

    step: str
    index: int
    """Of the mini-batch."""
    failure: str = ""
    """Why it would be a failed try; empty where it would succeed."""
    returned: Any = None
    """What `run()` returned; a list where that was an iterator."""
    appended: bytes = b""
    """What would be appended: as the whole file of the output would be with these rows alone."""
    folder: Path | None = None
    """Where what the script wrote is kept; None where it wrote nothing."""
    error: BaseException | None = None
    """What was raised."""

    @property
    def succeeded(self) -> bool:
        """Whether it would succeed."""
        return not self.failure

    def __repr__(self) -> str:
        came_of_it = f"failed, {self.failure}" if self.failure else "succeeded"
        return f"<Trial of mini-batch {self.index} of step {self.step}: {came_of_it}>"


def try_one(
    found: Found, scratch: Path, stops: Stops, say: Callable[[str], None], *, own_process: bool
) -> Trial:
    """Run `init()`, `run()` of the mini-batch and `shutdown()`; `scratch` is removed where nothing is in it.

    `own_process`: this process is there for nothing else, and is left as the script makes it. `say` shows a
    text. Else one try waits for that of another thread: folder and variables are of the process. Raises
    InputError where the mini-batch can't be loaded, Interrupted where the user leaves the
    debugger.
    """
    with ExitStack() as afterwards:
        if own_process:
            afterwards.callback(os.chdir, os.getcwd())
        else:
            afterwards.enter_context(surroundings.restored(say))
        return _Try(found, scratch, stops, say, own_process=own_process).run()


class _Try:
    def __init__(
        self, found: Found, scratch: Path, stops: Stops, say: Callable[[str], None], *, own_process: bool
    ) -> None:
        self._found = found
        self._scratch = scratch
        self._stops = stops
        self._say = say
        self._own_process = own_process
        self._before: ColumnsBefore | None = None
        self._loop: ScriptLoop | None = None

    def run(self) -> Trial:
        try:
            self._introduce()
            self._set_up()
            return replace(self._tried(), folder=self._leave())
        except BaseException:
            self._leave()
            raise

    def _set_up(self) -> None:
        """Have in this process what the script finds in a processor."""
        found, scratch = self._found, self._scratch
        late = surroundings.set_variables(found)
        if late and self._own_process:
            names = ", ".join(late)
            self._say(f"note: set too late for this Python, and in force for what it starts: {names}")
        self._settings = settings = surroundings.settings_here(found, scratch)
        surroundings.lay_out(found, scratch)
        if self._own_process:
            surroundings.leave_current_folder_off_path()
            surroundings.guard_here(found, scratch).apply()
            faulthandler.enable()
            # As in a processor: its script's children inherit that.
            signal.signal(signal.SIGINT, signal.default_int_handler)
            for number in (signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_DFL)
        else:
            surroundings.forget_modules(settings)
        surroundings.enter(settings, scratch)
        if self._stops.port is not None:
            from daskpar.driver.user_pdb import listen

            listen(self._stops.port, self._say)

    def _introduce(self) -> None:
        found = self._found
        self._say(f"step {found.step.name}, mini-batch {found.index} of {found.count}: {found.about}")
        if found.failure is not None:
            self._say(f"in the run it failed: {found.failure.message}")
        for note in found.notes:
            self._say(f"note: {note}")
        self._say(f"in this process, without timeout or retry; outputs go to {self._scratch}")

    # -- the script

    def _tried(self) -> Trial:
        from daskpar.driver.user_call import with_loop
        from daskpar.processor import entry_script
        from daskpar.processor.error_text import describe_error

        settings = self._settings
        what = "the entry script could not be imported"
        try:
            entry = entry_script.load(settings.entry_script, settings.code, azure_async=settings.azure_async)
            entry, self._loop = with_loop(entry, settings, self._say)
            what = "init() failed"
            if entry.init is not None:
                entry.init()
        except BaseException as error:
            return self._raised(what, error)
        try:
            plan, batch = self._load()
        except Exception as error:
            text = str(error) if isinstance(error, InputError) else describe_error(error)
            failure = f"the mini-batch could not be loaded: {text}"
            self._say(failure)
            return Trial(step=settings.step, index=self._found.index, failure=failure, error=error)
        if len(batch) == 0 and settings.tabular:
            self._say(
                "it holds no row: run() is not called, and it counts neither as succeeded nor as failed"
            )
            return Trial(step=settings.step, index=self._found.index)
        tried = self._called(entry, plan.keys(self._found.index), batch)
        self._shut_down(entry)
        return tried

    def _load(self) -> tuple[Plan, Any]:
        from daskpar.processor.fetching.fetched_plan import open_plan
        from daskpar.processor.seen_items import SeenItems

        plan = open_plan(self._settings, alone=True)
        wanted = self._settings.row_format
        if self._settings.append_row and (wanted.item_columns or wanted.with_index):
            from daskpar.rows.item_columns import ColumnsBefore

            self._before = ColumnsBefore(plan, wanted.item_columns, index=wanted.with_index)
        if self._settings.seen:
            plan.seen_paths = SeenItems(self._settings.seen)
        return plan, plan.load(self._found.index)

    def _called(self, entry: Entry, keys: Any, batch: Any) -> Trial:
        from daskpar.driver.user_call import call_run
        from daskpar.processor.context import MiniBatchContext

        index, items = self._found.index, len(batch)
        with_context = entry.with_context or entry.azure is not None
        arguments = (batch, MiniBatchContext(index, keys, batch)) if with_context else (batch,)
        began = monotonic()
        try:
            returned = self._debugged(lambda: call_run(entry.run, arguments, self._loop))
        except BaseException as error:
            return self._raised("run() failed", error)
        seconds = monotonic() - began
        self._say(f"run() returned {_in_words(returned)} after {seconds:.2f} s")
        return self._judged(returned, items)

    def _debugged(self, call: Callable[[], Any]) -> Any:
        if not self._stops.at_once:
            return call()
        from daskpar.driver.user_pdb import UserPdb

        return UserPdb(self._is_user).call(call)

    def _judged(self, returned: Any, items: int) -> Trial:
        """What a run would make of it, and what it would append."""
        from daskpar.processor.return_check import compare_counts, why_not_countable

        settings, index = self._settings, self._found.index
        if not settings.returns_measured:
            self._say(
                "nothing is appended (no append_row_to), and returns are not counted (error_threshold is -1)"
            )
            self._say("it succeeds")
            return Trial(step=settings.step, index=index, returned=returned)
        failure, appended = why_not_countable(returned), b""
        if not failure:
            try:
                number = items if settings.any_number_of_rows else len(returned)
                failure = compare_counts(items=items, returned=number).message
                if settings.append_row:
                    appended = self._appended(returned, items)
            except BaseException as error:
                return self._raised("what run() returned can't be used", error)
        if settings.append_row and not why_not_countable(returned):
            self._show(appended)
        self._say(f"it fails: {failure}" if failure else f"it succeeds: {items} of {items} items")
        return Trial(step=settings.step, index=index, failure=failure, returned=returned, appended=appended)

    def _appended(self, returned: Any, items: int) -> bytes:
        """The output with these rows alone."""
        row_format, index = self._settings.row_format, self._found.index
        encoder = row_format.encoder()
        encoder.add(returned, index, None if self._before is None else self._before.of(index, items))
        data = bytes(encoder.take()[0])
        schema = encoder.schema
        if schema is not None:
            schema = row_format.agreed(schema, schema, f"Mini-batch {index}")
        if row_format.concatenated:
            return row_format.head(schema) + data
        return b"".join(row_format.join(iter([data] if data else []), schema))

    def _show(self, appended: bytes) -> None:
        rows = self._found.step.append_row_to
        assert rows is not None
        name = rows.rpartition("/")[2]
        form = self._settings.row_format.name
        self._say(f"to {name} ({form}, {len(appended):,} bytes) would be appended:")
        if form == "parquet":
            import io

            import pandas

            frame = pandas.read_parquet(io.BytesIO(appended))
            types = ", ".join(f"{column} {kind}" for column, kind in frame.dtypes.items())
            shown = frame.to_string(max_rows=SHOWN_ROWS).splitlines()
            lines = [*shown, f"({len(frame):,} rows; {types})"]
        else:
            lines = appended.decode("utf-8", "backslashreplace").removesuffix("\n").split("\n")
        for line in lines[:SHOWN_LINES]:
            self._say(line)
        if len(lines) > SHOWN_LINES:
            whole = self._scratch / "appended" / name
            whole.parent.mkdir(exist_ok=True)
            whole.write_bytes(appended)
            self._say(f"... {len(lines) - SHOWN_LINES:,} more lines in {whole}")

    def _shut_down(self, entry: Entry) -> None:
        if entry.shutdown is None:
            return
        try:
            entry.shutdown()
        except BaseException as error:
            self._raised("shutdown() failed, which is a warning in a run", error)
        finally:
            if self._loop is not None:
                self._loop.close()

    # -- exceptions

    def _raised(self, what: str, error: BaseException) -> Trial:
        """Show what was raised, from the user's code on, and let them look at it where it was."""
        from daskpar.processor.error_text import describe_error, user_traceback

        if isinstance(error, bdb.BdbQuit):
            raise Interrupted("left in the debugger: the mini-batch was not run to its end") from None
        message = f"{what}: {describe_error(error)}"
        self._say(user_traceback(error).rstrip("\n"))
        self._say(message)
        if self._stops.port is None:
            self._post_mortem(error)
        if isinstance(error, KeyboardInterrupt):
            raise Interrupted("interrupted: the mini-batch was not run to its end") from None
        return Trial(step=self._settings.step, index=self._found.index, failure=message, error=error)

    def _post_mortem(self, error: BaseException) -> None:
        from daskpar.driver.user_pdb import UserPdb

        sys.stdout.flush()
        try:
            UserPdb(self._is_user).post_mortem(error.__traceback__)
        except Exception as failed:
            # A notebook that is run by a program has nobody to ask, and `| head` has gone by now.
            if type(failed).__name__ != "StdinNotImplementedError" and not isinstance(
                failed, BrokenPipeError
            ):
                raise

    def _is_user(self, filename: str) -> bool:
        settings = self._settings
        folders = [settings.code, os.path.dirname(settings.entry_script)]
        roots = tuple(os.path.join(os.path.realpath(folder), "") for folder in folders if folder)
        return os.path.realpath(filename).startswith(roots) and "site-packages" not in filename

    # -- the end

    def _leave(self) -> Path | None:
        """Remove all but what the script has written; where that is."""
        os.chdir("/")
        if self._own_process:  # what is called at the exit may look for its temporary files
            with suppress(BaseException):
                atexit._run_exitfuncs()
        step = RunPaths(self._scratch).step(self._found.step.name)
        roots = [step.outputs, step.work, self._scratch / "appended"]
        # Those of the pipeline lie beside the steps, those on the default datastore in a folder of their own.
        places = [Path(output.path) for output in self._found.step.outputs.values()]
        roots += [place for place in places if place.is_relative_to(self._scratch)]
        written = sorted(
            {file for root in roots for file in (root, *root.rglob("*")) if file.is_file()},
        )
        if not written:
            shutil.rmtree(self._scratch, ignore_errors=True)
            self._say(f"nothing was written to outputs; {self._scratch} is removed")
            return None
        for place in (
            step.plan,
            step.input_copies,
            step.parts,
            self._scratch / "tmp",
            self._scratch / "inputs",
        ):
            shutil.rmtree(place, ignore_errors=True)
        more = f" and {len(written) - KEPT_NAMED} more" if len(written) > KEPT_NAMED else ""
        listed = ", ".join(str(file.relative_to(self._scratch)) for file in written[:KEPT_NAMED])
        self._say(f"kept: {self._scratch} ({listed}{more}); remove it when you need it no more")
        return self._scratch


def _in_words(returned: Any) -> str:
    kind = type(returned).__name__
    if returned is None:
        return "None"
    try:
        number = len(returned)
        return f"{number:,} element{'' if number == 1 else 's'} ({kind})"
    except Exception:
        return f"a {kind}"
