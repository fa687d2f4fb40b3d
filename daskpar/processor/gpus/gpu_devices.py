"""Which GPUs a process may use."""

from __future__ import annotations

from collections.abc import Iterable


def one_by_one(dealt: Iterable[str]) -> tuple[str, ...]:
    """Each device once in what processors were given, in order."""
    return tuple(dict.fromkeys(device for text in dealt for device in text.split(",") if device))


def devices(visible: str | None, files: list[str]) -> tuple[str, ...]:
    """The devices that CUDA_VISIBLE_DEVICES names; where that is not set, those of the device `files`."""
    if visible is None:
        return tuple(map(str, sorted(int(file.rpartition("nvidia")[2]) for file in files)))
    named = [device.strip() for device in visible.split(",")]
    # As CUDA does: what follows an invalid one is not seen.
    end = next(
        (at for at, device in enumerate(named) if device in ("", "-1", "NoDevFiles", "none", "void")),
        len(named),
    )
    return tuple(named[:end])
