"""Where rows are brought together by keys: on nodes that see the run directory, where the rows go."""

from __future__ import annotations

from typing import Any

from daskpar.engine.cluster import Cluster


class GroupingCluster:
    """The cluster of a run for that; one in this process where no node of it sees the run directory.

    That one ends with the `with` block.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._own: Cluster | None = None

    def cluster(self) -> Cluster:
        """The open cluster; the run's own one is open by now."""
        if self._cluster.local or self._cluster.facts.keys() - self._cluster.far.keys():
            return self._cluster
        if self._own is None:
            self._own = Cluster(run_id=self._cluster.run_id, dashboard=None)
            self._own.open()
        return self._own

    def __enter__(self) -> GroupingCluster:
        return self

    def __exit__(self, *_: Any) -> None:
        own, self._own = self._own, None
        if own is not None:
            own.close()
