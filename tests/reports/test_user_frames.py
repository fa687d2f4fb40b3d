"""Tracebacks cut to the user's own frames."""

from __future__ import annotations

import pytest

from daskpar.reports.user_frames import library_of, users_frames

LONG = """Traceback (most recent call last):
  File "/home/you/score.py", line 8, in run
    return load(path)
           ^^^^^^^^^^
  File "/venv/lib/python3.11/site-packages/pandas/io/a.py", line 3, in read_csv
    return _read(path)
  File "/venv/lib/python3.11/site-packages/pandas/io/b.py", line 4, in _read
    raise it
  [Previous line repeated 9 more times]
  File "/usr/lib/python3.11/json/decoder.py", line 5, in decode
    obj = scan()
          ^^^^^^
ValueError: no columns

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "/home/you/score.py", line 9, in run
    fail()
RuntimeError: no"""
CUT = """Traceback (most recent call last):
  File "/home/you/score.py", line 8, in run
    return load(path)
           ^^^^^^^^^^
  ... 3 frames in pandas, json
ValueError: no columns

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "/home/you/score.py", line 9, in run
    fail()
RuntimeError: no"""
STACKS = """Thread 0x1 (most recent call last):
  File "/usr/lib/python3.11/threading.py", line 3 in wait
Current thread 0x2 (most recent call last):
  File "/home/you/score.py", line 8 in run"""


@pytest.mark.parametrize(
    ("trace", "cut"),
    [
        (LONG, CUT),
        (STACKS, STACKS.replace('File "/usr/lib/python3.11/threading.py", line 3 in wait', "... 1 frame in threading")),
        ("", ""),
        ("killed", "killed"),
    ],
)  # fmt: skip
def test_libraries_are_counted(trace: str, cut: str) -> None:
    assert users_frames(trace) == cut


def test_where_no_frame_is_the_users_all_stay() -> None:
    trace = 'Traceback (most recent call last):\n  File "<frozen importlib._bootstrap>", line 1, in f\nImportError: x'
    assert users_frames(trace) == trace


@pytest.mark.parametrize(
    ("path", "library"),
    [
        ("/venv/lib/python3.11/site-packages/six.py", "six"),
        ("/usr/lib/python3/dist-packages/yaml/x.py", "yaml"),
        ("<frozen runpy>", "runpy"),
        ("/opt/python/lib/python3.13t/json/__init__.py", "json"),
        ("/home/you/lib/score.py", ""),
        ("score.py", ""),
    ],
)
def test_what_is_a_library(path: str, library: str) -> None:
    assert library_of(path) == library
