"""Reads the `environment:` of a step. Whether and how it is had on this machine is decided elsewhere."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

from daskpar.jobspec import scalars
from daskpar.jobspec.named_environment import Environment
from daskpar.jobspec.problems import Problems
from daskpar.jobspec.yaml_source import Value, read_yaml

_REGISTERED = re.compile(
    r"azureml:(?://(?:.*/)?environments/)?(?P<name>[^/:@]+)(?:(?:[:@]|/versions/|/labels/)(?P<version>[^/]+))?/?"
)

ANONYMOUS = "CliV2AnonymousEnvironment"
"""The name that Azure ML's SDK gives to one without a name."""


def environment_of(step: Value) -> Environment | None:
    """The environment that a step's mapping names; None where it names none.

    What is wrong with it is its `trouble`: a job may run in this Python, which needs nothing of it.
    """
    value = step.get("task", "environment") or step.get("environment")
    if value is None:
        return None
    if isinstance(value.data, str):
        return _of_text(value.data.strip(), value)
    if value.is_mapping:
        return _of_mapping(value)
    trouble = f"it is {scalars.quoted(value.data)}, neither a name nor a mapping."
    return Environment(where=value.place.where, trouble=trouble)


def _of_text(text: str, value: Value) -> Environment:
    where = value.place.where
    if found := _REGISTERED.fullmatch(text):
        return Environment(name=found["name"], version=found["version"] or "", where=where)
    if text.startswith("file:") or text.lower().endswith((".yml", ".yaml")):
        path = _path(text.removeprefix("file:"), value)
        own = Problems()
        document = read_yaml(path, own, asked_at=value.place)
        if document is not None and document.is_mapping:
            return _of_mapping(document)
        trouble = own.errors[0].what if own.errors else f"{path} holds no mapping."
        return Environment(where=where, trouble=trouble)
    name, _, version = text.partition(":")
    return Environment(name=name, version=version, where=where)


def _of_mapping(value: Value) -> Environment:
    def text(key: str) -> str:
        found = value.get(key)
        return "" if found is None or found.is_mapping else str(found.data).strip()

    conda, file, trouble = "", "", ""
    if (written := value.get("conda_file")) is not None:
        conda, file, trouble = _conda(written)
        trouble = f"its conda file can't be used: {trouble}" if trouble else ""
    build, dockerfile = value.get("build"), ""
    if build is not None and build.is_mapping:
        folder = build.get("path")
        name = build.get("dockerfile_path")
        if folder is not None:
            dockerfile = str(_path(str(folder.data), folder) / (str(name.data) if name else "Dockerfile"))
    return Environment(
        name="" if text("name") == ANONYMOUS else text("name").removeprefix("azureml:"),
        version=text("version"),
        image=text("image").removeprefix("docker://"),
        conda=conda,
        conda_file=file,
        dockerfile=dockerfile,
        trouble=trouble,
        where=value.place.where,
    )


def _path(text: str, value: Value) -> Path:
    return Path(os.path.abspath(value.place.folder / os.path.expanduser(text)))


def _conda(written: Value) -> tuple[str, str, str]:
    """The content of a conda file as JSON, its path, and what is wrong with it."""
    if written.is_mapping:
        content, trouble = _checked(written)
        return content, "", trouble
    if not isinstance(written.data, str):
        return "", "", f"it is {scalars.quoted(written.data)}, neither a path nor a mapping."
    path = _path(written.data.removeprefix("file:"), written)
    problems = Problems()
    document = read_yaml(path, problems, asked_at=written.place)
    if document is None:
        return "", str(path), problems.errors[0].what if problems.errors else f"{path} can't be read"
    content, trouble = _checked(document)
    return content, str(path), trouble


def _checked(document: Value) -> tuple[str, str]:
    dependencies = document.get("dependencies") if document.is_mapping else None
    if dependencies is None or not isinstance(dependencies.data, list):
        return "", "it has no list of dependencies."
    for each in dependencies.elements():
        pip = each.get("pip") if each.is_mapping else None
        if isinstance(each.data, str) or (pip is not None and isinstance(pip.data, list)):
            continue
        return "", f"line {each.place.line} is neither a package nor a list for pip."
    return json.dumps(document.plain()), ""
