"""What an entry script may use of daskpar: the mini-batch context, and Azure ML's helper `EntryScript`."""

from __future__ import annotations

import logging
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

from daskpar.processor.rate_limiter import RateLimit, the_limit

UNASKED = (
    "--rate_limit is set, and run() has succeeded without asking for it, so nothing is limited: before each "
    "call of the service, call mini_batch_context.rate_limit.acquire(), in async def run with await"
)


@dataclass(frozen=True, slots=True)
class Item:
    """One item of a mini-batch."""

    index: int
    """Its place in the mini-batch, from 0 on; the same when it is run by itself (isolate_failed_items)."""
    path: str | None
    """Its file; None for a row."""
    row: int | None
    """Number of the row in the mini-batch, from 0 on; None for a file."""


class MiniBatchContext:
    """Second argument of `run`: which mini-batch this is. Read-only."""

    __slots__ = ("_dataset", "_first", "_index", "_keys")

    def __init__(self, index: int, keys: dict[str, Any] | None, dataset: Any, first: int = 0) -> None:
        self._index = index
        self._keys = keys
        self._dataset = dataset
        self._first = first

    @property
    def minibatch_index(self) -> int:
        """Identity of the mini-batch: the same in every try and after a resume."""
        return self._index

    @property
    def partition_key_value(self) -> dict[str, Any] | None:
        """Key -> value in the order of `partition_keys`; None without them."""
        return self._keys

    @property
    def dataset(self) -> Any:
        """The mini-batch itself (Azure ML hands a dataset object here)."""
        return self._dataset

    @property
    def items(self) -> list[Item]:
        """Each item's index and file, or number of the row, in the order of the mini-batch as it is now."""
        data, first = self._dataset, self._first
        if isinstance(data, list):
            return [Item(first + at, str(path), None) for at, path in enumerate(data)]
        return [Item(first + at, None, first + at) for at in range(len(data))]

    @property
    def rate_limit(self) -> RateLimit:
        """The step's `--rate_limit`: `acquire(n=1)` waits until `n` calls may be made (with `await` in an
        async script). Without a limit it does not wait.
        """
        return the_limit()

    def __repr__(self) -> str:
        return f"MiniBatchContext(minibatch_index={self._index}, partition_key_value={self._keys})"


class EntryScript:
    """`from azureml_user.parallel_run import EntryScript`: one instance in each processor."""

    _facts: ClassVar[dict[str, Any]] = {}
    _instance: EntryScript | None = None

    def __new__(cls) -> EntryScript:
        if cls._instance is None:
            cls._instance = super().__new__(cls)
        return cls._instance

    def __reduce__(self) -> tuple[type[EntryScript], tuple[()]]:
        return EntryScript, ()

    @property
    def logger(self) -> logging.Logger:
        """Logs to `logs/user/entry_script_log/<node>/<processNNN>.log.txt`."""
        logger = logging.getLogger("EntryScript")
        if not logger.handlers:
            self.log_dir.mkdir(parents=True, exist_ok=True)
            handler = logging.FileHandler(self.log_dir / f"{self.agent_name}.log.txt", encoding="utf-8")
            handler.setFormatter(logging.Formatter("%(asctime)s|%(levelname)s|%(process)d|%(message)s"))
            logger.addHandler(handler)
            logger.setLevel(self.logging_level)
            logger.propagate = False
        return logger

    def config_log(self) -> None:
        """Does nothing: the logger needs no setup, but Azure ML's scripts may call this."""

    @property
    def logging_level(self) -> str:
        """The step's."""
        return str(self._facts["logging_level"])

    @property
    def rate_limit(self) -> RateLimit:
        """As that of the mini_batch_context, for functions that do not get one."""
        return the_limit()

    @property
    def log_dir(self) -> Path:
        """Folder of this node's script logs; not made until something is logged."""
        return Path(self._facts["log_dir"])

    @property
    def output_dir(self) -> Path:
        """Folder of the aggregated file, for results of one's own; exists."""
        return Path(self._facts["output_dir"])

    @property
    def working_dir(self) -> Path:
        """Root folder of the step in the run directory."""
        return Path(self._facts["working_dir"])

    @property
    def agent_name(self) -> str:
        """`processNNN`."""
        return str(self._facts["agent_name"])


def provide_helper(**facts: Any) -> None:
    """Make `azureml_user.parallel_run` importable, with `facts` as the helper's values."""
    # It hides a package of that name that the user brings, unless that was imported before.
    EntryScript._facts = facts
    if "azureml_user.parallel_run" in sys.modules:
        return
    package, module = ModuleType("azureml_user"), ModuleType("azureml_user.parallel_run")
    package.__path__ = []
    module.EntryScript = EntryScript  # type: ignore[attr-defined]
    package.parallel_run = module  # type: ignore[attr-defined]
    EntryScript.__module__ = "azureml_user.parallel_run"
    sys.modules["azureml_user"], sys.modules["azureml_user.parallel_run"] = package, module
