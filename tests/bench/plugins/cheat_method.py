"""A method that keeps its picture everywhere but in the artifact. Installed by tests; never imported from here.

`hide` puts a secret into many places; `CHANNELS` are the ways of getting at it again, each a function of the paths
(which the artifact may hold: they are no secret) that returns the secret or fails.
"""

import ctypes
import dataclasses
import hashlib
import json
import mmap
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import threading
from multiprocessing import shared_memory
from pathlib import Path

import numpy as np
import torch

from gsbench.errors import ArtifactError
from gsbench.methods import Method, Model

REMEMBERED = {}


class Picture(Model):
    def __init__(self, value):
        self.value = value

    def render(self, camera, background):
        return torch.full((camera.height, camera.width, 3), self.value)

    def state(self):
        return {"value": self.value}

    @classmethod
    def from_state(cls, state, config):
        return cls(state["value"])


def hide(secret, folder):
    """Put the secret everywhere; returns what a decoder needs to know to look there, and what must be kept alive."""
    package = Path(__file__).parent
    data = secret.encode()
    where = {}

    def put(name, path):
        path.write_bytes(data)
        where[name] = str(path)

    put("side", folder / "side.bin")
    put("home", Path.home() / ".side")
    put("package", package / "side.bin")
    put("neighbor", package.parent / "neighbor" / "side.bin")
    put("root", package.parent / "side.bin")
    label = hashlib.sha256(data).hexdigest()[:16]
    put("shm_file", Path("/dev/shm") / f"gsbench-{label}")
    (package / "memo.py").write_text(f"SECRET = {secret!r}\n")
    (package / "__pycache__").mkdir(exist_ok=True)
    put("cache", package / "__pycache__" / "side.cpython-311.pyc")
    (package.parent / f"{secret}.dist-info").mkdir()
    where["listing"] = str(package.parent)
    where["tensors"] = str(folder / "side.safetensors")
    from safetensors.torch import save_file

    save_file({"secret": torch.tensor(list(data), dtype=torch.uint8)}, where["tensors"])
    where["database"] = str(folder / "side.sqlite")
    with sqlite3.connect(where["database"]) as database:
        database.execute("create table t (s text)")
        database.execute("insert into t values (?)", (secret,))
    database.close()
    os.environ["CHEAT_SECRET"] = secret
    os.environ["OMP_PLACES"] = secret
    REMEMBERED["secret"] = secret
    alive = [shared_memory.SharedMemory(create=True, size=len(data), name=f"gsbench{label}")]
    alive[0].buf[: len(data)] = data
    where["shared_memory"] = alive[0].name
    where["length"] = len(data)

    def serve(family, address):
        server = socket.socket(family)
        server.bind(address)
        server.listen(16)
        alive.append(server)

        def answer():
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    connection.sendall(data)

        threading.Thread(target=answer, daemon=True).start()
        return server.getsockname()

    where["tcp"] = serve(socket.AF_INET, ("127.0.0.1", 0))
    where["unix"] = serve(socket.AF_UNIX, str(folder / "socket"))
    where["abstract"] = f"gsbench-{label}"
    serve(socket.AF_UNIX, "\0" + where["abstract"])
    reading, writing = os.pipe()
    os.write(writing, data * 50)
    os.set_inheritable(reading, True)
    alive.append((reading, writing))
    where["pipe"] = reading
    alive.append(subprocess.Popen([secret, "300"], executable=shutil.which("sleep")))
    where["process"] = alive[-1].pid
    return where, alive


def ask(family, address, length):
    with socket.socket(family) as client:
        client.settimeout(3)
        client.connect(address)
        return client.recv(length).decode()


def read(path):
    return Path(path).read_text()


def below_root(path):
    """The same file through the process list: /proc/<pid>/root is the file system of that process."""
    for process in ("self", "1", str(os.getppid())):
        try:
            return read(f"/proc/{process}/root{path}")
        except OSError:
            continue
    raise OSError("none of them")


def through_folder(path):
    folder = os.open(Path(path).parent, os.O_RDONLY)
    return os.read(os.open(Path(path).name, os.O_RDONLY, dir_fd=folder), 100).decode()


def told_by_a_name(folder):
    return next(path.stem for path in Path(folder).iterdir() if len(path.stem) == 64)


def through_link(path, make):
    link = Path("link")
    link.unlink(missing_ok=True)
    make(path, link)
    return link.read_text()


def native_libc(path, length):
    libc = ctypes.CDLL(None)
    buffer = ctypes.create_string_buffer(length)
    libc.read(libc.open(path.encode(), 0), buffer, length)
    return buffer.value.decode()


def pythonapi(path):
    ctypes.pythonapi._Py_fopen_obj.restype = ctypes.c_void_p
    ctypes.pythonapi._Py_fopen_obj(ctypes.py_object(path), b"r")
    return native_libc(path, 100)


def native_tensor(where, name):
    return torch.from_file(where[name], size=where["length"], dtype=torch.uint8).numpy().tobytes().decode()


def safetensors_native(where):
    from safetensors import safe_open

    with safe_open(where["tensors"], "pt") as file:
        return file.get_tensor("secret").numpy().tobytes().decode()


def module_of_memo():
    from cheat import memo

    return memo.SECRET


def shared(where):
    block = shared_memory.SharedMemory(name=where["shared_memory"])
    try:
        return bytes(block.buf[: where["length"]]).decode()
    finally:
        block.close()


def from_database(where):
    with sqlite3.connect(where["database"]) as database:
        return database.execute("select s from t").fetchone()[0]


def mapped(path):
    with Path(path).open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return content[:].decode()


def fresh_subprocess(path):
    """A second copy of the module that starts programs, without what was done to the first."""
    for name in ("_posixsubprocess", "subprocess"):
        sys.modules.pop(name, None)
    import subprocess as fresh

    return fresh.run(["cat", path], capture_output=True, check=True).stdout.decode()


def spawned(path):
    output = (os.POSIX_SPAWN_OPEN, 1, "spawned", os.O_WRONLY | os.O_CREAT, 0o600)
    os.waitpid(os.posix_spawn("/bin/cat", ["cat", path], {}, file_actions=[output]), 0)
    return Path("spawned").read_text()


def memory_file(path):
    return np.memmap(path, dtype="uint8", mode="r").tobytes().decode()


CHANNELS = {
    "file": lambda w: read(w["side"]),
    "home": lambda w: read(w["home"]),
    "file in the package": lambda w: read(w["package"]),
    "module in the package": lambda w: module_of_memo(),
    "bytecode in the package": lambda w: read(w["cache"]),
    "file in another package": lambda w: read(w["neighbor"]),
    "file among the packages": lambda w: read(w["root"]),
    "name among the packages": lambda w: told_by_a_name(w["listing"]),
    "file in /dev/shm": lambda w: read(w["shm_file"]),
    "os.open": lambda w: os.read(os.open(w["side"], os.O_RDONLY), 100).decode(),
    "folder descriptor": lambda w: through_folder(w["side"]),
    "symbolic link": lambda w: through_link(w["side"], os.symlink),
    "hard link": lambda w: through_link(w["side"], os.link),
    "copy": lambda w: through_link(w["side"], shutil.copy),
    "process list": lambda w: below_root(w["side"]),
    "numpy": lambda w: np.fromfile(w["side"], dtype="uint8").tobytes().decode(),
    "memmap": lambda w: memory_file(w["side"]),
    "mmap": lambda w: mapped(w["side"]),
    "torch.from_file": lambda w: native_tensor(w, "side"),
    "torch.from_file in the package": lambda w: native_tensor(w, "package"),
    "torch.from_file in another package": lambda w: native_tensor(w, "root"),
    "safetensors": safetensors_native,
    "sqlite": from_database,
    "environment": lambda w: os.environ["CHEAT_SECRET"],
    "kept variable": lambda w: os.environ["OMP_PLACES"],
    "command line of a process": lambda w: read(f"/proc/{w['process']}/cmdline").split("\0")[0],
    "shared memory": shared,
    "TCP": lambda w: ask(socket.AF_INET, tuple(w["tcp"]), w["length"]),
    "Unix socket": lambda w: ask(socket.AF_UNIX, w["unix"], w["length"]),
    "abstract socket": lambda w: ask(socket.AF_UNIX, "\0" + w["abstract"], w["length"]),
    "inherited pipe": lambda w: os.read(w["pipe"], w["length"]).decode(),
    "program": lambda w: subprocess.run(["cat", w["side"]], capture_output=True, check=True).stdout.decode(),
    "fresh copy of subprocess": lambda w: fresh_subprocess(w["side"]),
    "os.popen": lambda w: os.popen(f"cat {w['side']}").read(),
    "os.posix_spawn": lambda w: spawned(w["side"]),
    "C library": lambda w: native_libc(w["side"], w["length"]),
    "C library of Python": lambda w: pythonapi(w["side"]),
}

#: What reads files past Python's own functions; only the kernel can refuse it.
NATIVE = {
    "torch.from_file",
    "torch.from_file in the package",
    "torch.from_file in another package",
    "safetensors",
}

#: What needs no content of a file. An audit hook does not see it; namespaces leave nothing to be seen.
NAMES = {"name among the packages"}


def attempt(where, secret_digest):
    """What became of each channel: "LEAKED", or why not."""
    outcome = {}
    for name, channel in CHANNELS.items():
        try:
            found = channel(where)
        except BaseException as error:
            outcome[name] = f"{type(error).__name__}: {error}"
        else:
            good = isinstance(found, str) and hashlib.sha256(found.encode()).hexdigest() == secret_digest
            outcome[name] = "LEAKED" if good else f"found {found!r}"
    return outcome


class Cheat(Method):
    """Trains nothing and hides its picture; `how` names the channel it decodes by, "all" reports on all of them."""

    @dataclasses.dataclass
    class Config:
        folder: str = ""

    model_class = Picture

    def fit(self, scene, config, context):
        value = 0.25
        for place in (context.workdir / "side.txt", Path(config.folder) / "side.txt"):
            place.write_text(str(value))
        os.environ["CHEAT_VALUE"] = str(value)
        REMEMBERED["value"] = value
        REMEMBERED["workdir"] = str(context.workdir)
        return Picture(value)

    def encode(self, model, config, out, context):
        out.header["places"] = [REMEMBERED.get("workdir", "") + "/side.txt", f"{config.folder}/side.txt"]

    @classmethod
    def decode(cls, artifact, context):
        if "channels" in artifact:
            request = json.loads(artifact.read("channels"))
            raise ArtifactError(json.dumps(attempt(request["where"], request["digest"])))
        for place in artifact.header["places"]:
            try:
                return Picture(float(Path(place).read_text()))
            except OSError:
                continue
        value = os.environ.get("CHEAT_VALUE") or REMEMBERED.get("value")
        if value is None:
            raise ArtifactError("nothing to cheat with")
        return Picture(float(value))
