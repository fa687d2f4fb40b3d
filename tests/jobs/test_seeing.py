"""What people see of a run: its page in the dashboard and its report, in a real browser, with a hostile job."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from browser import FOUND, MISSING, Browser
from waiting import until

in_browser = pytest.mark.skipif(FOUND is None and not os.environ.get("CI"), reason=MISSING)

HOSTILE = """
import os, sys, time, pathlib
def init():
    print("ready to <b>serve</b>", flush=True)
def run(mini_batch):
    path = pathlib.Path(mini_batch[0])
    if path.stem == "0003":
        time.sleep(1000)
    if path.stem == "0001" and not os.path.exists(ONCE):
        open(ONCE, "w").close()
        raise KeyError("flaky")
    if "script" in path.name:
        raise ValueError("</script><script>document.title='pwned'</script><img src=x onerror=document.title='pwned'>")
    return [path.name]
"""


@pytest.fixture
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A browser of its own, whose files lie beside those of the job."""
    opened = Browser(tmp_path_factory.mktemp("browser"))
    yield opened
    opened.close()


def address(process: subprocess.Popen[str], text: str = "") -> str:
    """The dashboard's address that a run prints."""
    assert process.stdout is not None
    for line in process.stdout:
        text += line
        if found := re.search(r"http://\S+", line):
            return found[0]
    raise AssertionError(text)


@in_browser
def test_a_live_page_and_the_report_after_it(work, browser) -> None:
    """Failures, a hang and a retry are seen as they happen, in all sizes; nothing of the user's data is executed."""
    go, once = work.folder / "go", work.folder / "once"
    work.files(10)
    work.write("data/<script>document.title='pwned'<script>.txt", "x")
    script = HOSTILE.replace("ONCE", repr(str(once)))
    retry = {"max_retries": 1, "timeout": 2}
    steps = {
        "score": work.parallel(
            script, max_concurrency_per_instance=3, retry_settings=retry, mini_batch_error_threshold=4
        ),
        "after": work.command(
            f"while [ ! -e {go} ]; do sleep 0.05; done; cat ${{{{inputs.rows}}}}",
            inputs={"rows": {"type": "uri_file", "path": "${{parent.jobs.score.outputs.rows}}"}},
        ),
    }
    process = work.start(
        "run",
        str(work.spec(steps, display_name="</title><script>")),
        "--run-dir",
        "run",
        "--dashboard",
        "127.0.0.1:0",
    )
    link = address(process)
    assert "/daskpar?token=" in link
    # The first page that is asked for is Dask's own; from there by its navigation bar.
    browser.open(link.replace("/daskpar?", "/status?"))
    browser.until("document.querySelector('a[href=\"daskpar\"]') !== null")
    browser.open(browser.js("document.querySelector('a[href=\"daskpar\"]').href"))
    browser.until("document.querySelectorAll('.step').length === 2")
    browser.js("document.querySelector('.step').dispatchEvent(new MouseEvent('click'))")
    browser.until("document.querySelector('[data-kind=hung]') !== null")
    browser.until("document.body.innerText.includes(\"KeyError: 'flaky'\")")
    text = browser.text()
    for said in (
        "Failure limits",
        "mini_batch_error_threshold",
        "of 4 allowed",
        "run() took longer than 2 s",
        "retried",
    ):
        assert said in text, text
    for width, dark in ((1240, False), (420, True)):
        browser.look(width=width, dark=dark)
        assert browser.js("document.documentElement.scrollWidth <= innerWidth"), width
    browser.js("document.querySelector('#processors a').click()")
    browser.until("document.body.innerText.includes('ready to <b>serve</b>')")
    go.touch()
    browser.until("document.body.innerText.includes('report.html')")
    assert process.wait() == 0
    # The end came before the dashboard went; a browser that needs longer to ask than a run waits for it says so.
    browser.until(
        "document.querySelector('.pill.completed') !== null || document.body.innerText.includes('no longer answers')"
    )
    assert process.stdout is not None
    said = process.stdout.read()
    assert "Traceback" not in said, said

    report = work.folder / "run" / "report.html"
    assert report.stat().st_size < 500_000
    assert report.stat().st_mode & 0o777 == 0o600
    browser.requests.clear()
    browser.open(report.as_uri())
    browser.until("document.body.dataset.ready === '1'")
    text = browser.text()
    for said in (
        "completed",
        "hung",
        "KeyError: 'flaky'",
        "<script>document.title='pwned'<script>.txt",
        "error_threshold",
    ):
        assert said in text, text
    assert browser.js("document.querySelectorAll('#mini-batches tbody tr').length") == 11
    browser.js(
        "(() => { const box = document.querySelector('input[type=search]'); box.value = '0003'; box.dispatchEvent(new Event('input')); })()"
    )
    assert (
        browser.js(
            "[...document.querySelectorAll('#mini-batches tbody tr')].map(row => row.innerText).join()"
        ).count("0003.txt")
        == 1
    )
    browser.look(width=900, media="print")
    assert browser.js("getComputedStyle(document.querySelector('.tools')).display") == "none"
    assert not [url for url in browser.requests if not url.startswith(("file:", "blob:"))]
    assert browser.js("document.title") == "</title><script>: completed"
    assert browser.errors == []


@pytest.fixture
def scheduler(tmp_path: Path) -> Iterator[str]:
    """A Dask cluster that is none of ours, with a worker; its address and that of its web server, with a blank between."""
    serve = """
import asyncio, json, sys
from distributed import Scheduler, Worker
async def main():
    async with Scheduler(host="127.0.0.1", port=0, dashboard_address="127.0.0.1:0") as scheduler:
        async with Worker(scheduler.address, nthreads=4, dashboard=False):
            print(scheduler.address, f"http://127.0.0.1:{scheduler.http_server.port}", flush=True)
            await asyncio.to_thread(sys.stdin.read)
            print("the cluster ends", file=sys.stderr, flush=True)
asyncio.run(main())
"""
    process = subprocess.Popen(
        [sys.executable, "-c", serve],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
    )
    assert process.stdout is not None
    yield process.stdout.readline().strip()
    _, errors = process.communicate("")
    before, ends, after = errors.partition("the cluster ends")
    # Nobody who has closed a page leaves a trace; that the tracker's driver has vanished is told by Dask itself.
    ours = r"run_page|page_link"
    assert ends and not re.search(rf"{ours}|tornado|StreamClosed|Task exception", before), before
    # A page of Dask's own that is still open has its update cancelled amid it, which Bokeh writes down.
    assert not re.search(ours, after), after


def fetch(url: str) -> str:
    """The text at an address."""
    with urllib.request.urlopen(url, timeout=30) as answer:
        return answer.read().decode()


WAITING = """
import os, time
def run(mini_batch):
    while not os.path.exists(GO):
        time.sleep(0.02)
    return list(mini_batch)
"""


@in_browser
def test_two_runs_on_a_cluster_of_others(work, browser, scheduler) -> None:
    """Both are there, chosen by name; two viewers, quick ones too; Prometheus; one whose driver is killed is gone."""
    at, web = scheduler.split()
    go = work.folder / "go"
    work.files(3)
    waits = {"max_retries": 0, "timeout": 100}
    step = work.parallel(
        WAITING.replace("GO", repr(str(go))), max_concurrency_per_instance=2, retry_settings=waits
    )
    started = []
    for name in ("first", "second"):
        spec = work.spec(
            {"wait": {**step, "outputs": {"rows": {"type": "uri_file", "path": f"./{name}.txt"}}}},
            name=f"{name}.yml",
        )
        started.append(work.start("run", str(spec), "--run-dir", name, "--scheduler", at))

    def listed() -> dict[str, dict[str, str]]:
        try:
            return {run["name"]: run for run in json.loads(fetch(f"{web}/daskpar/runs.json"))["runs"]}
        except urllib.error.HTTPError:  # there is no page before the first run
            return {}

    until(lambda: len(listed()) == 2, "both runs", process=started[0])
    first, second = listed()["first"]["id"], listed()["second"]["id"]
    assert "Daskpar Timeline" in fetch(f"{web}/individual-plots.json")
    browser.open(f"{web}/status")
    browser.until("document.querySelector('a[href=\"daskpar\"]') !== null")
    for _ in range(3):  # quick ones
        browser.open(f"{web}/daskpar?run={first}")
        browser.open("about:blank")
    browser.open(f"{web}/daskpar?run={first}")
    browser.until("document.querySelector('select[aria-label=run]') !== null")
    browser.until(
        "document.body.innerText.includes('0000.txt') && document.querySelector('h1').innerText === 'first'"
    )
    answers = [
        json.loads(fetch(f"{web}/daskpar/facts.json?run={which}")) for which in (first, second, "none")
    ]
    assert [answer["facts"] and answer["facts"]["run"]["name"] for answer in answers] == [
        "first",
        "second",
        None,
    ]
    pytest.importorskip("prometheus_client")
    assert f'daskpar_mini_batches_planned{{run="{first}",step="wait"}} 3.0' in fetch(f"{web}/metrics")
    started[1].kill()
    started[1].wait()
    go.touch()
    assert started[0].wait() == 0
    until(lambda: listed()["second"]["status"] == "gone", "the end of the second")
    assert listed()["first"]["status"] == "completed"
    metrics = fetch(f"{web}/metrics")
    assert f'daskpar_mini_batches_total{{outcome="succeeded",run="{first}",step="wait"}} 3.0' in metrics
    assert f'daskpar_run_seconds_count{{run="{first}",step="wait"}} 3.0' in metrics
    browser.until(
        "document.querySelector('.pill.completed') !== null && document.body.innerText.includes('The run has ended')"
    )
    browser.open(f"{web}/daskpar?run={second}")
    browser.until("document.body.innerText.includes('The run is gone')")
    browser.open(f"{web}/daskpar?run=never")
    browser.until("document.body.innerText.includes('The run never is gone')")
    for name in ("timeline", "pipeline", "progress"):
        browser.open(f"{web}/individual-daskpar-{name}?run={first}")
        browser.until(f"document.getElementById('{name}') !== null")
    browser.open(f"{web}/individual-daskpar-processors?run={first}")
    browser.until("document.querySelector('#processors a') !== null")
    browser.js("document.querySelector('#processors a').click()")
    browser.until("document.getElementById('log') !== null")
    assert browser.errors == []
    # The run directory of the killed one has no report: it is written on demand.
    made = work.cli("report", "second")
    assert made.returncode == 0, made.stderr
    assert (work.folder / "second" / "report.html").is_file()
