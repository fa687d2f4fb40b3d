"""Why a cluster that Dask starts worker by worker could not start some: Dask would only log that."""

from __future__ import annotations

from typing import Any


class ClusterTrouble:
    """What went wrong when a cluster was last brought to its size; nothing where all is well."""

    def __init__(self) -> None:
        self.error: BaseException | None = None

    @property
    def text(self) -> str:
        """In its own words."""
        return "" if self.error is None else f"{type(self.error).__name__}: {self.error}"

    def watch(self, cluster: Any) -> None:
        """Note from here on what goes wrong in `cluster`, where it is one of these (`SpecCluster`)."""
        change = getattr(cluster, "_correct_state_internal", None)
        if not callable(change):
            return

        async def watched() -> None:
            try:
                await change()
            except Exception as error:
                self.error = error

        cluster._correct_state_internal = watched

    def submit_now(self, cluster: Any) -> None:
        """Have `cluster` do now what it was asked for; what goes wrong is raised."""
        if callable(correct := getattr(cluster, "_correct_state", None)):
            cluster.sync(correct)
        if self.error is not None:
            raise self.error
