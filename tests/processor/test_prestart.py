"""Fork servers that wait: as many as are wanted, taken by what they fit, none left over."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from daskpar import datastores
from daskpar.datastores import StorageOptions
from daskpar.processor import channel, linux, prestart
from daskpar.processor.fork_server import ForkServer
from daskpar.processor.remote_call import RemoteCall
from waiting import until

pytestmark = pytest.mark.fresh_servers

ENVIRONMENT = {"A": "1"}


@dataclass
class Wanted:
    """What `take` looks at."""

    environment: dict[str, str] = field(default_factory=lambda: dict(ENVIRONMENT))
    tabular: bool = False
    threads: int = 1
    own_python: str = ""
    container: None = None


@pytest.fixture(autouse=True)
def none_left() -> Iterator[None]:
    prestart.close_all()
    yield
    prestart.close_all()


def waiting() -> list[ForkServer]:
    return [found.server for found in prestart._waiting]


def test_as_many_as_are_wanted_are_started_and_no_more() -> None:
    for number in (1, 2, 2, 1):
        prestart.prestart(ENVIRONMENT, tabular=False, number=number)
    assert len(waiting()) == 2
    prestart.prestart({"A": "2"}, tabular=False)
    assert len(waiting()) == 3


@pytest.mark.parametrize(
    ("wanted", "fits"),
    [
        (Wanted(), True),
        (Wanted(environment={}), False),
        (Wanted(environment={"A": "2"}), False),
        (Wanted(threads=2), False),
        (Wanted(tabular=True), False),
        (Wanted(own_python="/opt/x/bin/python"), False),
    ],
)
def test_a_step_takes_one_that_fits(wanted: Any, fits: bool) -> None:
    prestart.prestart(ENVIRONMENT, tabular=False)
    (server,) = waiting()
    taken = prestart.take_server(wanted)
    assert taken is (server if fits else None)
    assert waiting() == ([] if fits else [server])
    if taken is not None:
        taken.close()


def test_one_with_pandas_serves_files_too() -> None:
    prestart.prestart(ENVIRONMENT, tabular=True)
    taken = prestart.take_server(Wanted(tabular=False))  # type: ignore[arg-type]
    assert taken is not None
    taken.kill()


def test_what_nobody_took_is_ended_at_once() -> None:
    """It is still importing, and hears nothing."""
    prestart.prestart(ENVIRONMENT, tabular=True)
    (server,) = waiting()
    prestart.close_all()
    assert server.process.returncode == -9 and waiting() == []


def test_work_is_done_in_a_server_that_waits_and_here_where_there_is_none() -> None:
    assert prestart.run_in_prestarted(ENVIRONMENT, os.getpid) == os.getpid()
    prestart.prestart(ENVIRONMENT, tabular=False)
    assert prestart.run_in_prestarted(ENVIRONMENT, os.getpid) != os.getpid()
    assert prestart.run_in_prestarted(ENVIRONMENT, os.getenv, "A") == "1"
    with pytest.raises(ZeroDivisionError):
        prestart.run_in_prestarted(ENVIRONMENT, divmod, 1, 0)


def test_work_is_done_here_where_the_server_that_waits_is_for_other_variables() -> None:
    """It is one of another run: its step may reach other data, or the same with other keys."""
    prestart.prestart({"A": "of another"}, tabular=False)
    assert prestart.run_in_prestarted(ENVIRONMENT, os.getpid) == os.getpid()
    assert len(waiting()) == 1


def test_one_that_was_started_with_other_variables_of_this_process_is_not_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Another run has started it, or the user has set them since."""
    monkeypatch.setenv("TOKEN_OF_RUN", "first")
    prestart.prestart(ENVIRONMENT, tabular=False)
    (first,) = waiting()
    monkeypatch.setenv("TOKEN_OF_RUN", "second")
    assert prestart.take_server(Wanted()) is None  # type: ignore[arg-type]
    assert prestart.run_in_prestarted(ENVIRONMENT, os.getpid) == os.getpid()
    prestart.prestart(ENVIRONMENT, tabular=False)
    assert prestart.run_in_prestarted(ENVIRONMENT, os.getenv, "TOKEN_OF_RUN") == "second"
    second = prestart.take_server(Wanted())  # type: ignore[arg-type]
    assert second is not None and second is not first and waiting() == [first]
    prestart.keep_server(Wanted(), second)  # type: ignore[arg-type]
    monkeypatch.setenv("TOKEN_OF_RUN", "first")
    assert prestart.take_server(Wanted()) is first  # type: ignore[arg-type]
    first.kill()


def test_other_runs_go_on_while_a_server_works(monkeypatch: pytest.MonkeyPatch) -> None:
    """A plan may take minutes."""
    prestart.prestart(ENVIRONMENT, tabular=False)
    (server,) = waiting()

    def work(found: ForkServer, *_: Any) -> tuple[bool, bool, list[ForkServer]]:
        return found is server, prestart._lock.locked(), waiting()

    monkeypatch.setattr(prestart, "call_in_child", work)
    assert prestart.run_in_prestarted(ENVIRONMENT, os.getpid) == (True, False, [])
    assert waiting() == [server]


@pytest.mark.parametrize("error", [None, EOFError("it has died"), ZeroDivisionError("of the function")])
def test_one_that_works_while_all_are_ended_is_ended_too(
    error: Exception | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    prestart.prestart(ENVIRONMENT, tabular=False)
    (server,) = waiting()

    def work(*_: Any) -> None:
        prestart.close_all()
        if error is not None:
            raise error

    monkeypatch.setattr(prestart, "call_in_child", work)
    with pytest.raises(ZeroDivisionError) if isinstance(error, ZeroDivisionError) else nullcontext():
        prestart.run_in_prestarted(ENVIRONMENT, os.getpid)
    assert waiting() == [] and server.process.returncode is not None


def test_work_in_a_server_opens_what_a_datastore_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    """It was started before the datastores were known."""
    monkeypatch.setattr("daskpar.datastores._known", {})
    prestart.prestart(ENVIRONMENT, tabular=False)
    datastores.remember("s3://lake", {"anon": True})
    assert prestart.run_in_prestarted(ENVIRONMENT, datastores.options_of, "s3://lake/table") == {"anon": True}
    with monkeypatch.context() as patch:
        patch.setattr("daskpar.datastores._known", {})
        assert prestart.run_in_prestarted(ENVIRONMENT, datastores.options_of, "s3://lake/table") == {}


def early() -> ForkServer:
    (server,) = prestart._unprepared
    return server


@pytest.mark.parametrize("tabular", [False, True])
def test_one_that_was_started_before_the_job_was_read_is_for_its_first_step(
    tabular: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GONE", "1")
    monkeypatch.setenv("CHANGED", "before")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    with prestart.started_early(wanted=True):
        first = early()
        monkeypatch.delenv("GONE")
        monkeypatch.setenv("CHANGED", "after")
        prestart.prestart(ENVIRONMENT, tabular=tabular, threads=3)
        assert waiting() == [first] and not prestart._unprepared
        names = ["A", "GONE", "CHANGED", "OMP_NUM_THREADS", "ARROW_DEFAULT_MEMORY_POOL"]
        seen = [prestart.run_in_prestarted(ENVIRONMENT, os.getenv, name) for name in names]
        assert seen == ["1", None, "after", "3", "system"]
        assert (
            prestart.run_in_prestarted(ENVIRONMENT, eval, "'pandas' in __import__('sys').modules") is tabular
        )
        fits = Wanted(tabular=tabular, threads=3)
        taken = prestart.take_server(fits)  # type: ignore[arg-type]
        assert taken is first
        taken.close()


LOADED = "[name for name in ('pandas', 'pyarrow') if name in __import__('sys').modules]"
"""What of these the process has that evaluates it."""


@contextmanager
def early_with_tables() -> Iterator[ForkServer]:
    """Not a fixture: pytest sets a variable to another value for the test itself."""
    with prestart.started_early(wanted=True):
        prestart.prestart(ENVIRONMENT, tabular=True)
        (server,) = waiting()
        yield server


def test_the_first_call_of_tables_need_not_wait_for_pandas() -> None:
    """It is run by a child that was forked before, with the variables of the step; the next ones are not."""
    asked = f"({LOADED}, __import__('os').getenv('A'), __import__('os').getppid())"
    with early_with_tables() as server:
        first, second = (prestart.run_in_prestarted(ENVIRONMENT, eval, asked) for _ in range(2))
    assert first == (["pyarrow"], "1", server.process.pid)
    assert second == (["pandas", "pyarrow"], "1", server.process.pid)


def test_what_the_first_call_raises_is_raised() -> None:
    """Also what a broken connection to the child would raise."""
    with early_with_tables(), pytest.raises(EOFError, match=r"^mine$"):
        prestart.run_in_prestarted(ENVIRONMENT, exec, "raise EOFError('mine')")


def test_a_first_call_whose_child_is_killed_is_done_by_another(tmp_path: Path) -> None:
    tried = tmp_path / "tried"
    dies_once = f"""if True:
        import os, pathlib, signal
        tried = pathlib.Path({str(tried)!r})
        if not tried.exists():
            tried.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        tried.write_text(str(os.getppid()))"""
    with early_with_tables() as server:
        prestart.run_in_prestarted(ENVIRONMENT, exec, dies_once)
    assert tried.read_text() == str(server.process.pid)


def test_a_child_whose_caller_was_interrupted_says_nothing(
    capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Its standard error is the terminal of the run."""
    begun, may_end = (str(tmp_path / name) for name in ("begun", "may_end"))
    for name in (begun, may_end):
        os.mkfifo(name)
    with early_with_tables() as server:
        caller = server.take_planner()
        assert caller is not None
        with caller:
            text = f"open({begun!r}, 'w').close(); open({may_end!r}).close()"
            channel.send(caller, RemoteCall(exec, (text,), StorageOptions()))
            open(begun).close()
        open(may_end, "w").close()
        until(lambda: len(linux.children_of(server.process.pid)) == 1, "the end of the child")
    assert capfd.readouterr().err == ""


def test_a_child_for_the_first_call_ends_where_there_is_none() -> None:
    with early_with_tables() as server:
        children = partial(linux.children_of, server.process.pid)
        until(lambda: len(children()) == 2, "the guardian of the server, and the child")
        taken = prestart.take_server(Wanted(tabular=True))  # type: ignore[arg-type]
        assert taken is server and taken.take_planner() is None
        until(lambda: len(children()) == 1, "the end of the child")
        taken.close()


def test_a_python_of_its_own_needs_another_one() -> None:
    import sys

    with prestart.started_early(wanted=True):
        first = early()
        prestart.prestart(ENVIRONMENT, tabular=False, python=sys.executable)
        assert [server is first for server in waiting()] == [False]


def test_one_that_was_started_early_ends_with_a_job_that_does_not_come_about() -> None:
    with pytest.raises(ZeroDivisionError), prestart.started_early(wanted=True):
        first = early()
        raise ZeroDivisionError
    assert first.process.returncode is not None and not prestart._unprepared
    with prestart.started_early(wanted=False):
        assert not prestart._unprepared


def test_one_that_has_died_early_is_replaced() -> None:
    with prestart.started_early(wanted=True):
        first = early()
        first.process.kill()
        first.process.wait()
        prestart.prestart(ENVIRONMENT, tabular=False)
        assert prestart.run_in_prestarted(ENVIRONMENT, os.getenv, "A") == "1"


def waits_early(environment: Mapping[str, str], *, tabular: bool = False) -> bool:
    """Whether the server that was started before the job was read is the one that waits for its first step."""
    with prestart.started_early(wanted=True):
        (server,) = prestart._unprepared
        prestart.prestart(environment, tabular=tabular)
        (waits,) = waiting()
        assert prestart._unprepared == []
        seen = variables_there(environment)
        assert {**seen, **environment} == seen
        return waits is server


def variables_there(environment: Mapping[str, str]) -> dict[str, str]:
    """Those of a program that what waits has started."""
    said = prestart.run_in_prestarted(environment, subprocess.check_output, ["/usr/bin/env", "-0"])
    return dict(text.split("=", 1) for text in os.fsdecode(said).split("\0") if text)


@pytest.mark.parametrize("environment", [{}, {"A": "1"}, {"OMP_NUM_THREADS": "7", "PATH": "/usr/bin:/bin"}])
def test_the_first_server_of_a_run_learns_later_what_it_is_for(environment: dict[str, str]) -> None:
    assert waits_early(environment)


@pytest.mark.parametrize(
    "name",
    [
        *(
            "PYTHONOPTIMIZE",
            "PYTHONPATH",
            "LD_LIBRARY_PATH",
            "MALLOC_ARENA_MAX",
            "LC_ALL",
            "TZ",
            "HOME",
            "TMP",
        ),
        *("SETUPTOOLS_USE_DISTUTILS", "COVERAGE_PROCESS_START"),
    ],
)
def test_what_counts_from_the_beginning_takes_another_one(name: str) -> None:
    assert not waits_early({name: "1"})


def test_a_library_that_is_loaded_before_python_reads_what_it_likes(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenMP, which is loaded so where it would not fit in later, reads the number of its threads at once."""
    monkeypatch.setenv("LD_PRELOAD", "libm.so.6")
    assert not waits_early({})


def test_of_a_server_that_no_step_begins_with_nothing_is_left() -> None:
    with prestart.started_early(wanted=True):
        (server,) = prestart._unprepared
        prestart.close_unprepared()
        assert prestart._unprepared == [] and server.process.returncode is not None


@pytest.mark.parametrize("name", ["calendar", "secrets", "zoneinfo"])
def test_a_script_finds_what_lies_beside_it_though_python_has_a_module_of_that_name(
    name: str, tmp_path: Path
) -> None:
    """The first server loads nothing before the step is known: a script of files, with a `calendar.py` beside
    it, finds that one.
    """
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").write_text("OWN = 'mine'\n")
    (tmp_path / "pprint").mkdir()  # no package: Python's own module is found before it
    script = tmp_path / "score.py"
    script.write_text(
        f"import pprint\nfrom {name} import OWN\ndef run(_):\n    return OWN, pprint.__name__\n"
    )
    load = f"__import__('daskpar.processor.entry_script', fromlist=['load']).load({str(script)!r}, None)"
    with prestart.started_early(wanted=True):
        prestart.prestart(ENVIRONMENT, tabular=False)
        assert prestart.run_in_prestarted(ENVIRONMENT, eval, f"{load}.run(0)") == ("mine", "pprint")
