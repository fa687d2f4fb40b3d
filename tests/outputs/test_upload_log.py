"""Which uploaded files count: the last word of the driver on each mini-batch."""

from __future__ import annotations

from pathlib import Path

import pytest

from daskpar.outputs.upload_log import WITHOUT_INDEX, BegunLog, CountedLog, judge

Begun = tuple[str, int, list[str]]
Counted = tuple[str, int, tuple[int, int] | None]


@pytest.mark.parametrize(
    ("begun", "counted", "spare"),
    [
        ([("t", 0, ["a"])], [("t", 0, None)], []),
        # a try that was uploaded and never committed
        ([("t", 0, ["a", "b"]), ("u", 0, ["a", "c"])], [("u", 0, None)], ["b"]),
        # committed before the journal had it, and run again
        ([("t", 0, ["a"]), ("u", 0, ["b"])], [("t", 0, None), ("u", 0, None)], ["a"]),
        # what belongs to another mini-batch by now stays
        ([("t", 0, ["a"]), ("u", 0, ["b"]), ("v", 1, ["a"])], [("u", 0, None), ("v", 1, None)], []),
        # the word of the driver is lost: nothing is taken for superfluous
        ([("t", 0, ["a"])], [], []),
        # pieces of a divided mini-batch; then the same as a whole
        ([("t", 0, ["a"]), ("u", 0, ["b"])], [("t", 0, (0, 1)), ("u", 0, (1, 2))], []),
        ([("t", 0, ["a"]), ("u", 0, ["b"])], [("t", 0, (0, 1)), ("u", 0, None)], ["a"]),
        # pieces of one that has failed as a whole
        ([("t", 9, ["a"])], [("t", 9, (0, 1))], ["a"]),
        # of commands and shutdown()
        ([("t", WITHOUT_INDEX, ["a"])], [("t", WITHOUT_INDEX, None)], []),
        ([("t", WITHOUT_INDEX, ["a"]), ("u", WITHOUT_INDEX, ["b"])], [("u", WITHOUT_INDEX, None)], ["a"]),
    ],
)
def test_spare_objects(tmp_path: Path, begun: list[Begun], counted: list[Counted], spare: list[str]) -> None:
    for token, index, names in begun:
        BegunLog(str(tmp_path), token).add(token, index, [("o", name) for name in names])
    for token, index, span in counted:
        CountedLog(tmp_path).add([(index, token)], span)
    with open(tmp_path / "begun-torn.jsonl", "w") as torn:
        torn.write('["x", 0, [["o", "to')
    assert judge(tmp_path, lambda index: index != 9).spare == [("o", name) for name in spare]


def test_names_that_several_mini_batches_write_are_counted(tmp_path: Path) -> None:
    log, counted = BegunLog(str(tmp_path), "n"), CountedLog(tmp_path)
    for index in range(3):
        log.add(f"t{index}", index, [("o", "about")], of_init=True)
        log.add(f"t{index}", index, [("o", "model"), ("o", f"own-{index}"), ("p", "model")])
    counted.add([(0, "t0"), (1, "t1"), (2, "t2")])
    judged = judge(tmp_path)
    assert (judged.spare, judged.written_again) == ([], 2)
    assert judged.example in (("o", "model"), ("p", "model"))


def test_nothing_was_uploaded(tmp_path: Path) -> None:
    judged = judge(tmp_path / "not there")
    assert (judged.spare, judged.written_again) == ([], 0)
