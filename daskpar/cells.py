"""How wide a text is on a terminal: Chinese or Japanese characters take two cells, accents set apart none."""

from __future__ import annotations

import unicodedata


def cells(text: str) -> int:
    """Cells of a terminal that a line of printable text takes."""
    return len(text) if text.isascii() else sum(map(_cells_of, text))


def cut_to(text: str, width: int) -> str:
    """As much of the beginning of a line as fits into so many cells."""
    if text.isascii():
        return text[: max(width, 0)]
    taken = 0
    for place, character in enumerate(text):
        taken += _cells_of(character)
        if taken > width:
            return text[:place]
    return text


def shortened(text: str, width: int) -> str:
    """The line, with a sign at its end where something did not fit into so many cells."""
    return text if cells(text) <= width else f"{cut_to(text, width - 1)}…"


def padded(text: str, width: int) -> str:
    """The line with blanks up to so many cells."""
    return text + " " * (width - cells(text))


def rows_of(text: str, width: int) -> int:
    """Rows of a terminal of `width` cells that the lines of a text take, folded where they are wider."""
    return sum(max(-(-cells(line) // max(width, 1)), 1) for line in text.split("\n"))


def _cells_of(character: str) -> int:
    if unicodedata.combining(character) or unicodedata.category(character) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
