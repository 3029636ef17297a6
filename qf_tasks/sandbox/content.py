"""The bytes of an object or of an upload: in memory or in a file, read piece by piece.

Knows nothing of buckets, keys or HTTP.
"""

import hashlib
import io
import zlib
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

_PIECE = 256 * 1024


@dataclass(frozen=True)
class Content:
    """A part of some bytes or of a file; slices of it are `Content`, too, and copy nothing."""

    source: bytes | Path
    start: int
    stop: int

    @classmethod
    def of(cls, source: bytes | Path) -> Self:
        """Return all of `source`."""
        size = len(source) if isinstance(source, bytes) else source.stat().st_size
        return cls(source, 0, size)

    def __len__(self) -> int:
        return self.stop - self.start

    def __getitem__(self, part: slice) -> Self:
        start, stop, _ = part.indices(len(self))
        return type(self)(self.source, self.start + start, self.start + max(start, stop))

    def __bytes__(self) -> bytes:
        return b"".join(self.pieces())

    def pieces(self) -> Iterator[bytes]:
        """Yield the bytes in pieces of limited size."""
        with self._open() as file:
            file.seek(self.start)
            left = len(self)
            while piece := file.read(min(left, _PIECE)):
                left -= len(piece)
                yield piece

    def lines(self) -> Iterator[bytes]:
        """Yield the lines that are not blank, without their ends."""
        with self._open() as file:
            yield from filter(None, (line.strip() for line in file))

    def _open(self) -> io.BufferedIOBase:
        return io.BytesIO(self.source) if isinstance(self.source, bytes) else self.source.open("rb")

    @cached_property
    def md5(self) -> str:
        """The MD5 in hexadecimal, as an ETag has it."""
        return self._digest("md5").hex()

    @property
    def md5_base64(self) -> str:
        """The MD5 in Base64, as `Content-MD5` has it."""
        return b64encode(bytes.fromhex(self.md5)).decode()

    @property
    def sha256(self) -> str:
        """The SHA-256 in hexadecimal."""
        return self._digest("sha256").hex()

    @property
    def crc32(self) -> int:
        """The CRC-32."""
        checksum = 0
        for piece in self.pieces():
            checksum = zlib.crc32(piece, checksum)
        return checksum

    def _digest(self, algorithm: str) -> bytes:
        digest = hashlib.new(algorithm, usedforsecurity=False)
        for piece in self.pieces():
            digest.update(piece)
        return digest.digest()


class ContentWriter:
    """Collects content in memory, or in the file `path`."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._file: io.BytesIO | io.BufferedWriter = path.open("wb") if path else io.BytesIO()

    def write(self, data: bytes) -> None:
        """Append `data`."""
        self._file.write(data)

    def finish(self) -> Content:
        """Return what was written; the caller owns the file."""
        if isinstance(self._file, io.BytesIO):
            return Content.of(self._file.getvalue())
        self._file.close()
        assert self._path is not None  # noqa: S101 - for the type checker
        return Content.of(self._path)

    def discard(self) -> None:
        """Delete the file, unless it was moved away."""
        self._file.close()
        if self._path:
            self._path.unlink(missing_ok=True)
