"""What is mounted in a container, by what a step reads and writes."""

from __future__ import annotations

import os

import pytest

from daskpar.errors import UsageError
from daskpar.processor.containers import container_mounts
from daskpar.processor.containers.container_links import led_to
from daskpar.processor.containers.container_mounts import Mount, arranged, for_files


def read(path: str) -> Mount:
    return Mount(path=path)


def write(path: str) -> Mount:
    return Mount(path=path, writable=True)


def as_is(path: str) -> Mount:
    return Mount(path=path, writable=True, firm=False)


CASES = [
    ("apart", [read("data"), write("run")], ["data ro", "run rw"]),
    ("an output in an input", [read("data"), write("data/out")], ["data ro", "data/out rw"]),
    ("an input in the run", [write("run"), read("run/in")], ["run rw", "run/in ro"]),
    (
        "nothing twice",
        [write("run"), write("run/out"), read("data"), read("data/sub")],
        ["data ro", "run rw"],
    ),
    ("both at one path", [write("data"), read("data")], ["data ro"]),
    ("code alone", [as_is("code")], ["code rw"]),
    ("code in an input", [read("data"), as_is("data/code")], ["data ro"]),
    ("code around an input", [as_is("code"), read("code/data")], ["code rw", "code/data ro"]),
    ("code that is an input", [as_is("data"), read("data")], ["data ro"]),
    ("what is not there", [read("none"), as_is("none")], []),
    ("an output to be made", [write("run/a/b/c")], ["run rw"]),
    ("one that nobody can make", [write("/no-such-folder/a")], []),
    ("a file", [read("data/file")], ["data/file ro"]),
    ("by a link", [read("link")], ["code ro", "link ro"]),
]


@pytest.fixture
def place(tmp_path):
    for folder in ("data/out", "data/sub", "data/code", "run/in", "run/out", "code/data"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "data/file").touch()
    (tmp_path / "link").symlink_to("code")
    return tmp_path


@pytest.mark.parametrize(("mounts", "found"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_what_is_mounted(place, monkeypatch, mounts, found):
    monkeypatch.chdir(place)
    at = os.path.realpath(place)
    assert [
        f"{os.path.relpath(m.path, at)} {'rw' if m.writable else 'ro'}" for m in arranged(mounts)
    ] == found


@pytest.mark.parametrize("path", ["/", "/usr", "/tmp", "/etc"])
def test_nothing_of_the_image_is_hidden(path):
    with pytest.raises(UsageError, match="would hide what the image has there"):
        arranged([read(path)])


def test_files_that_lie_elsewhere(place, monkeypatch):
    """Those that an MLTable names anywhere, and links that lead out of an input."""
    (place / "data/leads").symlink_to(place / "code/data/x")
    (place / "code/data/x").touch()
    at = str(place)
    known = [read(f"{at}/data")]
    files = [f"{at}/data/file", f"{at}/data/leads", f"{at}/run/in/f1", f"{at}/run/in/f2", "s3://b/x"]
    assert [m.path for m in for_files(files, known)] == [f"{at}/code/data", f"{at}/run/in"]
    monkeypatch.setattr(container_mounts, "MOST_LOOKED_AT", 0)
    assert [m.path for m in for_files(files, known)] == [f"{at}/run/in"]
    many = [f"/data/{n % 3}/{n}/{n}.txt" for n in range(100)]
    assert [m.path for m in for_files(many, known)] == ["/data/0", "/data/1", "/data/2"]
    assert [m.path for m in for_files(["/tmp/a.txt", "/tmp/b.txt"], known)] == ["/tmp/a.txt", "/tmp/b.txt"]


def test_what_links_lead_to_is_seen_too(tmp_path, monkeypatch):
    """From code and inputs, a link in what is led to as well; of all that is as its link's folder."""
    monkeypatch.setattr(container_mounts, "OF_THE_IMAGE", frozenset({"/"}))
    top = tmp_path.resolve()
    for folder in ("code/pkg", "snap", "blobs", "store/v3/more", "run", "far"):
        (top / folder).mkdir(parents=True)
    for file in ("blobs/weights", "shared.py", "far/x", "code/own"):
        (top / file).touch()
    for link, target in [
        ("code/pkg/shared.py", "../../shared.py"),
        ("code/python3", "/usr/bin/env"),  # the image's own
        ("code/gone", "/no/such/file"),
        ("code/here", "own"),
        ("code/loop", "loop"),
        ("code/all", "/"),
        ("snap/model.bin", "../blobs/weights"),
        ("store/now", "v3"),
        ("snap/many", str(top / "store/now/more")),
        ("store/v3/more/up", "../../../far"),
        ("run/old", "../blobs"),
    ]:
        (top / link).symlink_to(target)
    base = [as_is(f"{top}/code"), read(f"{top}/snap"), write(f"{top}/run")]
    found = {os.path.relpath(mount.path, top): mount for mount in led_to(base)}
    assert {path: mount.writable for path, mount in found.items()} == {
        "shared.py": True,
        "blobs/weights": False,
        "store/now/more": False,
        "store/v3/more": False,
        "far": False,
    }
    assert not any(mount.firm for mount in found.values())
    all_of_them = {mount.path for mount in arranged([*base, *found.values()])}
    assert all_of_them == {f"{top}/{path}" for path in ("code", "snap", "run", *found)}


def test_many_links_need_few_mounts(tmp_path):
    folder = tmp_path.resolve()
    for name in ("snap", "blobs"):
        (folder / name).mkdir()
    for number in range(container_mounts.MOST_MOUNTS + 1):
        (folder / f"blobs/{number}").touch()
        (folder / f"snap/{number}").symlink_to(f"../blobs/{number}")
    assert [mount.path for mount in led_to([read(f"{folder}/snap")])] == [f"{folder}/blobs"]
