"""Slow mini-batches run twice at a time where rows are all that comes of them; else only where that is asked for."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from daskpar.jobspec.model import DriverSettings
from daskpar.jobspec.second_copies import backs_up

ROWS, FOLDER, BUCKET = ("rows", ""), ("models", ""), ("s3", "seen")


@pytest.mark.parametrize(
    ("outputs", "settings", "in_flight", "expected"),
    [
        ([ROWS], {}, 0, True),
        ([ROWS], {"backup": False}, 0, False),
        ([ROWS, FOLDER], {"failed_items_to": "models"}, 0, True),  # the driver fills that one
        ([ROWS, FOLDER], {}, 0, False),
        ([ROWS, FOLDER], {"backup": True}, 0, True),
        ([], {}, 0, False),  # it is called for what it does elsewhere
        ([], {"backup": True}, 0, True),
        ([ROWS], {"rate_limit": "5/s"}, 0, False),
        ([ROWS], {"rate_limit": "5/s", "backup": True}, 0, True),
        ([ROWS], {"backup": True}, 8, False),
        ([ROWS, BUCKET], {"backup": True}, 0, False),
    ],
)
def test_where_a_second_copy_may_be_started(outputs, settings, in_flight, expected):
    step = SimpleNamespace(
        settings=DriverSettings(**settings),
        in_flight=in_flight,
        append_row_to="rows" if ROWS in outputs else None,
        outputs={path: SimpleNamespace(path=path, seen=seen) for path, seen in outputs},
    )
    assert backs_up(step) is expected  # type: ignore[arg-type]


def test_asking_in_vain_is_told(work):
    work.files(1)
    step = work.parallel("async def run(mini_batch):\n    return mini_batch\n", arguments="--backup True")
    spec = work.spec({"work": step})
    from daskpar.jobspec.load import load_job

    [said] = [str(warning) for warning in load_job(spec).warnings if "--backup" in str(warning)]
    assert "changes nothing for this step" in said and "job.yml:" in said
