"""Azure's contract for many mini-batches in one process: every answer finds its mini-batch, mistakes cost one alone."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from daskpar.processor import azure_contract
from daskpar.processor.azure_contract import AzureContract, Failed


def module(answers, **more):
    begun = []

    def enqueue(batch, context):
        if batch == "refused":
            raise ValueError("no room")
        begun.append(context.minibatch_index)

    def finished():
        found = {index: answers[index] for index in begun if index in answers}
        begun[:] = [index for index in begun if index not in found]
        return found

    return SimpleNamespace(
        **{
            "enqueue": enqueue,
            "get_finished_batch_result": finished,
            "get_processing_batch_number": lambda: len(begun),
            "check_all_tasks_processed": lambda: not begun,
            **more,
        }
    )


def run(contract, *batches):
    async def all_of_them():
        calls = [contract.run(batch, SimpleNamespace(minibatch_index=at)) for at, batch in enumerate(batches)]
        return await asyncio.gather(*calls, return_exceptions=True)

    return [
        found.error if isinstance(found, Failed) else found
        for found in asyncio.run(asyncio.wait_for(all_of_them(), 30))
    ]


def test_each_mini_batch_gets_its_own_answer():
    warned = []
    answers = {
        0: {"ret": ["a"], "mini_batch_context": None, "exception": None},
        1: {"ret": [], "exception": KeyError("k")},
        2: "nonsense",
        3: {"exception": "as text"},
    }
    contract = AzureContract(module(answers), True, warned.append)
    assert contract.has_room(1)
    found = run(contract, "x", "x", "x", "x", "refused")
    assert found[0] == ["a"]
    assert isinstance(found[1], KeyError)
    assert 'not a dict with "ret"' in str(found[2])
    assert str(found[3]) == "as text"
    assert str(found[4]) == "no room"
    contract.end()
    assert warned == []


def test_what_nobody_waits_for_is_dropped_and_said():
    warned = []
    given = [{5: {"ret": []}, "x": {"ret": []}}, {0: {"ret": [1]}}]
    contract = AzureContract(
        module({}, get_finished_batch_result=lambda: given.pop(0) if given else {}), True, warned.append
    )
    assert run(contract, "b") == [[1]]
    assert "mini-batch 5" in warned[0] and "mini-batch 'x'" in warned[1]


def test_an_error_while_it_is_asked_is_that_of_all_that_wait():
    def broken():
        raise OSError("gone")

    found = run(AzureContract(module({}, get_finished_batch_result=broken), True, print), "a", "b")
    assert [type(one) for one in found] == [OSError, OSError]


def test_a_script_that_never_says_that_all_is_done_is_not_waited_for_for_ever(monkeypatch):
    monkeypatch.setattr(azure_contract, "END_SECONDS", 0.02)
    warned = []
    AzureContract(module({}, check_all_tasks_processed=lambda: False), True, warned.append).end()
    assert "something is left" in warned[0]
    with pytest.raises(AttributeError):
        AzureContract(SimpleNamespace(), True, warned.append).has_room(1)
