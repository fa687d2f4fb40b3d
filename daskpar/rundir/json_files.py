"""Reads the JSON files of a run directory, which `atomic.replace_json` writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from daskpar import atomic
from daskpar.errors import RunDirectoryError


def read_json(path: Path) -> dict[str, Any] | None:
    """The mapping in a file, None where there is no file or no mapping.

    Raises RunDirectoryError where it can't be read.
    """
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise RunDirectoryError(f"{path} is damaged and can't be read: {error}.") from error
    except OSError as error:
        raise atomic.in_words(error, f"{path} can't be read") from error
    return value if isinstance(value, dict) else None
