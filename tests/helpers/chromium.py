"""A page in a headless Chromium, driven by the DevTools protocol: what it asks for, what it complains about, how it
looks."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome")
START_TIMEOUT_S = 60


def chromium() -> str:
    """The program's path; "" where there is none."""
    return next(filter(None, map(shutil.which, NAMES)), "")


class Tab:
    """One tab; `events` are what the browser told of it so far, by method."""

    def __init__(self, url: str) -> None:
        from websocket import create_connection

        self._socket = create_connection(url, timeout=60, suppress_origin=True)
        self._number = 0
        self.events: dict[str, list[dict[str, Any]]] = {}
        for domain in ("Page", "Network", "Log", "Runtime"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """The answer of a command; what is told before it comes is kept in `events`."""
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._socket.recv())
            if message.get("id") == self._number:
                assert "error" not in message, message
                return dict(message["result"])
            if "method" in message:
                self.events.setdefault(message["method"], []).append(message["params"])

    def open(self, path: Path) -> None:
        self.call("Page.navigate", url=path.as_uri())
        while self.evaluate("document.readyState") != "complete":
            time.sleep(0.05)

    def evaluate(self, expression: str) -> Any:
        told = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in told, told
        return told["result"].get("value")

    def press(self, key: str) -> None:
        """A key, pressed and let go, wherever the focus is."""
        for kind in ("keyDown", "keyUp"):
            text = {"text": key} if kind == "keyDown" and len(key) == 1 else {}
            self.call("Input.dispatchKeyEvent", type=kind, key=key, **text)

    def complaints(self) -> list[str]:
        """What the browser told that a page without a fault does not give it reason to; and requests but for files."""
        told = [method for method in self.events if method.startswith(("Log.", "Runtime.console", "Runtime.exception"))]
        asked = [one["request"]["url"] for one in self.events.get("Network.requestWillBeSent", [])]
        return told + [url for url in asked if not url.startswith(("file:", "blob:file:", "blob:null"))]

    def look(self, width: int, scheme: str) -> bytes:
        """A screenshot (PNG) of the whole page on a screen that wide, in its `light` or `dark` colours."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 600
        )
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        shot = self.call("Page.captureScreenshot", captureBeyondViewport=True)
        return base64.b64decode(shot["data"])


@contextmanager
def opened_tab(folder: Path) -> Iterator[Tab]:
    """An empty tab of a browser of its own, whose profile lies in `folder`."""
    log = folder / "chromium.log"
    flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--remote-debugging-port=0"]
    with log.open("w") as output:
        process = subprocess.Popen(
            [chromium(), *flags, f"--user-data-dir={folder}/profile"], stderr=output, stdout=output
        )
    try:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not (found := re.search(r"ws://([\d.:]+)/", log.read_text())):
            assert time.monotonic() < deadline and process.poll() is None, log.read_text()
            time.sleep(0.1)
        yield Tab(_new_tab(found[1]))
    finally:
        process.terminate()
        process.wait(20)


def _new_tab(address: str) -> str:
    import httpx2

    told = httpx2.put(f"http://{address}/json/new?about:blank", trust_env=False).json()
    return str(told["webSocketDebuggerUrl"])
