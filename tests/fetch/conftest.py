"""An HTTP server on this machine that misbehaves in every way a download has to survive."""

from __future__ import annotations

import contextlib
import hashlib
import io
import re
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from gsbench.fetch.download import Patience


@dataclass
class Served:
    """A file, and how the server behaves about it.

    `faults` are taken one per request, in order; when none is left, the server behaves. A fault is a dict of: status
    (with headers), break_after (bytes of the body), stall_after (bytes), and lie (added to the stated length).
    """

    content: bytes
    ranges: bool = True
    etag: str = '"one"'
    modified: str = ""
    length: bool = True
    chunked: bool = False
    lie: int = 0
    redirect: str = ""
    if_range: bool = True
    headers: dict[str, str] = field(default_factory=dict)
    faults: list[dict[str, Any]] = field(default_factory=list)


class Server:
    """Serves `files` by path and keeps a list of what was asked: (path, Range, bytes sent)."""

    def __init__(self) -> None:
        self.files: dict[str, Served] = {}
        self.asked: list[tuple[str, str | None]] = []
        self.sent: dict[str, int] = {}
        self.stalled = threading.Event()
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, format: str, *args: Any) -> None:
                pass

            def do_GET(self) -> None:
                self.close_connection = True
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    server.answer(self)

        self.httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.httpd.daemon_threads = True
        self.thread = threading.Thread(target=self.httpd.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self.thread.start()

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.httpd.server_address[1]}/{path}"

    def serve(self, path: str, content: bytes, **behavior: Any) -> str:
        self.files[path] = Served(content, **behavior)
        return self.url(path)

    def ranges_asked(self, path: str) -> list[str | None]:
        return [header for name, header in self.asked if name == path]

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        path = handler.path.lstrip("/")
        asked = handler.headers.get("Range")
        self.asked.append((path, asked))
        served = self.files.get(path)
        if served is None:
            handler.send_error(404)
            return
        fault = served.faults.pop(0) if served.faults else {}
        if "status" in fault:
            handler.send_response(fault["status"])
            for name, value in fault.get("headers", {}).items():
                handler.send_header(name, value)
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return
        if served.redirect:
            handler.send_response(302)
            handler.send_header("Location", served.redirect)
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return
        self._send(handler, served, fault, asked)

    def _send(self, handler: BaseHTTPRequestHandler, served: Served, fault: dict[str, Any], asked: str | None) -> None:
        content = served.content
        part = self._part(handler, served, asked)
        if part == "none":
            handler.send_response(416)
            handler.send_header("Content-Range", f"bytes */{len(content)}")
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return
        handler.send_response(200 if part is None else 206)
        body = content
        if isinstance(part, tuple):
            body = content[part[0] : part[1]]
            stated = fault.get("content_range", f"bytes {part[0]}-{part[1] - 1}/{len(content)}")
            handler.send_header("Content-Range", stated)
        for name, value in (("ETag", served.etag), ("Last-Modified", served.modified), *served.headers.items()):
            if value:
                handler.send_header(name, value)
        if served.chunked:
            handler.send_header("Transfer-Encoding", "chunked")
        elif served.length:
            handler.send_header("Content-Length", str(len(body) + fault.get("lie", served.lie)))
        handler.end_headers()
        cut = fault.get("break_after", fault.get("stall_after", len(body)))
        self.sent[handler.path.lstrip("/")] = self.sent.get(handler.path.lstrip("/"), 0) + min(cut, len(body))
        self._write(handler, body[:cut], served.chunked)
        if "stall_after" in fault:
            handler.wfile.flush()
            self.stalled.wait(10)
        elif served.chunked and "break_after" not in fault:
            handler.wfile.write(b"0\r\n\r\n")

    @staticmethod
    def _write(handler: BaseHTTPRequestHandler, body: bytes, chunked: bool) -> None:
        if not chunked:
            handler.wfile.write(body)
            return
        for start in range(0, len(body), 1000):
            piece = body[start : start + 1000]
            handler.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")

    @staticmethod
    def _part(handler: BaseHTTPRequestHandler, served: Served, asked: str | None) -> Any:
        if asked is None or not served.ranges:
            return None
        condition = handler.headers.get("If-Range")
        if served.if_range and condition is not None and condition not in (served.etag, served.modified):
            return None
        match = re.fullmatch(r"bytes=(\d+)-(\d*)", asked)
        assert match is not None
        start = int(match[1])
        end = min(int(match[2]) + 1 if match[2] else len(served.content), len(served.content))
        return "none" if start >= len(served.content) else (start, end)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    running = Server()
    yield running
    running.stalled.set()
    running.httpd.shutdown()
    running.httpd.server_close()
    running.thread.join()


@pytest.fixture
def slept() -> list[float]:
    """How long downloads would have waited."""
    return []


@pytest.fixture
def patience(slept: list[float]) -> Patience:
    """Four attempts, half a second of silence, and no waiting."""
    return Patience(attempts=4, timeout=0.5, sleep=slept.append)


class Heard:
    """What a download says of itself."""

    def __init__(self) -> None:
        self.stages: list[str] = []
        self.notes: list[str] = []
        self.steps: list[tuple[int, int | None]] = []

    def stage(self, name: str) -> None:
        self.stages.append(name)

    def step(self, done: int, total: int | None) -> None:
        self.steps.append((done, total))

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache and an empty data folder; returns the data folder."""
    monkeypatch.setenv("GSBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("GSBENCH_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


def noise(size: int, seed: int = 0) -> bytes:
    """Bytes that do not compress and are the same every time."""
    blocks = (hashlib.sha256(f"{seed} {index}".encode()).digest() for index in range(size // 32 + 1))
    return b"".join(blocks)[:size]


def scene_files(seed: int) -> dict[str, bytes]:
    """The files of a small scene."""
    return {
        "images/a.jpg": noise(20_000, seed),
        "images/b.jpg": noise(30_000, seed + 1),
        "images_4/a.jpg": noise(2_000, seed + 2),
        "images_4/b.jpg": noise(3_000, seed + 3),
        "sparse/0/points3D.bin": b"points" * 4_000,
        "poses_bounds.npy": b"poses",
    }


@pytest.fixture
def scenes() -> dict[str, dict[str, bytes]]:
    """The files of two scenes."""
    return {"garden": scene_files(10), "room": scene_files(20)}


def make_zip(members: dict[str, bytes]) -> bytes:
    """A ZIP archive, deflated, with entries for folders as most archives have."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for folder in sorted({name.rpartition("/")[0] for name in members} - {""}):
            archive.writestr(f"{folder}/", b"")
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


@pytest.fixture
def zipped() -> Callable[[dict[str, bytes]], bytes]:
    return make_zip


@pytest.fixture
def archive(scenes: dict[str, dict[str, bytes]]) -> bytes:
    """Both scenes in one archive."""
    return make_zip({f"{scene}/{name}": content for scene, files in scenes.items() for name, content in files.items()})


def tree(folder: Path) -> dict[str, bytes]:
    """The files below a folder, by relative name."""
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture
def contents() -> Callable[[Path], dict[str, bytes]]:
    return tree


@pytest.fixture
def random_bytes() -> Callable[..., bytes]:
    return noise


@pytest.fixture
def soon() -> Callable[[Callable[[], bool]], None]:
    """Waits until something is true, for two seconds at most."""

    def wait(condition: Callable[[], bool]) -> None:
        end = time.monotonic() + 2
        while not condition():
            assert time.monotonic() < end
            time.sleep(0.01)

    return wait
