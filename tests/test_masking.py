"""What looks like a secret is neither written down nor shown, and the job gets it all the same."""

from __future__ import annotations

import json
import os

import pytest
import yaml

import daskpar
from daskpar import masking
from daskpar.masking import hidden, hidden_arguments, hidden_command, hidden_value, is_secret


@pytest.mark.parametrize(
    "name",
    [
        "API_KEY", "api-key", "apikey", "apiKey", "key", "secret", "CLIENT_SECRET", "token", "HF_TOKEN", "dbPassword",
        "password2", "passwd", "credential", "CREDENTIALS", "sas", "storageSas", "connection_string", "ConnectionString",
        "AZURE_STORAGE_CONNECTION_STRING", "signature", "X-Amz-Signature", "AWS_SECRET_ACCESS_KEY", "sig", "--token",
        "jobs.a.environment_variables.API_KEY", "Authorization",
    ],
)  # fmt: skip
def test_names_of_secrets(name):
    assert is_secret(name)


@pytest.mark.parametrize(
    "name",
    ["partition_keys", "tokenizer", "max_tokens", "keyboard", "monkey", "sassy", "compass", "keys", "signal"],
)
def test_names_of_other_things(name):
    assert not is_secret(name)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://me:pa55@host/x", "https://me:***@host/x"),
        ("s3://b/a?X-Amz-Signature=abc&x=1", "s3://b/a?X-Amz-Signature=***&x=1"),
        ("https://a.blob.core.windows.net/c?sv=1&sig=a%2Fb&se=2", "https://a.blob.core.windows.net/c?sv=1&sig=***&se=2"),
        ("DefaultEndpointsProtocol=https;AccountName=a;AccountKey=q==;X=1", "DefaultEndpointsProtocol=https;AccountName=a;AccountKey=***;X=1"),
        ("Server=s;Password=hunter2;Db=d", "Server=s;Password=***;Db=d"),
        ("https://host/x?y=1", "https://host/x?y=1"),
        ("sorted(x, key=len)", "sorted(x, key=len)"),
    ],
)  # fmt: skip
def test_secrets_in_any_text(text, shown):
    assert hidden(text) == shown
    assert hidden(hidden(text)) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("curl --token abc x", "curl --token *** x"),
        ("curl --token=abc x", "curl --token=*** x"),
        ("PGPASSWORD=abc psql; DB_PASSWORD='a b' x", "PGPASSWORD=abc psql; DB_PASSWORD=*** x"),
        ('curl -H "Authorization: Bearer abc"', 'curl -H "Authorization: Bearer ***"'),
        ("curl -H 'x-api-key: abc'", "curl -H 'x-api-key: ***'"),
        ("a --key $KEY --token ${env:T} --sas", "a --key $KEY --token ${env:T} --sas"),
        ("sort --key=2 | a --name b", "sort --key=*** | a --name b"),
    ],
)
def test_secrets_in_a_command(text, shown):
    assert hidden_command(text) == shown


def test_secrets_among_arguments():
    arguments = ["--api-key", "abc", "--token=abc", "--name", "abc", "--sas", "--x", "https://u:p@h"]
    assert hidden_arguments(arguments) == [
        "--api-key", "***", "--token=***", "--name", "abc", "--sas", "--x", "https://u:***@h",
    ]  # fmt: skip
    assert hidden_value("api_key", "abc") == "***"
    assert hidden_value("api_key", "${env:KEY}") == "${env:KEY}"
    assert hidden_value("api_key", "") == ""


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch):
    monkeypatch.setattr(masking, "_known", set())


SECRETS = ["variable-4711", "argument-4711", "literal-4711", "bound-4711", "environment-4711", "typed-4711"]
SCRIPT = """
import json, os, sys
def init():
    print("ready")
def run(mini_batch):
    if os.environ.get("FAIL"):
        raise ValueError("can't log in with " + os.environ["DB_PASSWORD"])
    return [json.dumps([sys.argv[1:], os.environ["DB_PASSWORD"], os.environ["FROM_OUTSIDE"]])]
"""


def secretive(work, **variables):
    """A job with secrets everywhere, which fails."""
    work.files(2)
    step = work.parallel(
        SCRIPT,
        environment_variables={"DB_PASSWORD": "variable-4711", "FROM_OUTSIDE": "${env:OUTSIDE}", **variables},
        retry_settings={"max_retries": 0},
    )
    step["inputs"] |= {
        "token": "literal-4711",
        "other": "${{parent.inputs.secret}}",
        "typed": "${{parent.inputs.sas}}",
    }
    step["task"]["program_arguments"] = (
        "--api-key argument-4711 --first ${{inputs.token}} --second ${{inputs.other}} --third ${{inputs.typed}}"
        " --fourth ${env:OUTSIDE}"
    )
    show = work.command(
        "printf '%s\\n' \"${env:OUTSIDE}\" ${{inputs.token}} $DB_PASSWORD; cat /proc/$$/cmdline | tr '\\0' '\\n'",
        inputs={"token": "${env:OUTSIDE}"},
        environment_variables={"DB_PASSWORD": "variable-4711"},
    )
    top = {"inputs": {"secret": "bound-4711", "sas": "unset"}}
    return {"work": step, "show": show}, top


def written(folder) -> str:
    """All that is in the files below a folder, but what scripts and commands wrote themselves."""
    return "\n".join(
        path.read_bytes().decode(errors="replace")
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and "stdout" not in path.parts
        and path.name != "std_out.txt"
        and "parts" not in path.parts
    )


def found_in(text: str) -> list[str]:
    return [secret for secret in SECRETS if secret in text]


def test_the_job_gets_its_secrets(work, monkeypatch):
    monkeypatch.setenv("OUTSIDE", "environment-4711")
    jobs, top = secretive(work)
    ended = work.run(jobs, top=top, inputs={"sas": "typed-4711"})
    assert ended.status == "completed", ended.reason
    arguments, password, outside = json.loads(work.rows()[0])
    assert arguments == [
        "--api-key", "argument-4711", "--first", "literal-4711", "--second", "bound-4711", "--third", "typed-4711",
        "--fourth", "environment-4711",
    ]  # fmt: skip
    assert (password, outside) == ("variable-4711", "environment-4711")
    out = (ended.logs["show"] / "user/std_out.txt").read_text()
    assert out.splitlines()[:3] == ["environment-4711", "environment-4711", "variable-4711"]
    # What `ps` shows of the command to every user of the machine.
    assert "environment-4711" not in "\n".join(out.splitlines()[3:])
    assert found_in(written(ended.path)) == []


def test_nothing_that_is_written_or_printed_has_them(work, monkeypatch):
    monkeypatch.setenv("OUTSIDE", "environment-4711")
    jobs, top = secretive(work, FAIL="1")
    spec = work.spec(jobs, **top)
    set_it = ("--set", "inputs.sas=typed-4711")
    said = [
        work.cli("validate", spec.name, *set_it),
        work.cli("plan", spec.name, *set_it),
        work.cli("run", spec.name, *set_it, "--run-dir", "run", "--dashboard", "none"),
        work.cli("status", "run"),
        work.cli("logs", "run"),
        work.cli("logs", "run", "--errors"),
    ]
    assert [done.returncode for done in said] == [0, 0, 1, 0, 0, 0]
    assert "can't log in with ***" in said[2].stderr
    assert found_in("".join(done.stdout + done.stderr for done in said)) == []
    # Nor has any file of the run but what the script or the command prints itself.
    assert found_in(written(work.folder / "run")) == []
    assert yaml.safe_load((work.folder / "run/effective-spec.yml").read_text())["inputs"]["secret"] == "***"


def test_a_resume_asks_for_what_was_not_written_down(work, monkeypatch):
    monkeypatch.setenv("OUTSIDE", "environment-4711")
    jobs, top = secretive(work, FAIL="1")
    ended = work.run(jobs, top=top, inputs={"sas": "typed-4711"})
    assert ended.status == "failed"
    again = {"dashboard": None, "display": False}
    with pytest.raises(daskpar.UsageError, match=r"Give them again to go on: --set 'inputs\.sas=\.\.\.'"):
        daskpar.resume(ended.path, **again)
    monkeypatch.delenv("OUTSIDE")
    with pytest.raises(daskpar.UsageError, match=r"takes \$\{env:OUTSIDE\} from the environment"):
        daskpar.resume(ended.path, overrides={"inputs.sas": "typed-4711"}, **again)
    assert "failed" in work.cli("status", "run").stdout  # and not "crashed"
    monkeypatch.setenv("OUTSIDE", "environment-4712")  # another value is no change: tokens are replaced
    assert daskpar.resume(ended.path, overrides={"inputs.sas": "typed-4711"}, **again).status == "failed"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("variable-4711", "variable-4712", "environment_variables.DB_PASSWORD has another secret in it"),
        ("argument-4711", "argument-4712", "program_arguments has another secret in it"),
        ("literal-4711", "literal-4712", "inputs.token has another secret in it"),
        ("bound-4711", "bound-4712", "inputs.other has another secret in it"),
    ],
)
def test_another_secret_is_a_change_that_is_noticed(work, monkeypatch, old, new, said):
    monkeypatch.setenv("OUTSIDE", "environment-4711")
    jobs, top = secretive(work, FAIL="1")
    ended = work.run(jobs, top=top, inputs={"sas": "typed-4711"})
    spec = work.folder / "job.yml"
    spec.write_text(spec.read_text().replace(old, new))
    with pytest.raises(daskpar.RunDirectoryError) as refused:
        daskpar.resume(ended.path, overrides={"inputs.sas": "typed-4711"}, dashboard=None, display=False)
    assert said in str(refused.value)
    assert "scrypt" not in str(refused.value) and "471" not in str(refused.value)


def test_a_variable_that_is_not_set_is_told_before_anything_is_made(work, monkeypatch):
    monkeypatch.delenv("OUTSIDE", raising=False)
    jobs, top = secretive(work)
    spec = work.spec(jobs, **top)
    assert work.cli("validate", spec.name).returncode == 0
    done = work.cli(spec.name, "--run-dir", "run", "--dashboard", "none")
    assert done.returncode == 2
    assert (
        "takes ${env:OUTSIDE} from the environment, where there is no OUTSIDE: `export OUTSIDE=...`"
        in done.stderr
    )
    assert not (work.folder / "run").exists()


def test_a_path_takes_nothing_from_the_environment(work):
    work.files(1)
    step = work.parallel(inputs={"files": {"type": "uri_folder", "path": "./${env:PLACE}"}})
    with pytest.raises(daskpar.SpecError, match=r"\$\{env:NAME\} is not filled in in a path"):
        work.run({"work": step})


def test_a_folder_of_the_environment_is_no_secret(work, monkeypatch):
    monkeypatch.setenv("PLACE", str(work.folder))
    work.files(1)
    ended = work.run({"work": work.parallel(environment_variables={"A": "${env:PLACE}"})})
    assert str(work.folder) in ended.summary
    assert (
        os.environ["PLACE"]
        not in (ended.path / "effective-spec.yml").read_text().partition("environment")[2][:40]
    )
