"""The object storage (BOS) through the official client: the only file that imports `baidubce`.

`BosClient` sends everything through its method `_send_request`. It is overridden here: requests go over the
kept connections of `Sender`, signed by this library, with the deadline, proxy, certificates and retries of
the settings, and fail with our exceptions. The original opens a connection for each request, logs signing
keys, and accepts a download that was cut short.
"""

from __future__ import annotations

import hashlib
import logging
import re
import time
from base64 import b64encode
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any, BinaryIO
from urllib.parse import quote, urlsplit

from baidubce.bce_client_configuration import BceClientConfiguration
from baidubce.bce_response import BceResponse
from baidubce.http import handler
from baidubce.services.bos.bos_client import BosClient

from qf_tasks._operations.retry import RetryPolicy
from qf_tasks._protocol.redaction import one_line, redact_bytes
from qf_tasks._protocol.responses import RawResponse, read
from qf_tasks._protocol.signing import authorization, query_string
from qf_tasks._transport.exception_mapping import without_frames
from qf_tasks._transport.sender import Sender, StreamedResponse
from qf_tasks.data.uri import BosUri, ObjectInfo
from qf_tasks.errors import (
    ApiError,
    BadResponseError,
    ErrorDetails,
    InvalidRequestError,
    NotFoundError,
    PermissionDeniedError,
    QfTasksError,
    RateLimitError,
    ServerError,
    ServiceUnreachableError,
)
from qf_tasks.settings import Settings, is_loopback

_DEFAULT_REGION = "bj"  # any region says where a bucket is
_REGION_HOST = re.compile(r"[a-z0-9-]+\.bcebos\.com")
_SIGNATURE_SECONDS = 1800  # how long a signature is valid: the SDK's own default
_PAGE_SIZE = 1000  # objects per listing or deletion, the limit of the service
_MAX_QUOTED = 200
_PERMISSION_HINT = (
    "Grant the user BOSFullControlAccessPolicy, or READ, WRITE and LIST on this bucket. "
    "权限不足，请授予该存储桶的读写权限。"
)

_logger = logging.getLogger("qf_tasks")


@dataclass(frozen=True, slots=True)
class _Request:
    """A request, which is signed again for each attempt."""

    method: str
    uri: BosUri
    params: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes | BinaryIO | None = None

    def __str__(self) -> str:
        return f"{self.method} {self.uri}"


class _SdkClient(BosClient):
    """The client of the SDK, whose requests are all sent by a function of this library."""

    def __init__(self, endpoint: str, send: Callable[..., BceResponse]) -> None:
        BosClient.__init__(self, BceClientConfiguration(endpoint=endpoint))
        self._send = send

    def _send_request(self, *args: Any, **kwargs: Any) -> BceResponse:
        return self._send(*args, **kwargs)


class ObjectStore:
    """The objects of one account, over connections that belong to one client.

    Args:
        now: A clock in seconds that only goes forward.
        sleep: Waits for some seconds of that clock, before a retry and for a listing that lags behind.
    """

    def __init__(
        self,
        settings: Settings,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.now: Callable[[], float] = now
        self.sleep: Callable[[float], None] = sleep
        # The SDK needs an endpoint, which is not used; the keys stay in the settings.
        self._sdk = _SdkClient(_region_url(_DEFAULT_REGION), self._sdk_request)
        self._settings = settings
        # If tasks are sent to this machine, such as to a sandbox, so is the data: the keys must not reach the
        # real object storage.
        is_local = settings.bos_endpoint is None and is_loopback(settings.base_url)
        self._endpoint = settings.base_url if is_local else settings.bos_endpoint
        self._sender = Sender(settings)
        self.policy: RetryPolicy = RetryPolicy(
            settings.max_retries, settings.max_retry_wait, settings.retry_budget
        )
        self._endpoints: dict[str, str] = {}

    def close(self) -> None:
        """Close the connections; a later request is rejected."""
        self._sender.close()

    def region(self, bucket: str) -> str:
        """Return the region of a bucket, such as "bj"."""
        region = str(self._sdk.get_bucket_location(bucket))
        if not _REGION_HOST.fullmatch(f"{region}.bcebos.com"):
            raise BadResponseError(f"The region of bucket {bucket} is not a name: {region[:80]!r}")
        return region

    def put(self, uri: BosUri, body: BinaryIO, size: int, md5: str) -> None:
        """Store an object, checked by its MD5 (in hexadecimal digits); `body` is at its beginning."""
        checksum = b64encode(bytes.fromhex(md5)).decode()
        self._sdk.put_object(
            uri.bucket, uri.key, body, size, content_md5=checksum, content_type="application/x-ndjson"
        )

    def write(self, uri: BosUri, content: bytes, *, if_absent: bool = False) -> bool:
        """Store a small object, and return whether it was stored.

        Args:
            if_absent: Do not replace an object that exists; the result is then False, also if an earlier
                attempt of this call has stored it. BOS does not document this condition, so read the object
                again.
        """
        checksum = b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode()
        headers = {"content-type": "application/json", "content-md5": checksum}
        condition = {"if-none-match": "*"} if if_absent else {}
        try:
            self._response(_Request("PUT", uri, {}, headers | condition, content))
        except InvalidRequestError as error:
            if error.status != 412:
                raise
            return False
        return True

    def get(self, uri: BosUri, max_bytes: int) -> bytes:
        """Return the content of a small object.

        Raises:
            NotFoundError: There is no such object.
            BadResponseError: It has more than `max_bytes`.
        """
        content = self._response(_Request("GET", uri, {}, {})).content
        if len(content) > max_bytes:
            raise BadResponseError(f"{uri} has more than {max_bytes} bytes")
        return content

    def list(self, prefix: BosUri, *, with_markers: bool = False) -> Iterator[ObjectInfo]:
        """Iterate over the objects whose keys begin with a prefix.

        Args:
            with_markers: Include the empty objects that consoles make for directories.
        """
        marker = None
        while True:
            page = self._sdk.list_objects(
                prefix.bucket, max_keys=_PAGE_SIZE, prefix=prefix.key or None, marker=marker
            )
            found = _objects_of(page, prefix)
            yield from (info for info in found if with_markers or not info.uri.key.endswith("/"))
            if page.is_truncated is False:
                return
            following = page.next_marker or (found[-1].uri.key if found else None)
            if not isinstance(following, str) or (marker is not None and following <= marker):
                raise BadResponseError(f"The listing of {prefix} does not advance")
            marker = following

    def delete(self, bucket: str, keys: Sequence[str]) -> None:
        """Delete objects; one that is gone already counts as deleted.

        Raises:
            ApiError: Some were not deleted; the message names the first.
        """
        for start in range(0, len(keys), _PAGE_SIZE):
            response = self._sdk.delete_multiple_objects(bucket, [*keys[start : start + _PAGE_SIZE]])
            errors = response.errors or []
            if not isinstance(errors, list):
                raise BadResponseError(
                    f"The response to a deletion in bucket {bucket} is not one of the service"
                )
            failed = [error for error in errors if getattr(error, "code", None) != "NoSuchKey"]
            if failed:
                key, code, message = (
                    one_line(str(getattr(failed[0], name, None)), _MAX_QUOTED)
                    for name in ("key", "code", "message")
                )
                cls = PermissionDeniedError if code == "AccessDenied" else ApiError
                raise cls(
                    f"{len(failed)} objects were not deleted, such as {BosUri(bucket, key)}: {message}",
                    code=code,
                    may_have_been_applied=True,
                )

    def read(self, source: BosUri | ObjectInfo, start: int = 0) -> Generator[bytes, None, None]:
        """Iterate over the content of an object from a position on, in chunks.

        After a break, reading continues where it stopped, if the object is still the same. Close the iterator
        to end it early.

        Args:
            source: An address, or an object as it was listed, which must not have changed since.

        Raises:
            NotFoundError: There is no such object.
            ServiceUnreachableError: It could not be read to its end.
            ApiError, BadResponseError: The object has changed meanwhile, or a response is unusable.
        """
        uri, size, etag = source if isinstance(source, ObjectInfo) else (source, None, None)
        position = start
        if size is not None and position >= size:
            return
        attempts = _Attempts(self, f"GET {uri}")
        while True:
            headers = {"If-Match": f'"{etag}"'} if etag else {}
            if position:
                headers["Range"] = f"bytes={position}-"
            failure: QfTasksError
            try:
                with self._open(_Request("GET", uri, {}, headers)) as response:
                    found_size, found_etag = _extent(response, uri, position)
                    if (size, etag) not in ((None, None), (found_size, found_etag)):
                        raise BadResponseError(f"{uri} has changed while it was read", code="ObjectChanged")
                    size, etag = found_size, found_etag
                    for chunk in response.chunks():
                        position += len(chunk)
                        attempts.restart()
                        yield chunk
                if position == size:
                    return
                raise ServiceUnreachableError(
                    f"{uri} has {size} bytes, but the response ended after {position}",
                    code="ConnectionBroken",
                )
            except QfTasksError as error:
                failure = without_frames(error)
            attempts.pause_or_raise(failure)

    @contextmanager
    def _open(self, request: _Request) -> Iterator[StreamedResponse]:
        """Send a request once; yield its response, if it is successful, to be read in chunks."""
        url, headers = self._signed(request)
        timeout = self._settings.request_timeout
        with self._sender.stream(request.method, url, headers, idle_timeout=timeout) as response:
            if response.status // 100 != 2:
                content = b"".join(response.chunks())
                raise _rejection(RawResponse(response.status, response.headers, content), request, headers)
            yield response

    def _sdk_request(
        self,
        http_method: bytes,
        bucket_name: str | None = None,
        key: str | bytes | None = None,
        *,
        body: str | bytes | BinaryIO | None = None,
        headers: Mapping[Any, Any] | None = None,
        params: Mapping[Any, Any] | None = None,
        config: object = None,  # noqa: ARG002 - the settings are used
        body_parser: Callable[[Any, BceResponse], object] | None = None,
    ) -> BceResponse:
        """Send a request of the SDK, and return the response as its methods expect it.

        The parameters are those of `BosClient._send_request`.
        """
        request = _Request(
            method=_text(http_method),
            uri=BosUri(_text(bucket_name or ""), _text(key or "")),
            params={_text(name): _text(value) for name, value in (params or {}).items()},
            headers={_text(name): _text(value) for name, value in (headers or {}).items()},
            body=body.encode() if isinstance(body, str) else body,
        )
        raw = self._response(request)
        response = BceResponse()
        response.set_metadata_from_headers(raw.headers)
        try:
            (body_parser or handler.parse_json)(_ParsedResponse(raw), response)
        except (ValueError, AttributeError, TypeError):
            problem = BadResponseError(f"The response to {request} is not JSON", status=raw.status)
        else:
            return response
        raise problem

    def _response(self, request: _Request) -> RawResponse:
        """Send a request, with retries, and return its successful response."""
        attempts = _Attempts(self, str(request))
        while True:
            if request.body is not None and not isinstance(request.body, bytes):
                request.body.seek(0)
            failure: QfTasksError
            try:
                return self._attempt(request)
            except QfTasksError as error:
                failure = without_frames(error)
            attempts.pause_or_raise(failure)

    def _attempt(self, request: _Request) -> RawResponse:
        url, headers = self._signed(request)
        raw = self._sender.request(request.method, url, headers, request.body)
        _logger.debug("%s: HTTP %d in %.3f s", request, raw.status, raw.elapsed)
        if 200 <= raw.status < 300:
            return raw
        raise _rejection(raw, request, headers)

    def _signed(self, request: _Request) -> tuple[str, dict[str, str]]:
        """Return the URL of a request, and its headers with a signature of this moment."""
        uri = request.uri
        endpoint = urlsplit(self._endpoint_of(uri.bucket, request.params))
        if uri.bucket and _REGION_HOST.fullmatch(endpoint.netloc):
            host, path = f"{uri.bucket}.{endpoint.netloc}", f"/{uri.key}"
        else:
            host, path = endpoint.netloc, f"/{uri.bucket}/{uri.key}" if uri.bucket else "/"
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        signed = {"host": host, "x-bce-date": now}
        sent = {"User-Agent": "qf-tasks"}
        for name, value in request.headers.items():
            is_unsigned = name.lower() in ("range", "if-match", "if-none-match", "user-agent")
            (sent if is_unsigned else signed)[name] = value
        sent["Authorization"] = authorization(
            self._settings.access_key,
            self._settings.secret_key.get_secret_value(),
            method=request.method,
            path=path,
            query=request.params,
            headers=signed,
            timestamp=now,
            lifetime=_SIGNATURE_SECONDS,
        )
        query = f"?{query_string(request.params)}" if request.params else ""
        # The sender adds Host itself.
        headers = {name: value for name, value in signed.items() if name != "host"}
        return f"{endpoint.scheme}://{host}{quote(path, safe='/')}{query}", headers | sent

    def _endpoint_of(self, bucket: str, params: Mapping[str, str]) -> str:
        """Return scheme and host for a bucket: those of the settings, or of its region, looked up once."""
        if self._endpoint is not None:
            return self._endpoint
        if not bucket or "location" in params:
            return _region_url(_DEFAULT_REGION)
        if bucket not in self._endpoints:
            self._endpoints[bucket] = _region_url(self.region(bucket))
        return self._endpoints[bucket]


class _Attempts:
    """Counts the attempts of one request, and decides whether there is another one.

    Every request to the object storage may be repeated: an upload has the same content, and an object that
    is gone counts as deleted.
    """

    def __init__(self, store: ObjectStore, request: str) -> None:
        self._store = store
        self._request = request
        self.restart()

    def restart(self) -> None:
        """Start counting again: a download has advanced."""
        self._numbers = count(1)
        self._started = self._store.now()

    def pause_or_raise(self, error: QfTasksError) -> None:
        """Wait until the next attempt, or raise the error of the last one."""
        number, policy = next(self._numbers), self._store.policy
        error.attempts = number
        delay = policy.delay(number, error.retry_after)
        resumed = self._store.now() - self._started + delay
        is_in_time = delay <= policy.max_wait and resumed < policy.budget
        if not _is_retryable(error) or number > policy.max_retries or not is_in_time:
            raise error
        _logger.warning("%s failed (%s), attempt %d; retrying in %.1f s", self._request, error, number, delay)
        self._store.sleep(delay)


class _ParsedResponse:
    """A response as the parsers of the SDK expect it."""

    def __init__(self, raw: RawResponse) -> None:
        self._raw = raw
        self.status = raw.status

    def read(self) -> bytes:
        return self._raw.content

    def getheaders(self) -> list[tuple[str, str]]:
        return list(self._raw.headers.items())

    def close(self) -> None:
        """Nothing is left open."""


def _objects_of(page: BceResponse, prefix: BosUri) -> list[ObjectInfo]:
    """Return the objects in a page of a listing, all of whose keys must begin with the prefix."""
    entries: Any = page.contents
    if not isinstance(entries, list) or not isinstance(page.is_truncated, bool):
        raise BadResponseError(f"The listing of {prefix} is not one of the service")
    found = []
    for entry in entries:
        key, size, etag = (getattr(entry, name, None) for name in ("key", "size", "etag"))
        if not isinstance(key, str) or not isinstance(size, int) or size < 0 or not isinstance(etag, str):
            raise BadResponseError(f"The listing of {prefix} has an object without key, size or ETag")
        if not key.startswith(prefix.key):
            raise BadResponseError(f"The listing of {prefix} contains another key: {key[:_MAX_QUOTED]!r}")
        found.append(ObjectInfo(BosUri(prefix.bucket, key), size, etag.strip('"')))
    return found


def _extent(response: StreamedResponse, uri: BosUri, position: int) -> tuple[int, str]:
    """Return the size and ETag of the whole object whose content a response has, from a position on."""
    headers = response.headers
    etag, length = headers.get("etag", "").strip('"'), headers.get("content-length", "")
    if response.status == 206:
        match = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", headers.get("content-range", ""))
        is_from_position = match is not None and int(match[1]) == position
        size = int(match[3]) if match else 0
    else:
        is_from_position = position == 0
        size = int(length) if length.isdecimal() else -1
    if not etag or not is_from_position or size < 0:
        raise BadResponseError(
            f"The response with {uri} has no ETag or length, or another range than asked for"
        )
    return size, etag


def _is_retryable(error: QfTasksError) -> bool:
    # A checksum that does not match means that the content was damaged on its way.
    return error.code == "BadDigest" or (
        isinstance(error, ServiceUnreachableError | RateLimitError | ServerError) and error.retryable
    )


def _rejection(raw: RawResponse, request: _Request, headers: Mapping[str, str]) -> QfTasksError:
    """Return the error of a response, without the signature that was sent."""
    signature = headers["Authorization"].rpartition("/")[2]
    return _error_of(raw._replace(content=redact_bytes(raw.content, [signature])), str(request))


def _error_of(raw: RawResponse, request: str) -> QfTasksError:
    """Return the error for a response that is not a success; the message names the request."""
    try:
        read(raw, request)
    except QfTasksError as error:
        problem = error
    else:
        problem = BadResponseError(f"HTTP {raw.status}", status=raw.status)
    cls: type[QfTasksError] = type(problem)
    hint = problem.hint
    match raw.status, problem.code:
        case 404, code if isinstance(problem, ApiError) or not raw.content:
            cls, hint = NotFoundError, None
            what = "the bucket does not exist" if code == "NoSuchBucket" else "it does not exist"
            return cls(f"{request} failed: {what}", **_details(problem, hint))
        case 403, "AccessDenied":
            hint = _PERMISSION_HINT
        case _, "RequestRateLimitExceeded":
            cls, hint = RateLimitError, None
        case 412, _:
            cls, hint = InvalidRequestError, "The object has changed while it was read; read it again."
    return cls(f"{request} failed: {problem.message}", **_details(problem, hint))


def _details(error: QfTasksError, hint: str | None) -> ErrorDetails:
    details = ErrorDetails(
        code=error.code, status=error.status, request_id=error.request_id, retry_after=error.retry_after
    )
    if hint:
        details["hint"] = hint
    return details


def _region_url(region: str) -> str:
    return f"https://{region}.bcebos.com"


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
