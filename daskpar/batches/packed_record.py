"""The layout of the record of one try for processors, which pack one at a time and need no numpy for that."""

from __future__ import annotations

import struct

PACK = struct.Struct("<6qd3f3H3B")
"""The fields of `records.RECORD`, in their order."""
