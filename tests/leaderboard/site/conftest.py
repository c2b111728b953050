"""A headless Chromium that opens built sites from disk, driven over the DevTools protocol."""

from __future__ import annotations

import base64
import importlib.util
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import websocket

from gsbench.leaderboard.board import Reported
from gsbench.leaderboard.build import build_board
from gsbench.leaderboard.site import SiteOptions, write_site

#: A browser that talks to nobody: no updates, no sync, no accounts; WebGL in software.
ARGUMENTS = (
    "--headless",
    "--no-sandbox",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--remote-debugging-port=0",
)


class Browser:
    """One Chromium with one page, and all that the page said or asked for since it was opened."""

    def __init__(self, program: str, profile: Path) -> None:
        self.process = subprocess.Popen(
            [program, *ARGUMENTS, f"--user-data-dir={profile}", "about:blank"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._number = 0
        self.problems: list[str] = []
        self.requests: list[str] = []
        try:
            self._socket = websocket.create_connection(self._address(profile), timeout=60, suppress_origin=True)
            target = self._call("Target.createTarget", url="about:blank")["targetId"]
            self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
            for domain in ("Page", "Runtime", "Log", "Network"):
                self._call(f"{domain}.enable")
        except BaseException:
            self.close()
            raise

    _session: str | None = None

    def _address(self, profile: Path) -> str:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise RuntimeError(f"Chromium ended with exit status {self.process.returncode}")
            try:
                port, path = (profile / "DevToolsActivePort").read_text().split()
            except (OSError, ValueError):
                time.sleep(0.05)
            else:
                return f"ws://127.0.0.1:{port}{path}"
        raise RuntimeError("Chromium did not start within a minute")

    def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        self._socket.send(json.dumps(message))
        while True:
            answer = json.loads(self._socket.recv())
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                result: dict[str, Any] = answer["result"]
                return result
            self._note(answer)

    def _note(self, event: dict[str, Any]) -> None:
        name, values = event.get("method"), event.get("params", {})
        if name == "Network.requestWillBeSent":
            self.requests.append(values["request"]["url"])
        elif name == "Runtime.exceptionThrown":
            details = values["exceptionDetails"]
            self.problems.append(str(details.get("exception", {}).get("description", details["text"])))
        elif name == "Runtime.consoleAPICalled" and values["type"] in ("error", "warning", "assert"):
            self.problems.append(" ".join(str(item.get("value", item.get("description"))) for item in values["args"]))
        elif name == "Log.entryAdded" and values["entry"]["level"] in ("error", "warning"):
            self.problems.append(f"{values['entry']['text']} ({values['entry'].get('url', '')})")

    def open(self, path: Path, *, width: int = 1280, height: int = 900, dark: bool = False, anchor: str = "") -> None:
        """Open a page from disk and wait until its scripts are done."""
        self.problems.clear()
        self.requests.clear()
        self._call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._call("Emulation.setEmulatedMedia", features=[scheme])
        self._call("Page.navigate", url="about:blank")
        self._call("Page.navigate", url=path.as_uri() + anchor)
        self.wait("location.protocol === 'file:' && document.readyState === 'complete'")

    def run(self, expression: str) -> Any:
        """The value of a JavaScript expression (promises are awaited)."""
        found = self._call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in found:
            details = found["exceptionDetails"]
            raise AssertionError(f"{expression}: {details.get('exception', {}).get('description', details['text'])}")
        return found["result"].get("value")

    def wait(self, condition: str, seconds: float = 30.0) -> None:
        """Wait until a JavaScript condition holds."""
        deadline = time.monotonic() + seconds
        while not self.run(f"Boolean({condition})"):
            assert time.monotonic() < deadline, f"after {seconds} s not: {condition}; {self.problems}"
            time.sleep(0.05)

    def key(self, name: str, *kinds: str) -> None:
        """Press a key and let it go, or only one of the two (keyDown, keyUp)."""
        for kind in kinds or ("keyDown", "keyUp"):
            self._call("Input.dispatchKeyEvent", type=kind, key=name, code=name, windowsVirtualKeyCode=_KEYS[name])

    def mouse(self, kind: str, x: float, y: float, *, held: bool = False) -> None:
        """A mouse event at a place of the window: mouseMoved, mousePressed or mouseReleased."""
        button = "left" if held or kind != "mouseMoved" else "none"
        self._call(
            "Input.dispatchMouseEvent",
            type=kind,
            x=x,
            y=y,
            button=button,
            buttons=int(held),
            clickCount=int(kind != "mouseMoved"),
        )

    def box(self, selector: str) -> tuple[float, float, float, float]:
        """Where the first element that fits `selector` comes to rest in the window: x, y, width, height."""
        self.run(f"document.querySelector({selector!r}).scrollIntoView({{block: 'center', behavior: 'instant'}})")
        box: list[float] = []
        for _ in range(100):
            last = box
            box = self.run(
                "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => {"
                f"const b = document.querySelector({selector!r}).getBoundingClientRect();"
                "done([b.x, b.y, b.width, b.height]); })))"
            )
            if box == last:
                return box[0], box[1], box[2], box[3]
        raise AssertionError(f"{selector} does not come to rest: {last}, {box}")

    def hover(self, place: str, condition: str, seconds: float = 30.0) -> tuple[float, float]:
        """Move the mouse to a place of the window (JavaScript that gives [x, y]) until a condition holds.

        The page may still move what is under the mouse while it settles, so the place is asked for before every move.
        """
        deadline = time.monotonic() + seconds
        while True:
            x, y = self.run(place)
            self.mouse("mouseMoved", x - 30, y)
            self.mouse("mouseMoved", x, y)
            for _ in range(10):
                if self.run(f"Boolean({condition})"):
                    return x, y
                time.sleep(0.05)
            assert time.monotonic() < deadline, f"after {seconds} s not: {condition} at {x}, {y}; {self.problems}"

    def screenshot(self, selector: str | None = None, *, whole: bool = False) -> bytes:
        """A PNG of the window, of the first element that fits `selector`, or of the whole page."""
        if selector is not None:
            self.run(f"document.querySelector({selector!r}).scrollIntoView({{block: 'center', behavior: 'instant'}})")
            box = self.run(
                f"(() => {{ const b = document.querySelector({selector!r}).getBoundingClientRect();"
                "return {x: b.x + scrollX, y: b.y + scrollY, width: b.width, height: b.height, scale: 1}; })()"
            )
            found = self._call("Page.captureScreenshot", format="png", clip=box, captureBeyondViewport=False)
        else:
            found = self._call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        return base64.b64decode(found["data"])

    def close(self) -> None:
        """End the browser."""
        socket = getattr(self, "_socket", None)
        if socket is not None:
            socket.close()
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


_KEYS = {"ArrowLeft": 37, "ArrowRight": 39, "Enter": 13}


@pytest.fixture(scope="session")
def start_browser() -> Iterator[Callable[[], Browser]]:
    """Starts browsers with fresh profiles; they end with the session."""
    program = next((p for name in ("chromium", "chromium-browser") if (p := shutil.which(name)) is not None), None)
    if program is None:
        pytest.skip("no Chromium on this machine (Debian: apt-get install chromium)")
    started: list[tuple[Browser, str]] = []

    def start() -> Browser:
        profile = tempfile.mkdtemp(prefix="gsbench-chromium-")
        browser = Browser(program, Path(profile))
        started.append((browser, profile))
        return browser

    yield start
    for browser, profile in started:
        browser.close()
        shutil.rmtree(profile, ignore_errors=True)


@pytest.fixture(scope="session")
def browser(start_browser: Callable[[], Browser]) -> Browser:
    """The browser that tests share."""
    return start_browser()


@pytest.fixture(scope="session")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results folder of a real run: 3dgs and hac on the demo scene, a few steps each."""
    if importlib.util.find_spec("gsbench_3dgs") is None or importlib.util.find_spec("gsbench_hac") is None:
        pytest.skip("needs the plugins gsbench-3dgs and gsbench-hac")
    out = tmp_path_factory.mktemp("real") / "runs"
    command = [sys.executable, "-m", "gsbench", "run", "--methods", "3dgs,hac", "--scenes", "demo"]
    command += ["--iterations", "40", "--metrics", "psnr,ssim", "--out", str(out), "--quiet", "--threads", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return out


@pytest.fixture
def site(results: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Path]:
    """The site of `results`, made when it is first asked for; tests leave it as it is."""

    def get() -> Path:
        out = tmp_path_factory.getbasetemp() / "site of results"
        if not out.exists():
            reported = Reported("3DGS", "", "demo", 27.0, 0.8, 0.2, 700.0, 3_000_000, "A paper", "https://example.org")
            write_site(build_board([results], reported=[reported]), out, options=SiteOptions(threads=1))
        return out

    return get
