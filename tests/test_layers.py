"""Imports point one way: a module may use its own folder and those before it in the flow, and the folders of user code stay light."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import daskpar

PACKAGE = Path(daskpar.__file__).parent
FLOW = ("errors", "events", "boot", "spec", "data", "batches", "processor", "outputs", "engine", "reports")
LEAVES = {"daskpar", "daskpar.batches.records", "daskpar.processor.protocol"}
"""Plain values that anyone may import."""
AFTER_ENGINE = (
    "interrupts", "options", "ended", "staging", "resuming", "showing", "opening", "one_step", "pipeline_run", "pipeline", "cli",
    "__main__",
)  # fmt: skip
"""Top-level modules at the end of the flow, in its order; the public door (`__init__`) loads them on first use."""
HEAVY = {"dask", "distributed", "yaml", "bokeh", "tornado"}
INSIDE_PROCESSORS = ("data", "batches", "processor")
FOR_DASK = {"daskpar.data.collections"}
"""What shows data as Dask collections, and never runs inside a processor."""
FOR_YAML = {"daskpar.data.document"}
"""What reads MLTable documents, for the driver."""
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def name_of(path: Path) -> str:
    """Dotted name of a module of the package."""
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def stage_of(module: str) -> int:
    """Where a module stands in the flow; unknown folders are an error, so that a new one gets a place."""
    folder = module.split(".")[1]
    if folder in AFTER_ENGINE:
        return len(FLOW) + AFTER_ENGINE.index(folder)
    return FLOW.index(folder)


def imports_of(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and full name of everything imported, at any depth, what only type checkers see left out."""
    pending: list[ast.AST] = [tree]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            pending.extend(node.orelse)
            continue
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: imports are absolute"
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)
        pending.extend(ast.iter_child_nodes(node))


def module_named(name: str) -> str:
    """The module of the package that an imported name belongs to."""
    while name != "daskpar":
        path = PACKAGE.parent.joinpath(*name.split("."))
        if path.with_suffix(".py").exists() or path.is_dir():
            return name
        name = name.rpartition(".")[0]
    return name


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_point_left(path: Path) -> None:
    """No module knows one that comes after it."""
    module = name_of(path)
    wrong = []
    for line, imported in imports_of(ast.parse(path.read_text())):
        if imported.split(".")[0] != "daskpar":
            continue
        target = module_named(imported)
        if target not in LEAVES and stage_of(target) > stage_of(module):
            wrong.append(f"{path}:{line} imports {target}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("path", [p for p in MODULES if name_of(p).split(".")[1] in INSIDE_PROCESSORS], ids=name_of)
def test_processors_stay_light(path: Path) -> None:
    """What runs beside user code needs no Dask; the fork server forks before threads and large libraries exist."""
    module = name_of(path)
    heavy = HEAVY - ({"dask", "distributed"} if module in FOR_DASK else set()) - ({"yaml"} if module in FOR_YAML else set())
    wrong = [f"{path}:{line} imports {name}" for line, name in imports_of(ast.parse(path.read_text())) if name.split(".")[0] in heavy]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("path", [p for p in MODULES if name_of(p).split(".")[1] == "spec"], ids=name_of)
def test_the_spec_knows_no_dask(path: Path) -> None:
    """A spec is checked in well under a second because it loads neither Dask nor pandas."""
    slow = {"dask", "distributed", "pandas", "pyarrow", "numpy"}
    wrong = [f"{path}:{line} imports {name}" for line, name in imports_of(ast.parse(path.read_text())) if name.split(".")[0] in slow]
    assert not wrong, "\n".join(wrong)


def test_a_wrong_import_is_found() -> None:
    """The reader of imports sees those inside functions, and passes by those for type checkers."""
    text = "if TYPE_CHECKING:\n    import dask\ndef f():\n    from daskpar.engine import node\n"
    assert list(imports_of(ast.parse(text))) == [(4, "daskpar.engine.node")]
    assert module_named("daskpar.engine.node.Node") == "daskpar.engine.node"
    assert stage_of("daskpar.engine.node") > stage_of("daskpar.spec.model")
