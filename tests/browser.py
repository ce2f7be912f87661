"""Drive Chromium from a test, over its DevTools protocol: no driver, no download.

The methods that :meth:`Page.send` takes: https://chromedevtools.github.io/devtools-protocol/
"""

import base64
import importlib.util
import json
import shutil
import subprocess
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import websocket

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)

needs_chromium = pytest.mark.skipif(
    not CHROMIUM, reason="no Chromium here (Debian, Ubuntu: apt install chromium)"
)

_AXE = importlib.util.find_spec("axe_core_python")
#: The source of axe-core, which looks for what hinders people on a page; "" where it is missing.
AXE = Path(_AXE.origin).with_name("axe.min.js").read_text(encoding="utf-8") if _AXE else ""

needs_axe = pytest.mark.skipif(
    not AXE, reason="axe-core is not installed (pip install axe-core-python)"
)


class Browser:
    """A headless Chromium with a profile of its own; use it in a ``with`` statement.

    Args:
        folder: Where its profile lies.
    """

    def __init__(self, folder: Path):
        self._pages: list[Page] = []
        port = folder / "DevToolsActivePort"
        self._process = subprocess.Popen(
            [
                *(CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu"),
                *("--disable-dev-shm-usage", "--no-first-run", "--remote-debugging-port=0"),
                *(f"--user-data-dir={folder}", "--window-size=1400,1000"),
                # Nothing from the internet, so that no page waits for it.
                "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
                "about:blank",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        end = time.monotonic() + 60
        while not (port.exists() and "\n" in port.read_text()):
            if self._process.poll() is not None or time.monotonic() > end:
                self.close()
                raise RuntimeError("Chromium does not start")
            time.sleep(0.1)
        self._address = f"http://127.0.0.1:{port.read_text().split()[0]}"

    def __enter__(self) -> "Browser":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the browser."""
        for page in self._pages:
            page.close()
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def open(self, url: str) -> "Page":
        """Open a page in a new tab."""
        request = urllib.request.Request(f"{self._address}/json/new?about:blank", method="PUT")
        with urllib.request.urlopen(request, timeout=30) as answer:
            place = json.load(answer)["webSocketDebuggerUrl"]
        page = Page(place)
        self._pages.append(page)
        page.send("Page.enable")
        page.send("Runtime.enable")
        page.send("Log.enable")
        page.go(url)
        return page


def _problem(event: dict) -> str | None:
    """Return what an event of the protocol says of a problem, None if it is of none."""
    told = event.get("params", {})
    match event.get("method"):
        case "Runtime.exceptionThrown":
            details = told["exceptionDetails"]
            return details.get("exception", {}).get("description", details["text"])
        case "Runtime.consoleAPICalled" if told["type"] in ("error", "assert"):
            return " ".join(str(it.get("value", it.get("description"))) for it in told["args"])
        case "Log.entryAdded" if told["entry"]["level"] == "error":
            text = told["entry"]["text"]
            # The browser has no way to the internet: the badges of a lesson stay away.
            if "ERR_NAME_NOT_RESOLVED" not in text:
                return f"{text} {told['entry'].get('url', '')}".rstrip()
    return None


class Page:
    """One tab.

    Attributes:
        problems: Exceptions of the page's scripts that nobody caught, and the errors that stand in
            its console, the browser's own among them.
    """

    def __init__(self, place: str):
        # Chromium refuses a client that names an origin, as pages of the web do.
        self._socket = websocket.create_connection(place, timeout=120, suppress_origin=True)
        self._last = 0
        self.problems: list[str] = []

    def close(self) -> None:
        """Let go of the tab."""
        self._socket.close()

    def send(self, method: str, **params: Any) -> dict:
        """Call a method of the protocol and return its result."""
        self._last += 1
        self._socket.send(json.dumps({"id": self._last, "method": method, "params": params}))
        while True:
            answer = json.loads(self._socket.recv())
            if (told := _problem(answer)) is not None:
                self.problems.append(told)
            if answer.get("id") == self._last:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                return answer["result"]

    def go(self, url: str) -> None:
        """Load an address and wait until it is there."""
        self.send("Page.navigate", url=url)
        self.wait("location.href != 'about:blank' && document.readyState == 'complete'")

    def run(self, script: str) -> Any:
        """Evaluate an expression in the page (a promise is awaited) and return its plain value."""
        answer = self.send(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        if "exceptionDetails" in answer:
            details = answer["exceptionDetails"]
            raise RuntimeError(details.get("exception", {}).get("description", details["text"]))
        return answer["result"].get("value")

    def wait(self, script: str, seconds: float = 60) -> Any:
        """Wait until an expression is true (look four times a second) and return its value."""
        end = time.monotonic() + seconds
        while True:
            value = self.run(script)
            if value:
                return value
            if time.monotonic() > end:
                raise TimeoutError(f"not true within {seconds:g} s: {script}")
            time.sleep(0.25)

    def click(self, script: str) -> None:
        """Press the mouse button in the middle of the element that an expression gives."""
        x, y = self.run(
            f"(() => {{ const it = {script}; it.scrollIntoView({{block: 'center'}});"
            "const box = it.getBoundingClientRect();"
            "return [box.x + box.width / 2, box.y + box.height / 2]; })()"
        )
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            button = {} if kind == "mouseMoved" else {"button": "left", "clickCount": 1}
            self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, **button)

    def press(self, key: str, modifiers: int = 0, code: int = 0) -> None:
        """Press and release a key.

        Args:
            key: Its name, as in ``KeyboardEvent.key``.
            modifiers: 1 Alt, 2 Ctrl, 4 Meta, 8 Shift, added up.
            code: The key's number, as in ``KeyboardEvent.keyCode``.
        """
        told = {"key": key, "modifiers": modifiers, "windowsVirtualKeyCode": code}
        self.send("Input.dispatchKeyEvent", type="rawKeyDown", **told)
        self.send("Input.dispatchKeyEvent", type="keyUp", **told)

    def write(self, text: str) -> None:
        """Type text into what has the focus."""
        self.send("Input.insertText", text=text)

    def picture(self, path: Path) -> None:
        """Save what the window shows as a PNG file."""
        path.write_bytes(base64.b64decode(self.send("Page.captureScreenshot")["data"]))
