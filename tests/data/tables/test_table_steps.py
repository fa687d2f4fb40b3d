"""Steps of a table: which ask for the file of a row; and samples, which do not depend on how it is cut."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from daskpar.data.dask_collections import read_mltable
from daskpar.data.tables import table_steps
from daskpar.data.tables.table_steps import uniform

MakeTable = Callable[..., Path]


def test_samples_follow_the_seed_and_the_record(make_table: MakeTable) -> None:
    data = "v\n" + "".join(f"{row}\n" for row in range(20000))
    taken = {
        (seed, share): read_mltable(
            make_table(
                {"d.csv": data},
                "read_delimited",
                {"take_random_sample": {"probability": share, "seed": seed}},
            ),
            partition_bytes=size,
        ).compute()
        for size, seed, share in [(10**6, 1, 0.3), (5000, 2, 0.3), (5000, 1, 0.0), (5000, 1, 1.0)]
    }
    assert 5600 < len(taken[1, 0.3]) < 6400 and 5600 < len(taken[2, 0.3]) < 6400
    assert set(taken[1, 0.3]["v"]) != set(taken[2, 0.3]["v"])
    assert len(taken[1, 0.0]) == 0 and len(taken[1, 1.0]) == 20000


def test_parts_of_a_random_split_are_disjoint_and_complete(make_table: MakeTable) -> None:
    data = "v\n" + "".join(f"{row}\n" for row in range(3000))

    def part(low: float, high: float) -> set[int]:
        arguments = {"seed": 7, "probability": high, "probability_lower_bound": low}
        step = {"sample": {"sampler": "random_percent", "sampler_arguments": arguments}}
        return set(read_mltable(make_table({"d.csv": data}, "read_delimited", step)).compute()["v"])

    first, second = part(0.0, 0.4), part(0.4, 1.0)
    assert first & second == set() and first | second == set(range(3000))


def test_drawn_numbers_are_even_and_in_range() -> None:
    drawn = uniform(3, 0, np.arange(100_000))
    assert drawn.min() >= 0 and drawn.max() < 1
    assert abs(np.histogram(drawn, 10)[0] - 10_000).max() < 500


@pytest.mark.parametrize("operation", sorted({*table_steps._OPERATIONS, "convert"}))
def test_what_asks_for_the_file_of_a_row_is_known(operation: str) -> None:
    """Rows of several files go through the other operations at once."""
    function = table_steps._convert if operation == "convert" else table_steps._OPERATIONS[operation]
    asks = any(f"chunk.{name}" in inspect.getsource(function) for name in ("file", "path", "values"))
    assert asks == (operation in table_steps.OF_A_FILE)
