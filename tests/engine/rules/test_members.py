"""Which workers take part: each is asked once, one that can't is replaced, and none is asked for ever."""

from __future__ import annotations

from daskpar.engine.rules.allocation import NodeFacts
from daskpar.engine.rules.members import TASK_ERRORS, Members


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
