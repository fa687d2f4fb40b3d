"""Whether a node whose init() fails each time is left out, or ends the step."""

from __future__ import annotations

import pytest

from daskpar.engine.rules.init_failures import InitFailures


@pytest.mark.parametrize(
    ("story", "ends"),
    [
        ("0!", [True]),
        ("0+", [False]),
        ("0+ 1!", [False, True]),
        ("0+ 1+ 2+", [False, False, True]),
        ("0ok 1+ 2+ 3+ 4+", [False, False, False, False]),
        ("0ok 1+ 2+ 3+ 0!", [False, False, False, True]),
        ("0ok 0+ 1+ 2+", [False, False, True]),
    ],
    ids=[
        "alone",
        "another may do better",
        "both fail",
        "several fail, none succeeded",
        "one has succeeded",
        "the last one that had succeeded",
        "the one that had succeeded fails too",
    ],
)
def test_one_node_never_decides_while_there_are_others(story: str, ends: list[bool]) -> None:
    """`0ok`: init() succeeded on node 0; `0+`: it fails there, others take part or could; `0!`: no other does."""
    failures, seen = InitFailures(), []
    for word in story.split():
        if word.endswith("ok"):
            failures.succeeded(int(word[0]))
        else:
            seen.append(failures.ends(int(word[0]), others=word.endswith("+")))
    assert seen == ends
