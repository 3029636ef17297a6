"""Buckets, objects and multipart uploads, in memory or in a directory.

Knows nothing of HTTP or tasks. Not thread-safe: the caller holds a lock.
"""

import mimetypes
import secrets
from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

from .content import Content, ContentWriter
from .http_messages import Rejection

_UPLOADS = ".uploads"  # no bucket has such a name
_DEFAULT_TYPE = "application/octet-stream"


@dataclass(frozen=True, kw_only=True)
class StoredObject:
    """An object as the store keeps it."""

    content: Content
    modified: float
    etag: str
    headers: dict[str, str] = field(default_factory=lambda: {"Content-Type": _DEFAULT_TYPE})
    """Its content type and the metadata of the user."""


@dataclass(frozen=True, kw_only=True)
class Upload:
    """A multipart upload that is not complete."""

    upload_id: str
    key: str
    initiated: float
    headers: dict[str, str]
    parts: dict[int, StoredObject] = field(default_factory=dict)


class Page(NamedTuple):
    """A page of a list: keys and common prefixes, and the last of both if more follow."""

    keys: list[str]
    prefixes: list[str]
    next_marker: str | None


@dataclass(kw_only=True)
class Bucket:
    """A bucket of one account."""

    name: str
    account: str
    created: float
    objects: dict[str, StoredObject] = field(default_factory=dict)
    uploads: dict[str, Upload] = field(default_factory=dict)
    sorted_keys: list[str] = field(default_factory=list)

    def keys(self, prefix: str, after: str = "") -> Iterator[str]:
        """Yield the keys that start with `prefix` and come after `after`, in order."""
        keys = self.sorted_keys
        first = max(bisect_left(keys, prefix), bisect_right(keys, after))
        for index in range(first, len(keys)):
            if not keys[index].startswith(prefix):
                return
            yield keys[index]

    def page(self, prefix: str, delimiter: str, marker: str, size: int, listed_until: float) -> Page:
        """Return a page of the keys after `marker`; those that `delimiter` ends count as one prefix.

        Objects that were stored later than `listed_until` are left out.
        """
        keys: list[str] = []
        prefixes: list[str] = []
        last = marker
        for key in self.keys(prefix, marker):
            if self.objects[key].modified > listed_until:
                continue
            name, found, _ = key[len(prefix) :].partition(delimiter) if delimiter else (key, "", "")
            entry = prefix + name + found if found else key
            if found and entry == last:  # in the prefix that came last
                continue
            if len(keys) + len(prefixes) == size:
                return Page(keys, prefixes, last)
            (prefixes if found else keys).append(entry)
            last = entry
        return Page(keys, prefixes, None)


class ObjectStore:
    """The buckets of all accounts.

    Args:
        directory: Keeps the content of objects; what it contains at the start belongs to `account`.
        account: The owner of the buckets in `directory`.
        now: Seconds since 1970.
    """

    def __init__(self, directory: Path | None, account: str, now: float) -> None:
        self._directory = directory
        self._buckets: dict[str, Bucket] = {}
        if directory:
            (directory / _UPLOADS).mkdir(parents=True, exist_ok=True)
            self._load(directory, account, now)

    def _load(self, directory: Path, account: str, now: float) -> None:
        for folder in directory.iterdir():
            if folder.is_dir() and folder.name != _UPLOADS:
                bucket = self.create(folder.name, account, now)
                for path in folder.rglob("*"):
                    if path.is_file():
                        self._add(bucket, _key_of(path.relative_to(folder)), _object_in(path))

    def writer(self) -> ContentWriter:
        """Return a writer for the content of an object or part."""
        return ContentWriter(self._directory and self._directory / _UPLOADS / secrets.token_hex(16))

    def content(self, data: bytes) -> Content:
        """Return content with these bytes."""
        writer = self.writer()
        writer.write(data)
        return writer.finish()

    def bucket(self, name: str) -> Bucket | None:
        """Return a bucket."""
        return self._buckets.get(name)

    def create(self, name: str, account: str, now: float) -> Bucket:
        """Create a bucket."""
        self._buckets[name] = bucket = Bucket(name=name, account=account, created=now)
        return bucket

    def delete_bucket(self, bucket: Bucket) -> None:
        """Delete an empty bucket."""
        del self._buckets[bucket.name]

    def buckets(self) -> list[Bucket]:
        """Return all buckets by name."""
        return sorted(self._buckets.values(), key=lambda bucket: bucket.name)

    def put(self, bucket: Bucket, key: str, stored: StoredObject) -> None:
        """Store an object, in place of one with the same key."""
        if self._directory:
            stored = _move(stored, self._directory / bucket.name / _path_of(key))
        self._add(bucket, key, stored)

    def delete(self, bucket: Bucket, key: str) -> None:
        """Delete an object."""
        stored = bucket.objects.pop(key)
        del bucket.sorted_keys[bisect_left(bucket.sorted_keys, key)]
        if self._directory and isinstance(stored.content.source, Path):
            stored.content.source.unlink()
            self._delete_empty_folders(self._directory / bucket.name, stored.content.source.parent)

    def put_part(self, upload: Upload, number: int, part: StoredObject) -> None:
        """Store a part, in place of one with the same number."""
        if self._directory:
            part = _move(part, self._directory / _UPLOADS / f"{upload.upload_id}-{number}")
        upload.parts[number] = part

    def join(self, parts: list[Content]) -> Content:
        """Return the content of `parts` as one."""
        writer = self.writer()
        for part in parts:
            for piece in part.pieces():
                writer.write(piece)
        return writer.finish()

    def end_upload(self, bucket: Bucket, upload: Upload) -> None:
        """Drop a multipart upload and its parts."""
        del bucket.uploads[upload.upload_id]
        for part in upload.parts.values():
            if isinstance(part.content.source, Path):
                part.content.source.unlink()

    def _delete_empty_folders(self, top: Path, folder: Path) -> None:
        while folder != top and not any(folder.iterdir()):
            folder.rmdir()
            folder = folder.parent

    def _add(self, bucket: Bucket, key: str, stored: StoredObject) -> None:
        if key not in bucket.objects:
            insort(bucket.sorted_keys, key)
        bucket.objects[key] = stored


def _move(stored: StoredObject, path: Path) -> StoredObject:
    """Move the file with the content of an object to `path`."""
    source = stored.content.source
    assert isinstance(source, Path)  # noqa: S101 - as `ObjectStore.writer` made it
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        source.replace(path)
    except OSError as error:
        # A key can be longer than a file name, or be a prefix of another key, which makes it a directory.
        message = f"The directory of the sandbox cannot keep this key: {error.strerror}."
        raise Rejection(400, "InvalidObjectName", message) from error
    return replace(stored, content=Content.of(path))


def _object_in(path: Path) -> StoredObject:
    content = Content.of(path)
    headers = {"Content-Type": mimetypes.guess_type(path)[0] or _DEFAULT_TYPE}
    return StoredObject(content=content, modified=path.stat().st_mtime, etag=content.md5, headers=headers)


def _path_of(key: str) -> Path:
    """Return the path of the file of an object: its key, with what no file name can be percent-encoded."""
    return Path(*map(_file_name, key.split("/")))


def _file_name(segment: str) -> str:
    if segment in (".", ".."):
        return segment.replace(".", "%2E")
    return segment.replace("%", "%25").replace("\0", "%00") or "%"


def _key_of(path: Path) -> str:
    return "/".join("" if name == "%" else unquote(name) for name in path.parts)
