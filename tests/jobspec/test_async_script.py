"""Whether a script's calls can be in flight side by side, by its text."""

from __future__ import annotations

import pytest

from daskpar.jobspec.async_script import RunKind, run_kind


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("async def run(b): pass", RunKind.ASYNC),
        ("async def run(b):\n    yield b", RunKind.ASYNC),
        ("def run(b): pass", RunKind.PLAIN),
        ("if X:\n    async def run(b): pass\nelse:\n    async def run(b): return 1", RunKind.ASYNC),
        ("if X:\n    async def run(b): pass\nelse:\n    def run(b): return 1", RunKind.UNKNOWN),
        ("@retried\nasync def run(b): pass", RunKind.UNKNOWN),
        ("from other import run", RunKind.UNKNOWN),
        ("from other import *\ndef run(b): pass", RunKind.UNKNOWN),
        ("async def go(b): pass\nrun = go", RunKind.UNKNOWN),
        ("not python", RunKind.UNKNOWN),
    ],
)
def test_what_run_is(tmp_path, text, kind):
    script = tmp_path / "score.py"
    script.write_text(text)
    assert run_kind(script) is kind


def test_without_a_file_nobody_knows(tmp_path):
    assert run_kind(None) is run_kind(tmp_path / "none.py") is RunKind.UNKNOWN
