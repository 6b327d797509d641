"""A real Chromium without a window, spoken to through two pipes (the DevTools protocol): keys, script, pictures."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

PROGRAM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), ""
)
_PATIENCE = 60.0  # seconds
_CODES = {" ": 32, "Tab": 9, "Home": 36, "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40,
          "PageUp": 33, "PageDown": 34, "Escape": 27, "Enter": 13}  # fmt: skip
_SHIFT = 8


class Chromium:
    """One browser with one page. ``requests`` are the addresses that it asked for, ``said`` what its console says."""

    def __init__(self, profile: Path) -> None:
        (their_in, self._out), (self._in, their_out) = os.pipe(), os.pipe()
        theirs = [fcntl.fcntl(end, fcntl.F_DUPFD, 64) for end in (their_in, their_out)]
        os.close(their_in), os.close(their_out)

        def hand_over() -> None:
            os.dup2(theirs[0], 3), os.dup2(theirs[1], 4)

        flags = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--mute-audio",
                 "--no-first-run", "--disable-extensions", "--disable-background-networking", "--disable-sync",
                 "--window-size=1400,1000", f"--user-data-dir={profile}", "--remote-debugging-pipe")  # fmt: skip
        self._process = subprocess.Popen(
            [PROGRAM, *flags, "about:blank"], pass_fds=(3, 4), preexec_fn=hand_over,  # noqa: PLW1509
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        for end in theirs:
            os.close(end)
        self._rest, self._number, self._session = b"", 0, None
        self.requests: list[str] = []
        self.said: list[str] = []
        targets = self.do("Target.getTargets")["targetInfos"]
        page = next(t for t in targets if t["type"] == "page")
        self._session = self.do("Target.attachToTarget", targetId=page["targetId"], flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.do(f"{domain}.enable")

    def do(self, method: str, **params: Any) -> dict[str, Any]:
        """Send a command and give its result."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while (answer := self._next()).get("id") != self._number:
            self._note(answer)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']['message']}")
        return answer["result"]

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            got = os.read(self._in, 1 << 16)
            if not got:
                raise RuntimeError("Chromium is gone")
            self._rest += got
        message, _, self._rest = self._rest.partition(b"\0")
        return json.loads(message)

    def _note(self, message: dict[str, Any]) -> None:
        params = message.get("params", {})
        match message.get("method"):
            case "Network.requestWillBeSent":
                self.requests.append(params["request"]["url"])
            case "Log.entryAdded":
                self.said.append(params["entry"]["text"])
            case "Runtime.consoleAPICalled":
                self.said.append(str([a.get("value") for a in params["args"]]))
            case "Runtime.exceptionThrown":
                self.said.append(str(params["exceptionDetails"]))

    def open(self, path: Path, *, scheme: str = "light") -> None:
        """Open a file, in light or dark colours, and wait until it is there."""
        self.do("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.do("Page.navigate", url=path.as_uri())
        self.until("document.readyState === 'complete'")

    def value(self, script: str) -> Any:
        """What an expression in the page gives; promises are waited for."""
        result = self.do("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in result:
            raise RuntimeError(str(result["exceptionDetails"]))
        return result["result"].get("value")

    def until(self, script: str) -> None:
        """Wait until an expression is true."""
        end = time.monotonic() + _PATIENCE
        while not self.value(script):
            if time.monotonic() > end:
                raise TimeoutError(f"{script} never came true; the console says {self.said}")
            time.sleep(0.02)

    def press(self, key: str, *, shift: bool = False) -> None:
        """Press a key and let it go."""
        text = {"text": key} if len(key) == 1 else {}
        about = {"key": key, "windowsVirtualKeyCode": _CODES.get(key, ord(key.upper()[0])), "modifiers": _SHIFT * shift}
        self.do("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", **about, **text)
        self.do("Input.dispatchKeyEvent", type="keyUp", **about)

    def picture(self) -> bytes:
        """What is to be seen, as PNG."""
        return base64.b64decode(self.do("Page.captureScreenshot", format="png")["data"])

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()
        os.close(self._in), os.close(self._out)
