"""What answers at an address, if not a Dask scheduler, is told within seconds."""

from __future__ import annotations

import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import dask
import pytest
from distributed import LocalCluster

from daskpar.engine import greeting
from daskpar.engine.greeting import address_in, check_greeting
from daskpar.errors import InfrastructureLost, UsageError


class Quiet(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_error(404)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(autouse=True)
def hasty(monkeypatch):
    monkeypatch.setattr(greeting, "SILENCE_SECONDS", 0.2)
    monkeypatch.setattr(greeting, "GREETING_SECONDS", 0.5)


@pytest.fixture
def port():
    """A port at which a thread accepts connections; each gets `said`."""
    listening = socket.create_server(("127.0.0.1", 0))
    kept = []

    def serve() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            connection.sendall(listening_says[0])
            kept.append(connection)

    listening_says = [b""]
    threading.Thread(target=serve, daemon=True).start()
    yield listening.getsockname()[1], listening_says
    listening.shutdown(socket.SHUT_RDWR)
    listening.close()
    for connection in kept:
        connection.close()


def test_a_web_server_such_as_the_dashboard():
    with ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with pytest.raises(UsageError, match="it is a web server, as the Dask dashboard is"):
            check_greeting(f"tcp://127.0.0.1:{server.server_port}", 1, "there")
        server.shutdown()


@pytest.mark.parametrize("says", [b"", b"SSH-2.0-OpenSSH_9.2\r\n", b"\0" * 8])
def test_what_says_nothing_or_something_else(port, says):
    number, said = port
    said[0] = says
    with pytest.raises(UsageError, match=r"'there': what answers at tcp://.* is no Dask scheduler"):
        check_greeting(f"tcp://127.0.0.1:{number}", 1, "there")


def test_nothing_answers():
    with socket.create_server(("127.0.0.1", 0)) as free:
        number = free.getsockname()[1]
    with pytest.raises(
        InfrastructureLost, match=r"no Dask scheduler answers at 'there'.*reachable from here"
    ):
        check_greeting(f"tcp://127.0.0.1:{number}", 0.3, "there")


def test_a_scheduler_greets():
    with LocalCluster(
        n_workers=0, processes=False, host="127.0.0.1", protocol="tcp", dashboard_address=":0"
    ) as made:
        check_greeting(made.scheduler_address, 5, "there")


def test_tls_without_certificates_is_told():
    with pytest.raises(UsageError, match=r"needs certificates.*distributed\.comm\.tls"):
        check_greeting("tls://127.0.0.1:1", 1, "there")


def test_certificates_that_can_not_be_read_are_told(tmp_path):
    settings = {
        "distributed.comm.tls.ca-file": str(tmp_path / "none.pem"),
        "distributed.comm.tls.client.cert": str(tmp_path / "none.pem"),
    }
    with dask.config.set(settings), pytest.raises(UsageError, match="certificates of Dask's configuration"):
        check_greeting("tls://127.0.0.1:1", 1, "there")


def test_an_address_without_encryption_where_that_is_asked_for():
    with (
        dask.config.set({"distributed.comm.require-encryption": True}),
        pytest.raises(UsageError, match="is not encrypted"),
    ):
        check_greeting("tcp://127.0.0.1:1", 1, "there")


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"address"', "null"])
def test_a_file_without_an_address_is_told(tmp_path, text):
    file = tmp_path / "scheduler.json"
    file.write_text(text)
    with pytest.raises(UsageError, match="holds no address"):
        address_in(str(file), 0)


def test_the_address_in_a_file(tmp_path):
    file = tmp_path / "scheduler.json"
    file.write_text(json.dumps({"address": "tcp://x:1"}))
    assert address_in(str(file), 0) == "tcp://x:1"
