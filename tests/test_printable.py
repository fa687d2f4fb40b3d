"""Nothing that a spec, a file name, data or a script holds steers the reader's terminal."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daskpar.masking import remember
from daskpar.printable import all_printable, printable

STEERING = {
    "colour": "\x1b[31m",
    "window title": "\x1b]0;owned\x07",
    "bell": "\x07",
    "carriage return": "\r",
    "backspace": "\x08",
    "C1 control": "\x9b31m",
    "right to left": "\u202e",
    "isolate": "\u2066",
    "no text": "\udc80",
}


def is_harmless(text: str) -> bool:
    return not any(
        sign in text for steering in STEERING.values() for sign in steering if not sign.isprintable()
    )


def test_control_characters_of_a_script_do_not_reach_the_terminal() -> None:
    assert printable("ok\n\tred \x1b[31m\x07 ü") == "ok\n\tred \ufffd[31m\ufffd ü"


@pytest.mark.parametrize("steering", STEERING.values(), ids=STEERING)
def test_what_steers_a_terminal_is_replaced(steering: str) -> None:
    assert is_harmless(printable(f"a{steering}b"))
    assert printable(f"a{steering}b")[:: len(steering) + 1] == "ab"


PIECES = ["a", "b", "=", "?sig", "&", "Password=", "***", " ", "\x1b", "\u202e", "://", "hunter2-", "\n"]


@given(st.lists(st.lists(st.sampled_from(PIECES)).map("".join)))
def test_many_at_once_are_as_each_alone(texts: list[str]) -> None:
    remember(["hunter2-hunter2-"])
    assert all_printable(texts) == [printable(text) for text in texts]


def test_text_stays_text() -> None:
    text = "größe 価格 — “quoted” …\n\tindented 🙂 ~!@"
    assert printable(text) == text


ESC = "\x1b]0;owned\x07\x1b[31m"
AS_YAML = r"\x1b]0;owned\x07\x1b[31m"


@pytest.mark.parametrize(
    "change",
    [
        {f'"na{AS_YAML}me"': "1"},
        {"logging_level": f'"{AS_YAML}"'},
        {f'"{AS_YAML}"': "{a: 1}"},
        {"environment_variables": f'{{"{AS_YAML}": 1}}'},
        {"partition_keys": f'"{AS_YAML}"'},
    ],
    ids=["unknown key", "value", "unknown mapping", "variable", "setting"],
)
@pytest.mark.parametrize("verb", ["validate", "plan", "run"])
def test_a_spec_does_not_steer_the_terminal(work, verb, change):
    work.files(1)
    spec = work.spec({"work": work.parallel()})
    added = "".join(f"    {key}: {value}\n" for key, value in change.items())
    spec.write_text(spec.read_text().replace("    type: parallel\n", f"    type: parallel\n{added}", 1))
    assert AS_YAML in spec.read_text()
    done = work.cli(verb, spec.name, *(("--quiet", "--dashboard", "none") if verb == "run" else ()))
    assert is_harmless(done.stdout) and is_harmless(done.stderr)
    assert "owned" in done.stdout + done.stderr


def test_names_of_files_and_messages_of_scripts_do_not_either(work):
    """Through all that is printed while a run goes on, at its end, and by the verbs that tell of it later."""
    (work.folder / "data").mkdir()
    (work.folder / "data" / f"a{ESC}b.txt").touch()
    script = f"import sys\ndef run(mini_batch):\n    raise ValueError({'bad ' + ESC!r})\n"
    work.spec({"work": work.parallel(script)})
    done = work.cli("job.yml", "--dashboard", "none", "--run-dir", "run")
    said = [done, *(work.cli(*verb, "run") for verb in (["status"], ["logs"], ["logs", "--errors"]))]
    assert done.returncode == 1 and "bad" in done.stderr
    for each in said:
        assert is_harmless(each.stdout) and is_harmless(each.stderr)


@pytest.mark.parametrize(
    "argv",
    [
        [ESC],
        ["run", ESC],
        ["status", ESC],
        ["validate", "job.yml", "--" + ESC],
        ["validate", "job.yml", "--set", ESC],
        ["export", ESC, "--partial", ESC],
    ],
    ids=repr,
)
def test_what_was_typed_comes_back_without_its_escapes(work, argv):
    work.spec({"work": work.parallel()})
    done = work.cli(*argv)
    assert done.returncode == 2
    assert is_harmless(done.stdout) and is_harmless(done.stderr)
    assert "owned" in done.stderr
