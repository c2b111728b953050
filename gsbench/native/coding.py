"""The range coder in C++ (csrc/coding): a writer and a reader of one stream.

`gsbench.coding` gives these their public form. Arrays are NumPy's: no torch is needed to decode.
"""

from __future__ import annotations

import ctypes
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from gsbench.native import _abi
from gsbench.native._arrays import array_pointer
from gsbench.native._library import call

Int32 = npt.NDArray[np.int32]
UInt8 = npt.NDArray[np.uint8]
UInt16 = npt.NDArray[np.uint16]
UInt32 = npt.NDArray[np.uint32]

_FULL_RANGE: Final = 2**64 - 1
_FIRST_CAPACITY: Final = 256
#: More symbols than this per table are worth an index of the table.
_LOOKUP_SYMBOLS: Final = 2048


class GaussianTables:
    """Rows of cumulative frequencies for `RangeWriter.put_gaussian`; see GaussianTables in csrc/coding/symbols.h.

    Args:
        starts: int16, all rows, padded, and at least 32 entries beyond the last.
        offsets: int32 [72], where each scale's rows start.
        sizes: int32 [72], symbols per row, the escape included.
    """

    def __init__(self, starts: npt.NDArray[np.int16], offsets: Int32, sizes: Int32) -> None:
        self._held = (starts, offsets, sizes)
        self.struct = _abi.GaussianTables(
            starts=array_pointer("starts", starts, np.int16),
            offsets=array_pointer("offsets", offsets, np.int32, (72,)),
            sizes=array_pointer("sizes", sizes, np.int32, (72,)),
        )


class RangeWriter:
    """Appends symbols to a stream, which `finish` returns. See csrc/coding/range.h for how it works."""

    def __init__(self) -> None:
        self._state = _abi.RangeState(offset=0, range=_FULL_RANGE, position=0)
        self._buffer: UInt8 | None = np.empty(_FIRST_CAPACITY, np.uint8)

    def put(self, symbols: Int32, tables: UInt32, index: Int32) -> None:
        """As `gsbench.coding.Encoder.put`."""
        count, rows, columns = _check_tables(tables, index)
        self._run(
            "gsb_range_put",
            (array_pointer("symbols", symbols, np.int32, (count,)), count),
            (array_pointer("tables", tables, np.uint32, (rows, columns)), rows, columns, _address(index)),
            count,
        )

    def put_gaussian(self, symbols: Int32, means: Int32, scales: UInt8, tables: GaussianTables) -> None:
        """Symbols of conditional Gaussians: means in 1/64, scales as indices below 128."""
        count = len(symbols)
        self._run(
            "gsb_range_put_gaussian",
            (
                array_pointer("symbols", symbols, np.int32),
                array_pointer("mean64", means, np.int32, (count,)),
                array_pointer("scale_index", scales, np.uint8, (count,)),
                count,
            ),
            (ctypes.byref(tables.struct),),
            count,
        )

    def put_mixture(self, symbols: Int32, means: Int32, scales: UInt8, weights: UInt16, tables: GaussianTables) -> None:
        """Symbols of two Gaussians each: means and scales [M, 2], weights of the first in 1/2^16, at least 1."""
        count = len(symbols)
        self._run(
            "gsb_range_put_mixture",
            (
                array_pointer("symbols", symbols, np.int32),
                array_pointer("mean64", means, np.int32, (count, 2)),
                array_pointer("scale_index", scales, np.uint8, (count, 2)),
                array_pointer("weights", weights, np.uint16, (count,)),
                count,
            ),
            (ctypes.byref(tables.struct),),
            count,
        )

    def put_bits(self, bits: UInt8, ones: UInt16) -> None:
        """Bits with given probabilities of a 1, in 1/2^16, at least 1. Any value but 0 counts as a 1."""
        count = len(bits)
        pointers = array_pointer("bits", bits, np.uint8), array_pointer("ones", ones, np.uint16, (count,))
        self._run("gsb_range_put_bits", (*pointers, count), (), count)

    def put_learned(self, bits: UInt8, contexts: Int32, counts: UInt32) -> None:
        """Bits with learned probabilities; `counts`, uint32 [contexts, 2], is updated."""
        count, limit = len(bits), len(counts)
        pointers = array_pointer("bits", bits, np.uint8), array_pointer("contexts", contexts, np.int32, (count,))
        learned = array_pointer("counts", counts, np.uint32, (limit, 2)), limit
        self._run("gsb_range_put_learned", (*pointers, count), learned, count)

    def finish(self) -> bytes:
        """The stream; the writer is used up."""
        self._grow(8)
        assert self._buffer is not None
        call("gsb_range_finish", ctypes.byref(self._state), _address(self._buffer), len(self._buffer))
        data = self._buffer[: self._state.position].tobytes()
        self._buffer = None
        return data

    def _run(self, name: str, before: tuple[Any, ...], after: tuple[Any, ...], count: int) -> None:
        """Call until all symbols are coded, with more room each time."""
        done = ctypes.c_int64(0)
        while True:
            if self._buffer is None:
                raise ValueError("this encoder was finished before")
            out = _address(self._buffer), len(self._buffer)
            call(name, ctypes.byref(self._state), *before, *after, *out, ctypes.byref(done))
            if done.value == count:
                return
            self._grow(max(256, len(self._buffer), count - done.value))

    def _grow(self, extra: int) -> None:
        """Have room for `extra` bytes more than there was room for."""
        if self._buffer is None:
            raise ValueError("this encoder was finished before")
        larger = np.empty(len(self._buffer) + extra, np.uint8)
        larger[: self._state.position] = self._buffer[: self._state.position]
        self._buffer = larger


class RangeReader:
    """Reads what `RangeWriter` wrote, by the mirrored calls.

    Every method raises ArtifactError if the stream cannot be continued so; the reader then stays where it was.
    """

    def __init__(self, data: bytes) -> None:
        self._data = np.frombuffer(data, np.uint8)
        self._source = _address(self._data), len(self._data)
        self._state = _abi.RangeState()
        call("gsb_range_open", ctypes.byref(self._state), *self._source)

    def get(self, tables: UInt32, index: Int32) -> Int32:
        """As `gsbench.coding.Decoder.get`."""
        count, rows, columns = _check_tables(tables, index)
        symbols = np.empty(count, np.int32)
        lookup = np.empty((rows, 256), np.uint16) if count >= _LOOKUP_SYMBOLS * rows else None
        call(
            "gsb_range_get",
            *(ctypes.byref(self._state), _address(symbols), count),
            *(array_pointer("tables", tables, np.uint32, (rows, columns)), rows, columns, _address(index)),
            *(None if lookup is None else _address(lookup), *self._source),
        )
        return symbols

    def get_gaussian(self, means: Int32, scales: UInt8, tables: GaussianTables) -> Int32:
        """The next symbols of conditional Gaussians, int32 of the means' length."""
        symbols = np.empty(len(means), np.int32)
        call(
            "gsb_range_get_gaussian",
            *(ctypes.byref(self._state), _address(symbols), array_pointer("mean64", means, np.int32)),
            *(array_pointer("scale_index", scales, np.uint8, (len(means),)), len(means)),
            *(ctypes.byref(tables.struct), *self._source),
        )
        return symbols

    def get_mixture(self, means: Int32, scales: UInt8, weights: UInt16, tables: GaussianTables) -> Int32:
        """The next symbols of two Gaussians each, int32 of the weights' length."""
        count = len(weights)
        symbols = np.empty(count, np.int32)
        call(
            "gsb_range_get_mixture",
            *(ctypes.byref(self._state), _address(symbols), array_pointer("mean64", means, np.int32, (count, 2))),
            array_pointer("scale_index", scales, np.uint8, (count, 2)),
            *(array_pointer("weights", weights, np.uint16), count),
            *(ctypes.byref(tables.struct), *self._source),
        )
        return symbols

    def get_bits(self, ones: UInt16) -> UInt8:
        """The next bits, uint8 of the length of `ones`."""
        bits = np.empty(len(ones), np.uint8)
        pointers = _address(bits), array_pointer("ones", ones, np.uint16)
        call("gsb_range_get_bits", ctypes.byref(self._state), *pointers, len(ones), *self._source)
        return bits

    def get_learned(self, contexts: Int32, counts: UInt32) -> UInt8:
        """The next bits, uint8 of the length of `contexts`; `counts` is updated."""
        count, limit = len(contexts), len(counts)
        bits = np.empty(count, np.uint8)
        pointers = _address(bits), array_pointer("contexts", contexts, np.int32)
        learned = array_pointer("counts", counts, np.uint32, (limit, 2)), limit
        call("gsb_range_get_learned", ctypes.byref(self._state), *pointers, count, *learned, *self._source)
        return bits

    def finish(self) -> None:
        """Raise ArtifactError unless the stream ends here, exactly as its writer ended it."""
        call("gsb_range_close", ctypes.byref(self._state), *self._source)


def _address(array: npt.NDArray[Any]) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)


def _check_tables(tables: UInt32, index: Int32) -> tuple[int, int, int]:
    array_pointer("index", index, np.int32)
    if tables.ndim != 2:
        raise ValueError(f"tables: expected shape [T, K + 1], got {list(tables.shape)}")
    return len(index), *tables.shape
