"""A server that speaks as much of S3 as reading takes: paged listings, HEAD, and GET with ranges.

`python -m benchmarks.object_server FOLDER` serves the files below FOLDER as the bucket `box`, on a free port
of this machine, which it prints. moto's server needs many times the processor time for each request, which
would then be what is measured.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import sys
from email.utils import formatdate
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

PAGE = 1000
BUCKET = "box"
_RANGE = re.compile(rb"(?mi)^range:\s*bytes=(\d+)-(\d*)\s*\r?$")


class Objects:
    """The files below a folder, by key."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tags: dict[str, str] = {}
        self.sizes: dict[str, int] = {}
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                key = str(path.relative_to(folder))
                self.sizes[key] = path.stat().st_size
                self.tags[key] = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
        self.keys = sorted(self.sizes)
        self.date = formatdate(usegmt=True)

    def listing(self, query: dict[str, list[str]]) -> bytes:
        """One page of `list-type=2`."""
        prefix = query.get("prefix", [""])[0]
        delimiter = query.get("delimiter", [""])[0]
        after = query.get("continuation-token", query.get("start-after", [""]))[0]
        most = min(PAGE, int(query.get("max-keys", [str(PAGE)])[0]))
        entries: list[tuple[str, bool]] = []
        folders: set[str] = set()
        more = False
        for key in self.keys:
            if not key.startswith(prefix) or key <= after:
                continue
            rest = key[len(prefix) :]
            folder = prefix + rest[: rest.index(delimiter) + 1] if delimiter and delimiter in rest else ""
            if folder and folder in folders:
                continue
            if len(entries) == most:
                more = True
                break
            folders.add(folder)
            entries.append((folder or key, bool(folder)))
        parts = [
            f"<CommonPrefixes><Prefix>{escape(name)}</Prefix></CommonPrefixes>"
            if is_folder
            else f"<Contents><Key>{escape(name)}</Key><Size>{self.sizes[name]}</Size>"
            f'<ETag>"{self.tags[name]}"</ETag><LastModified>2026-01-01T00:00:00.000Z</LastModified>'
            "<StorageClass>STANDARD</StorageClass></Contents>"
            for name, is_folder in entries
        ]
        token = f"<NextContinuationToken>{escape(entries[-1][0])}</NextContinuationToken>" if more else ""
        return (
            '<?xml version="1.0" encoding="UTF-8"?>'
            '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
            f"<Name>{BUCKET}</Name><Prefix>{escape(prefix)}</Prefix><KeyCount>{len(entries)}</KeyCount>"
            f"<MaxKeys>{most}</MaxKeys><IsTruncated>{str(more).lower()}</IsTruncated>{token}"
            f"{''.join(parts)}</ListBucketResult>"
        ).encode()

    def answer(self, method: str, target: str, head: bytes) -> tuple[bytes, tuple[str, int, int] | None]:
        """The head of an answer with a short body, and what of a file follows."""
        url = urlsplit(target)
        key = unquote(url.path).removeprefix(f"/{BUCKET}").lstrip("/")
        if not key:
            return self._short(200, self.listing(parse_qs(url.query)) if method == "GET" else b""), None
        if key not in self.sizes:
            body = b"<Error><Code>NoSuchKey</Code><Message>There is no such key.</Message></Error>"
            return self._short(404, b"" if method == "HEAD" else body), None
        size, status, extra = self.sizes[key], "200 OK", ""
        start, stop = 0, size
        if wanted := _RANGE.search(head):
            start = int(wanted[1])
            stop = min(size, int(wanted[2]) + 1) if wanted[2] else size
            status, extra = "206 Partial Content", f"Content-Range: bytes {start}-{stop - 1}/{size}\r\n"
        text = (
            f'HTTP/1.1 {status}\r\nContent-Length: {stop - start}\r\nETag: "{self.tags[key]}"\r\n'
            f"Last-Modified: {self.date}\r\nAccept-Ranges: bytes\r\n{extra}\r\n"
        )
        return text.encode(), None if method == "HEAD" else (key, start, stop)

    @staticmethod
    def _short(status: int, body: bytes) -> bytes:
        words = {200: "OK", 404: "Not Found"}[status]
        kind = f"Content-Type: application/xml\r\nContent-Length: {len(body)}"
        return f"HTTP/1.1 {status} {words}\r\n{kind}\r\n\r\n".encode() + body


async def serve(folder: Path) -> None:
    """Until the process is killed."""
    objects = Objects(folder)

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                method, target, _ = head.split(b" ", 2)
                answer, file = objects.answer(method.decode(), target.decode(), head)
                writer.write(answer)
                await writer.drain()
                if file is not None:
                    key, start, stop = file
                    with open(objects.folder / key, "rb") as opened:
                        await loop.sendfile(writer.transport, opened, start, stop - start)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(client, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1])))
