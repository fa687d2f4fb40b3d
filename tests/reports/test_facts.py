"""The tables that page and report draw, from events and from a run directory: the same either way."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from daskpar.batches.plan_writer import write_plan
from daskpar.errors import DaskparError, RunDirectoryError
from daskpar.events import (
    HOOKS,
    LongCall,
    LongCallsChanged,
    ProcessorEvent,
    ProcessorState,
    Progress,
    RunEnded,
    RunStarted,
    StepEnded,
    StepEvent,
    StepKind,
    StepPlanned,
    StepStarted,
    TriesEnded,
    Warned,
)
from daskpar.outputs.journal import Journal
from daskpar.page.web_page import packed
from daskpar.printable import printable_tree
from daskpar.reports import run_report
from daskpar.reports.facts import step_document, step_line
from daskpar.reports.live_facts import LiveFacts
from daskpar.reports.looks import looks_from
from daskpar.reports.mini_batch_rows import mini_batch_table
from daskpar.reports.run_facts import facts_of
from daskpar.reports.shown_file import save_shown
from daskpar.reports.step_facts import RunFacts, StepFacts
from daskpar.reports.timeline import timeline
from daskpar.results import Counts, Reason, Status, StepResult
from daskpar.rundir.run_directory import RunDirectory
from daskpar.rundir.step_folder import StepState

from .conftest import START, failure, records_of
from .test_run_tables import FILES, flushed

TRIES = [(0, None), (1, Reason.EXCEPTION), (2, Reason.TIMEOUT), (1, None), (2, Reason.TIMEOUT), (3, None)]
FINAL = [True, False, False, True, True, True]
COUNTS = Counts(planned=4, succeeded=3, failed=1, items=40, failed_items=10, tries_failed=3, retried=2)


@pytest.fixture
def live(tmp_path: Path) -> LiveFacts:
    """A run of one step that has ended, as its watcher has heard it, and its run directory."""
    with RunDirectory.create(tmp_path / "run", "score-all", "/x/pipeline.yml") as directory:
        folder = directory.step("score")
        write_plan(folder.plan, kind="files", paths=FILES, origin="/in")
        failures = (
            failure(1, time=START + 1),
            failure(2, Reason.TIMEOUT, time=START + 2),
            failure(2, Reason.TIMEOUT, time=START + 3, final=True),
        )
        flush = flushed(TRIES, FINAL, failures[2:])
        journal = Journal.create(folder.journal, step="score", mini_batches=4)
        journal.append(flush)
        journal.close()
        records = records_of(TRIES)
        records["final"] = FINAL
        records["tries"] = [0, 0, 0, 1, 1, 0]
        result = StepResult(
            step="score", status=Status.COMPLETED, counts=COUNTS, seconds=9.0, outputs={"rows": "/out"}
        )
        state = StepState(step="score", kind="parallel", status=Status.RUNNING, started=START)
        folder.save(state.with_result(result, ended=START + 9, seconds_before=0, fingerprint={}, rows=""))
        watcher = LiveFacts("abc", name="score-all", directory=str(directory.path))
        settings = {
            "error_threshold": 20,
            "mini_batch_error_threshold": -1,
            "allowed_failed_percent": 100.0,
            "timeout": 60.0,
        }
        processor = {"step": "score", "node": 0, "address": "tcp://a", "processor": 0, "pid": 7}
        for event in (
            RunStarted(
                time=START,
                name="score-all",
                spec="/x/pipeline.yml",
                run_directory=str(directory.path),
                steps=("score", "after"),
                dashboard="",
                needs={"score": (), "after": ("score",)},
            ),
            StepStarted(
                time=START,
                step="score",
                kind=StepKind.PARALLEL,
                folder=str(folder.path),
                settings=settings,
                sources=(("timeout", "60", "default"),),
            ),
            StepPlanned(time=START, step="score", mini_batches=4, items=40, size_bytes=None, processors=2),
            ProcessorEvent(time=START, state=ProcessorState.STARTED, **processor),
            ProcessorEvent(time=START + 0.5, state=ProcessorState.READY, **processor),
            TriesEnded(time=START + 1, step="score", records=records, failures=failures),
            Progress(time=START + 2, step="score", counts=COUNTS, running=1),
            Warned(time=START + 2, step="score", text="a warning"),
            Warned(time=START + 2, step="score", text="a warning"),
        ):
            watcher.handle(event)
        watcher.handle(StepEnded(time=START + 9, result=result))
        directory.update(status=Status.COMPLETED, ended=START + 10)
        watcher.handle(
            RunEnded(time=START + 10, status=Status.COMPLETED, reason="", seconds=10.0, exit_code=0)
        )
    return watcher


def test_live_and_read_again_are_the_same(live: LiveFacts) -> None:
    read = facts_of(live.run.directory)
    assert list(read.steps) == list(live.run.steps) == ["score", "after"]
    assert read.warnings == live.run.warnings == [("score", "a warning")]
    for name in read.steps:
        a, b = (step_document(run.steps[name], START + 10) for run in (live.run, read))
        # What processors were is heard alone, not written down.
        for document in (a, b):
            document.pop("processors")
            document.pop("outputs")
        assert a == b
    tables = [mini_batch_table(run.steps["score"], 100) for run in (live.run, read)]
    assert tables[0]["values"][:3] == tables[1]["values"][:3]
    assert tables[0]["values"][:3] == [
        [0, 1, 2, 3],
        ["a/x.txt", "b/x.txt", "c.txt", "d.txt"],
        ["succeeded", "succeeded", "failed", "succeeded"],
    ]
    assert Path(live.run.directory, "report.html").stat().st_size > 20_000


def test_what_is_shown_of_a_step(live: LiveFacts) -> None:
    shown = step_document(live.run.steps["score"], START + 10)
    assert [(one["value"], one["limit"]) for one in shown["limits"]] == [(10, 20), (1, None), (25.0, None)]
    kinds = sorted({span[4] for span in shown["timeline"]["spans"]})
    assert kinds == ["done", "failed", "hung", "init"]
    assert sum(sum(bar) for bar in shown["histogram"]["bars"].values()) == 6
    assert [(one["reason"], one["tries"], one["final"], one["name"]) for one in shown["failures"]] == [
        ("EXCEPTION", 1, 0, "b/x.txt"),
        ("TIMEOUT", 2, 1, "c.txt"),
    ]
    assert shown["settings"] == [["timeout", "60", "default"]]


def test_what_processors_do_just_now(live: LiveFacts) -> None:
    step = live.run.steps["score"]
    rows = [
        ("score", 0, 0, 7, 3, 2, 41.0, 1 << 20, 0.5),
        ("score", 0, 1, 8, 0, -1, 3.0, 1 << 20, -1.0),
        ("score", 0, 2, 9, 3, 2, 5.0, 1 << 20, 0.5, 20),  # with calls in flight side by side
        ("other", 0, 1, 9, 3, 2, 41.0, 1 << 20, 0.5),  # a step that runs at the same time on that node
    ]
    looks = looks_from(rows, "score")
    shown = step_document(step, START + 60, looks)
    busy, idle, many = shown["processors"]
    assert many["calls"] == 20 and "calls" not in busy
    assert (busy["mini_batch"], busy["age"], busy["state"]) == ("c.txt", 41.0, "slow")
    assert "age" not in idle and idle["state"] == "idle"
    assert [19.0, "slow", 2] in [[span[1], span[4], span[5]] for span in shown["timeline"]["spans"]]


def test_an_answer_names_the_step_that_matters(live: LiveFacts) -> None:
    assert json.loads(live.answer({"step": ""}))["step"]["name"] == "score"
    assert json.loads(live.answer({"step": "after"}))["step"]["name"] == "after"
    assert json.loads(live.answer({"log": "score", "node": 0, "processor": 0}))["texts"][0][0] == "stdout"
    assert json.loads(live.answer({"log": "unknown"})) == {"texts": []}
    logs = live.run.steps["score"].paths.logs.stdout(0, 1)
    logs.parent.mkdir(parents=True)
    logs.write_text("x" * 20_000 + "\nlast \x1b[31mline\n")
    text = json.loads(live.answer({"log": "score", "node": 0, "processor": 1}))["texts"][0][2]
    assert text == "last \ufffd[31mline\n"


def test_many_tries_become_columns(monkeypatch: pytest.MonkeyPatch, live: LiveFacts) -> None:
    monkeypatch.setattr("daskpar.reports.timeline.SPANS", 3)
    shown = timeline(live.run.steps["score"], START + 10)
    assert shown["rows"] == ["0/process000", "0/process001"]
    assert 0 < np.sum(shown["shares"]) * shown["width"] / 100 <= 6 * 0.25 * 1.1


def test_texts_are_printable_and_end() -> None:
    assert printable_tree({"a\x1b": ["b\x07" * 3, 5, None, "x" * 10]}, 8) == {
        "a\ufffd": ["b\ufffdb\ufffdb\ufffd", 5, None, "xxxxxxx…"]
    }


def test_a_report_stays_small_whatever_its_names(live: LiveFacts, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names that nothing compresses: the failed ones stay, and it is said what is left out."""
    generator = np.random.default_rng(1)
    step = StepFacts(
        "big", kind="parallel", started=START, counts=Counts(planned=3000, succeeded=2990, failed=10)
    )
    records = np.concatenate(
        [records_of([(i, Reason.EXCEPTION if i % 300 == 299 else None)]) for i in range(3000)]
    )
    records["final"] = 1
    step.tally.add(records)
    monkeypatch.setattr(StepFacts, "names", lambda _, indices: [generator.bytes(100).hex() for _ in indices])
    live.run.steps = {"big": step}
    text = run_report.report_text(live.run, rows=3000, most_bytes=300_000)
    assert len(text) < 350_000
    tables: list[dict[str, object]] = []
    monkeypatch.setattr(run_report, "packed", lambda value: tables.append(value) or packed(value))
    run_report.report_text(live.run, rows=3000, most_bytes=300_000)
    table = tables[-1]
    assert 10 < table["rows"] < 3000 and table["of"] == 3000
    assert table["values"][2].count("failed") == 10


def test_events_go_on_while_a_page_reads_what_was_done_before(
    live: LiveFacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    live.run.resumed, live._has_earlier = True, False
    taken: list[bool] = []

    def take() -> bool:
        free = live._lock.acquire(timeout=5)
        if free:
            live._lock.release()
        return free

    def slow(*_: object, **__: object) -> None:
        handler = threading.Thread(target=lambda: taken.append(take()))
        handler.start()
        handler.join()
        raise DaskparError("enough is known")

    monkeypatch.setattr("daskpar.reports.run_facts.facts_of", slow)
    live.answer({})
    assert taken == [True]


def test_a_resumed_run_shows_what_was_done_before(live: LiveFacts) -> None:
    directory = live.run.directory
    again = LiveFacts("abc-1", name="score-all", directory=directory)
    again.handle(
        RunStarted(
            time=START + 20,
            name="score-all",
            spec="/x",
            run_directory=directory,
            steps=("score", "after"),
            dashboard="",
            resumed=True,
        )
    )
    answer = json.loads(again.answer({"step": "score"}))
    assert [step["status"] for step in answer["run"]["steps"]] == ["completed", "waiting"]
    assert answer["step"]["failures"][0]["message"]
    report = Path(directory, "report.html")
    report.unlink()
    again.handle(
        RunEnded(time=START + 30, status=Status.FAILED, reason="it <b>broke", seconds=5.0, exit_code=1)
    )
    text = report.read_text()
    assert "score-all: failed" in text and "it &lt;b&gt;broke" in text and "completed" in text


def test_a_run_that_never_began_has_a_report(tmp_path: Path) -> None:
    watcher = LiveFacts("abc", name="early", directory=str(tmp_path))
    watcher.handle(RunEnded(time=START, status=Status.LOST, reason="no scheduler", seconds=5.0, exit_code=3))
    assert "early: lost" in (tmp_path / "report.html").read_text()
    assert json.loads(watcher.answer({"step": ""}))["step"] is None


def test_a_report_that_cannot_be_written_ends_nothing(
    live: LiveFacts, caplog: pytest.LogCaptureFixture
) -> None:
    live.run.directory = str(Path(live.run.directory, "gone", "away"))
    live.handle(RunEnded(time=START, status=Status.LOST, reason="", seconds=5.0, exit_code=3))
    assert "report.html" in caplog.text


def test_damaged_and_foreign_directories(live: LiveFacts, tmp_path: Path) -> None:
    shown = Path(live.run.directory, "shown.json")
    for text in (
        "{",
        '{"steps": []}',
        '{"needs": 5}',
        '{"steps": {"score": {"inits": [1]}}}',
        '{"warnings": [1]}',
    ):
        shown.write_text(text)
        with pytest.raises(RunDirectoryError, match=r"shown\.json is damaged"):
            facts_of(live.run.directory)
    shown.unlink()
    assert facts_of(live.run.directory).steps["score"].counts == COUNTS  # of an older version
    shown.symlink_to("/etc/passwd")
    with pytest.raises(RunDirectoryError, match="symbolic link"):
        facts_of(live.run.directory)
    with pytest.raises(RunDirectoryError):
        facts_of(tmp_path)


def test_every_event_of_a_step_has_its_place() -> None:
    """An event without one would end the page and the report of a run that goes on."""
    for event in get_args(StepEvent):
        assert event is Warned or callable(getattr(StepFacts, HOOKS[event])), event


def test_a_call_that_takes_long_is_told(live: LiveFacts) -> None:
    live.run.status = Status.RUNNING
    live.handle(StepStarted(time=START, step="again", kind=StepKind.PARALLEL, folder="", settings={}))
    live.handle(
        StepPlanned(time=START, step="again", mini_batches=2, items=2, size_bytes=2, nodes=1, processors=1)
    )
    call = LongCall(processor=0, index=1, doing="run", since=START + 1, limit=60.0, tries=0, name="b.txt")
    live.handle(LongCallsChanged(time=START + 4, step="again", node=0, calls=(call,)))
    live.handle(Progress(time=START + 4, step="again", counts=Counts(planned=2, succeeded=1), running=1))
    step = live.run.steps["again"]
    assert (
        step_line(step, live.run, START + 42)["waits_for"] == "waiting for mini-batch 1: b.txt (41 s of 60 s)"
    )
    live.handle(LongCallsChanged(time=START + 43, step="again", node=0, calls=()))
    assert step_line(step, live.run, START + 43)["waits_for"] == ""


def test_a_step_that_never_began_waits_only_while_the_run_goes_on(tmp_path: Path) -> None:
    with RunDirectory.create(tmp_path / "run", "job", "/x/pipeline.yml") as directory:
        run = RunFacts(id="1", directory=str(directory.path), needs={"a": (), "b": ("a",), "c": ()})
        run.steps = {name: StepFacts(name) for name in run.needs}
        run.steps["b"] = StepFacts("b", status=Status.SKIPPED, reason="step a did not complete", ended=START)
        save_shown(run)
        assert {step.status for step in facts_of(directory.path).steps.values()} == {"waiting"}
        directory.update(status=Status.FAILED, ended=START + 1)
    found = {step.name: (step.status, step.reason) for step in facts_of(directory.path).steps.values()}
    assert found == {
        "a": ("not run", ""),
        "b": ("skipped", "step a did not complete"),
        "c": ("not run", ""),
    }


def test_a_pass_over_the_input_is_no_step(live: LiveFacts) -> None:
    live.handle(
        StepPlanned(
            time=START, step="score.together", mini_batches=2, items=2, size_bytes=2, nodes=1, processors=1
        )
    )
    assert list(live.run.steps) == ["score", "after"]
