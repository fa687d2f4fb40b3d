"""What a step's results depend on, as a plain value that is compared when a run is resumed.

So old and new results are never mixed without notice. Thresholds, timeouts, retries, logging and compute
settings are left out: they may change between two processes of one run.
"""

from __future__ import annotations

import hashlib
import re
import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from daskpar.errors import DataUnreached, InputError, UsageError
from daskpar.jobspec import row_formats
from daskpar.jobspec.model import CommandStep, Input, ParallelStep, Step
from daskpar.jobspec.program_arguments import OURS_WITH_HYPHENS, SWITCHES, WITH_EFFECT, WITHOUT_EFFECT
from daskpar.locations import is_url, resolve
from daskpar.masking import MASK, Hide, hidden, hidden_arguments, hidden_command, hidden_value
from daskpar.paths import RunPaths
from daskpar.rundir.json_files import read_json
from daskpar.rundir.seen_files import (
    LISTED,
    ORIGIN,
    changes,
    seen_code,
    seen_data,
    seen_list,
    seen_listing,
)

if TYPE_CHECKING:
    from daskpar.data.files import FileList

FORMAT = 1
INPUTS = "inputs"
"""The key of a fingerprint that is added last; without it, not all input files were looked at."""
_RUN = "RUN"
"""Stands for the run directory in values, which may be moved between two processes of a run."""
_DIGEST = f"{MASK}scrypt:"
_SHAPES_THE_PLAN = ("input_data", "rank_mini_batch_count", "partition_keys", "mini_batch_size")


def step_fingerprint(
    step: Step,
    run_directory: Path | str,
    skip: Iterable[Path | str] = (),
    before: Mapping[str, Any] | None = None,
    datastores: Mapping[str, str] | None = None,
) -> dict[str, object]:
    """What shapes a step's plan or reaches its script: values, code (content), input files (size, time).

    Inputs that another step makes are left out. `skip`: paths that other steps write, which are neither code
    nor input. A JSON value; takes as long as listing the inputs and asking for the size and time of each
    file. `before`: the fingerprint with which it is to be compared; files are looked at as for that one.
    `datastores`: those that MLTables name.
    """
    paths = [*skip]
    inputs = seen_inputs(step, paths, before=(before or {}).get(INPUTS), datastores=datastores)
    return {**fingerprint_without_inputs(step, run_directory, paths), INPUTS: inputs}


def fingerprint_without_inputs(
    step: Step, run_directory: Path | str, skip: Iterable[Path | str] = ()
) -> dict[str, object]:
    """The quick part of `step_fingerprint`: all but the input files, where there are any."""
    run = str(run_directory)
    hide = _Digest(run)
    values = _parallel_values(step, hide) if isinstance(step, ParallelStep) else _command_values(step, hide)
    for name, given in step.inputs.items():
        values[f"inputs.{name}"] = (
            {"path": hidden(given.path, hide), "type": given.type, "mode": given.mode}
            if given.is_data
            else hidden_value(name, given.value, hide)
            if isinstance(given.value, str)
            else given.value
        )
    if step.python is not None:
        container = step.python.container
        values["python"] = step.python.python if container is None else container.python
        if container is not None:
            values["container"] = f"{container.image} {step.python.image_id}".rstrip()
    values |= {
        f"environment_variables.{name}": hidden_value(name, value, hide)
        for name, value in step.environment_variables.items()
    }
    data = _data(step)
    local = {given.path for given in data if not is_url(given.path)}
    without_inputs: dict[str, object] = {
        "format": FORMAT,
        "values": {name: _movable(_in_place(value, step), run) for name, value in values.items()},
        "code": _code(step, _unseen(step, skip) | local),
    }
    return without_inputs if data else {**without_inputs, INPUTS: {}}


def _in_place(value: object, step: Step) -> object:
    """A value with inputs where they lie, not where scripts see them: that may be elsewhere at a resume."""
    if isinstance(value, list):
        return [_in_place(element, step) for element in value]
    if isinstance(value, str):
        for given in step.inputs.values():
            if given.seen:
                value = value.replace(shlex.quote(given.seen), shlex.quote(given.path))
                value = value.replace(given.seen, given.path)
    return value


def seen_inputs(
    step: Step,
    skip: Iterable[Path | str] = (),
    *,
    planned: Mapping[str, Any] | None = None,
    before: Mapping[str, Any] | None = None,
    datastores: Mapping[str, str] | None = None,
) -> dict[str, object]:
    """The other part: the files of each input as they are now.

    `planned`: how those of a long list were when planned (`seen_files.seen_of`), so that nobody looks again.
    `before`: as for `step_fingerprint`, the files alone.
    """
    unseen = _unseen(step, skip)

    def seen(given: Input) -> dict[str, object]:
        if planned is not None and _is_planned(given, step, planned, unseen):
            return {name: value for name, value in planned.items() if name != ORIGIN}
        if (before or {}).get(given.name, {}).get(LISTED):
            return seen_listing(lambda: _listed(given, datastores or {}))
        return _input_files(given, unseen)

    return {given.name: seen(given) for given in _data(step)}


def _listed(given: Input, datastores: Mapping[str, str]) -> FileList:
    """The files of an input as they are now, as they were listed to be planned."""
    from daskpar.data.files import FileList, list_files

    if given.type != "mltable":
        return list_files(given.path)
    from daskpar.data.mltable.open import open_mltable

    opened = open_mltable(given.path, datastores, files=True)
    assert isinstance(opened, FileList)
    return opened


def _is_planned(given: Input, step: Step, planned: Mapping[str, Any], unseen: set[str]) -> bool:
    """Whether that is what was seen of this input, and of nothing but input."""
    if not isinstance(step, ParallelStep) or step.input_data != (given.name,):
        return False
    if given.type == "mltable":
        return planned.get(ORIGIN) in (given.path, f"{given.path.rstrip('/')}/MLTable")
    inside = given.path.rstrip("/") + "/"
    return planned.get(ORIGIN) == given.path and not any(f"{path}/".startswith(inside) for path in unseen)


def seen_beside(step: Step, skip: Iterable[Path | str] = ()) -> dict[str, object]:
    """The files of each input that is not split into mini-batches, as they are now; those of steps too.

    Nobody looks at them when a mini-batch is loaded.
    """
    unseen = _unseen(step, skip)
    split = {""}
    if isinstance(step, ParallelStep) and step.settings.rank_mini_batch_count == 0:
        split = set(step.input_data)
    return {
        given.name: _input_files(given, unseen)
        for given in step.inputs.values()
        if given.is_data and given.path and given.name not in split
    }


def _data(step: Step) -> list[Input]:
    return [given for given in step.inputs.values() if given.is_data and given.path and given.made_by is None]


def _unseen(step: Step, skip: Iterable[Path | str]) -> set[str]:
    return {str(path) for path in skip} | {output.path.rstrip("/") for output in step.outputs.values()}


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """What has changed between two fingerprints: a sentence for each value and each kind of file change."""
    found = []
    before, now = old.get("values", {}), new.get("values", {})
    for name in sorted({*before, *now}):
        if name not in now:
            found.append(f"{name} was {_shown(before[name])} and is not given any more")
        elif name not in before:
            found.append(f"{name} is {_shown(now[name])} and was not given")
        elif before[name] != now[name]:
            was, now_is = _shown(before[name]), _shown(now[name])
            found.append(
                f"{name} was {was}, is {now_is}"
                if was != now_is
                else f"{name} has another secret in it, which is not shown: {now_is}"
            )
    found += changes("code", old.get("code", {}), new.get("code", {}))
    inputs_before, inputs_now = old.get(INPUTS, {}), new.get(INPUTS, {})
    for name in inputs_now:
        if name in inputs_before:  # one that is new or gone shows among the values
            found += changes(f"files of input {name}", inputs_before[name], inputs_now[name])
    return found


def _shown(value: object) -> str:
    return re.sub(_DIGEST.replace("*", r"\*") + "[0-9a-f]{32}", MASK, repr(value))


def plans_the_same(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Whether a step's plan is certainly the same with both fingerprints, whatever else has changed."""
    if INPUTS not in old or INPUTS not in new:
        return False
    before, now = old.get("values", {}), new.get("values", {})
    shaping = [name for name in {*before, *now} if name in _SHAPES_THE_PLAN or name.startswith("inputs.")]
    same_values = all(name in before and name in now and before[name] == now[name] for name in shaping)
    return same_values and not any(
        changes(name, old[INPUTS].get(name, {}), seen) for name, seen in new[INPUTS].items()
    )


def _parallel_values(step: ParallelStep, hide: Hide) -> dict[str, object]:
    values: dict[str, object] = {
        "entry_script": step.entry_script,
        "code": str(step.code) if step.code is not None else None,
        "program_arguments": hidden_arguments(list(_for_script(step.arguments)), hide),
        "input_data": list(step.input_data),
        "append_row_to": "given" if step.append_row_to is not None else None,
        "append_row_dataframe_header": step.settings.append_row_dataframe_header,
        "rank_mini_batch_count": step.settings.rank_mini_batch_count,
        "partition_keys": list(step.partition_keys),
    }
    # Earlier versions knew text alone, and their fingerprints say nothing of it.
    if step.settings.append_row_format != row_formats.TEXT:
        values["append_row_format"] = step.settings.append_row_format
        values["append_row_columns"] = step.settings.append_row_columns
    if step.settings.append_row_join:
        values["append_row_join"] = list(step.settings.append_row_join)
    if step.settings.append_row_index:
        values["append_row_index"] = True
    if not step.partition_keys:
        values["mini_batch_size"] = step.by_size.written if step.by_size.number else "default"
    return values


def _command_values(step: CommandStep, hide: Hide) -> dict[str, object]:
    values: dict[str, object] = {f"variables.{name}": value for name, value in step.variables.items()}
    code = str(step.code) if step.code is not None else None
    values |= {"command": hidden_command(step.command, hide), "code": code}
    if step.includes:
        values["additional_includes"] = [str(path) for path in step.includes]
    return values


class _Digest:
    """Stands for a secret in a fingerprint: it tells another value, and not what the value is.

    Slow to compute on purpose, and different in each run, so that guesses are too.
    """

    def __init__(self, run_directory: str) -> None:
        self._run = run_directory
        self._key = b""

    def __call__(self, value: str) -> str:
        if not self._key:
            known = read_json(RunPaths(Path(self._run)).identity_file) or {}
            self._key = str(known.get("id", "daskpar")).encode()
        data = value.encode("utf-8", "surrogateescape")
        return _DIGEST + hashlib.scrypt(data, salt=self._key, n=1 << 12, r=8, p=1, dklen=16).hex()


def _for_script(arguments: tuple[str, ...]) -> Iterable[str]:
    """The arguments without the driver's flags."""
    # These may change, and those that shape the plan are values of their own.
    position = 0
    while position < len(arguments):
        argument = arguments[position]
        position += 1
        flag, equals, _ = argument.removeprefix("--").partition("=")
        flag = OURS_WITH_HYPHENS.get(flag, flag)
        if not argument.startswith("--") or flag not in WITH_EFFECT | WITHOUT_EFFECT:
            yield argument
        elif not equals and position < len(arguments) and not arguments[position].startswith("--"):
            following = arguments[position].lower()
            position += flag not in SWITCHES or following in ("true", "false", "yes", "no", "1", "0")


def _movable(value: object, run: str) -> object:
    if isinstance(value, str):
        return value.replace(run, _RUN)
    if isinstance(value, list):
        return [_movable(item, run) for item in value]
    if isinstance(value, dict):
        return {name: _movable(item, run) for name, item in value.items()}
    return value if value is None or isinstance(value, bool | int | float) else str(value)


def _code(step: Step, unseen: set[str]) -> dict[str, object]:
    if step.code is not None:
        return seen_code(step.code, unseen)
    script = step.entry_script if isinstance(step, ParallelStep) else ""
    return seen_list([script] if script.startswith("/") else [])


def _input_files(given: Input, unseen: set[str]) -> dict[str, object]:
    if given.type != "mltable":
        return seen_data(given.path, unseen, may_be_closed=given.mode == "direct")
    # A path may be listed more than once; it is one file.
    return seen_list(dict.fromkeys(_table_files(given.path)))


def _table_files(path: str) -> list[str]:
    """The MLTable and the files that it names; what is wrong with it is an error when it is opened."""
    from daskpar.data.mltable.document import read_document
    from daskpar.data.mltable.path_items import files_of_item

    try:
        document = read_document(path)
    except DataUnreached:
        raise  # it says nothing of what is there
    except InputError:
        return [path]
    files = [document.file]
    for how, text in dict.fromkeys((item.how, item.text) for item in document.items):
        try:
            files += files_of_item(how, resolve(text, document.folder, {}))
        except DataUnreached:
            raise
        except (InputError, UsageError):
            continue  # a datastore's path shows among the MLTable's own bytes
    return files
