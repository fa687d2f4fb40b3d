"""How the scripts of a step reach its inputs: read-only in place, by links, as a copy, or as they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from daskpar.jobspec.input_access import Access, shown_paths, with_access, writable_paths
from daskpar.jobspec.model import Input, Output

AS_IS, MOUNT, LINKS, COPY, FETCHED = Access


def access_of(data: Input, *outputs: Output, mounts: bool = True) -> Access:
    made = with_access({data.name: data}, {o.name: o for o in outputs}, Path("/RUN/copies"), mounts=mounts)
    return Access(made[data.name].access)


def given(path: str = "/data", mode: str = "ro_mount", kind: str = "uri_folder") -> Input:
    return Input(name="d", type=kind, mode=mode, path=path)


def output(path: str, kind: str = "uri_folder", name: str = "o") -> Output:
    return Output(name=name, type=kind, mode="rw_mount", path=path, chosen_by_user=True)


@pytest.mark.parametrize(
    ("mode", "mounts", "access"),
    [
        ("ro_mount", True, MOUNT),
        ("ro_mount", False, LINKS),
        ("eval_mount", True, MOUNT),
        ("eval_mount", False, LINKS),
        ("download", True, COPY),
        ("download", False, COPY),
        ("eval_download", True, COPY),
        ("direct", True, AS_IS),
        ("direct", False, AS_IS),
    ],
)
def test_the_mode_and_the_machine_decide(mode: str, mounts: bool, access: Access) -> None:
    assert access_of(given(mode=mode), mounts=mounts) is access


@pytest.mark.parametrize(
    ("written", "kind", "access"),
    [
        ("/data/out", "uri_folder", MOUNT),
        ("/data/out/rows.txt", "uri_file", MOUNT),
        ("/elsewhere", "uri_folder", MOUNT),
        ("/", "uri_folder", MOUNT),
        ("/rows.txt", "uri_file", MOUNT),
        ("/data/rows.txt", "uri_file", LINKS),
        ("/data", "uri_folder", AS_IS),
        ("/data/", "uri_folder", AS_IS),
        ("s3://bucket/data", "uri_folder", MOUNT),
    ],
)
def test_an_output_in_the_input_can_still_be_written(written: str, kind: str, access: Access) -> None:
    assert access_of(given(), output(written, kind)) is access


@pytest.mark.parametrize(
    "data",
    [
        Input(name="n", type="literal", value=3),
        given("s3://bucket/data", mode="direct"),
        given("/"),
    ],
    ids=["literal", "bucket", "everything"],
)
def test_what_has_no_local_place_is_left_as_it_is(data: Input) -> None:
    assert access_of(data) is AS_IS


@pytest.mark.parametrize(
    ("path", "kind", "mode", "seen"),
    [
        ("s3://bucket/data", "uri_folder", "ro_mount", "/RUN/d"),
        ("https://host/a%20b.csv?sig=x", "uri_file", "download", "/RUN/d/a b.csv"),
        ("abfs://box@account.dfs.core.windows.net/m/", "custom_model", "ro_mount", "/RUN/d"),
    ],
)
def test_what_is_at_a_url_is_fetched(path: str, kind: str, mode: str, seen: str) -> None:
    (data,) = with_access({"d": given(path, mode, kind)}, {}, Path("/RUN"), mounts=True).values()
    assert (data.access, data.is_fetched, data.is_laid_out, data.seen) == (FETCHED, True, False, seen)


def test_paths_are_compared_where_links_lead(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    data, there = given(str(tmp_path / "link")), str(tmp_path / "real")
    assert access_of(data, output(there)) is AS_IS
    assert access_of(data, output(f"{there}/rows.txt", "uri_file")) is LINKS


def test_a_file_keeps_its_name_where_scripts_see_it() -> None:
    inputs = {
        "d": given("/a/b.csv", kind="uri_file"),
        "e": Input(name="e", type="uri_folder", mode="download", path="/a"),
    }
    made = with_access(inputs, {}, Path("/RUN/copies"), mounts=False)
    assert shown_paths(made) == {"/a/b.csv": "/RUN/copies/d/b.csv", "/a": "/RUN/copies/e"}
    assert shown_paths(with_access({"d": given()}, {}, Path("/RUN/copies"), mounts=True)) == {}


def test_scripts_may_write_in_the_run_directory_and_where_outputs_go() -> None:
    outputs = {
        "a": output("/out"),
        "b": output("/more/rows.txt", "uri_file"),
        "c": output("s3://bucket/x"),
    }
    assert writable_paths(outputs, "/RUN") == ("/RUN", "/out", "/more")
