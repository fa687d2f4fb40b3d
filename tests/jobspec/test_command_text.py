"""Values in commands: run by a real shell, each path arrives as it was; a literal is part of the command."""

from __future__ import annotations

import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daskpar.jobspec.command_text import Filling, fill_command

values = st.text(st.characters(exclude_characters="\0\r", exclude_categories=["Cs"]), min_size=1, max_size=15)


def echoed(command: str, value: str) -> str:
    filled = fill_command(command, lambda _: Filling(value, is_path=True))
    return subprocess.run(["sh", "-c", filled], capture_output=True, check=True, text=True).stdout


@settings(max_examples=25)
@given(values)
def test_a_path_is_one_word_in_any_quotes(value: str) -> None:
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
        ("  ${{ inputs.x }}\n", "  'a b'\n"),
        ("echo a#b'${{inputs.x}}'", "echo a#b'a b'"),
    ],
)
def test_where_quotes_are_put(command: str, filled: str) -> None:
    assert fill_command(command, lambda _: Filling("a b", is_path=True)) == filled


def test_plain_paths_are_not_quoted() -> None:
    assert (
        fill_command("--data ${{inputs.x}}", lambda _: Filling("/data/x", is_path=True)) == "--data /data/x"
    )


@pytest.mark.parametrize(
    ("literal", "filled"),
    [
        ("--a 1 --b 2", "run --a 1 --b 2 '/d d'"),
        ("", "run  '/d d'"),
        ("'a b'", "run 'a b' '/d d'"),
        ('"', 'run " /d d'),
        ("$HOME", "run $HOME '/d d'"),
    ],
)
def test_a_literal_is_the_text_that_it_is(literal: str, filled: str) -> None:
    values = {"inputs.args": Filling(literal, is_path=False), "inputs.data": Filling("/d d", is_path=True)}
    assert (
        fill_command("run ${{inputs.args}} ${{inputs.data}}", lambda binding: values[binding.body]) == filled
    )
