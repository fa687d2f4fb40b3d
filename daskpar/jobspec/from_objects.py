"""Takes what a user gives as a job: a path, YAML text, a mapping, or an object of Azure ML's SDK.

The SDK (azure-ai-ml) is not imported: its objects are known by the package of their classes, and say what
they are by their own public method `dump`.
"""

from __future__ import annotations

import inspect
import io
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from daskpar.errors import UsageError
from daskpar.jobspec.given_spec import GivenSpec
from daskpar.jobspec.sdk_dump import as_job

_SDK = "azure.ai.ml"
_WHAT = (
    "give the path of a YAML file, YAML text, a mapping, or a job, component or node made with azure-ai-ml"
)


def spec_of(given: Any) -> Path | GivenSpec:
    """The job that is meant: the path of its file, or what it says.

    Text of several lines, or in braces, is YAML. Relative paths start from the file's folder; in a mapping
    and in text from the working directory; in an object of the SDK from where that has them start: the
    working directory in which it was made, or the folder of the file from which it was loaded.

    Raises UsageError for anything else.
    """
    if isinstance(given, GivenSpec):
        return given
    if isinstance(given, str) and _is_text(given):
        return GivenSpec(label="YAML text", folder=Path.cwd(), text=given)
    if isinstance(given, str | os.PathLike):
        return Path(given)
    if isinstance(given, Mapping) and not _of_sdk(given):  # nodes of the SDK are mappings too
        return GivenSpec(label="mapping", folder=Path.cwd(), mapping=as_job(given))
    if callable(given) and getattr(given, "_is_dsl_func", False):
        given = _called(given)
    if not _of_sdk(given):
        raise UsageError(f"a job can't be of type {type(given).__name__}: {_WHAT}")
    return _from_sdk(given)


def _is_text(given: str) -> bool:
    """Whether it is YAML (or JSON), not the path of a file."""
    return "\n" in given or given.lstrip().startswith("{")


def _of_sdk(given: Any) -> bool:
    return any(base.__module__.startswith(f"{_SDK}.") for base in type(given).__mro__)


def _called(function: Callable[..., Any]) -> Any:
    """The job of a pipeline function (`@dsl.pipeline`) that takes no arguments or has defaults for all."""
    name = getattr(function, "__name__", "pipeline")
    needed = [
        parameter.name
        for parameter in inspect.signature(function).parameters.values()
        if parameter.default is parameter.empty and parameter.kind != parameter.VAR_KEYWORD
    ]
    if needed:
        raise UsageError(
            f"{name} is a pipeline function that takes {', '.join(needed)}: call it, and give the job that "
            f"it returns: run({name}({', '.join(f'{each}=...' for each in needed)}))"
        )
    return function()


def _from_sdk(given: Any) -> GivenSpec:
    kind = type(given).__name__
    try:
        mapping = _dumped(given)
    except Exception as error:
        reason = str(error) or type(error).__name__
        raise UsageError(f"azure-ai-ml can't write this {kind} down: {reason}") from error
    if not isinstance(mapping, Mapping) or mapping.get("type") is None:
        raise UsageError(f"a job can't be of type {kind} ({_SDK}): {_WHAT}")
    component = mapping.get("component")
    names = [mapping, component if isinstance(component, Mapping) else {}]
    name = next((str(of[key]) for of in names for key in ("name", "display_name") if of.get(key)), "")
    folder = Path(os.path.abspath(str(getattr(given, "_base_path", None) or ".")))
    return GivenSpec(label=f"{kind} {name}".strip(), folder=folder, mapping=as_job(mapping))


def _dumped(given: Any) -> Any:
    """What `dump` writes; None for what has no such method (a client, an Input)."""
    dump = getattr(given, "dump", None)
    if dump is None:
        return None
    # The same before it is sorted by name: the order of the steps is the user's.
    if callable(in_order := getattr(given, "_to_dict", None)):
        return in_order()
    text = io.StringIO()
    dump(text)
    return yaml.safe_load(text.getvalue())
