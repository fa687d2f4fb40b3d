"""Part files: plain appends that stay as they were when the disk refuses."""

from __future__ import annotations

import os
import subprocess
import sys
import zlib

from hypothesis import given
from hypothesis import strategies as st

from daskpar.rows.shared_folder import PartFile


@given(st.lists(st.binary(max_size=200)))
def test_what_is_appended_lies_where_it_says(tmp_path_factory, pieces):
    folder = tmp_path_factory.mktemp("parts")
    part = PartFile(str(folder), "p")
    told = [part.append(piece) for piece in pieces]
    whole = (folder / part.name).read_bytes() if pieces else b""
    assert whole == b"".join(pieces)
    for (offset, crc, _), piece in zip(told, pieces, strict=True):
        assert whole[offset : offset + len(piece)] == piece
        assert crc == zlib.crc32(piece)


def test_no_two_processors_share_a_file_and_none_is_made_without_rows(tmp_path):
    parts = [PartFile(str(tmp_path), "p") for _ in range(3)]
    assert len({part.name for part in parts}) == 3
    assert list(tmp_path.iterdir()) == []


def test_a_refused_write_leaves_the_file_as_it_was(tmp_path):
    """The file-size limit stands in for a full disk: both refuse in the middle of a write."""
    text = f"""
import resource, signal
from daskpar.rows.shared_folder import PartFile
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
part = PartFile({str(tmp_path)!r}, "p")
part.append(b"a" * 5000)
resource.setrlimit(resource.RLIMIT_FSIZE, (8000, resource.RLIM_INFINITY))
try:
    part.append(b"b" * 5000)
except OSError as error:
    print(error.strerror, part.size)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
print(part.append(b"c" * 10)[0])
"""
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=60)
    assert done.stdout.split("\n")[:2] == ["File too large 5000", "5000"], done.stderr
    (path,) = tmp_path.iterdir()
    assert path.read_bytes() == b"a" * 5000 + b"c" * 10


def test_the_descriptor_is_not_passed_on(tmp_path):
    part = PartFile(str(tmp_path), "p")
    part.append(b"x")
    assert not os.get_inheritable(part._fd)
