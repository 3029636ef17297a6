"""Addresses in BOS: `bos:/bucket/key`, with one slash after `bos:`."""

from __future__ import annotations

import re
from typing import NamedTuple, Self

from qf_tasks.errors import InvalidArgumentError

_BUCKET = re.compile(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]")
_FILE = re.compile(r"[^/]+\.(jsonl|json|txt|csv|parquet)", re.IGNORECASE)
_MAX_KEY_BYTES = 1024


class BosUri(NamedTuple):
    """The address of an object, or of all objects whose keys begin with a prefix."""

    bucket: str
    key: str

    @classmethod
    def parse(cls, value: object, argument: str = "bos_uri") -> Self:
        """Return the parts of an address.

        Raises:
            InvalidArgumentError: It is not one; the hint has what was probably meant.
        """
        if not isinstance(value, str):
            raise InvalidArgumentError(f"{argument} must be text, not {type(value).__name__}")
        if not re.match(r"bos:/[^/]", value):
            meant = re.fullmatch(r"(?:bos:)?/*([^/\s]\S*)", value.strip(), re.IGNORECASE)
            raise InvalidArgumentError(
                f"{argument} must be bos:/bucket/folder/, with one slash after bos:, not {value[:80]!r}",
                hint=f"Pass 'bos:/{meant[1][:80]}'." if meant and "://" not in meant[1] else None,
            )
        bucket, _, key = value.removeprefix("bos:/").partition("/")
        if not _BUCKET.fullmatch(bucket):
            raise InvalidArgumentError(
                f"{argument} has no valid bucket name: {bucket[:80]!r}",
                hint="A bucket has 3 to 63 lower-case letters, digits and hyphens.",
            )
        if problem := _problem(key):
            raise InvalidArgumentError(f"{argument} {problem}: {value[:200]!r}")
        return cls(bucket, key)

    @classmethod
    def parse_directory(cls, value: object, argument: str = "bos_uri") -> Self:
        """Return the address of a directory below the root of its bucket, with a slash at its end.

        Raises:
            InvalidArgumentError: It is not one.
        """
        uri = cls.parse(value, argument)
        if not uri.key:
            raise InvalidArgumentError(
                f"{argument} must be a directory in a bucket, not the bucket itself: {value!r}",
                hint=f"Pass a directory, such as 'bos:/{uri.bucket}/in/'.",
            )
        if uri.is_file:
            folder = uri.key.rpartition("/")[0]
            raise InvalidArgumentError(
                f"{argument} must be a directory, not the file {value!r}",
                hint=f"Pass the directory of the file: '{cls(uri.bucket, folder).directory}'."
                if folder
                else None,
            )
        return uri.directory

    @property
    def is_file(self) -> bool:
        """Whether this is the address of one file, by its extension."""
        return _FILE.fullmatch(self.key.rpartition("/")[2]) is not None

    @property
    def directory(self) -> Self:
        """The same with a slash at its end: `bos:/bucket/in` must not mean `bos:/bucket/in2/` as well."""
        return self._replace(key=self.key.rstrip("/") + "/")

    def child(self, name: str) -> Self:
        """Return the address of an object in this directory."""
        return self._replace(key=self.key + name)

    def __str__(self) -> str:
        """Return the address as the service writes it."""
        return f"bos:/{self.bucket}/{self.key}"


class ObjectInfo(NamedTuple):
    """An object as a listing describes it."""

    uri: BosUri
    size: int
    etag: str


def _problem(key: str) -> str | None:
    """Return what is wrong with a key, or None."""
    if not key.isprintable():
        return "has a character that cannot be printed"
    if len(key.encode()) > _MAX_KEY_BYTES:
        return f"has a key of more than {_MAX_KEY_BYTES} bytes"
    segments = key.removesuffix("/").split("/")
    if key and any(segment in ("", ".", "..") for segment in segments):
        return "has an empty segment, or one of dots"
    return None
