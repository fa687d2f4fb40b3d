"""Files of a web server that does not say how long they are (it packs what it sends, or sends it in chunks),
and answers that break off.
"""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from daskpar.data.fetch_file import fetch_file, remote_kind
from daskpar.data.mltable.open import open_mltable
from daskpar.data.stamps import UNKNOWN, Stamp, planned_stamp, remote_stamp
from daskpar.errors import DataUnreached, InputChanged, InputError

CONTENT = b"a,b\n" + b"1,2\n" * 500


class Answers(BaseHTTPRequestHandler):
    """/packed/… and /chunks/…, with a tag; /bare/… in chunks and without one; in …/half/… half of it comes."""

    protocol_version = "HTTP/1.1"
    tag = "one"

    def do_GET(self) -> None:
        if "gone" in self.path:
            self.send_error(404)
            return
        self.send_response(200)
        if "bare" not in self.path:
            self.send_header("ETag", f'"{type(self).tag}"')
        content = CONTENT
        if "packed" in self.path:
            content = gzip.compress(content)
            self.send_header("Content-Encoding", "gzip")
            self.send_header("Content-Length", str(len(content)))
        else:
            self.send_header("Transfer-Encoding", "chunked")
            content = b"%x\r\n%b\r\n0\r\n\r\n" % (len(content), content)
        self.end_headers()
        if self.command == "GET":
            self.close_connection = "half" in self.path
            self.wfile.write(content[: len(content) // 2] if self.close_connection else content)

    do_HEAD = do_GET

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def web() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("info", "expected"),
    [
        ({}, UNKNOWN),
        ({"size": None}, UNKNOWN),
        ({"size": 0}, Stamp(0, 0)),
        ({"size": 7}, Stamp(7, 0)),
    ],
)
def test_no_size_is_not_the_size_zero(info: dict[str, object], expected: Stamp) -> None:
    assert remote_stamp(info) == expected
    tagged = remote_stamp(info | {"ETag": '"x"'})
    assert tagged.size == expected.size and tagged.mark and tagged.known


def test_the_query_of_a_web_address_is_no_wildcard(web: str) -> None:
    with pytest.raises(InputError) as told:
        remote_kind(f"{web}/gone.csv?sv=1&sig=2", "uri_file")
    assert str(told.value).endswith("does not exist")


@pytest.mark.parametrize("kind", ["packed", "chunks", "bare"])
def test_they_are_fetched_whole_and_known_by_their_tag(
    web: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, target = f"{web}/{kind}/a.csv", tmp_path / "a.csv"
    planned = planned_stamp(url)
    assert planned.size == -1 and planned.known == (kind != "bare")
    assert fetch_file(url, str(target), planned) == len(CONTENT)
    assert target.read_bytes() == CONTENT
    if planned.known:
        monkeypatch.setattr(Answers, "tag", "two")
        with pytest.raises(InputChanged, match=r"unknown number of bytes.*its entity tag"):
            fetch_file(url, str(target), planned)


@pytest.mark.parametrize("kind", ["packed", "chunks", "bare"])
def test_an_answer_that_breaks_off_costs_no_try_and_leaves_nothing(
    web: str, kind: str, tmp_path: Path
) -> None:
    url = f"{web}/{kind}/half/a.csv"
    with pytest.raises(DataUnreached):
        fetch_file(url, str(tmp_path / "a.csv"), planned_stamp(url))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", ["packed", "chunks", "bare"])
def test_a_table_of_them_is_refused_and_not_taken_for_an_empty_one(
    web: str, kind: str, tmp_path: Path
) -> None:
    (tmp_path / "b.csv").write_bytes(CONTENT)
    (tmp_path / "MLTable").write_text(
        f"paths:\n  - file: ./b.csv\n  - file: {web}/{kind}/a.csv\ntransformations:\n  - read_delimited\n"
    )
    with pytest.raises(InputError, match=r"MLTable:3.*a\.csv.*does not say how long it is"):
        open_mltable(str(tmp_path))
