"""Runs `python -m daskpar` without its journal, to measure what it costs; takes the same arguments."""

from __future__ import annotations

import daskpar.outputs.journal
from benchmarks.bare import nothing
from daskpar.__main__ import main

if __name__ == "__main__":
    daskpar.outputs.journal.Journal.append = nothing
    daskpar.outputs.journal.Journal.sync = nothing
    main()
