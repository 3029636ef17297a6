"""The requests of the object storage (BOS): which operation a request is, and what it responds.

Knows the protocol and `ObjectStore`, and nothing of sockets or tasks. Path-style addresses
(`/bucket/key`, on an IP address or `localhost`) and virtual hosts (`bucket.bj.bcebos.com`) both work.
"""

import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import formatdate
from functools import cached_property
from typing import Any, NamedTuple
from urllib.parse import unquote

from .behavior import ServerBehavior
from .clock import to_text
from .content import Content
from .http_messages import Rejection, Request, Response, json_response, parse_json
from .objects import Bucket, ObjectStore, StoredObject, Upload

REGION = "bj"  # a choice: that of every bucket

_MAX_KEYS = 1000
_MAX_PARTS = 10_000
_STORAGE_CLASS = "STANDARD"
_HOST_SUFFIX = ".bcebos.com"
_BUCKET_NAME = re.compile(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]")
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")

# Parameters that name no sub-resource of the object or bucket.
_PLAIN_PARAMETERS = frozenset(
    {
        *("authorization", "prefix", "delimiter", "marker", "maxkeys", "partnumber"),
        *("partnumbermarker", "maxparts", "keymarker", "maxuploads"),
    }
)


class Address(NamedTuple):
    """The bucket and key that a request names; either can be empty."""

    bucket: str
    key: str


def address_of(request: Request) -> Address | None:
    """Return the address of a request to the object storage, or None if it is one to the service."""
    host = next((text for name, text in request.headers.items() if name.lower() == "host"), "")
    host = host.partition(":")[0].lower()
    path = unquote(request.path).lstrip("/")
    bucket, _, region = host.removesuffix(_HOST_SUFFIX).rpartition(".")
    if host.endswith(_HOST_SUFFIX) and region and bucket:
        return Address(bucket, path)
    address = _split(path)
    if not path or _BUCKET_NAME.fullmatch(address.bucket) or host.endswith(_HOST_SUFFIX):
        return address
    return None


def _split(path: str) -> Address:
    """Return the address in `bucket/key`; slashes before the key are dropped, as the SDK's helper expects."""
    bucket, _, key = path.lstrip("/").partition("/")
    return Address(bucket, key.lstrip("/"))


def operation_of(request: Request, address: Address) -> str | None:
    """Return the name of the operation, or None if there is no such operation."""
    resources = {name for name, _ in request.query if name.lower() not in _PLAIN_PARAMETERS}
    if len(resources) > 1:
        return None
    kind = "object" if address.key else "bucket" if address.bucket else "service"
    operation = _ROUTES.get((kind, request.method, next(iter(resources), "")))
    is_copy = any(name.lower() == "x-bce-copy-source" for name in request.headers)
    return _COPIES.get(operation, operation) if operation and is_copy else operation


@dataclass(frozen=True)
class ObjectOperations:
    """What one account can do with a bucket or object; each operation returns a response or a `Rejection`."""

    store: ObjectStore
    behavior: ServerBehavior
    account: str
    now: float
    request: Request
    request_id: str
    address: Address

    # Buckets

    def list_buckets(self) -> Response:
        """Return the buckets of the account."""
        buckets = [
            {"name": bucket.name, "location": REGION, "creationDate": to_text(bucket.created)}
            for bucket in self.store.buckets()
            if bucket.account == self.account
        ]
        return self._json({"owner": self._owner, "buckets": buckets})

    def put_bucket(self) -> Response:
        """Create a bucket."""
        self._check_bucket_name(self.address.bucket)
        if self.store.bucket(self.address.bucket):
            raise Rejection(409, "BucketAlreadyExists", "The requested bucket name is not available.")
        self.store.create(self.address.bucket, self.account, self.now)
        return self._empty()

    def head_bucket(self) -> Response:
        """Check that the bucket exists."""
        _ = self._bucket
        return self._empty()

    def get_bucket_location(self) -> Response:
        """Return the region of the bucket."""
        _ = self._bucket
        return self._json({"locationConstraint": REGION})

    def delete_bucket(self) -> Response:
        """Delete an empty bucket."""
        if self._bucket.objects:
            raise Rejection(409, "BucketNotEmpty", "The bucket is not empty.")
        self.store.delete_bucket(self._bucket)
        return self._empty(204)

    # Objects

    def list_objects(self) -> Response:
        """Return a page of objects."""
        prefix, delimiter, marker = (self._query.get(name, "") for name in ("prefix", "delimiter", "marker"))
        size = self._number("maxKeys", _MAX_KEYS, _MAX_KEYS)
        listed_until = self.now - self.behavior.object_list_delay
        page = self._bucket.page(prefix, delimiter, marker, size, listed_until)
        document: dict[str, Any] = {
            "name": self._bucket.name,
            "prefix": prefix,
            "delimiter": delimiter,
            "marker": marker,
            "maxKeys": size,
            "isTruncated": page.next_marker is not None,
            "contents": [self._listed(key) for key in page.keys],
        }
        if page.prefixes:
            document["commonPrefixes"] = [{"prefix": name} for name in page.prefixes]
        if page.next_marker is not None and self.behavior.object_next_marker:
            document["nextMarker"] = page.next_marker
        return self._json(document)

    def put_object(self) -> Response:
        """Store an object."""
        bucket, key = self._bucket, self.address.key
        content = self._received()
        if self.behavior.conditional_put:
            self._check_conditions(bucket.objects.get(key), not_match=412)
        stored = StoredObject(
            content=content, modified=self.now, etag=content.md5, headers=_kept_headers(self._headers)
        )
        self.store.put(bucket, key, stored)
        return self._empty(headers={"ETag": f'"{stored.etag}"'})

    def get_object(self) -> Response:
        """Return an object or a range of it; the server leaves out the body for HEAD."""
        stored = self._object(self._bucket, self.address.key)
        self._check_conditions(stored, not_match=304)
        headers = {
            **stored.headers,
            "ETag": f'"{stored.etag}"',
            "Last-Modified": formatdate(stored.modified, usegmt=True),
            "Accept-Ranges": "bytes",
            "x-bce-storage-class": _STORAGE_CLASS,
        }
        selected = _range(self._headers.get("range", ""), len(stored.content))
        if selected is None:
            return self._response(200, headers, stored.content)
        headers["Content-Range"] = f"bytes {selected.start}-{selected.stop - 1}/{len(stored.content)}"
        return self._response(206, headers, stored.content[selected.start : selected.stop])

    def copy_object(self) -> Response:
        """Copy an object of the same or another bucket."""
        bucket, key = self._bucket, self.address.key
        source = self._copy_source()
        replaces = self._headers.get("x-bce-metadata-directive", "copy").lower() == "replace"
        stored = StoredObject(
            content=self.store.join([source.content]),
            modified=self.now,
            etag=source.etag,
            headers=_kept_headers(self._headers) if replaces else source.headers,
        )
        self.store.put(bucket, key, stored)
        return self._json({"lastModified": to_text(self.now), "eTag": stored.etag})

    def delete_object(self) -> Response:
        """Delete an object."""
        error = self._delete(self.address.key)
        if error:
            raise error
        return self._empty(204)

    def delete_multiple_objects(self) -> Response:
        """Delete objects; the body of the response is empty if all could be deleted."""
        entries = self._entries("objects", "key", str)
        if len(entries) > _MAX_KEYS:
            raise Rejection(400, "InappropriateJSON", f"More than {_MAX_KEYS} objects.")
        errors = []
        for entry in entries:
            error = self._delete(entry["key"])
            if error:
                errors.append({"key": entry["key"], "code": error.code, "message": error.message})
        return self._json({"errors": errors}) if errors else self._empty()

    # Multipart uploads

    def initiate_multipart_upload(self) -> Response:
        """Start an upload in parts."""
        upload = Upload(
            upload_id=secrets.token_hex(16),
            key=self.address.key,
            initiated=self.now,
            headers=_kept_headers(self._headers),
        )
        self._bucket.uploads[upload.upload_id] = upload
        return self._json({"bucket": self._bucket.name, "key": upload.key, "uploadId": upload.upload_id})

    def upload_part(self) -> Response:
        """Store a part."""
        part = self._add_part(self._received())
        return self._empty(headers={"ETag": f'"{part.etag}"'})

    def upload_part_copy(self) -> Response:
        """Store a range of an object as a part."""
        content = self._copy_source().content
        selected = _range(self._headers.get("x-bce-copy-source-range", ""), len(content))
        if selected is not None:
            content = content[selected.start : selected.stop]
        part = self._add_part(self.store.join([content]))
        return self._json({"lastModified": to_text(self.now), "eTag": part.etag})

    def complete_multipart_upload(self) -> Response:
        """Make an object of the parts."""
        upload, bucket = self._upload, self._bucket
        entries = self._entries("parts", "partNumber", int)
        numbers = [entry["partNumber"] for entry in entries]
        if not numbers or numbers != sorted(set(numbers)):
            raise Rejection(400, "InvalidPartOrder", "The parts are not in ascending order.")
        for entry in entries:
            part = upload.parts.get(entry["partNumber"])
            if part is None or part.etag != str(entry.get("eTag", "")).strip('"'):
                message = f"Part {entry['partNumber']} was not uploaded, or its ETag differs."
                raise Rejection(400, "InvalidPart", message)
        parts = [upload.parts[number] for number in numbers]
        if any(len(part.content) < self.behavior.min_part_size for part in parts[:-1]):
            raise Rejection(400, "EntityTooSmall", "A part that is not the last one is too small.")
        self._check_conditions(bucket.objects.get(upload.key), not_match=412)
        content = self.store.join([part.content for part in parts])
        # The ETag is opaque: this one is not the MD5 of the whole, as a reminder.
        stored = StoredObject(
            content=content, modified=self.now, etag=f"-{content.md5}", headers=upload.headers
        )
        self.store.put(bucket, upload.key, stored)
        self.store.end_upload(bucket, upload)
        location = f"http://{bucket.name}.{REGION}{_HOST_SUFFIX}/{upload.key}"
        return self._json(
            {"location": location, "bucket": bucket.name, "key": upload.key, "eTag": stored.etag}
        )

    def abort_multipart_upload(self) -> Response:
        """Drop an upload and its parts."""
        self.store.end_upload(self._bucket, self._upload)
        return self._empty(204)

    def list_parts(self) -> Response:
        """Return a page of the parts of an upload."""
        upload = self._upload
        size = self._number("maxParts", _MAX_KEYS, _MAX_KEYS)
        marker = self._number("partNumberMarker", 0, _MAX_PARTS)
        following = sorted(number for number in upload.parts if number > marker)
        numbers = following[:size]
        parts = [
            {
                "partNumber": number,
                "lastModified": to_text(upload.parts[number].modified),
                "eTag": upload.parts[number].etag,
                "size": len(upload.parts[number].content),
            }
            for number in numbers
        ]
        return self._json(
            {
                "bucket": self._bucket.name,
                "key": upload.key,
                "uploadId": upload.upload_id,
                "initiated": to_text(upload.initiated),
                "owner": self._owner,
                "storageClass": _STORAGE_CLASS,
                "partNumberMarker": marker,
                "nextPartNumberMarker": numbers[-1] if numbers else marker,
                "maxParts": size,
                "isTruncated": len(following) > size,
                "parts": parts,
            }
        )

    def list_multipart_uploads(self) -> Response:
        """Return the uploads that are not complete."""
        prefix, marker = self._query.get("prefix", ""), self._query.get("keyMarker", "")
        size = self._number("maxUploads", _MAX_KEYS, _MAX_KEYS)
        found = sorted(
            (upload.key, upload.initiated, upload.upload_id)
            for upload in self._bucket.uploads.values()
            if upload.key.startswith(prefix) and upload.key > marker
        )
        uploads = [
            {
                "key": key,
                "uploadId": upload_id,
                "owner": self._owner,
                "initiated": to_text(initiated),
                "storageClass": _STORAGE_CLASS,
            }
            for key, initiated, upload_id in found[:size]
        ]
        document = {
            "bucket": self._bucket.name,
            "prefix": prefix,
            "keyMarker": marker,
            "maxUploads": size,
            "isTruncated": len(found) > size,
            "uploads": uploads,
        }
        if len(found) > size:
            document["nextKeyMarker"] = found[size - 1][0]
        return self._json(document)

    # What the operations share

    @cached_property
    def _headers(self) -> dict[str, str]:
        return {name.lower(): text for name, text in self.request.headers.items()}

    @cached_property
    def _query(self) -> dict[str, str]:
        return dict(self.request.query)

    @property
    def _owner(self) -> dict[str, str]:
        return {"id": self.account, "displayName": self.account}

    @cached_property
    def _bucket(self) -> Bucket:
        return self._bucket_named(self.address.bucket)

    def _bucket_named(self, name: str) -> Bucket:
        self._check_bucket_name(name)
        bucket = self.store.bucket(name)
        if bucket is None:
            if self.behavior.missing_buckets_refused:
                raise Rejection(404, "NoSuchBucket", "The specified bucket does not exist.")
            return self.store.create(name, self.account, self.now)
        if bucket.account != self.account:
            raise Rejection(403, "AccessDenied", "Access denied.")
        return bucket

    def _check_bucket_name(self, name: str) -> None:
        if not _BUCKET_NAME.fullmatch(name):
            raise Rejection(400, "InvalidBucketName", "The specified bucket is not valid.")

    def _object(self, bucket: Bucket, key: str) -> StoredObject:
        stored = bucket.objects.get(key)
        if stored is None:
            raise Rejection(404, "NoSuchKey", "The specified key does not exist.")
        return stored

    @property
    def _upload(self) -> Upload:
        upload = self._bucket.uploads.get(self._query["uploadId"])
        if upload is None or upload.key != self.address.key:
            raise Rejection(404, "NoSuchUpload", "The specified multipart upload does not exist.")
        return upload

    def _received(self) -> Content:
        """Return the body, if it has the checksums that the request names."""
        content = self.request.upload
        assert content is not None  # noqa: S101 - the server reads each PUT of an object so
        checks: dict[str, Callable[[], str]] = {
            "content-md5": lambda: content.md5_base64,
            "x-bce-content-sha256": lambda: content.sha256,
            "x-bce-content-crc32": lambda: str(content.crc32),
        }
        for name, checksum in checks.items():
            if name in self._headers and self._headers[name].strip() != checksum():
                raise Rejection(400, "BadDigest", f"The {name} you specified did not match what we received.")
        return content

    def _copy_source(self) -> StoredObject:
        bucket, key = _split(unquote(self._headers["x-bce-copy-source"]))
        stored = self._object(self._bucket_named(bucket), key)
        expected = self._headers.get("x-bce-copy-source-if-match")
        if expected is not None and expected.strip('"') != stored.etag:
            raise _precondition_failed()
        return stored

    def _add_part(self, content: Content) -> StoredObject:
        number = self._number("partNumber", 0, _MAX_PARTS + 1)
        if not 1 <= number <= _MAX_PARTS:
            raise Rejection(400, "InvalidArgument", f"partNumber is not between 1 and {_MAX_PARTS}.")
        part = StoredObject(content=content, modified=self.now, etag=content.md5)
        self.store.put_part(self._upload, number, part)
        return part

    def _check_conditions(self, stored: StoredObject | None, *, not_match: int) -> None:
        """Check If-Match and If-None-Match; `not_match` is the status if the latter does not hold."""
        expected, excluded = self._headers.get("if-match"), self._headers.get("if-none-match")
        if expected is not None and not _matches(expected, stored):
            raise _precondition_failed()
        if excluded is not None and _matches(excluded, stored):
            raise Rejection(not_match, *_PRECONDITION_FAILED)

    def _delete(self, key: str) -> Rejection | None:
        if key in self._bucket.objects:
            self.store.delete(self._bucket, key)
        elif self.behavior.missing_object_delete_status == 404:
            return Rejection(404, "NoSuchKey", "The specified key does not exist.")
        return None

    def _entries(self, name: str, field: str, kind: type) -> list[dict[str, Any]]:
        """Return the objects in the list `name` of the JSON body, each with a `field` of type `kind`."""
        try:
            document = parse_json(self.request.body)
        except ValueError:
            raise Rejection(400, "MalformedJSON", "The body is not JSON in UTF-8.") from None
        entries = document.get(name) if isinstance(document, dict) else None
        if not isinstance(entries, list) or not all(
            isinstance(entry, dict) and type(entry.get(field)) is kind for entry in entries
        ):
            raise Rejection(400, "InappropriateJSON", f"The body has no list of {name}.")
        return entries

    def _number(self, name: str, default: int, maximum: int) -> int:
        text = self._query.get(name, str(default))
        if not (text.isascii() and text.isdigit()):
            raise Rejection(400, "InvalidArgument", f"{name} is not a number.")
        return min(int(text), maximum)

    def _listed(self, key: str) -> dict[str, Any]:
        stored = self._bucket.objects[key]
        return {
            "key": key,
            "lastModified": to_text(stored.modified),
            "eTag": stored.etag,
            "size": len(stored.content),
            "storageClass": _STORAGE_CLASS,
            "owner": self._owner,
        }

    def _json(self, document: Any) -> Response:
        return json_response(self.request_id, document)

    def _empty(self, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
        return self._response(status, headers or {}, b"")

    def _response(self, status: int, headers: Mapping[str, str], body: bytes | Content) -> Response:
        return Response(status, {**headers, "x-bce-request-id": self.request_id}, body)


_PRECONDITION_FAILED = ("PreconditionFailed", "At least one of the preconditions did not hold.")


def _precondition_failed() -> Rejection:
    return Rejection(412, *_PRECONDITION_FAILED)


def _matches(condition: str, stored: StoredObject | None) -> bool:
    etags = [etag.strip().strip('"') for etag in condition.split(",")]
    return stored is not None and ("*" in etags or stored.etag in etags)


def _kept_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the headers of a request that the object keeps."""
    kept = {name: text for name, text in headers.items() if name.startswith("x-bce-meta-")}
    names = ("Cache-Control", "Content-Disposition", "Content-Encoding", "Content-Type", "Expires")
    kept |= {name: headers[name.lower()] for name in names if name.lower() in headers}
    return {"Content-Type": "application/octet-stream"} | kept


def _range(header: str, size: int) -> range | None:
    """Return the bytes that a `Range` selects; None for all, also if there are several ranges."""
    match = _RANGE.fullmatch(header.strip())
    if match is None or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    if not first:
        selected = range(max(0, size - int(last)), size)
    else:
        selected = range(int(first), min(int(last) + 1, size) if last else size)
    if not selected:
        raise Rejection(416, "InvalidRange", "The requested range cannot be satisfied.")
    return selected


# (resource, method, parameter that names what is asked for) -> operation
_ROUTES = {
    ("service", "GET", ""): "ListBuckets",
    ("bucket", "PUT", ""): "PutBucket",
    ("bucket", "HEAD", ""): "HeadBucket",
    ("bucket", "DELETE", ""): "DeleteBucket",
    ("bucket", "GET", "location"): "GetBucketLocation",
    ("bucket", "GET", ""): "ListObjects",
    ("bucket", "GET", "uploads"): "ListMultipartUploads",
    ("bucket", "POST", "delete"): "DeleteMultipleObjects",
    ("object", "PUT", ""): "PutObject",
    ("object", "GET", ""): "GetObject",
    ("object", "HEAD", ""): "HeadObject",
    ("object", "DELETE", ""): "DeleteObject",
    ("object", "POST", "uploads"): "InitiateMultipartUpload",
    ("object", "PUT", "uploadId"): "UploadPart",
    ("object", "POST", "uploadId"): "CompleteMultipartUpload",
    ("object", "DELETE", "uploadId"): "AbortMultipartUpload",
    ("object", "GET", "uploadId"): "ListParts",
}

# A PUT with the header `x-bce-copy-source` is another operation.
_COPIES = {"PutObject": "CopyObject", "UploadPart": "UploadPartCopy"}

OPERATIONS: dict[str, Callable[[ObjectOperations], Response]] = {
    "ListBuckets": ObjectOperations.list_buckets,
    "PutBucket": ObjectOperations.put_bucket,
    "HeadBucket": ObjectOperations.head_bucket,
    "DeleteBucket": ObjectOperations.delete_bucket,
    "GetBucketLocation": ObjectOperations.get_bucket_location,
    "ListObjects": ObjectOperations.list_objects,
    "PutObject": ObjectOperations.put_object,
    "GetObject": ObjectOperations.get_object,
    "HeadObject": ObjectOperations.get_object,
    "DeleteObject": ObjectOperations.delete_object,
    "DeleteMultipleObjects": ObjectOperations.delete_multiple_objects,
    "CopyObject": ObjectOperations.copy_object,
    "InitiateMultipartUpload": ObjectOperations.initiate_multipart_upload,
    "UploadPart": ObjectOperations.upload_part,
    "UploadPartCopy": ObjectOperations.upload_part_copy,
    "CompleteMultipartUpload": ObjectOperations.complete_multipart_upload,
    "AbortMultipartUpload": ObjectOperations.abort_multipart_upload,
    "ListParts": ObjectOperations.list_parts,
    "ListMultipartUploads": ObjectOperations.list_multipart_uploads,
}
