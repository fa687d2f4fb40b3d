"""Values in commands: run by a real shell, each path arrives as it was; a literal is part of the command."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daskpar.jobspec.bindings import BindingError
from daskpar.jobspec.command_text import Filling, fill_command

values = st.text(st.characters(exclude_characters="\0\r", exclude_categories=["Cs"]), min_size=1, max_size=15)


def echoed(command: str, value: str, shell: str = "sh", **options) -> str:
    filled = fill_command(command, lambda _: Filling(value, is_path=True))
    environment = {**os.environ, **filled.variables}
    done = subprocess.run(
        [shell, "-c", filled.text], capture_output=True, check=True, text=True, env=environment, **options
    )
    return done.stdout


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
    assert fill_command(command, lambda _: Filling("a b", is_path=True)).text == filled


def test_plain_paths_are_not_quoted() -> None:
    filled = fill_command("--data ${{inputs.x}}", lambda _: Filling("/data/x", is_path=True))
    assert (filled.text, filled.variables) == ("--data /data/x", {})


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
        fill_command("run ${{inputs.args}} ${{inputs.data}}", lambda binding: values[binding.body]).text
        == filled
    )


CONTEXTS = {
    # each prints its value between < and >
    "unquoted": "printf '<%s>' ${{inputs.x}}",
    "double quotes": "printf '<%s>' \"${{inputs.x}}\"",
    "single quotes": "printf '<%s>' '${{inputs.x}}'",
    "after ansi quotes": r"printf '<%s>' $'it\'s' ${{inputs.x}} | sed \"1s/^<it's>//\"".replace('\\"', '"'),
    "in ansi quotes": "printf '<%s>' $'${{inputs.x}}'",
    "after a dollar and double quotes": "printf '<%s>' $\"\"${{inputs.x}}",
    "in a substitution": "printf '<%s>' \"$(printf %s ${{inputs.x}}; printf x)\" | sed '$s/x>$/>/'",
    "quoted in a substitution": "printf '<%s>' \"$(printf %s \"${{inputs.x}}\"; printf x)\" | sed '$s/x>$/>/'",
    "in two substitutions": "printf '<%s>' \"$(printf %s \"$(printf %s ${{inputs.x}}; printf x)\")\" | sed '$s/x>$/>/'",
    "in backquotes": "printf '<%s>' \"`printf %s ${{inputs.x}}; printf x`\" | sed '$s/x>$/>/'",
    "in a subshell": "(printf '<%s>' ${{inputs.x}})",
    "in a case": "printf '<%s>' \"$(case a in a) printf %s ${{inputs.x}}; printf x;; esac)\" | sed '$s/x>$/>/'",
    "as a default": "printf '<%s>' \"${NOT_SET_HERE:-${{inputs.x}}}\"",
    "as an unquoted default": "printf '<%s>' ${NOT_SET_HERE:-${{inputs.x}}}",
    "in a here-document": "cat <<EOF | sed 's/^/</' | tr -d '\\n' | sed 's/$/>/'\n${{inputs.x}}\nEOF",
    "in a here-document with tabs": "cat <<-EOF | sed 's/^/</' | tr -d '\\n' | sed 's/$/>/'\n\t${{inputs.x}}\n\tEOF\n",
    "after a here-document": "cat <<'E F' >/dev/null\nit's\nE F\nprintf '<%s>' \"$(printf %s ${{inputs.x}}; printf x)\" | sed '$s/x>$/>/'",
    "a program for sh": "sh -c 'printf \"<%s>\" ${{inputs.x}}'",
    "a program in double quotes": "bash -c \"printf '<%s>' ${{inputs.x}}\"",
    "quoted in a program": 'bash -c \'printf "<%s>" "${{inputs.x}}"\'',
    "single quotes in a program in double quotes": "bash -lc \"printf '<%s>' '${{inputs.x}}'\"",
    "escaped quotes in a program": 'bash -c "printf \'<%s>\' \\"${{inputs.x}}\\""',
    "a substitution in a program": "bash -c 'printf \"<%s>\" \"$(printf %s ${{inputs.x}}; printf x)\"' | sed '$s/x>$/>/'",
    "a program of a program": 'sh -c \'env bash -c "printf \\"<%s>\\" ${{inputs.x}}"\'',
    "a program by its path": "/bin/sh -ec 'printf \"<%s>\" ${{inputs.x}}'",
    "a program from xargs": "echo a | xargs -I{} sh -c 'printf \"<%s>\" ${{inputs.x}}'",
    "a program from find": "find . -maxdepth 0 -exec sh -c 'printf \"<%s>\" ${{inputs.x}}' \\;",
    "an argument of a program": 'bash -c \'printf "<%s>" "$1"\' name ${{inputs.x}}',
    "eval": "eval printf '\"<%s>\"' ${{inputs.x}}",
    "eval of a text": "eval 'printf \"<%s>\" ${{inputs.x}}'",
    "trap": "trap 'printf \"<%s>\" ${{inputs.x}}' EXIT",
    "a program in a here-document": "bash <<EOF\nprintf '<%s>' ${{inputs.x}}\nEOF",
    "a program in a quoted here-document": "bash -s <<'EOF'\nprintf '<%s>' ${{inputs.x}}\nEOF",
    "an assignment": "a=${{inputs.x}}; printf '<%s>' \"$a\"",
    "after a comment": "# it's ${{inputs.x}}\nprintf '<%s>' ${{inputs.x}}",
    "in a comment of a substitution": "printf '<%s>' \"$(: # it's ${{inputs.x}}\nprintf %s ${{inputs.x}}; printf x)\" | sed '$s/x>$/>/'",
    "arithmetic before": "echo $((1<<2)) >/dev/null; printf '<%s>' \"$(printf %s ${{inputs.x}}; printf x)\" | sed '$s/x>$/>/'",
    "a here-string": "cat <<< ${{inputs.x}} | sed 's/^/</' | tr -d '\\n' | sed 's/$/>/'",
}
"""Where a path may stand in a command, as bash reads it."""
NAMES = {
    "plain": "/data/x",
    "blanks": "/data/a  b",
    "single quote": "/data/it's",
    "double quote": '/data/"q"',
    "substitution": "/data/$(touch pwned)",
    "backquotes": "/data/`touch pwned`",
    "variable": "/data/$HOME",
    "command": "/data/; touch pwned;",
    "end of a quote": "/data/'; touch pwned; '",
    "end of double quotes": '/data/"; touch pwned; "',
    "leading dash": "-n",
    "star": "/*",
    "backslash": "/data/a\\b\\",
    "hash": "#x",
    "brace": "/data/a}b{c",
    "tilde": "~",
    "line break": "/data/a\ntouch pwned\n#",
}
FOLDED = ("here-document", "here-string")
"""Contexts whose reader puts lines together."""


@pytest.mark.skipif(
    shutil.which("bash") is None, reason="commands run in bash where there is one; here is none"
)
@pytest.mark.parametrize("command", CONTEXTS.values(), ids=CONTEXTS)
def test_a_path_is_one_word_in_every_context(tmp_path: Path, command: str) -> None:
    """And never a command: whatever its name is, the shell only ever sees it as a value."""
    context = next(name for name, text in CONTEXTS.items() if text == command)
    for kind, value in NAMES.items():
        if "\n" in value and ("sed" in command or "here-document" in context):
            continue  # the readers in these commands take lines; see the test below
        wanted = value.replace("\n", "") if context.endswith(FOLDED) else value
        if context.startswith(("in ansi",)):
            wanted = value
        assert echoed(command, value, "bash", cwd=tmp_path) == f"<{wanted}>", kind
        assert not (tmp_path / "pwned").exists(), kind


@pytest.mark.skipif(
    shutil.which("bash") is None, reason="commands run in bash where there is one; here is none"
)
@pytest.mark.parametrize("command", CONTEXTS.values(), ids=CONTEXTS)
def test_no_path_is_ever_run(tmp_path: Path, command: str) -> None:
    echoed(command, NAMES["line break"], "bash", cwd=tmp_path)
    assert os.listdir(tmp_path) == []


def test_a_basename_of_a_path_with_blanks(tmp_path: Path) -> None:
    assert echoed('printf "<%s>" "$(basename ${{inputs.x}})"', "/data/my file.csv") == "<my file.csv>"


@pytest.mark.parametrize("quoted", ["<<'EOF'", '<<"EOF"', "<<\\EOF"])
def test_in_a_here_document_without_variables_a_path_is_text(tmp_path: Path, quoted: str) -> None:
    command = f"cat {quoted}\n${{{{inputs.x}}}}\nEOF\n"
    for value in ("/a b", "/it's", "/$(touch pwned)", "/\\"):
        assert echoed(command, value, cwd=tmp_path) == f"{value}\n"
    with pytest.raises(BindingError, match="can't be filled in in a here-document whose end is quoted"):
        fill_command(command, lambda _: Filling("/a\nEOF\ntouch pwned", is_path=True))


def test_two_paths_under_one_name_are_two_variables() -> None:
    paths = iter(["/a b", "/c d"])
    filled = fill_command("(cat ${{inputs.x}} ${{inputs.x}})", lambda _: Filling(next(paths), is_path=True))
    assert filled.variables == {"DASKPAR_inputs_x": "/a b", "DASKPAR_inputs_x_2": "/c d"}
    assert filled.text == '(cat "${DASKPAR_inputs_x?}" "${DASKPAR_inputs_x_2?}")'


def test_a_value_of_the_environment_is_in_no_text() -> None:
    """`ps` shows the text of a command to everybody."""
    command = "curl -H 'Key: ${env:KEY}' \"${env:KEY}\" ${{inputs.more}}"
    filled = fill_command(command, lambda _: Filling("-u ${env:USER_KEY}", is_path=False))
    assert filled.variables == {"DASKPAR_ENV_KEY": "${env:KEY}", "DASKPAR_ENV_USER_KEY": "${env:USER_KEY}"}
    assert filled.text == (
        'curl -H \'Key: \'"${DASKPAR_ENV_KEY?}"\'\' "${DASKPAR_ENV_KEY?}" -u "${DASKPAR_ENV_USER_KEY?}"'
    )
