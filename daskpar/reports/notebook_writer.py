"""Progress in a notebook: one output below the cell that changes until the end, and stays as the result."""

from __future__ import annotations

import contextvars
import secrets
import sys
from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import Any, TextIO

from daskpar.events import Event, RunEnded, RunStarted, StepEnded
from daskpar.reports.display_writer import DisplayWriter
from daskpar.reports.progress_view import ProgressView, StepView, plain_line
from daskpar.results import Status, StepResult

NOTEBOOK_SECONDS = 0.5
LAST_MESSAGES = 12
"""Messages that are shown while it runs; all of them at the end."""
MOST_MESSAGES = 500
"""Messages that a saved notebook keeps; the logs have all."""


class NotebookWriter(DisplayWriter):
    """Shows everything in one display that is replaced as a whole, so that a saved notebook holds its last
    state alone.

    A stream would keep a trail of all states, and each application shows carriage returns in its own way.
    """

    period = NOTEBOOK_SECONDS

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._id = f"daskpar-{secrets.token_hex(8)}"
        # Outputs belong to the cell that runs on the thread that asks for them: this one, not the display's.
        self._cell = contextvars.copy_context()
        self._shown = ("", "")
        self._begun = False
        self._messages: list[str] = []
        self._left_out = 0
        self._started: RunStarted | None = None
        self._results: list[StepResult] = []
        self._ended: RunEnded | None = None

    def heard(self, event: Event) -> None:
        if isinstance(event, RunStarted):
            self._started = event
        elif isinstance(event, StepEnded):
            self._results.append(event.result)
        elif isinstance(event, RunEnded):
            self._ended = event

    def text(self, messages: list[str], view: ProgressView, now: float) -> str:
        self._keep(messages)
        steps = [(step, plain_line(step, now)) for step in view.steps.values()]
        latest = self._messages[-LAST_MESSAGES:]
        dashboard = self._started.dashboard if self._started is not None else ""
        html = progress_html(latest, steps, dashboard)
        return self._next("\n".join([*latest, *(line for _, line in steps)]), html)

    def ending(self) -> str:
        if self._started is not None and self._started.dashboard:  # its address opens nothing any more
            address = self._started.dashboard.partition("?")[0]
            self._messages = [line for line in self._messages if address not in line]
        return self._next(self._last_text(), self._last_html())

    def write(self, text: str) -> None:
        """Put the display in the place of what it showed."""
        if text:
            self._cell.run(publish, self._id, *self._shown, self._begun)
            self._begun = True

    def _next(self, plain: str, html: str) -> str:
        """What to show from now on; empty where that stays the same."""
        if (plain, html) == self._shown:
            return ""
        self._shown = plain, html
        return plain or html

    def _keep(self, messages: list[str]) -> None:
        lines = [line for text in messages for line in text.splitlines()]
        room = max(MOST_MESSAGES - len(self._messages), 0)
        self._messages += lines[:room]
        self._left_out += len(lines[room:])

    @property
    def _worth_more(self) -> bool:
        """Whether the end is more than two lines: something failed."""
        failed = any(result.counts.failed for result in self._results)
        return self._ended is not None and (self._ended.status != Status.COMPLETED or failed)

    def _last_text(self) -> str:
        if self._started is None or self._ended is None or not self._worth_more:
            return "\n".join(self._messages)
        from daskpar.reports.summary import summary_of_run

        end = self._ended
        summary = summary_of_run(
            run_directory=self._started.run_directory,
            status=end.status,
            reason=end.reason,
            seconds=end.seconds,
            results=self._results,
        )
        return "\n".join([*self._messages, "", summary])

    def _last_html(self) -> str:
        from daskpar.reports.run_card import run_card, short_card

        messages = self._messages
        if self._left_out:
            messages = [*messages, f"... and {self._left_out} more messages: the logs have all"]
        if self._started is None or self._ended is None:
            return progress_html(messages, [])
        run, end = Path(self._started.run_directory), self._ended
        facts: dict[str, Any] = {"status": end.status, "seconds": end.seconds, "results": self._results}
        card = run_card(run, reason=end.reason, **facts) if self._worth_more else short_card(run, **facts)
        warned = any(line.startswith("warning:") for line in messages)
        return card + messages_html(messages, opened=warned)


def publish(display_id: str, plain: str, html: str, again: bool) -> None:
    """Show texts below the running cell, in the place of those that were shown under this id."""
    from IPython.display import publish_display_data

    show: Callable[..., None] = publish_display_data
    show({"text/plain": plain, "text/html": html}, transient={"display_id": display_id}, update=again)


def progress_html(messages: list[str], steps: list[tuple[StepView, str]], dashboard: str = "") -> str:
    """Messages, and below them each running step with a bar, and a link to the dashboard."""
    from daskpar.reports.run_card import text

    shown = messages_html(messages, opened=True, folded=False) if messages else ""
    bars = []
    for step, line in steps:
        known = step.planned and not step.doing
        value = f' value="{step.counts.done}" max="{step.planned}"' if known else ""
        bars.append(
            f'<div style="font-family:system-ui,sans-serif;font-size:13px">'
            f'<progress{value} style="width:14em;vertical-align:middle"></progress> {text(line)}</div>'
        )
    if dashboard.startswith(("http://", "https://")):
        address = escape(dashboard, quote=True)
        bars.append(f'<a href="{address}" target="_blank" style="font-size:90%">Dask dashboard</a>')
    return shown + "".join(bars)


def messages_html(messages: list[str], *, opened: bool, folded: bool = True) -> str:
    """Messages below each other; `folded`: behind a line that unfolds them."""
    from daskpar.reports.run_card import PRE, text

    if not messages:
        return ""
    body = f'<pre style="{PRE};white-space:pre-wrap">{text(chr(10).join(messages))}</pre>'
    if not folded:
        return body
    title = f"{len(messages)} message{'' if len(messages) == 1 else 's'}"
    return f"<details{' open' if opened else ''}><summary>{title}</summary>{body}</details>"


def in_notebook() -> bool:
    """Whether this is an IPython kernel, as of a notebook."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None and hasattr(ipython, "get_ipython") else None
    return shell is not None and hasattr(shell, "kernel")
