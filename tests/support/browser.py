"""A Chromium that is driven by the DevTools protocol: go to a page, press keys, ask what it shows.

https://chromedevtools.github.io/devtools-protocol/
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import tempfile
import time
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx2
from websockets.sync.client import connect
from websockets.sync.connection import Connection

from tools.screenshot import QUIET, find_chromium

LIMIT_S = 60


class Browser:
    """One tab. ``said`` is what the console said, ``asked`` the addresses that were loaded."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._sent = 0
        self._size: dict[str, Any] | None = None
        self.said: list[str] = []
        self.asked: list[str] = []
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> Any:
        """What a method of the protocol answers; what is told meanwhile is noted."""
        self._sent += 1
        self._connection.send(json.dumps({"id": self._sent, "method": method, "params": params}))
        while True:
            told = json.loads(self._connection.recv(LIMIT_S))
            if told.get("id") == self._sent:
                assert "error" not in told, (method, told["error"])
                return told["result"]
            self._note(told)

    def go(self, url: str, *, width: int = 1280, height: int = 900) -> None:
        """Open a page in a window of this size, and wait until it is there."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        if size != self._size:
            # On a page of its own: the next one must not be laid out before it, and move.
            self.call("Page.navigate", url="about:blank")
            self.call("Emulation.setDeviceMetricsOverride", **size)
            self._size = size
            self.until(f"location.href === 'about:blank' && innerWidth === {width}")
        self.call("Page.navigate", url=url)
        self.until(f"document.readyState === 'complete' && location.href === {json.dumps(url)}")

    def picture(self) -> bytes:
        """The page as it is seen, as PNG; kept in the folder that REFOLD_PICTURES names."""
        png = b64decode(self.call("Page.captureScreenshot")["data"])
        if folder := os.environ.get("REFOLD_PICTURES"):
            shown = self.value("location.pathname + location.search + ' ' + innerWidth")
            name = re.sub(r"[^0-9A-Za-z]+", "-", shown)[:100]
            Path(folder, f"{name}-{sha256(shown.encode()).hexdigest()[:8]}.png").write_bytes(png)
        return png

    def value(self, expression: str) -> Any:
        """What an expression of JavaScript comes to on the page."""
        done = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in done, done
        return done["result"].get("value")

    def until(self, expression: str) -> None:
        """Wait until an expression is true; while a page is left it cannot be asked."""
        limit = time.monotonic() + LIMIT_S
        while True:
            with suppress(AssertionError):
                if self.value(expression):
                    return
            assert time.monotonic() < limit, f"never: {expression}"
            time.sleep(0.02)

    def press(self, key: str) -> None:
        """Press a key that makes a character, or one that is named such as ``Enter``."""
        text = {"text": "\r" if key == "Enter" else key} if len(key) == 1 or key == "Enter" else {}
        code = {"windowsVirtualKeyCode": 13} if key == "Enter" else {}
        self.call("Input.dispatchKeyEvent", type="keyDown", key=key, **text, **code)
        self.call("Input.dispatchKeyEvent", type="keyUp", key=key, **code)

    def _note(self, told: dict[str, Any]) -> None:
        params = told.get("params", {})
        match told.get("method"):
            case "Runtime.consoleAPICalled" | "Runtime.exceptionThrown" | "Log.entryAdded":
                self.said.append(json.dumps(params))
            case "Network.requestWillBeSent":
                self.asked.append(params["request"]["url"])


@contextmanager
def browser() -> Iterator[Browser]:
    """A Chromium of its own, with a profile that is thrown away; ended when the block ends."""
    program = find_chromium()
    assert program is not None, "no Chromium: run `make system`"
    # What Chromium still writes while its profile is removed is nobody's business.
    folder = tempfile.TemporaryDirectory(prefix="refold-chromium-", ignore_cleanup_errors=True)
    with folder as profile:
        ends = [f"--user-data-dir={profile}", "--remote-debugging-port=0", "about:blank"]
        silent = subprocess.DEVNULL
        running = subprocess.Popen([program, *QUIET, *ends], stdout=silent, stderr=silent)
        try:
            with connect(_tab(Path(profile), running), max_size=None) as connection:
                yield Browser(connection)
        finally:
            running.terminate()
            running.wait(LIMIT_S)


def _tab(profile: Path, running: subprocess.Popen[bytes]) -> str:
    """The address of the tab that it began with."""
    told, limit = profile / "DevToolsActivePort", time.monotonic() + LIMIT_S
    while not (told.is_file() and len(told.read_text().splitlines()) == 2):
        assert running.poll() is None, "Chromium has ended"
        assert time.monotonic() < limit, "Chromium does not begin"
        time.sleep(0.05)
    port = told.read_text().splitlines()[0]
    tabs = httpx2.get(f"http://127.0.0.1:{port}/json/list", timeout=LIMIT_S).json()
    return next(str(tab["webSocketDebuggerUrl"]) for tab in tabs if tab["type"] == "page")
