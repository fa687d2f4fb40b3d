"""What of this process and its user holds in a container too; all else there is the image's own."""

from __future__ import annotations

import os

from daskpar.processor.fork_protocol import MARK

_BEGINNINGS = ("DASKPAR_", "AZUREML_")
_NAMES = ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "TZ", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
"""In either case, as programs have them."""


def handed_on() -> dict[str, str]:
    """Variables of this process that concern the step wherever it runs."""
    return {
        name: value
        for name, value in os.environ.items()
        if name != MARK and (name.startswith(_BEGINNINGS) or name.upper() in _NAMES)
    }


def names_of_user() -> dict[str, str]:
    """The name of this user, whom the image does not know."""
    return {name: os.environ[name] for name in ("USER", "LOGNAME") if name in os.environ}


def umask_now() -> int:
    """The umask of this process."""
    # Asked for in the usual way, it would be another one for a moment, for all threads.
    with open("/proc/self/status") as file:
        return next((int(line.split()[1], 8) for line in file if line.startswith("Umask:")), 0o022)
