"""What the end of a processor gives back, and as what."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from daskpar.processor.exit_handling import bury
from daskpar.processor.policies import Ending
from daskpar.processor.protocol import BlockOrder, Ended, Released
from daskpar.processor.shared_page import Announced, Phase
from daskpar.results import Reason

END = Ending(Reason.DIED, "it died")


@pytest.mark.parametrize(
    ("reported", "killed_for", "said", "expected"),
    [
        (10, "", Announced(-1, Phase.IDLE, 0.0), [(10, 20, "unbegun")]),
        (10, "memory", Announced(-1, Phase.IDLE, 0.0), [(10, 20, "unbegun")]),
        (10, "stopped", Announced(-1, Phase.IDLE, 0.0), [(10, 20, "died")]),
        (20, "", Announced(-1, Phase.IDLE, 0.0), []),
        (12, "", Announced(11, Phase.FLUSH, 0.0), [(12, 20, "died")]),
        (10, "", Announced(13, Phase.FLUSH, 0.0), [(10, 14, "unwritten"), (14, 20, "died")]),
        (10, "stopped", Announced(13, Phase.RUN, 0.0), [(10, 14, "unflushed"), (14, 20, "died")]),
    ],
)
def test_what_a_death_gives_back(reported, killed_for, said, expected):
    order = BlockOrder(block=1, token="t", start=10, stop=20)
    processor = SimpleNamespace(order=order, limit=20, reported=reported, killed_for=killed_for)
    *found, last = bury(processor, said, END, SimpleNamespace(max_retries=0))
    assert [(m.start, m.stop, m.reason) for m in found if isinstance(m, Released)] == expected
    assert isinstance(last, Ended)
    assert processor.order is None
