"""The ctypes mirror against the C header, and the loading of the library."""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from gsbench import native
from gsbench.native import _abi
from gsbench.native._check import pointer

_C_TYPES = {
    "uint32_t": ctypes.c_uint32,
    "uint64_t": ctypes.c_uint64,
    "int32_t": ctypes.c_int32,
    "int64_t": ctypes.c_int64,
    "float": ctypes.c_float,
    "double": ctypes.c_double,
}


@pytest.fixture(scope="module")
def header(repository: Path) -> str:
    text = (repository / "csrc" / "capi" / "gsbench.h").read_text()
    return re.sub(r"/\*.*?\*/", " ", text, flags=re.DOTALL)


def c_type(declaration: str) -> object:
    """The ctypes type of a C declaration without its name; pointers to structs and numbers are distinguished."""
    words = declaration.replace("const ", "").replace("GSB_API", "").strip()
    if words.endswith("*"):
        target = words[:-1].strip()
        if target == "char":
            return ctypes.c_char_p
        if target in _abi.STRUCTS:
            return ctypes.POINTER(_abi.STRUCTS[target])
        return "pointer"
    return _C_TYPES[words]


def same(expected: object, actual: object) -> bool:
    if expected == "pointer":  # a plain address, or a typed out-parameter
        return actual is ctypes.c_void_p or (isinstance(actual, type) and issubclass(actual, ctypes._Pointer))
    return expected is actual


def test_abi_version(header: str) -> None:
    found = re.search(r"#define GSB_ABI_VERSION (\d+)", header)
    assert found is not None
    assert int(found[1]) == _abi.ABI_VERSION


def test_nothing_else_is_exported() -> None:
    nm = shutil.which("nm")
    if nm is None:
        pytest.skip("no nm on this machine")
    listed = subprocess.run([nm, "-D", "--defined-only", native.library_path()], capture_output=True, text=True)
    exported = {line.split()[-1].split("@")[0] for line in listed.stdout.splitlines()}
    assert exported == set(_abi.FUNCTIONS)


def test_status_codes(header: str) -> None:
    for name, value in (
        ("OK", _abi.OK),
        ("INVALID_ARGUMENT", _abi.INVALID_ARGUMENT),
        ("INTERNAL", _abi.INTERNAL),
        ("DAMAGED", _abi.DAMAGED),
    ):
        found = re.search(rf"GSB_{name} = (\d+)", header)
        assert found is not None
        assert int(found[1]) == value


def test_structs(header: str) -> None:
    declared = re.findall(r"typedef struct (\w+) \{(.*?)\} \1;", header, flags=re.DOTALL)
    assert {name for name, _ in declared} == set(_abi.STRUCTS)
    for name, body in declared:
        fields = []
        for declaration in filter(None, (d.strip() for d in body.split(";"))):
            kind, names = re.fullmatch(r"((?:const )?\w+ ?\*?)\s*(.*)", declaration, flags=re.DOTALL).groups()  # type: ignore[union-attr]
            fields += [(field.strip(), c_type(kind)) for field in names.split(",")]
        mirror = _abi.STRUCTS[name]._fields_
        assert [f for f, _ in fields] == [f[0] for f in mirror], name
        for (field, expected), (_, actual) in zip(fields, mirror, strict=True):  # type: ignore[misc]
            assert same(expected, actual), f"{name}.{field}"


def test_functions(header: str) -> None:
    declared = re.findall(r"GSB_API\s+((?:const )?\w+\s*\*?)\s*\b(\w+)\(([^)]*)\);", header)
    assert {name for _, name, _ in declared} == set(_abi.FUNCTIONS)
    for result, name, arguments in declared:
        expected = []
        for argument in arguments.split(","):
            if argument.strip() != "void":
                kind = re.fullmatch(r"\s*(.*?[\s*])\w+\s*", argument, flags=re.DOTALL)
                assert kind is not None, argument
                expected.append(c_type(" ".join(kind[1].split())))
        actual_result, actual = _abi.FUNCTIONS[name]
        assert same(c_type(result), actual_result), name
        assert len(expected) == len(actual), name
        assert all(same(e, a) for e, a in zip(expected, actual, strict=True)), name


def test_another_size_of_a_struct_is_refused() -> None:
    from gsbench.errors import NativeError
    from gsbench.native._library import call

    options = _abi.RasterOptions(cameras=1, gaussians=0, width=8, height=8, threads=1)
    options.struct_size = 4
    with pytest.raises(NativeError, match="gsb_raster_options: expected"):
        call("gsb_raster_get_sizes", ctypes.byref(options), ctypes.byref(_abi.RasterSizes()))


def test_isa_can_be_chosen() -> None:
    best = native.cpu_isa()
    try:
        native.set_cpu_isa("baseline")
        assert native.cpu_isa() == "baseline"
        with pytest.raises(ValueError, match="'mmx' is unknown"):
            native.set_cpu_isa("mmx")
        assert native.cpu_isa() == "baseline"
    finally:
        native.set_cpu_isa("auto")
    assert native.cpu_isa() == best


def test_isa_from_the_environment() -> None:
    program = "import gsbench.native; print(gsbench.native.cpu_isa())"
    environment = {**os.environ, "GSBENCH_ISA": "baseline"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "baseline"
    environment["GSBENCH_ISA"] = "vax"
    failed = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert "GSBENCH_ISA: instruction set 'vax' is unknown" in failed.stderr


def test_build_id_is_stable() -> None:
    assert re.fullmatch(r"[0-9a-f]{16}", native.build_id())
    assert native.build_id() == native.build_id()


def test_pointer_checks_name_the_argument() -> None:
    good = torch.zeros(2, 3)
    assert pointer("x", good, torch.float32, (2, 3)) == good.data_ptr()
    with pytest.raises(ValueError, match=r"x: expected shape \[3, 2\], got \[2, 3\]"):
        pointer("x", good, torch.float32, (3, 2))
    with pytest.raises(ValueError, match=r"x: expected torch\.int32, got torch\.float32"):
        pointer("x", good, torch.int32, (2, 3))
    with pytest.raises(ValueError, match="x: expected a contiguous tensor"):
        pointer("x", torch.zeros(3, 2).T, torch.float32, (2, 3))
    with pytest.raises(ValueError, match="x: expected a tensor on cpu, got one on meta"):
        pointer("x", torch.zeros(2, 3, device="meta"), torch.float32, (2, 3))
