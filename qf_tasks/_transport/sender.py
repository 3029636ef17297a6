"""Sends HTTP requests over kept connections, within a time and a size: the only file that imports urllib3.

It has no session: no cookies, redirects, retries, `.netrc` or proxies of the environment. An exception that
leaves this file has frames that hold the headers of the request: callers cut them off with `without_frames`.
"""

from __future__ import annotations

import http.client
import math
import os
import re
import socket
import ssl
import sys
import time
import zlib
from base64 import b64encode
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast
from urllib.parse import SplitResult, unquote, urlsplit

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.poolmanager import ProxyManager
from urllib3.util import Url

from qf_tasks._protocol.redaction import one_line
from qf_tasks._protocol.responses import RawResponse
from qf_tasks._transport.exception_mapping import connect_error, exchange_error, raised_by_other_code
from qf_tasks.errors import BadResponseError, ConfigurationError, InvalidArgumentError, QfTasksError
from qf_tasks.settings import Settings, is_loopback

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

_CHUNK = 64 * 1024
_LINE_BREAK = re.compile(r"[\r\n\0]")
_GZIP = 16 + zlib.MAX_WBITS


class Sender:
    """Sends requests to any host for one client, over connections that belong to it alone."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._kept: dict[tuple[int, str], deque[_Connection]] = {}
        self._is_closed = False

    def request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | BinaryIO | None = None,
        *,
        timeout: float | None = None,
        max_bytes: int | None = None,
    ) -> RawResponse:
        """Send a request once and return the whole response.

        Args:
            body: A file needs a Content-Length among the headers.
            timeout: Seconds for the whole attempt; default `request_timeout`.
            max_bytes: The largest body that is accepted, decompressed; default `max_response_bytes`.

        Raises:
            ServiceUnreachableError: There was no complete response.
            BadResponseError: It is too large, informational (1xx), or cannot be decompressed.
            ConfigurationError: `ca_bundle` cannot be used.
        """
        started = time.perf_counter()
        limit = _Limit(self._settings.request_timeout if timeout is None else timeout)
        connection = self._connection(url, limit)
        try:
            with _mapped(exchange_error):
                response = connection.send_request(method, url, headers, body)
                content = _read(response, max_bytes or self._settings.max_response_bytes)
        except BaseException:
            connection.close()
            raise
        self._keep(connection)
        return RawResponse(response.status, _headers(response), content, time.perf_counter() - started)

    @contextmanager
    def stream(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        *,
        timeout: float | None = None,
        idle_timeout: float | None = None,
    ) -> Iterator[StreamedResponse]:
        """Send a request without a body and give its response to be read in chunks, as they were sent.

        Args:
            timeout: Seconds for the whole attempt; default no limit if there is an `idle_timeout`, otherwise
                `request_timeout`.
            idle_timeout: Seconds for each wait for more.

        Raises:
            ServiceUnreachableError: No response began; `chunks` raises it if the body breaks off.
            BadResponseError: The response is informational (1xx).
            ConfigurationError: `ca_bundle` cannot be used.
        """
        if timeout is None:
            timeout = self._settings.request_timeout if idle_timeout is None else math.inf
        connection = self._connection(url, _Limit(timeout, idle_timeout or math.inf))
        try:
            with _mapped(exchange_error):
                response = connection.send_request(method, url, headers, None)
            yield StreamedResponse(response)
        except BaseException:
            connection.close()
            raise
        self._keep(connection)

    def close(self) -> None:
        """Close the connections of this process."""
        self._is_closed = True
        for process, origin in list(self._kept):
            if process == os.getpid():
                _close_all(self._kept[process, origin])

    def _connection(self, url: str, limit: _Limit) -> _Connection:
        """Return a kept connection, or a new one, to the host of a URL.

        Connections are kept by process: a forked child must not use its parent's.
        """
        target = urlsplit(url)
        proxied = self._settings.proxy is not None and not is_loopback(url)
        kept = self._kept.setdefault((os.getpid(), f"{target.scheme}://{target.netloc}"), deque())
        with _mapped(lambda exception: connect_error(exception, proxied=proxied)):
            limit.remaining()
            while connection := _pop(kept):
                if connection.is_connected:
                    connection.limit = limit
                    return connection
                connection.close()
            if self._is_closed:
                raise QfTasksError("This client is closed; make a new one", code="ClientClosed")
            connection = self._new_connection(target, proxied=proxied)
            connection.kept, connection.limit = kept, limit
            try:
                connection.connect()
            except BaseException:
                connection.close()
                raise
            return connection

    def _new_connection(self, target: SplitResult, *, proxied: bool) -> _Connection:
        host = target.hostname or ""
        if not proxied and target.scheme == "http":
            return _HttpConnection(host, target.port or 80)
        context = tls_context(self._settings)
        if not proxied or self._settings.proxy is None:
            return _HttpsConnection(host, target.port or 443, ssl_context=context)
        manager = ProxyManager(self._settings.proxy.get_secret_value(), proxy_ssl_context=context)
        proxy = cast(Url, manager.proxy)
        connection = _HttpsConnection(
            proxy.host or "",
            proxy.port,
            ssl_context=context,
            proxy=proxy,
            proxy_config=manager.proxy_config,
        )
        connection.set_tunnel(
            host, target.port or 443, scheme=proxy.scheme or "http", headers=_proxy_headers(proxy.auth)
        )
        return connection

    def _keep(self, connection: _Connection) -> None:
        """Keep a connection whose response was read to its end for the next request."""
        kept = connection.kept
        if not connection.is_reusable or len(kept) >= self._settings.max_connections:
            connection.close()
            return
        kept.append(connection)
        if self._is_closed:  # while this request was being sent
            _close_all(kept)


class StreamedResponse:
    """A response whose body is still to be read; header names are in lower case."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.headers = _headers(response)
        self._response = response

    def chunks(self, size: int = _CHUNK) -> Iterator[bytes]:
        """Iterate over the body as it was sent.

        Raises:
            ServiceUnreachableError: The body is shorter than its Content-Length, or broke off.
        """
        with _mapped(exchange_error):
            chunks = _chunks(self._response, size)
        while True:
            with _mapped(exchange_error):
                chunk = next(chunks, b"")
            if not chunk:
                return
            yield chunk


def tls_context(settings: Settings) -> ssl.SSLContext:
    """Return how TLS connections of these settings are made; loaded once per process.

    Without `ca_bundle`, the certificates are those of the system.

    Raises:
        ConfigurationError: `ca_bundle` cannot be read.
    """
    bundle = settings.ca_bundle if settings.verify_tls else None
    try:
        changed = bundle.stat().st_mtime_ns if bundle else 0
        return _load_context(bundle, changed, settings.verify_tls)
    except (OSError, ssl.SSLError) as exception:
        reason = type(exception).__name__
    raise ConfigurationError(f"ca_bundle holds no certificates that can be read ({reason}): {bundle}")


@lru_cache(maxsize=16)
def _load_context(bundle: Path | None, _changed: int, verify: bool) -> ssl.SSLContext:
    is_directory = bundle is not None and bundle.is_dir()
    context = ssl.create_default_context(
        cafile=None if is_directory else bundle, capath=bundle if is_directory else None
    )
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    context.sslsocket_class = _TlsSocket
    return context


class _Limit:
    """How long an attempt may take in all, and each wait within it."""

    def __init__(self, timeout: float, idle_timeout: float = math.inf) -> None:
        self._deadline = time.monotonic() + timeout
        self._idle_timeout = idle_timeout

    def remaining(self) -> float:
        """Return the seconds that the next wait may take."""
        seconds = min(self._deadline - time.monotonic(), self._idle_timeout)
        if seconds <= 0:
            raise TimeoutError
        return seconds


class _Socket(socket.socket):
    """A socket that obeys the limit of its connection: each wait is as long as what remains."""

    limit: _Limit

    def gettimeout(self) -> float | None:  # asked for by TLS, before its handshake
        return self.limit.remaining()

    def recv(self, bufsize: int, flags: int = 0) -> bytes:
        self.settimeout(self.limit.remaining())
        return super().recv(bufsize, flags)

    def recv_into(self, buffer: WriteableBuffer, nbytes: int = 0, flags: int = 0) -> int:
        self.settimeout(self.limit.remaining())
        return super().recv_into(buffer, nbytes, flags)

    def sendall(self, data: ReadableBuffer, flags: int = 0) -> None:
        self.settimeout(self.limit.remaining())
        super().sendall(data, flags)


class _TlsSocket(ssl.SSLSocket):
    """The same over TLS."""

    limit: _Limit

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        self.settimeout(self.limit.remaining())
        return super().recv(buflen, flags)

    def recv_into(self, buffer: WriteableBuffer, nbytes: int | None = None, flags: int = 0) -> int:
        self.settimeout(self.limit.remaining())
        return super().recv_into(buffer, nbytes, flags)

    def sendall(self, data: ReadableBuffer, flags: int = 0) -> None:
        self.settimeout(self.limit.remaining())
        super().sendall(data, flags)


class _HttpConnection(HTTPConnection):
    """A connection whose sockets obey a limit, for one request after the other."""

    kept: deque[_Connection]
    _limit: _Limit
    _socket: Any = None
    _response: http.client.HTTPResponse | None = None

    @property
    def limit(self) -> _Limit:
        return self._limit

    @limit.setter
    def limit(self, limit: _Limit) -> None:
        self._limit = limit
        self.sock = self._socket

    @property
    def sock(self) -> Any:
        return self._socket

    @sock.setter
    def sock(self, sock: Any) -> None:
        self._socket = sock
        while sock is not None and not isinstance(sock, _Socket | _TlsSocket):
            sock = sock.socket  # TLS inside the TLS of a proxy
        if sock is not None:
            sock.limit = self._limit

    @property
    def is_reusable(self) -> bool:
        """Whether the response was read to its end and the server keeps the connection open."""
        response = self._response
        return (
            self._socket is not None
            and response is not None
            and response.isclosed()
            and not response.will_close
            and not response.length  # what is still missing when a body has broken off
        )

    def send_request(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | BinaryIO | None
    ) -> http.client.HTTPResponse:
        """Send a request and read the head of its response."""
        self._response = None
        head = _head(method, url, headers, len(body) if isinstance(body, bytes) else None)
        try:
            if isinstance(body, bytes):
                self.sock.sendall(head + body)
            else:
                self.sock.sendall(head)
                while body is not None and (chunk := body.read(_CHUNK)):
                    self.sock.sendall(chunk)
        except (BrokenPipeError, ConnectionResetError) as exception:
            # A server may respond, and close the connection, before it has read the whole body.
            if raised_by_other_code(exception, None):
                raise
        response = self._response = http.client.HTTPResponse(self.sock, method=method)
        response.begin()
        if response.status < 200:
            # http.client skips 100 alone. After any other, the real response is still to come, and would be
            # read as that of the next request.
            raise BadResponseError(
                f"The response is informational (HTTP {response.status})",
                code="InformationalResponse",
                status=response.status,
            )
        return response

    def close(self) -> None:
        super().close()
        if self._response is not None:  # which keeps the socket open until it is closed too
            self._response.close()

    def _new_conn(self) -> socket.socket:
        """Connect within the limit, whatever number of addresses the host has."""
        addresses = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
        for left in range(len(addresses), 0, -1):
            family, kind, protocol, _name, address = addresses[-left]
            sock = _Socket(family, kind, protocol)
            try:
                sock.limit = self._limit
                sock.settimeout(self._limit.remaining() / left)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                sock.connect(address)
            except BaseException as exception:
                sock.close()
                if left == 1 or not isinstance(exception, OSError) or raised_by_other_code(exception, None):
                    raise
            else:
                return sock
        raise OSError("the host name has no address")


class _HttpsConnection(_HttpConnection, HTTPSConnection):
    """The same over TLS, and through a proxy."""


_Connection = _HttpConnection


def _pop(kept: deque[_Connection]) -> _Connection | None:
    try:
        return kept.pop()
    except IndexError:  # another thread may have taken the last one
        return None


def _close_all(kept: deque[_Connection]) -> None:
    while connection := _pop(kept):
        connection.close()


@contextmanager
def _mapped(to_error: Callable[[Exception], QfTasksError]) -> Iterator[None]:
    """Map what libraries raise, and nothing that comes from a signal handler."""
    handled_before = sys.exception()
    try:
        yield
    except Exception as exception:
        error = exception if isinstance(exception, QfTasksError) else to_error(exception)
        raise raised_by_other_code(exception, handled_before) or error from None


def _head(method: str, url: str, headers: Mapping[str, str], length: int | None) -> bytes:
    """Return the head of a request, in one piece with its body in one packet."""
    parts = urlsplit(url)
    defaults = {"Host": parts.netloc, "Accept-Encoding": "identity"}
    if length is not None:
        defaults["Content-Length"] = str(length)
    target = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
    lines = [f"{method} {target} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in {**defaults, **headers}.items()]
    if _LINE_BREAK.search("".join(lines)):
        raise InvalidArgumentError("A header or the URL has a line break in it")
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def _read(response: http.client.HTTPResponse, max_bytes: int) -> bytes:
    """Return the whole body, decompressed piece by piece so that a limit of bytes is one of memory."""
    encoding = (response.getheader("content-encoding") or "identity").lower()
    if encoding not in ("identity", "gzip"):
        raise BadResponseError(
            f"The response has an encoding that was not asked for: {one_line(encoding, 40)!r}"
        )
    gzip = zlib.decompressobj(_GZIP) if encoding == "gzip" else None
    pieces, size = [], 0
    for chunk in _chunks(response, _CHUNK):
        for piece in _decompressed(gzip, chunk) if gzip else (chunk,):
            size += len(piece)
            if size > max_bytes:
                raise BadResponseError(
                    f"The response has more than {max_bytes} bytes",
                    code="ResponseTooLarge",
                    status=response.status,
                    hint="Raise max_response_bytes, or ask for less at once.",
                )
            pieces.append(piece)
    if gzip and pieces and not gzip.eof:
        raise zlib.error
    return b"".join(pieces)


def _decompressed(gzip: zlib._Decompress, data: bytes) -> Iterator[bytes]:
    while data and not gzip.eof:
        yield gzip.decompress(data, _CHUNK)
        data = gzip.unconsumed_tail


def _chunks(response: http.client.HTTPResponse, size: int) -> Iterator[bytes]:
    """Iterate over a body as it was sent, and check that it has its whole length."""
    missing = response.length  # None if it is chunked, or ends with the connection
    while chunk := response.read(size):
        if missing is not None:
            missing -= len(chunk)
        yield chunk
    if missing:
        raise http.client.IncompleteRead(b"", missing)


def _headers(response: http.client.HTTPResponse) -> dict[str, str]:
    headers: dict[str, str] = {}
    for name, value in response.headers.raw_items():
        key = name.lower()
        headers[key] = f"{headers[key]}, {value}" if key in headers else str(value)
    return headers


def _proxy_headers(auth: str | None) -> dict[str, str]:
    if auth is None:
        return {}
    return {"Proxy-Authorization": f"Basic {b64encode(unquote(auth).encode()).decode()}"}
