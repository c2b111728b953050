"""What the audit hook allows, asked of it directly: no process is sealed here."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gsbench.bench import sealed_policy
from gsbench.bench.sealed_policy import Policy


def write(path: Path, text: str = "x") -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return str(path)


@pytest.fixture
def policy(tmp_path: Path) -> Policy:
    site, stdlib = tmp_path / "stdlib" / "site-packages", tmp_path / "stdlib"
    for name in ("scratch", "output", "lib", "open"):
        (tmp_path / name).mkdir()
    return Policy(
        scratch=str(tmp_path / "scratch"),
        output=str(tmp_path / "output"),
        inputs=[write(tmp_path / "input" / "artifact.gsb")],
        stdlib=[str(stdlib)],
        hidden=[str(site), str(tmp_path / "stdlib" / "dist-packages")],
        libraries=[str(tmp_path / "lib")],
        listed={
            str(site): {
                "pkg/a.py": 1,
                "pkg/b.py": -1,
                "pkg/data.bin": 1,
                "single.py": 1,
                "pkg/mine.py": 1,
                "plugged/data.bin": 1,
            }
        },
        open_roots=[str(tmp_path / "open")],
        code=frozenset({str(site / "pkg" / "mine.py"), str(tmp_path / "src" / "plug" / "m.py")}),
        packages=[str(tmp_path / "src" / "plug"), str(site / "plugged")],
        code_folders=[str(tmp_path / "src" / "plug")],
        import_path=[str(tmp_path / "src"), str(site)],
        native_library=str(tmp_path / "native.so"),
    )


READABLE = [
    "input/artifact.gsb",
    "scratch/anything/at all",
    "stdlib/os.py",
    "stdlib/sub/x.cpython-311-x86_64-linux-gnu.so",
    "stdlib/site-packages/pkg/a.py",
    "stdlib/site-packages/pkg/b.py",
    "stdlib/site-packages/pkg/__pycache__/a.cpython-311.pyc",
    "stdlib/site-packages/pkg/__pycache__/a.cpython-311.opt-1.pyc",
    "stdlib/site-packages/__pycache__/single.cpython-311.pyc",
    "lib/libx.so",
    "lib/deep/libx.so.1.2",
    "open/whatever.txt",
    "src/plug/m.py",
]

UNREADABLE = [
    "input/other",
    "output/frames/0000.npy",
    "stdlib/data.txt",
    "stdlib/site-packages/side.bin",
    "stdlib/site-packages/pkg/side.bin",
    "stdlib/site-packages/pkg/side.py",
    "stdlib/site-packages/pkg/__pycache__/side.cpython-311.pyc",
    "stdlib/site-packages/pkg/__pycache__/side.pyc",
    "stdlib/site-packages/pkg/a.pyc",
    "stdlib/site-packages/pkg/__pycache__/mine.cpython-311.pyc",
    "stdlib/site-packages/plugged/data.bin",
    "stdlib/dist-packages/x.py",
    "stdlib2/os.py",
    "lib/notes.txt",
    "lib/x.something",
    "src/plug/side.py",
    "src/plug/__pycache__/m.cpython-311.pyc",
    "src/m.py",
    "elsewhere",
]


@pytest.mark.parametrize("name", READABLE)
def test_what_may_be_read(policy: Policy, tmp_path: Path, name: str) -> None:
    assert policy.may_read(write(tmp_path / name))


@pytest.mark.parametrize("name", UNREADABLE)
def test_what_may_not_be_read(policy: Policy, tmp_path: Path, name: str) -> None:
    assert not policy.may_read(write(tmp_path / name))


def test_a_registered_file_that_grew_is_not_the_registered_one(policy: Policy, tmp_path: Path) -> None:
    path = tmp_path / "stdlib" / "site-packages" / "pkg" / "data.bin"
    assert not policy.may_read(write(path, "x and something else"))


def test_links_count_as_what_they_lead_to(policy: Policy, tmp_path: Path) -> None:
    write(tmp_path / "secret")
    link = tmp_path / "scratch" / "link"
    link.symlink_to(tmp_path / "secret")
    assert not policy.may_read(str(link))
    assert not policy.may_write(str(link))
    assert not policy.may_read(str(tmp_path / "scratch" / ".." / "secret"))
    away = tmp_path / "away"
    away.symlink_to(tmp_path / "stdlib" / "site-packages")
    write(tmp_path / "stdlib" / "site-packages" / "pkg" / "a.py")
    assert policy.may_read(str(away / "pkg" / "a.py"))


def test_special_files(policy: Policy) -> None:
    for path in ("/dev/null", "/dev/urandom", "/proc/cpuinfo", "/proc/self/status", f"/proc/{os.getpid()}/maps"):
        assert policy.may_read(path), path
    for path in ("/etc/passwd", f"/proc/{os.getppid()}/environ", "/proc/1/environ", "/proc/self/root/etc/passwd"):
        assert not policy.may_read(path), path
    assert "/dev/null" in sealed_policy.special_files("cpu")
    assert not any("nvidia" in path for path in sealed_policy.special_files("cpu"))


def test_what_may_be_listed_and_written(policy: Policy, tmp_path: Path) -> None:
    for name in ("scratch", "stdlib/site-packages/pkg", "stdlib", "open", "src", "src/plug"):
        assert policy.may_list(str(tmp_path / name)), name
    for name in ("", "input", "output", "elsewhere", "src/other", "lib"):
        assert not policy.may_list(str(tmp_path / name)), name
    assert policy.may_write(str(tmp_path / "output" / "frames" / "0000.npy"))
    assert policy.may_write(str(tmp_path / "scratch" / "x"))
    for name in ("input/artifact.gsb", "stdlib/x.py", "scratch/../x"):
        assert not policy.may_write(str(tmp_path / name)), name


def test_which_libraries_may_be_loaded(policy: Policy, tmp_path: Path) -> None:
    assert policy.may_load(write(tmp_path / "lib" / "libx.so"))
    # Neither what the decoder wrote itself, nor whatever a bare name finds.
    assert not policy.may_load(write(tmp_path / "scratch" / "libx.so"))
    assert not policy.may_load("libc.so.6")
    assert not policy.may_load("libcudart.so.12")
    policy.cuda = True
    assert policy.may_load("libcudart.so.12")
    assert policy.may_load("libnvrtc-builtins.so.12.4")
    assert not policy.may_load("libc.so.6")


def events(policy: Policy) -> Any:
    handlers = sealed_policy._handlers(policy)

    def raises(event: str, *arguments: Any) -> bool:
        try:
            handlers[event](*arguments)
        except PermissionError:
            return True
        return False

    return raises


def test_opening(policy: Policy, tmp_path: Path) -> None:
    refused = events(policy)
    inside, outside = str(tmp_path / "scratch" / "x"), write(tmp_path / "secret")
    assert not refused("open", inside, "w", os.O_WRONLY | os.O_CREAT)
    assert not refused("open", 3, "r", 0)
    assert not refused("open", "/dev/null", "w", os.O_WRONLY)
    assert refused("open", outside, "r", os.O_RDONLY)
    assert refused("open", outside.encode(), "rb", os.O_RDONLY)
    assert refused("open", Path(outside), None, os.O_RDONLY)
    for flags in (os.O_WRONLY, os.O_RDWR, os.O_RDONLY | os.O_CREAT, os.O_TRUNC, os.O_APPEND):
        assert refused("open", policy.inputs[0], None, flags)
    assert refused("open", policy.inputs[0], "r+", 0)
    assert refused("open", str(tmp_path / "stdlib"), None, os.O_RDONLY), "no descriptors of folders"


def test_other_events(policy: Policy, tmp_path: Path) -> None:
    refused = events(policy)
    inside, outside = str(tmp_path / "scratch" / "x"), str(tmp_path / "secret")
    for event in ("subprocess.Popen", "os.system", "os.exec", "os.fork", "os.posix_spawn", "os.symlink", "os.kill"):
        assert refused(event, "x", "y")
    assert refused("os.rename", inside, outside)
    assert refused("os.rename", outside, inside)
    assert not refused("os.rename", inside, inside)
    assert refused("os.remove", outside)
    assert not refused("os.mkdir", inside, 0o777, -1)
    assert refused("os.listdir", str(tmp_path))
    assert not refused("os.listdir", None)
    assert refused("os.scandir", b"/")
    assert refused("os.chdir", "/")
    assert not refused("os.chdir", str(tmp_path / "scratch"))
    assert refused("sqlite3.connect", inside)
    assert not refused("sqlite3.connect", ":memory:")
    assert refused("import", "_posixshmem", None)
    assert not refused("import", "json", None)
    assert refused("import", "extension", write(tmp_path / "extension.so"))


def test_native_symbols(policy: Policy, tmp_path: Path) -> None:
    refused = events(policy)
    ours = SimpleNamespace(_name=policy.native_library)
    plugin = write(tmp_path / "src" / "plug" / "fast.so")
    policy.code = policy.code | {plugin}
    assert not refused("ctypes.dlsym", ours, "gsb_build_id")
    assert refused("ctypes.dlsym", ours, "open")
    assert not refused("ctypes.dlsym", SimpleNamespace(_name=plugin), "fast_decode")
    assert refused("ctypes.dlsym", SimpleNamespace(_name=None), "open")
    assert refused("ctypes.dlsym", SimpleNamespace(_name=write(tmp_path / "lib" / "libz.so")), "open")
    assert refused("ctypes.dlopen", None)
    assert refused("ctypes.dlsym/handle", 1, "open")
    assert not refused("ctypes.dlopen", plugin)


def test_the_module_stands_alone() -> None:
    """The sealed child loads these files before anything but the standard library can be imported."""
    import ast

    from gsbench.bench import sealed_child
    from gsbench.native import linux

    for module in (sealed_policy, sealed_child, linux):
        assert module.__file__ is not None
        tree = ast.parse(Path(module.__file__).read_text())
        for node in tree.body:
            names = [node.module] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            for name in names:
                assert (name or "").partition(".")[0] in {*sys.stdlib_module_names, "__future__"}, (module, name)
