"""What a node tells its fetcher, and what that answers."""

from __future__ import annotations

from collections.abc import Sequence

from daskpar.datastores import StorageOptions
from daskpar.processor.fetching.fetched_inputs import Fetching
from daskpar.value_classes import frozen


@frozen
class Stores:
    """Node: from where it will fetch; its order comes later. Only to one that is started ahead."""

    urls: Sequence[str]
    storage: StorageOptions


@frozen(kw_only=True)
class FetchOrder:
    """Node: what it is for."""

    fetching: Fetching
    storage: StorageOptions
    plan: str = ""
    """Folder of the plan, where files of mini-batches are fetched."""
    node: int = 0
    again: bool = False
    """Whether it takes the place of one that has died."""
    whole_is_here: bool = False
    """Whether that one had fetched all that scripts get whole."""


@frozen
class Ready:
    """Fetcher: the inputs that scripts get whole are here."""


@frozen
class Failed:
    """Fetcher: one of them can't be had."""

    message: str
