"""Part files: plain appends that stay as they were when the disk refuses."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import zlib

import pytest
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


def cut_short(part: PartFile) -> None:
    os.ftruncate(part._fd, 3)


def write_into(part: PartFile) -> None:
    os.write(part._fd, b"!")


def seek_and_write(part: PartFile) -> None:
    os.lseek(part._fd, 0, os.SEEK_SET)
    os.write(part._fd, b"!")


def no_longer_append(part: PartFile) -> None:
    fcntl.fcntl(part._fd, fcntl.F_SETFL, 0)
    os.lseek(part._fd, 0, os.SEEK_SET)


def close(part: PartFile) -> None:
    os.close(part._fd)


def give_its_number_to_another(part: PartFile) -> None:
    other = os.open(os.path.join(os.path.dirname(part.place), "of-the-script"), os.O_RDWR | os.O_CREAT)
    os.dup2(other, part._fd)
    os.close(other)


def remove(part: PartFile) -> None:
    os.unlink(part.place)


def replace(part: PartFile) -> None:
    with open(f"{part.place}.new", "wb") as file:
        file.write(b"something else that is as long or longer")
    os.replace(f"{part.place}.new", part.place)


def write_in_a_child(part: PartFile) -> None:
    if os.fork() == 0:
        os.write(part._fd, b"!!")
        os._exit(0)
    os.wait()


HARMS = [
    cut_short,
    write_into,
    seek_and_write,
    no_longer_append,
    close,
    give_its_number_to_another,
    remove,
    replace,
    write_in_a_child,
]


@pytest.mark.parametrize("harm", HARMS)
def test_rows_that_come_after_a_harm_lie_where_it_is_said(tmp_path, harm):
    part = PartFile(str(tmp_path), "p")
    part.append(b"first rows\n")
    harm(part)
    told = []
    for rows in (b"second\n", b"third rows\n", b"fourth\n"):
        offset, crc, _ = part.append(rows)
        assert crc == zlib.crc32(rows)
        told.append((part.place, offset, rows))
    # The first rows written after the descriptor was made to overwrite others may fall victim to it, and
    # nothing else: then they begin where rows lay before, and the next rows are in a new file.
    for place, offset, rows in told[harm is no_longer_append :]:
        with open(place, "rb") as file:
            file.seek(offset)
            assert file.read(len(rows)) == rows
    if (other := tmp_path / "of-the-script").exists():
        assert other.read_bytes() == b""


@pytest.mark.parametrize("harm", HARMS)
def test_no_place_in_a_file_is_given_to_two_flushes_unless_its_rows_are_spoiled(tmp_path, harm):
    part = PartFile(str(tmp_path), "p")
    places = []
    for rows in (b"first rows\n", b"second\n", b"third rows\n"):
        offset, crc, _ = part.append(rows)
        places.append((part.name, offset, len(rows), crc))
        if len(places) == 1:
            harm(part)
    for at, (name, offset, length, _) in enumerate(places):
        for name2, offset2, length2, crc2 in places[at + 1 :]:
            if name == name2 and offset < offset2 + length2 and offset2 < offset + length:
                with open(tmp_path / name, "rb") as file:
                    data = file.read()
                assert zlib.crc32(data[offset : offset + length]) != places[at][3]
                assert zlib.crc32(data[offset2 : offset2 + length2]) == crc2


def test_a_script_that_gave_up_its_rights_still_has_its_rows_written(tmp_path, monkeypatch):
    part = PartFile(str(tmp_path), "p")
    part.append(b"one\n")
    stat = os.stat

    def refuse(path, *args, **kwargs):
        if str(path).endswith(".part"):
            raise PermissionError(13, "Permission denied")
        return stat(path, *args, **kwargs)

    monkeypatch.setattr(os, "stat", refuse)
    assert part.append(b"two\n")[0] == 4
    monkeypatch.undo()
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"one\ntwo\n"]
