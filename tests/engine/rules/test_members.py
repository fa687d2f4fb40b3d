"""Which workers take part: each is asked once, one that can't is replaced, and none is asked for ever."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from daskpar.engine.rules.allocation import NodeFacts
from daskpar.engine.rules.members import TASK_ERRORS, Members
from daskpar.processor.protocol import ProcessorSettings
from daskpar.rows.shared_folder import SharedFolder

SHARED = ProcessorSettings(
    run_id="r",
    step="s",
    node=-1,
    python="other",
    processors=0,
    entry_script="score.py",
    code=None,
    plan="plan",
    store=SharedFolder(Path("parts")),
    shared="shared",
    logs="logs",
    work="work",
    working_dir="work",
    output_dir="output",
)


def there(*addresses: str, gpus: tuple[str, ...] = ()) -> dict[str, NodeFacts]:
    return {
        a: NodeFacts(address=a, host="one", cores=8, gpus=gpus, version="1", python="p", pid=1)
        for a in addresses
    }


def members(count: int = -1, processors: int | None = 1) -> Members:
    return Members(instance_count=count, processors_wanted=processors)


def filled(of: Members, found: dict[str, NodeFacts]) -> list[tuple[str, int]]:
    return [(member.address, member.number) for member in of.fill_up(found)]


def test_a_worker_that_is_opening_or_open_is_not_opened_again():
    of = members(2)
    assert filled(of, there("a")) == [("a", 0)]
    assert filled(of, there("a", "b")) == [("b", 1)]
    assert filled(of, there("a", "b", "c")) == []
    assert of.opened("a", 0) is not None
    assert filled(of, there("a", "b", "c")) == []


def test_minus_one_takes_workers_that_join_while_others_are_opening():
    of = members()
    assert filled(of, there("a", "b")) == [("a", 0), ("b", 1)]
    assert filled(of, there("a", "b", "c", "d")) == [("c", 2), ("d", 3)]
    assert of.asked == {"a", "b", "c", "d"}


def test_one_that_fails_to_open_is_replaced_and_not_asked_again():
    of = members(1)
    found = there("a", "b")
    assert filled(of, found) == [("a", 0)]
    assert of.leave_out("a") is None
    assert filled(of, found) == [("b", 1)]
    assert of.leave_out("b") is None
    assert filled(of, found) == []
    assert not of.any


def test_one_that_is_lost_while_it_opens_is_replaced_and_its_late_answer_is_not_taken():
    of = members(1)
    assert filled(of, there("a", "b")) == [("a", 0)]
    assert of.lose("a") is None
    assert filled(of, there("b")) == [("b", 1)]
    assert of.opened("a", 0) is None
    assert of.opened("b", 1) is not None
    assert of.number("b") == 1
    assert of.number("a") is None


def test_who_comes_under_the_address_of_a_lost_worker_is_another_one():
    of = members(1)
    filled(of, there("a"))
    of.leave_out("a")
    of.lose("a")
    assert filled(of, there("a")) == [("a", 1)]
    assert of.opened("a", 0) is None


def test_a_later_node_gets_the_devices_that_no_open_one_holds():
    of = members(processors=2)
    gpus = ("0", "1", "2")
    first = of.fill_up(there("a", gpus=gpus))
    of.opened("a", 0)
    second = of.fill_up(there("a", "b", gpus=gpus))
    assert [member.gpus for member in (*first, *second)] == [("0", "1"), ("2", "")]
    assert [member.threads for member in (*first, *second)] == [4, 2]
    of.lose("a")
    assert [member.gpus for member in of.fill_up(there("b", "c", gpus=gpus))] == [("0", "1")]


def test_tasks_that_fail_in_a_row_are_too_many_and_others_are_not():
    of = members()
    for _ in range(TASK_ERRORS - 1):
        assert not of.task_failed("a")
    of.task_ended_well("a")
    assert [of.task_failed("a") for _ in range(TASK_ERRORS)] == [False] * (TASK_ERRORS - 1) + [True]


def test_an_open_member_keeps_the_processors_that_it_was_given_alone():
    """They run already, and share the host's cores with those of who comes later."""
    of = members(processors=None)
    (first,) = of.fill_up(there("a", gpus=("0", "1")))
    of.opened("a", 0)
    (second,) = of.fill_up(there("a", "b", gpus=("0", "1")))
    assert [(m.processors, m.gpus, m.threads) for m in (first, second)] == [(2, ("0", "1"), 4), (1, ("",), 2)]


def test_one_that_opens_and_one_that_is_open_take_part():
    of = members(1)
    assert of.any is False
    of.fill_up(there("a"))
    assert of.any is True
    of.opened("a", 0)
    assert of.any is True
    of.lose("a")
    assert of.any is False


def test_who_comes_under_the_address_of_one_whose_tasks_failed_begins_anew():
    of = members(1)
    filled(of, there("a"))
    for _ in range(TASK_ERRORS - 1):
        assert not of.task_failed("a")
    of.lose("a")
    filled(of, there("a"))
    assert not of.task_failed("a")


def test_the_settings_of_a_member_are_the_shared_ones_with_what_is_its_own():
    (member,) = members(processors=2).fill_up(
        {a: replace(facts, memory=7) for a, facts in there("a", gpus=("3", "4")).items()}
    )
    made = member.settings(SHARED)
    own = {"node": 0, "python": "p", "processors": 2, "gpus": ("3", "4"), "threads": 4, "node_memory": 7}
    assert made == replace(SHARED, **own)


def test_another_takes_the_place_of_one_of_which_nothing_is_heard():
    of = members(1)
    assert filled(of, there("a")) == [("a", 0)]
    assert not of.not_heard("a", 7) and not of.not_heard("b", 0)
    assert of.any and of.not_heard("a", 0) and not of.any
    assert not of.is_one_too_many("a")  # nobody else is there: it is taken when it answers
    assert filled(of, there("a", "b")) == [("b", 1)]
    assert of.coming == {"b"} and of.is_one_too_many("a") and not of.is_one_too_many("b")
    of.leave_out("b")
    assert of.opened("a", 0) is not None and of.unheard == set()


def test_one_that_is_heard_again_takes_part_where_there_is_room():
    of = members(-1)
    assert filled(of, there("a", "b")) == [("a", 0), ("b", 1)]
    assert of.not_heard("a", 0) and not of.is_one_too_many("a")
    assert of.opened("a", 0) is not None and of.coming == {"b"}
    of.not_heard("b", 1)
    of.lose("b")
    assert of.unheard == set()
