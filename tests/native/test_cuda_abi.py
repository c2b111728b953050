"""The ctypes mirror of the CUDA library's header, and what the library says without a device."""

from __future__ import annotations

import ctypes
import re
from pathlib import Path

import pytest
import torch

from gsbench.errors import NativeError
from gsbench.native import _abi as core
from gsbench.native.cuda import CudaLibrary, _abi, cuda_library, cuda_library_path

_C_TYPES = {
    "uint32_t": ctypes.c_uint32,
    "int32_t": ctypes.c_int32,
    "int64_t": ctypes.c_int64,
    "float": ctypes.c_float,
    "double": ctypes.c_double,
}
_STRUCTS = {**core.STRUCTS, **_abi.STRUCTS}


@pytest.fixture(scope="module")
def header(repository: Path) -> str:
    text = (repository / "csrc" / "cuda" / "gsbench_cuda.h").read_text()
    return re.sub(r"/\*.*?\*/", " ", text, flags=re.DOTALL)


def c_type(declaration: str) -> object:
    words = declaration.replace("const ", "").strip()
    if words.endswith("*"):
        target = words[:-1].strip()
        if target == "char":
            return ctypes.c_char_p
        return ctypes.POINTER(_STRUCTS[target]) if target in _STRUCTS else "pointer"
    return _C_TYPES[words]


def same(expected: object, actual: object) -> bool:
    if expected == "pointer":
        return actual is ctypes.c_void_p or (isinstance(actual, type) and issubclass(actual, ctypes._Pointer))
    return expected is actual


def test_structs_are_those_of_the_header(header: str) -> None:
    declared = re.findall(r"typedef struct (\w+) \{(.*?)\} \1;", header, flags=re.DOTALL)
    assert {name for name, _ in declared} == set(_abi.STRUCTS)
    for name, body in declared:
        fields = []
        for line in filter(None, (d.strip() for d in body.split(";"))):
            match = re.fullmatch(r"((?:const )?\w+ ?\*?)\s*(\w+)", line)
            assert match is not None, line
            fields.append((match[2], c_type(match[1])))
        mirror = _abi.STRUCTS[name]._fields_
        assert [f for f, _ in fields] == [f[0] for f in mirror], name
        for (field, expected), (_, actual) in zip(fields, mirror, strict=True):  # type: ignore[misc]
            assert same(expected, actual), f"{name}.{field}"


def test_functions_are_those_of_the_header(header: str) -> None:
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


def test_the_version_is_that_of_the_header(header: str) -> None:
    found = re.search(r"#define GSB_CUDA_ABI_VERSION (\d+)", header)
    assert found is not None
    assert int(found[1]) == _abi.ABI_VERSION


def test_the_twin_says_that_it_is_one(cuda_twin: CudaLibrary) -> None:
    assert (cuda_twin.targets, cuda_twin.device_type, cuda_twin.device_count()) == ("host", "cpu", 1)
    assert cuda_twin.build_id() == "twin"


def test_another_size_of_a_struct_is_refused(cuda_twin: CudaLibrary) -> None:
    options = core.RasterOptions(cameras=1, gaussians=0, width=8, height=8, near_plane=0.1, far_plane=1.0, eps2d=0.3)
    buffers = _abi.RasterBuffers()
    buffers.struct_size = 8
    queue = cuda_twin.queue(torch.device("cpu"))
    with pytest.raises(NativeError, match="gsb_cuda_raster_buffers: expected"):
        cuda_twin.call("gsb_cuda_raster_project", queue, ctypes.byref(options), ctypes.byref(buffers))
    options.struct_size = 4
    with pytest.raises(NativeError, match="gsb_raster_options: expected"):
        cuda_twin.call("gsb_cuda_raster_row_floats", ctypes.byref(options), 0, 0, ctypes.byref(ctypes.c_int32()))


def test_the_library_loads_without_a_driver() -> None:
    """Where it was built: it answers, whether or not there is a device."""
    if cuda_library_path() is None:
        with pytest.raises(NativeError, match="was built without CUDA"):
            cuda_library()
        pytest.skip("gsbench was built without CUDA here")
    library = cuda_library()
    assert library.device_type == "cuda"
    assert re.fullmatch(r"\d+(,\d+)*", library.targets)
    assert re.fullmatch(r"[0-9a-f]{16}", library.build_id())
    if library.device_count() == 0:
        assert re.search(r"no CUDA-capable device|driver", library.why_no_device(), re.IGNORECASE)
        queue = _abi.Queue(device=0, stream=None)
        with pytest.raises(NativeError, match="gsb_cuda_knn_bytes: CUDA, device 0: "):
            library.call("gsb_cuda_knn_bytes", ctypes.byref(queue), 100, ctypes.byref(ctypes.c_int64()))


def test_tensors_elsewhere_are_refused(cuda_twin: CudaLibrary) -> None:
    from gsbench.native.cuda.training import image_loss

    image = torch.zeros(4, 4, 3, device="meta")
    with pytest.raises(ValueError, match="image: expected a tensor on cpu, got one on meta"):
        image_loss(image, image, library=cuda_twin)
