"""Random faults with a printed seed: `python tests/chaos/soak.py --seed N` does the same again, and goes on for as long as one likes."""

from __future__ import annotations

import time

import pytest

from soak import one_job


@pytest.mark.parametrize("number", range(3))
def test_random_faults(tmp_path, number):
    seed = time.time_ns() % 1_000_000
    print(f"seed {seed}")
    done, _ = one_job(seed, tmp_path)
    assert done > 10
