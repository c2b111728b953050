"""The process that decodes: it seals itself off, then restores the artifact and renders the held-out views.

Run as ``python -I -S sealed_child.py REQUEST.json`` by `gsbench.bench.sealed`; with the isolation "namespaces" it
starts itself again inside fresh user, mount, network, PID, IPC and UTS namespaces. Nothing of gsbench, of a plugin or
of any installed distribution is imported before the seal is in place: not even the ``.pth`` files of site-packages run.

Its folder holds ``input`` (the artifact and cameras.json), ``output`` (frames/NNNN.npy, timing.json, or error.json)
and ``scratch`` (home and temporary files), and ``root``, where a file system of its own is put together.
"""

from __future__ import annotations

import faulthandler
import importlib
import importlib.util
import json
import os
import resource
import shutil
import site
import sys
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Final, NoReturn

#: As in `gsbench.bench.model`, which cannot be imported yet.
JOB_PROTOCOL: Final = 2

#: Where the folders appear in a file system of one's own.
_SANDBOX: Final = Path("/sandbox")


def _load(path: Path) -> ModuleType:
    """Import a stand-alone module from its file."""
    spec = importlib.util.spec_from_file_location(f"_gsbench_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def main(path: Path, *, inside: bool = False) -> int:
    """Decode as the request file at `path` says; 0 if that worked, 1 if ``error.json`` says why not.

    Args:
        path: of the request.
        inside: whether the namespaces are there already.
    """
    faulthandler.enable()
    request: dict[str, Any] = json.loads(path.read_text())
    folder = path.parent
    try:
        if request["job_protocol"] != JOB_PROTOCOL:
            raise RuntimeError(
                f"the job speaks protocol {request['job_protocol']}, this environment's gsbench {JOB_PROTOCOL}; "
                "install the same version in both"
            )
        linux = _load(Path(__file__).resolve().parents[1] / "native" / "linux.py")
        if inside:
            _die_unless_alive(request["parent"])
        else:
            _die_with(request["parent"], linux)
            if request["isolation"] == "namespaces":
                _start_in_namespaces("--inside", str(path))
        folder = _seal(linux, request, folder)
    except Exception as error:
        return _failed(folder, "seal", error)
    return _work(request, folder)


def _die_with(parent: int, linux: ModuleType) -> None:
    """Have the kernel end this process when the one that asked for it is gone."""
    if sys.platform == "linux":
        linux.die_with_parent()
        if os.getppid() != parent:
            os._exit(3)


def _die_unless_alive(parent: int) -> None:
    """End this process if the one that asked for it is gone.

    unshare arms --kill-child in the process that it has forked: one that was forked just before unshare was killed
    would live on. Here it is armed, so whatever ends from now on ends this process too. (The process file system is
    still that of the parent.)
    """
    try:
        state = Path(f"/proc/{parent}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        state = "X" if Path("/proc/self/stat").exists() else "?"
    if state in "ZX":
        os._exit(3)


def _start_in_namespaces(*arguments: str) -> NoReturn:
    """Become the program unshare, which starts this file again in namespaces of its own.

    The signal that `_die_with` asked for stays set across this; --kill-child passes it on.
    """
    program = shutil.which("unshare", path="/usr/bin:/bin:/usr/sbin:/sbin:/usr/local/bin") or "unshare"
    command = [program, "--user", "--map-root-user", "--mount", "--net", "--pid", "--ipc", "--uts", "--kill-child"]
    os.execv(program, [*command, sys.executable, "-I", "-S", str(Path(__file__).resolve()), *arguments])


def _seal(linux: ModuleType, request: dict[str, Any], folder: Path) -> Path:
    """Cut this process off from everything but its inputs and the installed code; returns its folder from inside."""
    policies = _load(Path(__file__).resolve().parent / "sealed_policy.py")
    visible, device = request["visible"], request["device"]
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if request["isolation"] == "namespaces":
        _change_root(linux, request, folder, policies.special_files(device))
        folder = _SANDBOX
    policy = policies.Policy(
        scratch=str(folder / "scratch"),
        output=str(folder / "output"),
        inputs=[str(folder / "input" / name) for name in request["inputs"]],
        stdlib=visible["stdlib"],
        hidden=visible["hidden"],
        libraries=visible["libraries"],
        listed=visible["listed"],
        open_roots=visible["open_roots"],
        code=frozenset(visible["code"]),
        packages=visible["packages"],
        code_folders=visible["code_folders"],
        import_path=visible["import_path"],
        native_library=visible["native_library"],
        special=policies.special_files(device),
        cuda=device.startswith("cuda"),
    )
    devices = [path for path in policy.special if path.startswith("/dev/")]
    linux.landlock(
        readable=[
            *_installed(visible),
            *map(Path, [*visible["code"], *policy.special, *policy.inputs, f"/proc/{os.getpid()}"]),
        ],
        listable=[Path(path) for path in policy.listable],
        writable=[Path(path) for path in (policy.scratch, *devices)],
        output=[folder / "output"],
    )
    scratch = folder / "scratch"
    os.chdir(scratch)
    os.environ.update(HOME=str(scratch), TMPDIR=str(scratch))
    _disarm()
    policies.install(policy)
    _restore_imports(visible)
    return folder


def _change_root(linux: ModuleType, request: dict[str, Any], folder: Path, special: Sequence[str]) -> None:
    """Put together a file system that holds what is visible and the inputs, and make it the root.

    Of the code, it holds what the parent kept when the job began, whatever is installed by now.
    """
    visible, kept = request["visible"], request["kept"]
    root = linux.Root(folder / "root")
    for path in [*_installed(visible), *map(Path, special)]:
        if path.exists():
            root.bind(path)
    root.proc()
    for package in map(Path, visible["packages"]):
        if root.inside(package).exists():  # in a folder that is visible as a whole
            root.empty(package)
    for path in map(Path, visible["code"]):
        source = folder / "code" / kept[str(path)] if str(path) in kept else path
        if source == path or root.inside(path).exists():
            root.bind(source, path)
        else:
            (root.folder(path.parent) / path.name).write_bytes(source.read_bytes())
    for path in map(Path, visible["import_path"]):
        if path.is_dir():
            root.folder(path)
    for name in request["inputs"]:
        root.bind(folder / "input" / name, _SANDBOX / "input" / name)
    root.bind(folder / "output", _SANDBOX / "output", writable=True)
    root.folder(_SANDBOX / "scratch")
    root.enter()
    linux.drop_capabilities()


def _installed(visible: dict[str, Any]) -> Iterator[Path]:
    """The files and folders that installed software consists of, without the code that is visible file by file."""
    for folder in map(Path, visible["stdlib"]):
        yield from (entry for entry in folder.iterdir() if str(entry) not in visible["hidden"])
    for folder in map(Path, visible["libraries"]):
        if any(Path(other).is_relative_to(folder) for other in (*visible["stdlib"], *visible["listed"])):
            yield from folder.glob("*.so*")
        else:
            yield folder
    by_file = {*visible["code"], *visible["packages"]}
    for root, files in visible["listed"].items():
        for name in sorted({file.partition("/")[0] for file in files}):
            if str(Path(root, name)) not in by_file:
                yield Path(root, name)
    yield from map(Path, visible["open_roots"])


def _disarm() -> None:
    """Replace what starts programs and shares memory without an audit event. The audit hook sees to it that these
    modules are not imported anew.
    """

    def refuse(*_: object, **__: object) -> NoReturn:
        raise PermissionError("the sealed decoder may not start programs or share memory")

    for name, function in (("_posixsubprocess", "fork_exec"), ("_posixshmem", "shm_open")):
        setattr(importlib.import_module(name), function, refuse)


def _restore_imports(visible: dict[str, Any]) -> None:
    """Import from where the parent does, editable installs included."""
    sys.dont_write_bytecode = True
    sys.prefix, sys.exec_prefix = visible["prefix"], visible["exec_prefix"]
    sys.path[:] = visible["import_path"]
    for folder in visible["site_dirs"]:
        site.addsitedir(folder, set(sys.path))
    sys.path[:] = visible["import_path"]


def _work(request: dict[str, Any], folder: Path) -> int:
    progress = ["import"]
    try:
        from gsbench.bench.sealed_work import decode_and_render

        decode_and_render(request, folder, progress)
    except Exception as error:
        return _failed(folder, progress[-1], error)
    return 0


def _failed(folder: Path, stage: str, error: Exception) -> int:
    """Leave word of `error` for the parent, and the traceback in the log."""
    traceback.print_exception(error)
    names = [cls.__name__ for cls in type(error).__mro__]
    report = {"stage": stage, "type": names[0], "artifact": "ArtifactError" in names, "message": str(error)}
    (folder / "output" / "error.json").write_text(json.dumps(report))
    return 1


def probe(folder: Path) -> int:
    """Try everything that namespaces are needed for, on an almost empty file system."""
    linux = _load(Path(__file__).resolve().parents[1] / "native" / "linux.py")
    nothing = dict.fromkeys(("stdlib", "hidden", "libraries", "open_roots", "code", "packages", "import_path"), ())
    request = {"visible": {**nothing, "listed": {}}, "kept": {}, "inputs": ()}
    _change_root(linux, request, folder, ["/dev/null"])
    left = sorted(path.name for path in Path("/").iterdir())
    return 0 if left == ["dev", "proc", "sandbox"] else 1


def _dispatch(option: str, *values: str) -> int:
    if option == "--probe":
        _start_in_namespaces("--probe-inside", *values)
    if option == "--probe-inside":
        return probe(Path(*values))
    if option == "--inside":
        return main(Path(*values), inside=True)
    return main(Path(option))


if __name__ == "__main__":
    status = _dispatch(*sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    # Threads of libraries may not end by themselves, and nothing is left to clean up.
    os._exit(status)
