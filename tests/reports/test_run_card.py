"""The card of a run: what a notebook shows of it."""

from __future__ import annotations

import html.parser
from pathlib import Path

import pytest

from daskpar.reports.run_card import limits_of, run_card, short_card
from daskpar.results import Counts, Failure, InitFailed, Status, StepResult

EVIL = "<script>alert(1)</script>\"'&\x1b[2J"
SPEC = """
jobs:
  a: {type: parallel, error_threshold: 5, mini_batch_error_threshold: 1, driver: {allowed_failed_percent: 50.0}}
  b: {type: parallel, error_threshold: -1, mini_batch_error_threshold: -1, driver: {allowed_failed_percent: 100.0}}
  c: {type: command}
"""


class Tags(html.parser.HTMLParser):
    """The tags that a browser would see, and the text between them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        assert all(not name.startswith("on") for name, _ in attrs)

    def handle_data(self, data: str) -> None:
        self.text += data + " "


def result(
    step: str = "a", status: Status = Status.FAILED, first: Failure | InitFailed | None = None, **counts: int
) -> StepResult:
    return StepResult(
        step=step, status=status, counts=Counts(**counts), seconds=3.5, outputs={"rows": "/out/rows.txt"}, first_failure=first
    )  # fmt: skip


def card(run: Path, *results: StepResult, status: Status = Status.FAILED, reason: str = "too many") -> Tags:
    return Tags(run_card(run, status=status, reason=reason, seconds=4, results=results))


def test_counts_stand_against_their_limits(tmp_path: Path) -> None:
    (tmp_path / "effective-spec.yml").write_text(SPEC)
    shown = card(tmp_path, result(planned=10, succeeded=8, failed=2, failed_items=4)).text
    for text in ("Failed", "too many", "8 of 10 mini-batches succeeded, 2 failed", "2 of 1 allowed", "20 % of 50 % allowed", "4 of 5 allowed"):  # fmt: skip
        assert text in shown
    assert (
        "failed items: 4 (no limit)" in card(tmp_path, result("b", planned=10, failed=2, failed_items=4)).text
    )
    quiet = card(
        tmp_path, result("b", Status.COMPLETED, planned=10, succeeded=10), status=Status.COMPLETED
    ).text
    assert "limit" not in quiet and "/out/rows.txt" in quiet and "too many" not in quiet


@pytest.mark.parametrize("spec", [None, "{", "jobs: 5", "jobs: {a: {type: parallel, error_threshold: x}}"])
def test_limits_that_nobody_can_read_are_left_out(tmp_path: Path, spec: str | None) -> None:
    if spec is not None:
        (tmp_path / "effective-spec.yml").write_text(spec)
    assert limits_of(tmp_path) == {}


def test_nothing_of_the_users_becomes_a_tag(tmp_path: Path) -> None:
    bad = Failure(index=1, reason=1, message=EVIL, trace=f"Traceback\n{EVIL}", items=EVIL, log=EVIL)
    shown = Tags(
        run_card(
            tmp_path / EVIL.replace("/", ""),
            status=Status.FAILED,
            reason=EVIL,
            seconds=1,
            results=[result(EVIL, first=bad, planned=1, failed=1)],
        )
    )
    assert "script" not in shown.tags and "\x1b" not in shown.text and shown.text.count("alert(1)") >= 5


def test_the_report_is_linked_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "runs" / "a run"
    run.mkdir(parents=True)
    assert "<a " not in run_card(run, status=Status.COMPLETED, reason="", seconds=1, results=[])
    (run / "report.html").touch()
    assert 'href="runs/a%20run/report.html"' in short_card(
        run, status=Status.COMPLETED, seconds=1, results=[]
    )
    monkeypatch.chdir(run)
    assert 'href="report.html"' in run_card(run, status=Status.COMPLETED, reason="", seconds=1, results=[])
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert f'href="file://{tmp_path}/runs/a%20run' in short_card(
        run, status=Status.COMPLETED, seconds=1, results=[]
    )


def test_a_failed_init_has_no_mini_batch(tmp_path: Path) -> None:
    init = InitFailed(
        node=0, processor=1, message="KeyError: 'MODEL'", trace="Traceback", log="/log", time=1.0, fatal=True
    )
    shown = card(tmp_path, result(first=init)).text
    assert "import or init() of the entry script failed" in shown and "KeyError: 'MODEL'" in shown


def test_a_run_before_its_steps(tmp_path: Path) -> None:
    assert "No step has started" in card(tmp_path, status=Status.INTERRUPTED).text
