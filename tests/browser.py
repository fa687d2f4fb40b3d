"""A headless Chromium for tests, driven over its debugging port: nothing but the browser itself is needed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import psutil
from tornado.httpclient import AsyncHTTPClient
from tornado.websocket import websocket_connect

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FOUND = next((path for name in NAMES if (path := shutil.which(name))), None)
MISSING = f"no browser here: none of {', '.join(NAMES)} is on the PATH (Debian: apt-get install chromium)"
FLAGS = (
    "--headless=new",
    "--no-sandbox",  # root in a container has none; what is opened is ours
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-extensions",
    "--no-first-run",
    "--hide-scrollbars",
    "--remote-debugging-port=0",
)


class Browser:
    """One page of a browser of its own; `errors` are exceptions of scripts and what the console says is wrong."""

    def __init__(self, home: Path) -> None:
        assert FOUND is not None, MISSING
        self.errors: list[str] = []
        self.requests: list[str] = []
        self._loop = asyncio.new_event_loop()
        self._numbers = 0
        self._process = subprocess.Popen(
            [FOUND, *FLAGS, f"--user-data-dir={home}", "about:blank"],
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        )
        self._loop.run_until_complete(self._connect())
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    async def _connect(self) -> None:
        assert self._process.stderr is not None
        address = next(found[0] for line in self._process.stderr if (found := re.search(r"ws://\S+", line)))
        pages = await AsyncHTTPClient().fetch(f"http://{address.split('/')[2]}/json")
        page = next(page for page in json.loads(pages.body) if page["type"] == "page")
        self._socket = await websocket_connect(page["webSocketDebuggerUrl"], max_message_size=1 << 28)

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """The answer to a call of Chromium's debugging protocol."""
        return self._loop.run_until_complete(asyncio.wait_for(self._call(method, parameters), 60))

    async def _call(self, method: str, parameters: dict[str, Any]) -> dict[str, Any]:
        self._numbers += 1
        number = self._numbers
        await self._socket.write_message(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            message = json.loads(await self._socket.read_message() or "{}")
            if message.get("id") == number:
                assert "error" not in message, message
                return message["result"]
            self._note(message)

    def _note(self, message: dict[str, Any]) -> None:
        told = message.get("params", {})
        match message.get("method"):
            case "Runtime.exceptionThrown":
                self.errors.append(json.dumps(told["exceptionDetails"])[:2000])
            case "Log.entryAdded" if (
                told["entry"]["level"] == "error" and told["entry"]["source"] != "network"
            ):
                self.errors.append(told["entry"]["text"])
            case "Network.requestWillBeSent":
                self.requests.append(told["request"]["url"])

    def open(self, url: str) -> None:
        """Go to a page."""
        self.call("Page.navigate", url=url)

    def js(self, text: str) -> Any:
        """The value of an expression on the page."""
        found = self.call("Runtime.evaluate", expression=text, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def text(self) -> str:
        """What can be read on the page."""
        return str(self.js("document.body.innerText"))

    def until(self, text: str, seconds: float = 60.0) -> float:
        """Wait until an expression is true; how many seconds that took."""
        began = time.monotonic()
        while not self.js(f"!!document.body && ({text})"):
            assert time.monotonic() - began < seconds, f"{text} did not come; the page says: {self.text()}"
            time.sleep(0.02)
        return time.monotonic() - began

    def look(self, *, width: int, dark: bool = False, media: str = "screen") -> None:
        """Choose the width of the window, light or dark, screen or print."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", media=media, features=[scheme])

    def close(self) -> None:
        """End the browser."""
        self._loop.run_until_complete(self._leave())
        family = [psutil.Process(self._process.pid)]
        family += family[0].children(recursive=True)
        for process in family:
            with contextlib.suppress(psutil.Error):
                process.kill()
        self._process.wait()
        psutil.wait_procs(family[1:], timeout=60)
        assert self._process.stderr is not None
        self._process.stderr.close()
        self._loop.close()

    async def _leave(self) -> None:
        self._socket.close()
        await asyncio.sleep(0.05)  # what tornado still has to do
