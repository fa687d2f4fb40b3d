"""Gets one object of S3 as s3fs does, with the entity tag that came with its bytes.

`get_file` of s3fs keeps that tag to itself. To know that what came is what was planned then takes a request
more for each file, or the sum of its bytes, which costs as much processor time as to fetch them.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from daskpar.data.stamps import UNKNOWN, Stamp, remote_stamp

MOST_AT_ONCE = 1 << 25
"""Bytes of an object that comes by one request; larger ones come in parts, several at a time."""
_PIECE = 1 << 20
_PAUSE, _LONGEST_PAUSE = 0.1, 15.0
"""Seconds before an answer that broke off is asked for again, and how much longer each time, as in s3fs."""


def is_of_s3(found: Any) -> bool:
    """Whether a filesystem is s3fs's own; nothing is imported for that."""
    # Another thread may be importing it just now: then nothing is of it yet.
    return type(found) is getattr(sys.modules.get("s3fs"), "S3FileSystem", None)


async def get_object(found: Any, inner: str, target: str, size: int = -1) -> Stamp:
    """Get the object at `inner` into the file `target`, on the loop of `found`; what it is known by.

    `size`: bytes that were planned, -1 where nobody knows. UNKNOWN where no single answer brought it all.
    """
    if not 0 <= size <= MOST_AT_ONCE:
        await found._get_file(inner, target)
        return UNKNOWN
    from s3fs.core import S3_RETRYABLE_ERRORS

    tries = 0
    while True:
        try:
            return await _got(found, inner, target)
        except S3_RETRYABLE_ERRORS:  # of the body: those of the request were tried again by s3fs
            tries += 1
            if tries >= found.retries:
                raise
            await asyncio.sleep(min(_PAUSE * 1.7**tries, _LONGEST_PAUSE))


async def _got(found: Any, inner: str, target: str) -> Stamp:
    bucket, key, version = found.split_path(inner)
    which = {"VersionId": version} if version else {}
    answer = await found._call_s3("get_object", Bucket=bucket, Key=key, **which, **found.req_kw)
    body = answer["Body"]
    try:
        with open(target, "wb") as file:
            while piece := await body.read(_PIECE):  # what has come, which is less
                file.write(piece)
    finally:
        if asyncio.iscoroutine(closing := body.close()):
            await closing
    return remote_stamp({"ETag": answer.get("ETag"), "size": answer.get("ContentLength")})
