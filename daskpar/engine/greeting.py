"""Finds out, within seconds, whether what answers at an address is a Dask scheduler, and says what it is if
not.

Dask's own client waits for the greeting of a scheduler without end: a web server, such as the dashboard,
sends none.
"""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
from concurrent.futures import ThreadPoolExecutor
from time import monotonic, sleep

from daskpar.errors import InfrastructureLost, UsageError

GREETING_SECONDS = 30.0
"""For a scheduler that is connected to say so: a busy one takes a while."""
SILENCE_SECONDS = 2.0
"""Of silence, after which it is tried whether a web server listens there."""
HTTP_SECONDS = 3.0
"""For a web server to answer."""
FILE_SECONDS = 0.05
"""Between two looks at the file of a scheduler that is starting up."""
_TLS = (
    "certificates in Dask's configuration: distributed.comm.tls.ca-file, .client.cert and .client.key "
    "(in the environment: DASK_DISTRIBUTED__COMM__TLS__CA_FILE and so on)"
)


def address_in(file: str, seconds: float) -> str:
    """The address in the .json file of a scheduler, which may be writing it just now, for up to `seconds`.

    Raises UsageError where none comes.
    """
    end = monotonic() + seconds
    while True:
        try:
            with open(file, encoding="utf-8") as opened:
                return str(json.load(opened)["address"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            if monotonic() >= end:
                raise UsageError(
                    f"--scheduler {file}: it holds no address of a scheduler ({error!r}); "
                    f"`dask scheduler --scheduler-file {file}` writes it"
                ) from None
        sleep(FILE_SECONDS)


def check_greeting(address: str, seconds: float, shown: str) -> None:
    """Connect to `address` for up to `seconds`, and see that a Dask scheduler greets; `shown`: as the user
    wrote it.

    Raises UsageError where something else answers or TLS is not set up, InfrastructureLost where nothing
    does.
    """
    if address.startswith("inproc:"):
        return
    arguments = _connection_arguments(address, shown)
    with ThreadPoolExecutor(
        1, "daskpar-greeting"
    ) as threads:  # this thread may have an event loop of its own
        answer = threads.submit(asyncio.run, _greeted(address, seconds, arguments)).result()
    if isinstance(answer, OSError):
        cause = answer.__cause__ or answer.__context__
        because = f" ({cause})" if cause is not None and str(cause) else ""
        other = (
            ""
            if address.startswith("tls:")
            else " If it is protected by TLS, its address begins with tls://."
        )
        raise InfrastructureLost(
            f"no Dask scheduler answers at {shown!r}: {answer}{because}. "
            f"Is it running, and reachable from here?{other}"
        ) from answer
    if isinstance(answer, str):
        raise UsageError(f"--scheduler {shown!r}: what answers at {address} is no Dask scheduler{answer}")


def _connection_arguments(address: str, shown: str) -> dict[str, object]:
    """What Dask's configuration says of how to connect (TLS)."""
    from distributed import Security

    try:
        found: dict[str, object] = Security().get_connection_args("client")
    except (OSError, ssl.SSLError, ValueError) as error:
        raise UsageError(
            f"--scheduler {shown!r}: the TLS certificates of Dask's configuration can't be used: {error}"
        ) from error
    if address.startswith("tls:") and found.get("ssl_context") is None:
        raise UsageError(f"--scheduler {shown!r} needs {_TLS}")
    if found.get("require_encryption") and not address.startswith(("tls:", "wss:")):
        raise UsageError(
            f"--scheduler {shown!r} is not encrypted, and Dask's configuration asks for that "
            "(distributed.comm.require-encryption): give an address that begins with tls://"
        )
    return found


async def _greeted(address: str, seconds: float, arguments: dict[str, object]) -> str | OSError | None:
    """None where a scheduler greets; the error where nothing does; else a text on what answers, to end a
    sentence.
    """
    from distributed import comm as dask_comm

    greeting = asyncio.ensure_future(dask_comm.core.connect(address, timeout=seconds, **arguments))
    end = monotonic() + seconds + GREETING_SECONDS
    asked = False
    try:
        while True:
            await asyncio.wait({greeting}, timeout=SILENCE_SECONDS)
            if greeting.done():
                comm = greeting.result()
                await comm.close()
                return None
            if not asked:
                asked = True
                if await asyncio.get_running_loop().run_in_executor(None, _is_web_server, address):
                    return (
                        ": it is a web server, as the Dask dashboard is. Give the address of the "
                        "scheduler itself, which `dask scheduler` prints when it starts; its port is 8786 "
                        "unless another was chosen"
                    )
            if monotonic() > end:
                return f": it says nothing within {GREETING_SECONDS:g} s"
    except (OSError, TimeoutError) as error:
        return error if isinstance(error, OSError) else OSError(str(error))
    except Exception as error:  # what Dask makes of bytes that are no greeting
        return f": its answer can't be read ({type(error).__name__}: {error})"
    finally:
        greeting.cancel()


def _is_web_server(address: str) -> bool:
    """Whether what listens at `address` answers a request of HTTP."""
    from distributed import comm

    try:
        where = comm.addressing.get_address_host_port(address)
        with socket.create_connection(where, timeout=HTTP_SECONDS) as plain:
            opened = plain
            if address.startswith(("tls:", "wss:")):
                context = ssl.create_default_context()
                context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
                opened = context.wrap_socket(plain, server_hostname=where[0])
            with opened:
                opened.settimeout(HTTP_SECONDS)
                opened.sendall(f"GET / HTTP/1.0\r\nHost: {where[0]}\r\n\r\n".encode())
                return opened.recv(5) == b"HTTP/"
    except (OSError, ValueError):
        return False
