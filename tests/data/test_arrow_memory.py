"""The pool of Arrow's that tables are read from: the system's, asked for once, unless the user says otherwise."""

from __future__ import annotations

import os
import subprocess
import sys

import pyarrow as pa
import pytest

TEXT = """
import pyarrow as pa
from daskpar.data.arrow_memory import prefer_system_pool
first = pa.default_memory_pool().backend_name
prefer_system_pool()
second = pa.default_memory_pool().backend_name
pa.set_memory_pool(pa.jemalloc_memory_pool() if "jemalloc" in pa.supported_memory_backends() else pa.mimalloc_memory_pool())
prefer_system_pool()
print(first, second, pa.default_memory_pool().backend_name)
"""


def pools(environment: dict[str, str], text: str = TEXT) -> list[str]:
    return subprocess.run(
        [sys.executable, "-c", text], env=environment, capture_output=True, text=True, check=True
    ).stdout.split()


@pytest.fixture
def environment(monkeypatch):
    monkeypatch.delenv("ARROW_DEFAULT_MEMORY_POOL", raising=False)
    return dict(os.environ)


def test_it_is_the_systems_once_and_what_is_set_later_stays(environment):
    _, second, third = pools(environment)
    assert second == "system" != third


def test_what_the_user_has_chosen_stays(environment):
    first, second, _ = pools({**environment, "ARROW_DEFAULT_MEMORY_POOL": "mimalloc"})
    assert (first, second) == ("mimalloc", "mimalloc")


AMID_A_WIDE_TABLE = """
import pyarrow as pa
from daskpar.data.arrow_memory import for_columns, prefer_system_pool
pa.set_memory_pool(pa.mimalloc_memory_pool())
with for_columns(2000):
    prefer_system_pool()
print(pa.default_memory_pool().backend_name)
"""


@pytest.mark.skipif(
    "mimalloc" not in pa.supported_memory_backends(), reason="this Arrow has no pool of its own"
)
def test_what_is_asked_for_while_another_thread_opens_a_wide_table_stays(environment):
    assert pools(environment, AMID_A_WIDE_TABLE) == ["system"]
