"""Looks for the packages that entry scripts import in this Python, without importing anything."""

from __future__ import annotations

import ast
import os
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from daskpar.errors import Problem
from daskpar.jobspec.model import ParallelStep, PipelineJob
from daskpar.jobspec.script_check import PARSING, find_script
from daskpar.jobspec.yaml_source import shown_path

_OURS = frozenset({"daskpar", "azureml_user", "__future__", "__main__"})
"""What a processor has in any case."""


def missing_imports(job: PipelineJob) -> tuple[Problem, ...]:
    """Packages that a script imports whenever it is loaded, and that are not found: one problem each.

    Imports in functions, conditions and `try` are left out: the script may do without them. So are all of a
    script that changes where Python looks for modules, for only running it would tell.
    """
    problems: dict[tuple[str, int, str], Problem] = {}
    for step in job.steps:
        if not isinstance(step, ParallelStep) or step.python is not None:
            continue
        for path, line, name in wanted_imports(step):
            if not _is_installed(name):
                problems[(path, line, name)] = Problem(
                    file=path,
                    line=line,
                    path="",
                    what=f"the entry script imports {name!r}, which the Python that runs it does not have "
                    f"({sys.executable}).",
                    hint=f"Install it there, e.g. {os.path.basename(sys.executable)} -m pip install "
                    f"{package_of(name)}.",
                    grave=True,
                )
    return tuple(problems.values())


def wanted_imports(step: ParallelStep) -> list[tuple[str, int, str]]:
    """File as messages show it, line and first name of each module that the entry script imports whenever it
    is loaded, and that neither lies beside it nor comes with Python or daskpar.
    """
    if "PYTHONPATH" in step.environment_variables:
        return []
    script = find_script(step.entry_script, step.code or Path(os.path.dirname(step.entry_script)))
    if script is None or script.path is None:
        return []
    folders = tuple(str(folder) for folder in (step.code, script.path.parent) if folder is not None)
    return [
        (shown_path(script.path), line, name)
        for line, name in _imported(str(script.path))
        if name not in _OURS
        and name not in sys.builtin_module_names
        and name not in sys.stdlib_module_names
        and not any(_lies_in(name, folder) for folder in folders)
    ]


def package_of(module: str) -> str:
    """The package that installs a module."""
    return _PACKAGES.get(module, module)


_PACKAGES = {
    "PIL": "pillow",
    "cv2": "opencv-python",
    "sklearn": "scikit-learn",
    "skimage": "scikit-image",
    "yaml": "pyyaml",
    "bs4": "beautifulsoup4",
    "dateutil": "python-dateutil",
    "dotenv": "python-dotenv",
    "azureml": "azureml-core",
    "fitz": "pymupdf",
}
"""Names of packages that install a module of another name."""


@cache
def _imported(path: str) -> tuple[tuple[int, str], ...]:
    """Line and first name of each module that a file imports whenever it is loaded."""
    try:
        with PARSING:
            tree = ast.parse(Path(path).read_bytes(), filename=path)
    except (OSError, SyntaxError, ValueError, RecursionError):
        return ()  # a mistake of its own
    if any(_changes_the_path(node) for node in ast.walk(tree)):
        return ()
    return tuple(_of(tree.body))


def _changes_the_path(node: ast.AST) -> bool:
    """Whether a part of a script touches `sys.path` or the like."""
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        return node.value.id == "sys" and node.attr in ("path", "meta_path", "path_hooks", "modules")
    if isinstance(node, ast.ImportFrom):
        return node.module == "sys" and any(alias.name == "path" for alias in node.names)
    if isinstance(node, ast.Import):
        return any(alias.name in ("site", "pkg_resources") for alias in node.names)
    # `pip install` by the script itself, and packages that are put on the path by hand
    return (
        isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in ("pip", "addsitedir")
    )


def _of(body: list[ast.stmt]) -> Iterator[tuple[int, str]]:
    for statement in body:
        if isinstance(statement, ast.Import):
            yield from ((statement.lineno, alias.name.partition(".")[0]) for alias in statement.names)
        elif isinstance(statement, ast.ImportFrom) and not statement.level and statement.module:
            yield statement.lineno, statement.module.partition(".")[0]


def _is_installed(name: str) -> bool:
    for finder in sys.meta_path:
        find = getattr(finder, "find_spec", None)
        try:
            if find is not None and find(name, None) is not None:
                return True
        except Exception:  # a finder of somebody else's package: whatever it raises tells nothing
            return True
    return False


def _lies_in(name: str, folder: str) -> bool:
    """Whether a module of this name is in a folder: a file, a package, or a folder without `__init__.py`."""
    if os.path.isdir(os.path.join(folder, name)) or os.path.isfile(os.path.join(folder, f"{name}.py")):
        return True
    try:
        return any(entry.startswith(f"{name}.") and entry.endswith(".so") for entry in os.listdir(folder))
    except OSError:
        return True
