"""Nodes on this machine answer the user who started them, and nobody else."""

from __future__ import annotations

import http.cookiejar
import json
import os
import resource
import socket
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import distributed
import psutil
import pytest
from distributed import Client, Security

from daskpar.engine import local_cluster
from daskpar.engine.cluster import Cluster
from daskpar.engine.local_cluster import check_address_space
from daskpar.errors import InfrastructureLost, UsageError

NOBODY = 65534
ROOT_ALONE = pytest.mark.skipif(os.getuid() != 0, reason="only root can act as another user")


def listening() -> list[tuple[str, int]]:
    """Where this process and all below it take connections."""
    me = psutil.Process()
    return [
        (connection.laddr.ip, connection.laddr.port)
        for process in (me, *me.children(recursive=True))
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    ]


ATTACK = """
import json, os, sys, urllib.error, urllib.request
from distributed import Client
asked = json.loads(sys.argv[1])
# What Dask loads at its first use must be there before this process becomes one that may not read it.
with Client(n_workers=1, threads_per_worker=1, processes=False, protocol="tcp", host="127.0.0.1",
            dashboard_address=":0", set_as_default=False) as own:
    own.submit(os.getuid).result()
os.setgroups([])
os.setgid(asked["user"])
os.setuid(asked["user"])

def by_dask(address):
    try:
        client = Client(address, timeout=2, set_as_default=False)
        return "in as " + str(client.submit(os.getuid).result(timeout=5))
    except Exception as error:
        return "kept out: " + type(error).__name__

def page(address):
    try:
        return urllib.request.urlopen(address, timeout=30).status
    except urllib.error.HTTPError as error:
        return error.code

found = {address: by_dask(address) for address in asked["dask"]}
found |= {address: page(address) for address in asked["pages"]}
print(json.dumps([os.getuid(), found]))
"""
"""What another user may try: run code through the ports of a cluster, read its pages."""


def attacked(user: int, **asked: list[str]) -> dict[str, object]:
    """What the user gets: of each Dask address `in as UID` or `kept out`, of each page the HTTP status."""
    # It becomes that user once all is loaded, which that user may not be allowed to read.
    command = [sys.executable, "-c", ATTACK, json.dumps({**asked, "user": user})]
    said = subprocess.run(command, cwd="/", env={}, capture_output=True, timeout=100)
    uid, found = json.loads(said.stdout or pytest.fail(said.stderr.decode()))
    assert uid == user
    return found


@pytest.fixture
def opened(request):
    before = set(listening())
    cluster = Cluster(run_id="r", **request.param)
    cluster.open()
    try:
        yield cluster, set(listening()) - before
    finally:
        cluster.close()


IN_PROCESS = {"dashboard": None, "workers": 2}
WITH_DASHBOARD = {"dashboard": "127.0.0.1:0"}
PROCESSES = {"dashboard": None, "processes": True, "workers": 1}
PROCESSES_DASHBOARD = {"dashboard": ":0", "processes": True, "workers": 1}


@pytest.mark.parametrize("opened", [IN_PROCESS], indirect=True)
def test_nodes_in_this_process_listen_nowhere(opened):
    cluster, ports = opened
    assert ports == set()
    assert cluster.client.submit(sum, [1, 2]).result() == 3
    assert cluster.dashboard_link == ""


@pytest.mark.parametrize("opened", [WITH_DASHBOARD], indirect=True)
def test_a_dashboard_is_one_address_and_no_more(opened):
    cluster, ports = opened
    ((host, port),) = ports
    assert host == "127.0.0.1"
    assert cluster.dashboard_link.startswith(f"http://127.0.0.1:{port}/status?token=")


def test_a_taken_port_gives_way_to_another_without_a_word():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        cluster = Cluster(run_id="r", dashboard=f"127.0.0.1:{port}")
        cluster.open()  # warnings are errors in tests
        try:
            assert f":{port}/" not in cluster.dashboard_link
            assert status_of(cluster.dashboard_link.partition("?")[0]) == 403
        finally:
            cluster.close()


@pytest.mark.parametrize("opened", [PROCESSES, PROCESSES_DASHBOARD], indirect=True)
def test_nodes_in_processes_listen_on_the_loopback_address_alone(opened):
    cluster, ports = opened
    assert ports and {host for host, _ in ports} == {"127.0.0.1"}
    assert cluster.client.scheduler.address.startswith("tls://")
    assert all(address.startswith("tls://") for address in cluster.workers())


def handshake(port: int, context: ssl.SSLContext) -> str:
    """The first answer of a TLS server, or why there is none."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as plain:
        try:
            with context.wrap_socket(plain) as secure:
                return "answered" if secure.recv(1) else "closed"
        except OSError as error:
            return f"refused: {error}"


def stranger(certificate: Security | None = None) -> ssl.SSLContext:
    """How another process would speak to a server whose certificate it does not know."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if certificate is not None:
        context = certificate.get_connection_args("client")["ssl_context"]
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


@pytest.mark.parametrize("opened", [PROCESSES], indirect=True)
def test_nobody_gets_in_without_the_certificate(opened):
    """No port of the cluster, be it the scheduler's, a node's or a nanny's, gives anything to a stranger."""
    _, ports = opened
    assert len(ports) == 3
    other = local_cluster.throwaway_security()
    for _, port in sorted(ports):
        assert handshake(port, stranger()).startswith(("closed", "refused"))
        assert handshake(port, stranger(other)).startswith(("closed", "refused"))

    def enter(scheme: str, port: int) -> None:
        security = other if scheme == "tls" else None
        with pytest.raises(OSError):  # Dask's kind of it differs by the phase that fails
            Client(f"{scheme}://127.0.0.1:{port}", security=security, timeout=2, set_as_default=False)

    doors = [(scheme, port) for _, port in sorted(ports) for scheme in ("tcp", "tls")]
    with ThreadPoolExecutor(len(doors)) as at_once:
        for tried in [at_once.submit(enter, *door) for door in doors]:
            tried.result()


@ROOT_ALONE
@pytest.mark.parametrize("opened", [PROCESSES_DASHBOARD], indirect=True)
def test_another_user_runs_no_code_and_sees_no_dashboard(opened):
    """The attack itself, from a process of its own."""
    cluster, _ = opened
    page = cluster.dashboard_link.partition("?")[0]
    addresses = [cluster.client.scheduler.address, *cluster.workers()]
    doors = [*addresses, *(address.replace("tls://", "tcp://") for address in addresses)]
    found = attacked(NOBODY, dask=doors, pages=[page])
    assert found.pop(page) == 403
    assert found.keys() == set(doors) and all(str(what).startswith("kept out") for what in found.values())


@ROOT_ALONE
def test_the_attack_is_a_real_one():
    """A cluster as Dask starts it lets it in."""
    with distributed.LocalCluster(
        n_workers=1, processes=True, dashboard_address="127.0.0.1:0", memory_limit=0
    ) as unprotected:
        address, page = unprotected.scheduler_address, unprotected.dashboard_link
        assert attacked(NOBODY, dask=[address], pages=[page]) == {address: f"in as {os.getuid()}", page: 200}


def status_of(address: str, opener: urllib.request.OpenerDirector | None = None) -> int:
    opener = opener or urllib.request.build_opener()
    try:
        with opener.open(address, timeout=30) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


@pytest.mark.parametrize("opened", [WITH_DASHBOARD], indirect=True)
def test_no_page_is_shown_without_the_token(opened):
    cluster, _ = opened
    page, _, _ = cluster.dashboard_link.partition("?")
    root = page.removesuffix("/status")
    wrong = "a" * 32
    for path in ("/", "/status", "/sitemap.json", "/json/identity.json", "/metrics", "/info/logs.html"):
        assert status_of(root + path) == 403
        assert status_of(f"{root}{path}?token=") == 403
        assert status_of(f"{root}{path}?token={wrong}&again=1") == 403
        assert status_of(f"{root}{path}?token=%C3%A9") == 403
        asked = urllib.request.Request(root + path, headers={"Cookie": f"daskpar-1=x; token={wrong}"})
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(asked, timeout=30)
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
    asked = urllib.request.Request(f"{root}/status/ws", headers={**upgrade, "Sec-WebSocket-Key": "x"})
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(asked, timeout=30)


@pytest.mark.parametrize("opened", [WITH_DASHBOARD], indirect=True)
def test_the_printed_address_opens_the_door_for_a_browser(opened):
    """It gets a cookie for this dashboard, and is sent to an address without the token."""
    cluster, _ = opened
    jar = http.cookiejar.CookieJar()
    browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(jar))
    with browser.open(cluster.dashboard_link, timeout=60) as answer:
        assert answer.status == 200
        assert answer.url == cluster.dashboard_link.partition("?")[0]
    (cookie,) = jar
    assert cookie.has_nonstandard_attr("HttpOnly")
    assert cookie.get_nonstandard_attr("SameSite") == "Strict"
    assert status_of(cluster.dashboard_link.replace("/status?", "/workers?x=1&"), browser) == 200
    assert status_of(cluster.dashboard_link) == 200  # and one that keeps no cookies sees the page


def test_without_the_package_cryptography_openssl_makes_the_certificate(monkeypatch):
    monkeypatch.setitem(sys.modules, "cryptography", None)
    made = local_cluster.throwaway_security()
    assert made.require_encryption
    assert "PRIVATE KEY" in made.tls_scheduler_key and "CERTIFICATE" not in made.tls_scheduler_key
    assert made.get_listen_args("scheduler")["ssl_context"].verify_mode == ssl.CERT_REQUIRED
    assert made.tls_ca_file != local_cluster.throwaway_security().tls_ca_file


def test_where_nothing_makes_a_certificate_the_message_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "cryptography", None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match="pip install cryptography"):
        local_cluster.throwaway_security()


@pytest.mark.parametrize(
    ("limit", "refused"), [(2 << 30, True), (3 << 30, False), (resource.RLIM_INFINITY, False), (-1, False)]
)
def test_too_few_addresses_are_said_before_a_thread_is_missing(
    monkeypatch: pytest.MonkeyPatch, limit: int, refused: bool
) -> None:
    monkeypatch.setattr("resource.getrlimit", lambda which: (limit, limit))
    if not refused:
        check_address_space()
        return
    with pytest.raises(InfrastructureLost, match=r"2,048 MB of addresses .* needs 3,072 MB"):
        check_address_space()


@pytest.mark.parametrize("opened", [WITH_DASHBOARD], indirect=True)
@pytest.mark.parametrize("path", ["/health", "/metrics", "/json/identity.json", "/info/main/workers.html"])
def test_tools_find_their_pages_at_the_first_look(opened, path):
    """Each is asked for first, in a cluster of its own: that look loads them all."""
    cluster, _ = opened
    page, _, token = cluster.dashboard_link.partition("?")
    if path == "/metrics":
        pytest.importorskip("prometheus_client")
    assert status_of(f"{page.removesuffix('/status')}{path}?{token}") == 200
