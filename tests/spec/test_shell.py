"""Values in commands: run by a real shell, each arrives as it was."""

from __future__ import annotations

import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daskpar.spec.shell import fill_command

values = st.text(st.characters(exclude_characters="\0\r", exclude_categories=["Cs"]), min_size=1, max_size=15)


def echoed(command: str, value: str) -> str:
    filled = fill_command(command, lambda _: value)
    return subprocess.run(["sh", "-c", filled], capture_output=True, check=True, text=True).stdout


@settings(max_examples=25)
@given(values)
def test_a_value_is_one_word_in_any_quotes(value: str) -> None:
    command = """printf '<%s>' ${{inputs.x}} "${{inputs.x}}" '${{inputs.x}}' "it's "${{inputs.x}}' "'${{inputs.x}}"""
    assert echoed(command, value) == f"<{value}><{value}><{value}><it's {value} \"{value}>"


@pytest.mark.parametrize(
    ("command", "filled"),
    [
        ("cat ${{inputs.x}}", "cat 'a b'"),
        ("cat ${{inputs.x}}/c", "cat 'a b'/c"),
        ('cat "${{inputs.x}}"', 'cat "a b"'),
        ("cat '${{inputs.x}}'", "cat 'a b'"),
        ("# don't\ncat ${{inputs.x}}", "# don't\ncat 'a b'"),
        (r"echo \' ${{inputs.x}}", r"echo \' 'a b'"),
        ("  ${{ inputs.x }}\n", "  a b\n"),
        ("echo a#b'${{inputs.x}}'", "echo a#b'a b'"),
    ],
)
def test_where_quotes_are_put(command: str, filled: str) -> None:
    assert fill_command(command, lambda _: "a b") == filled


def test_plain_values_are_not_quoted() -> None:
    assert fill_command("--keys ${{inputs.x}}", lambda _: "Store,Brand") == "--keys Store,Brand"
