"""The temporary folder of a node, and what is unpacked in it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import daskpar
from daskpar.engine.shipped import parcels
from daskpar.engine.shipped.node_folder import NodeFolder
from daskpar.engine.shipped.parcels import files_of_data, pack
from daskpar.errors import InputError
from waiting import until


def packed(tmp_path: Path, name: str = "data") -> parcels.Parcel:
    return pack("the data", "input", files_of_data(str(tmp_path / name), name), tmp_path / "sent")


def sent(folder: NodeFolder, parcel: parcels.Parcel, sender: str = "1", piece: int = 100) -> None:
    data = parcel.path.read_bytes()
    for offset in range(0, len(data), piece):
        folder.take_piece(parcel.name, sender, offset, data[offset : offset + piece])
    folder.unpack(parcel.name, sender, parcel.target)


def test_a_parcel_is_laid_out_with_times_rights_and_empty_folders(tmp_path):
    (tmp_path / "data" / "deep" / "empty").mkdir(parents=True)
    (tmp_path / "data" / "deep" / "run.sh").write_text("#!/bin/sh")
    (tmp_path / "data" / "deep" / "run.sh").chmod(0o755)
    os.utime(tmp_path / "data" / "deep" / "run.sh", ns=(1, 1_795_752_427_123_456_789))
    (tmp_path / "data" / "é.txt").write_bytes(os.urandom(1000))
    parcel = packed(tmp_path)
    assert packed(tmp_path).name == parcel.name
    folder = NodeFolder(str(tmp_path))
    assert not folder.has(parcel.name)
    sent(folder, parcel)
    assert folder.has(parcel.name)
    sent(folder, parcel, "2")  # somebody else at the same time
    place = Path(folder.path, parcel.target, "data")
    assert sorted(str(path.relative_to(place)) for path in place.rglob("*")) == [
        *("deep", "deep/empty", "deep/run.sh", "é.txt"),
    ]
    seen = (place / "deep" / "run.sh").stat()
    assert (seen.st_mtime_ns, seen.st_mode & 0o777) == (1_795_752_427_123_456_789, 0o755)
    assert (place / "é.txt").read_bytes() == (tmp_path / "data" / "é.txt").read_bytes()
    folder.remove()
    folder.remove()
    assert not os.path.exists(folder.path)


def test_what_has_not_arrived_as_it_was_sent_is_not_unpacked(tmp_path):
    (tmp_path / "data").write_text("x")
    parcel = packed(tmp_path)
    folder = NodeFolder(str(tmp_path))
    folder.take_piece(parcel.name, "1", 0, b"something else")
    with pytest.raises(ValueError, match="has not arrived as it was sent"):
        folder.unpack(parcel.name, "1", parcel.target)
    folder.remove()


def test_too_much_is_not_packed(tmp_path, monkeypatch):
    monkeypatch.setattr(parcels, "MOST_BYTES", 100)
    (tmp_path / "data").write_bytes(b"x" * 101)
    with pytest.raises(
        InputError, match=r"the data holds more than .*give the output that it comes from a URL"
    ):
        packed(tmp_path)
    (tmp_path / "data").write_bytes(b"x" * 100)
    assert parcels.sendable("the data", "input", files_of_data(str(tmp_path / "data"), "data"))
    with pytest.raises(InputError, match="can't be sent to nodes"):
        packed(tmp_path, "missing")


@pytest.mark.parametrize("data", [b"text " * 100_000, os.urandom(500_000)], ids=["text", "random"])
def test_what_is_compressed_already_is_not_again(tmp_path, data):
    (tmp_path / "data").write_bytes(data)
    parcel = packed(tmp_path)
    assert (parcel.size < 50_000) == (data[:4] == b"text")
    folder = NodeFolder(str(tmp_path))
    sent(folder, parcel, piece=1 << 20)
    assert Path(folder.path, parcel.target, "data").read_bytes() == data
    folder.remove()


@pytest.mark.parametrize(
    ("parts", "level"),
    [
        ([b"t" * parcels.SAMPLE_BYTES * 3], 1),
        ([os.urandom(parcels.SAMPLE_BYTES * 3)], 0),
        ([b"h" * parcels.SAMPLE_BYTES, os.urandom(parcels.SAMPLE_BYTES), b"e" * parcels.SAMPLE_BYTES], 0),
        (
            [os.urandom(parcels.SAMPLE_BYTES), b"t" * parcels.SAMPLE_BYTES, os.urandom(parcels.SAMPLE_BYTES)],
            1,
        ),
        ([os.urandom(1000)], 0),
        ([], 0),
    ],
)
def test_the_middle_of_a_file_says_whether_compression_pays(tmp_path, parts, level):
    (tmp_path / "data").write_bytes(b"".join(parts))
    assert parcels._level([str(tmp_path), str(tmp_path / "data")]) == level


def test_links_are_followed_but_not_in_circles_and_the_same_folder_may_come_twice(tmp_path):
    (tmp_path / "data" / "one").mkdir(parents=True)
    (tmp_path / "data" / "one" / "a").write_text("a")
    (tmp_path / "data" / "one" / "up").symlink_to(tmp_path / "data")
    (tmp_path / "data" / "two").symlink_to(tmp_path / "data" / "one")
    parcel = packed(tmp_path)
    assert (parcel.what, parcel.size) == ("input", parcel.path.stat().st_size)
    folder = NodeFolder(str(tmp_path))
    sent(folder, parcel)
    place = Path(folder.path, parcel.target, "data")
    found = sorted(str(path.relative_to(place)) for path in place.rglob("*") if not path.is_dir())
    assert found == ["one/a", "two/a"] and not (place / "two").is_symlink()
    folder.remove()


def test_an_archive_is_for_its_owner_alone(tmp_path):
    (tmp_path / "data").write_text("password")
    (tmp_path / "data").chmod(0o600)
    assert packed(tmp_path).path.stat().st_mode & 0o777 == 0o600


HOLDS = """
import sys, time
from daskpar.engine.shipped.node_folder import NodeFolder
print(NodeFolder(sys.argv[1]).path, flush=True)
time.sleep(1000)
"""


def test_it_goes_when_its_worker_is_killed_and_the_next_one_clears_up_after_a_machine(tmp_path):
    (tmp_path / "holds.py").write_text(HOLDS)
    (tmp_path / "base").mkdir()
    command = [sys.executable, str(tmp_path / "holds.py"), str(tmp_path / "base")]
    root = str(Path(daskpar.__file__).parents[1])
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": root}
    )
    path = process.stdout.readline().strip()
    assert os.path.isdir(path), path
    (tmp_path / "base" / "daskpar-node-left").mkdir()
    (tmp_path / "base" / "daskpar-node-left" / ".lock").write_text("")
    folder = NodeFolder(str(tmp_path / "base"))
    assert sorted(os.listdir(tmp_path / "base")) == sorted(map(os.path.basename, (path, folder.path)))
    process.send_signal(signal.SIGKILL)
    process.wait(30)
    until(lambda: not os.path.exists(path), "its end")
    folder.remove()
    process.stdout.close()


def test_a_parcel_on_its_way_is_private_is_laid_out_below_others_and_leaves_nothing(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.txt").write_text("a")
    os.utime(tmp_path / "data", ns=(1, 86_400 * 10**9))
    parcel = packed(tmp_path)
    folder = NodeFolder(str(tmp_path))
    data = parcel.path.read_bytes()
    folder.take_piece(parcel.name, "1", 0, data)
    [on_its_way] = Path(folder.path).glob(".*.tar")
    assert on_its_way.stat().st_mode & 0o777 == 0o600
    folder.unpack(parcel.name, "1", "deep/er/data")
    assert [path.read_text() for path in (Path(folder.path) / "deep/er/data").rglob("a.txt")] == ["a"]
    assert not on_its_way.exists()
    folder.remove()
    folder.remove()
    assert not Path(folder.path).exists()
