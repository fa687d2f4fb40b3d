"""When a worker counts as frozen."""

from __future__ import annotations

import pytest

from daskpar.engine.rules.silence import Silence


@pytest.mark.parametrize(
    ("looks", "frozen"),
    [
        ([(0.4, 0.5), (9.9, 0.5), (9.9, 0.5)], False),
        ([(12.0, 0.5)], False),  # one look: the scheduler may have stood still itself
        ([(12.0, 0.5), (0.1, 0.5), (12.0, 0.5)], False),
        ([(12.0, 0.5), (13.0, 0.5)], True),
        ([(12.0, 6.0), (59.0, 6.0), (59.9, 6.0)], False),  # with a thousand workers, heartbeats are rare
        ([(61.0, 6.0), (62.0, 6.0)], True),
    ],
)
def test_heartbeats_have_to_be_missing_in_two_looks(looks, frozen):
    silence = Silence()
    assert [silence.look(*look) for look in looks][-1] is frozen
