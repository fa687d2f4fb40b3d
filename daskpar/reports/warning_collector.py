"""Warnings of the steps, kept for the end of a run that shows nothing while it goes on."""

from __future__ import annotations

from daskpar.events import Event, Warned, Watcher

MOST = 20


class Heard(Watcher):
    """Keeps the first different warnings of steps."""

    def __init__(self) -> None:
        self._texts: dict[str, None] = {}
        self._more = 0

    def hear(self, event: Event) -> None:
        if not isinstance(event, Warned) or not event.step:
            return
        text = f"{event.step}: {event.text}"
        if text not in self._texts and len(self._texts) >= MOST:
            self._more += 1
        else:
            self._texts[text] = None

    @property
    def texts(self) -> list[str]:
        """One for each warning, and how many there are beside them."""
        more = (
            [f"{self._more} more; sys/master_role.txt in the logs of each step has them all"]
            if self._more
            else []
        )
        return [*self._texts, *more]
