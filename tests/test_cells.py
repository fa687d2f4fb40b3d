"""Texts on a terminal, by its cells."""

from __future__ import annotations

import pytest

from daskpar.cells import cells, cut_to, padded, rows_of, shortened


@pytest.mark.parametrize(
    ("text", "width"),
    [("", 0), ("abc", 3), ("█ä…", 3), ("画像", 4), ("e\u0301", 1), ("🙂", 2), ("\uff76", 1)],
)
def test_how_wide_a_text_is(text: str, width: int) -> None:
    assert cells(text) == width
    assert cells(padded(text, 9)) == 9


def test_what_is_cut_never_takes_more_cells() -> None:
    for width in range(8):
        assert cells(cut_to("a画像e\u0301z", width)) <= width
        assert width == 0 or cells(shortened("画像画像", width)) <= width
    assert cut_to("a画像", 3) == "a画" and cut_to("a画像", 2) == "a"
    assert shortened("画像画像", 5) == "画像…"
    assert cut_to("abc", -1) == cut_to("画", -1) == ""
    assert rows_of("画像画\n\nabc", 4) == 4
