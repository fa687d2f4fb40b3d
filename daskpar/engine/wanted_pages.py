"""Keeps Dask from loading the pages of servers of ours that nobody can ask for them.

Each server loads its pages as it starts, which takes 10 ms together, whether it serves any or not. Which
these are is a setting of Dask's for the whole process: were it changed while ours start, a cluster that the
user or another run starts meanwhile would be without pages.
"""

from __future__ import annotations

from typing import Any


def load_pages_where_wanted() -> None:
    """Let no server of this process that says so itself (`has_pages` is false) load pages.

    Called again, it changes nothing. All other servers load theirs as ever.
    """
    from distributed import scheduler, worker
    from distributed.http.utils import get_handlers as usual

    def handlers(server: Any, modules: list[str], *args: Any, **settings: Any) -> Any:
        return usual(server, modules if getattr(server, "has_pages", True) else [], *args, **settings)

    for module in (scheduler, worker):
        if getattr(module, "get_handlers", None) is usual:  # not yet, and not another release of Dask
            module.get_handlers = handlers  # type: ignore[attr-defined]
