"""Stand-ins for objects of Azure ML's SDK: they say what the real ones have said (`jobspec/sdk_dumps`)."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

_HERE = Path(__file__).parent / "jobspec"
_spec = importlib.util.spec_from_file_location("sdk_programs", _HERE / "sdk_programs.py")
assert _spec is not None and _spec.loader is not None
_programs = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_programs)
DUMPS: Path = _programs.DUMPS
write_files = _programs.write_files


def sdk_object(program: str, folder: Path) -> Any:
    """The object that a program makes in `folder`, as far as anybody looks at it here."""
    kept = json.loads((DUMPS / f"{program}.json").read_text().replace(_programs.FOLDER, str(folder)))
    module, _, name = kept["class"].rpartition(".")
    made = type(name, (), {"__module__": module})()
    made._base_path = str(folder / kept["base"])
    made._to_dict = lambda: kept["says"]
    made.dump = lambda file: file.write(json.dumps(kept["says"]))
    return made
