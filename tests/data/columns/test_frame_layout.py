"""Which columns are treated in which way: of the table that was asked about, whatever other threads ask."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from daskpar.data.columns import frame_layout
from daskpar.data.columns.frame_layout import FrameLayout, layout_of

OURS = pa.schema([("a", pa.int64()), ("b", pa.float64())])
THEIRS = pa.schema([("c", pa.bool_())])


def test_the_latest_is_kept() -> None:
    assert layout_of(OURS) is layout_of(pa.schema(list(OURS)))
    assert (layout_of(OURS).floats, layout_of(OURS).long) == ({pa.float64().id: [1]}, [0])
    assert layout_of(THEIRS).changing == [0]


def test_a_table_gets_its_own_while_another_thread_asks_for_that_of_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    theirs = FrameLayout(THEIRS)

    class Schema:
        """One during whose comparison the layout of another thread's table becomes the latest."""

        def equals(self, *_: Any, **__: Any) -> bool:
            frame_layout._latest = theirs
            return True

    ours = FrameLayout(Schema())  # type: ignore[arg-type]
    monkeypatch.setattr(frame_layout, "_latest", ours)
    assert layout_of(OURS) is ours
    assert frame_layout._latest is theirs
