"""Imports point one way: each floor of the house may use those below it, whether an import stands at the top of a
module, inside a function or is for type checkers alone. What runs beside user code stays light.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

import daskpar

PACKAGE = Path(daskpar.__file__).parent
FLOORS = (
    # the ground, on which all may stand
    "_version", "older_python", "value_classes", "chosen_container", "chosen_python", "errors", "own_calls", "results", "sizes", "atomic", "paths", "events", "masking", "datastores", "locations", "configured", "default_datastore", "named_places", "beside", "fetched_names", "printable", "cells",
    # the stages, in the order in which data flows through them
    "jobspec",
    "data.reach", "data.stamps", "data.stamp_columns", "data.path_column", "data.libc_stat", "data.look_worker", "data.file_look", "data.folder_walk", "data.files", "data.file_copies", "data.fetch_object", "data.fetch_file", "data.arrow_memory", "data.notices", "data.columns", "data.formats", "data.tables", "data.mltable", "data.dask_collections",
    "rundir",
    "batches",
    "rows",
    "processor",
    "environments",
    "outputs",
    "page",
    "engine.rules", "engine.shipped", "engine.input_copies", "engine.plugins", "engine",
    "reports",
    "driver",
    # the door
    "pipeline", "mapped", "commands", "cli", "__main__", "__init__",
)  # fmt: skip
"""From the ground to the door. A module belongs to the longest name here that is a prefix of its own."""
HEAVY = {"dask", "distributed", "yaml", "bokeh", "tornado"}
LIGHT_FLOORS = (
    "data.reach",
    "data.stamps",
    "data.stamp_columns",
    "data.path_column",
    "data.libc_stat",
    "data.look_worker",
    "data.file_look",
    "data.folder_walk",
    "data.files",
    "data.file_copies",
    "data.fetch_object",
    "data.fetch_file",
    "data.arrow_memory",
    "data.notices",
    "data.columns",
    "data.formats",
    "data.tables",
    "batches",
    "rows",
    "processor",
)
"""What is loaded in processors, beside user code."""
MODULES = sorted(
    path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py" or path.parent == PACKAGE
)


def name_of(path: Path) -> str:
    """Name of a module below the package: `engine.rules.blame`."""
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


def floor_of(module: str) -> str:
    """The floor that a module belongs to; one without a floor is an error, so that a new folder gets a place."""
    while module not in FLOORS:
        module, dot, _ = module.rpartition(".")
        assert dot, f"{module} has no floor: give it one in FLOORS"
    return module


def imports_of(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and full name of everything imported, at any depth."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: imports are absolute"
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def ours(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and name below the package of each module of ours that is imported."""
    for line, imported in imports_of(tree):
        package, _, name = imported.partition(".")
        if package != "daskpar":
            continue
        while name and not PACKAGE.joinpath(*name.split(".")).with_suffix(".py").exists():
            name = name.rpartition(".")[0]
        yield line, name or "__init__"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_no_import_runs_up(path: Path) -> None:
    height = FLOORS.index(floor_of(name_of(path)))
    tree = ast.parse(path.read_text())
    up = [
        f"{path}:{line} imports {name}" for line, name in ours(tree) if FLOORS.index(floor_of(name)) > height
    ]
    assert not up, "\n".join(up)


def test_no_module_needs_itself() -> None:
    """No circles, within a floor either: whoever reads a module needs only what it imports."""
    needs = {name_of(path): {name for _, name in ours(ast.parse(path.read_text()))} for path in MODULES}
    needs = {name: wanted - {name} for name, wanted in needs.items() if name != "__init__"}
    while free := {name for name, wanted in needs.items() if not wanted & needs.keys()}:
        needs = {name: wanted for name, wanted in needs.items() if name not in free}
    assert not needs, f"circles among {sorted(needs)}"


@pytest.mark.parametrize("path", [p for p in MODULES if floor_of(name_of(p)) in LIGHT_FLOORS], ids=name_of)
def test_processors_stay_light(path: Path) -> None:
    """The fork server forks before threads and large libraries exist, and user code may need another Dask."""
    tree = ast.parse(path.read_text())
    heavy = [
        f"{path}:{line} imports {name}" for line, name in imports_of(tree) if name.split(".")[0] in HEAVY
    ]
    assert not heavy, "\n".join(heavy)


@pytest.mark.parametrize("path", [p for p in MODULES if floor_of(name_of(p)) == "jobspec"], ids=name_of)
def test_a_spec_is_checked_without_dask_and_pandas(path: Path) -> None:
    """It takes well under a second because of that."""
    slow = {"dask", "distributed", "pandas", "pyarrow", "numpy"}
    tree = ast.parse(path.read_text())
    wrong = [f"{path}:{line} imports {name}" for line, name in imports_of(tree) if name.split(".")[0] in slow]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("path", [p for p in MODULES if floor_of(name_of(p)) == "engine.rules"], ids=name_of)
def test_rules_know_neither_dask_nor_a_clock(path: Path) -> None:
    """They are fed with plain values, the time included, and tested without a cluster or a sleep."""
    tree = ast.parse(path.read_text())
    doing = {"dask", "distributed", "time", "threading", "queue", "os", "socket", "subprocess"}
    wrong = [
        f"{path}:{line} imports {name}" for line, name in imports_of(tree) if name.split(".")[0] in doing
    ]
    assert not wrong, "\n".join(wrong)


def test_dask_is_loaded_whole() -> None:
    """Before a part of it, for several threads load it when a run starts: `from distributed.worker import ...` while
    another is amid `import distributed` leaves each with half of the other's modules, and the run is lost.
    """
    texts = ((path, path.read_text()) for path in MODULES)
    early = [(path, *early_parts(ast.parse(text))) for path, text in texts if "distributed." in text]
    assert not (wrong := [found for found in early if len(found) > 1]), wrong


def early_parts(tree: ast.Module) -> Iterator[str]:
    """Modules inside `distributed` that are imported before it, with their lines."""
    found = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    for node in sorted(found, key=lambda node: node.lineno):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [str(node.module)]
        if "distributed" in names and not (node.col_offset and is_for_types(tree, node)):
            return
        yield from (f"line {node.lineno}: {name}" for name in names if name.startswith("distributed."))


def is_for_types(tree: ast.Module, node: ast.stmt) -> bool:
    """Whether it stands below `if TYPE_CHECKING:`."""
    return any(
        isinstance(outer, ast.If) and ast.unparse(outer.test) == "TYPE_CHECKING" and node in outer.body
        for outer in tree.body
    )


def test_an_early_part_is_found() -> None:
    text = "if TYPE_CHECKING:\n    from distributed import Client\nfrom distributed.worker import secede\n"
    assert list(early_parts(ast.parse(text))) == ["line 3: distributed.worker"]
    assert not list(early_parts(ast.parse("import distributed\n" + text)))


def test_each_module_has_a_name_of_its_own() -> None:
    """Whoever greps for a name finds one module."""
    twice = [name for name, number in Counter(path.stem for path in MODULES).items() if number > 1]
    assert not twice, f"module names that occur twice: {twice}"


def test_a_wrong_import_is_found() -> None:
    """The reader of imports sees those inside functions and those for type checkers."""
    text = "if TYPE_CHECKING:\n    import dask\ndef f():\n    from daskpar.engine.plugins import node\n"
    tree = ast.parse(text)
    assert list(imports_of(tree)) == [(2, "dask"), (4, "daskpar.engine.plugins.node")]
    assert list(ours(tree)) == [(4, "engine.plugins.node")]
    assert FLOORS.index(floor_of("engine.plugins.node")) > FLOORS.index(floor_of("jobspec.model"))
