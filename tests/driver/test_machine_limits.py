"""What a limit of the machine refuses is said in words, and not taken for a mistake of daskpar's."""

from __future__ import annotations

import errno

import pytest

from daskpar.driver.machine_limits import refused_by_a_limit


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.EMFILE, "Too many open files"), "ulimit -n"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "ulimit -v"),
        (BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable"), "ulimit -u"),
        (MemoryError(), "ulimit -v"),
        (ImportError("libparquet.so: failed to map segment from shared object"), "ulimit -v"),
        (RuntimeError("can't start new thread"), "ulimit -u"),
        (OSError(errno.ENOENT, "No such file"), ""),
        (ImportError("no module named x"), ""),
        (KeyError("a mistake"), ""),
    ],
)
def test_each_kind(error, words):
    said = refused_by_a_limit(error)
    assert words in said and bool(words) == bool(said)


def test_what_lies_behind_an_error_counts():
    try:
        try:
            raise OSError(errno.EMFILE, "Too many open files")
        except OSError as error:
            raise RuntimeError("the cluster could not be opened") from error
    except RuntimeError as error:
        assert "ulimit -n" in refused_by_a_limit(error)
