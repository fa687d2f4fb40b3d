"""Collects the warnings of the steps, for the end of a run that shows nothing while it goes on."""

from __future__ import annotations

from daskpar.events import Warned, Watcher

WARNINGS_KEPT = 20


class WarningCollector(Watcher):
    """Keeps the first different warnings of steps, and counts the others."""

    def __init__(self) -> None:
        self._texts: dict[str, None] = {}
        self._more = 0

    def warned(self, event: Warned) -> None:
        if not event.step:
            return  # warnings of the run itself are in its summary anyway, where they matter
        text = f"{event.step}: {event.text}"
        if text not in self._texts and len(self._texts) >= WARNINGS_KEPT:
            self._more += 1
        else:
            self._texts[text] = None

    @property
    def texts(self) -> list[str]:
        """One for each kept warning, and a last one that says how many more there were."""
        more = f"{self._more} more; sys/master_role.txt in the logs of each step has them all"
        return [*self._texts, *([more] if self._more else [])]
