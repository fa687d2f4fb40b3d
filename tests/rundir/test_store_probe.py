"""Stores that can't be written: what is said, and whether it may be otherwise later."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from daskpar.errors import DataUnreached, InputError
from daskpar.rundir.store_probe import check_written


class Refusing(MemoryFileSystem):  # type: ignore[misc]
    """A store of objects that refuses."""

    protocol = "refusing"
    store: ClassVar[dict[str, Any]] = {}
    on_write: BaseException | None = None
    on_remove: BaseException | None = None

    def pipe_file(self, path: str, value: bytes, **options: Any) -> None:
        if self.on_write is not None:
            raise self.on_write
        super().pipe_file(path, value, **options)

    def rm_file(self, path: str) -> None:
        if self.on_remove is not None:
            raise self.on_remove
        super().rm_file(path)


@pytest.fixture(autouse=True)
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Refusing]]:
    fsspec.register_implementation("refusing", Refusing, clobber=True)
    monkeypatch.setattr(Refusing, "store", {})
    monkeypatch.setattr(Refusing, "pseudo_dirs", [""])
    yield Refusing


class NoCredentialsError(Exception):
    pass


def answer(code: str, status: int) -> Exception:
    error = PermissionError(code) if status == 403 else OSError(code)
    error.response = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}  # type: ignore[attr-defined]
    return error


@pytest.mark.parametrize(
    ("error", "kind", "says"),
    [
        (
            NoCredentialsError("Unable to locate credentials"),
            DataUnreached,
            "no credentials.*storage_options",
        ),
        (FileNotFoundError("The specified bucket does not exist"), InputError, "there is no refusing://box"),
        (answer("AccessDenied", 403), DataUnreached, "may these credentials write"),
        (ConnectionRefusedError(111, "refused"), DataUnreached, "nothing answers there.*endpoint_url"),
        (answer("InvalidRequest", 400), InputError, "InvalidRequest"),
    ],
)
def test_what_stands_in_the_way(
    monkeypatch: pytest.MonkeyPatch, error: Exception, kind: type[InputError], says: str
) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    monkeypatch.setattr(Refusing, "on_write", error)
    with pytest.raises(
        InputError, match=f"the output 'o' can't be written to refusing://box/o: .*{says}"
    ) as raised:
        check_written("refusing://box/o", "the output 'o'")
    assert type(raised.value) is kind


def test_nothing_is_left_where_all_is_well(store: type[Refusing]) -> None:
    assert check_written("refusing://box/o", "x") == ""
    assert store.store == {}


def test_what_can_not_be_removed_is_named(monkeypatch: pytest.MonkeyPatch, store: type[Refusing]) -> None:
    monkeypatch.setattr(Refusing, "on_remove", PermissionError("no"))
    note = check_written("refusing://box/o", "the output 'o'")
    (left,) = store.store
    assert left.rpartition("/")[2] in note and "can't be removed: no" in note


def test_a_missing_package_is_named() -> None:
    with pytest.raises(InputError, match=r"no package is known that opens nosuchstore://"):
        check_written("nosuchstore://box/o", "x")
