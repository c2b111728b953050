"""Small numbers in front of coded streams."""

from __future__ import annotations

from gsbench.errors import ArtifactError


def varint(value: int) -> bytes:
    """Unsigned LEB128: seven bits a byte, the lowest first, the high bit set on all but the last."""
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def signed_varint(value: int) -> bytes:
    """Zigzag (0, -1, 1, -2, ...), then `varint`."""
    return varint(2 * value if value >= 0 else -2 * value - 1)


class ByteReader:
    """Takes numbers and bytes off the front of `data`; every method raises ArtifactError, which names `what`."""

    def __init__(self, data: bytes, what: str) -> None:
        self._data = data
        self._position = 0
        self._what = what

    def take(self, count: int) -> bytes:
        """The next `count` bytes."""
        if count > len(self._data) - self._position:
            left = len(self._data) - self._position
            raise ArtifactError(f"{self._what}: truncated: {left} bytes left, expected {count}")
        self._position += count
        return self._data[self._position - count : self._position]

    def varint(self, limit: int = 2**63 - 1) -> int:
        """The next unsigned number, at most `limit`, in its shortest form."""
        value = shift = 0
        while True:
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
            if shift > 63:
                raise ArtifactError(f"{self._what}: damaged: a number of more than 63 bits")
        if byte == 0 and shift > 7:
            raise ArtifactError(f"{self._what}: damaged: a number that is not in its shortest form")
        if value > limit:
            raise ArtifactError(f"{self._what}: {value}, expected at most {limit}")
        return value

    def signed_varint(self, limit: int) -> int:
        """The next signed number, of magnitude at most `limit`."""
        value = self.varint(2 * limit)
        return -(value + 1) // 2 if value & 1 else value // 2

    def rest(self) -> bytes:
        """All that follows."""
        return self.take(len(self._data) - self._position)

    def finish(self) -> None:
        """Refuse bytes that are left over."""
        if self._position != len(self._data):
            raise ArtifactError(f"{self._what}: {len(self._data) - self._position} bytes are left over")
