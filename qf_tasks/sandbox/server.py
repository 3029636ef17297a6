"""The HTTP server of the sandbox: aiohttp in a thread, on this machine only.

Knows how a response, with or without a fault, is sent, and nothing of its content.
"""

import asyncio
import logging
import os
import socket
import ssl
import struct
import threading
import zlib
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

from aiohttp import web

from .bos_protocol import address_of
from .content import Content
from .faults import NO_FAULT, Fault
from .http_messages import Request, Response, head_of
from .service import Service

# Bodies are kept as they were sent; errors and requests are recorded, not logged.
_HTTP_OPTIONS: dict[str, Any] = {
    "logger": logging.getLogger(__name__),
    "access_log": None,
    "auto_decompress": False,
}

_NO_LINGER = struct.pack("ii", 1, 0)  # closing such a socket resets the connection

# asyncio leaks a connection that is closed while it is being accepted, which takes some cycles of the loop.
_CYCLES_TO_ACCEPT = 10

_ZEROS = bytes(65_536)
_GZIP_FORMAT = 16 + zlib.MAX_WBITS


class _Connection(web.RequestHandler):
    """A connection of aiohttp, with a number."""

    number = 0


class Server:
    """Serves `service` between `start` and `stop`, which both return quickly."""

    def __init__(self, service: Service, port: int, ssl_context: ssl.SSLContext | None) -> None:
        self.connections = 0
        self.service = service
        self._port = port
        self._ssl_context = ssl_context
        self._thread: threading.Thread | None = None
        self._stop: Future[None]

    @property
    def is_running(self) -> bool:
        """Whether it is started."""
        return self._thread is not None

    @property
    def url(self) -> str:
        """The base URL."""
        return f"{'https' if self._ssl_context else 'http'}://127.0.0.1:{self.port}"

    @property
    def port(self) -> int:
        """The port, which stays the same when the server is started again."""
        if not self._port:
            raise RuntimeError(
                "the sandbox is not running: use `with Sandbox() as sandbox:`, or call start()"
            )
        return self._port

    def start(self) -> None:
        """Start listening; whatever prevents that is raised here."""
        if self._thread is not None:
            return
        listener = self._listen()
        started: Future[None] = Future()
        self._stop = Future()
        thread = threading.Thread(
            target=self._run, args=(listener, started), name="qf-tasks-sandbox", daemon=True
        )
        thread.start()
        try:
            started.result()
        except BaseException:
            listener.close()
            raise
        self._thread = thread
        self._port = listener.getsockname()[1]

    def stop(self) -> None:
        """Reset every connection and free the port."""
        if self._thread is not None:
            self._stop.set_result(None)
            self._thread.join()
            self._thread = None

    def _listen(self) -> socket.socket:
        try:
            return socket.create_server(("127.0.0.1", self._port), backlog=1024)
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else str(error)
            message = (
                f"the sandbox cannot listen on port {self._port}: {reason}; "
                "stop the program that uses the port, or choose another one (0: any free port)"
            )
            raise OSError(error.errno, message) from None

    def _run(self, listener: socket.socket, started: Future[None]) -> None:
        with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
            runner.run(self._serve(listener, started))

    async def _serve(self, listener: socket.socket, started: Future[None]) -> None:
        loop = asyncio.get_running_loop()
        web_server = web.Server(self._respond)

        def make_connection() -> _Connection:
            connection = _Connection(web_server, loop=loop, **_HTTP_OPTIONS)
            self.connections += 1
            connection.number = self.connections
            return connection

        try:
            server = await loop.create_server(make_connection, sock=listener, ssl=self._ssl_context)
        except (OSError, TypeError, ValueError) as error:
            started.set_exception(error)
            return
        started.set_result(None)
        await asyncio.wrap_future(self._stop)
        loop.remove_reader(listener)
        for _ in range(_CYCLES_TO_ACCEPT):
            await asyncio.sleep(0)
        server.close()
        for connection in web_server.connections:
            _reset(connection.transport)

    async def _respond(self, request: web.BaseRequest) -> web.StreamResponse:
        head = Request(
            method=request.method,
            path=request.rel_url.raw_path,
            raw_query=request.rel_url.raw_query_string,
            headers=request.headers,
            body=b"",
            connection=request.protocol.number if isinstance(request.protocol, _Connection) else 0,
        )
        service = self.service
        if address_of(head) is None:
            return await self._answer(request, service, replace(head, body=await _read(request)))
        if request.method != "PUT":
            received = replace(head, body=b"".join([piece async for piece in _pieces(request)]))
            return await self._answer(request, service, received)
        if service.resets_upload(head):
            return await _receive_half(request)
        writer = service.objects.writer()
        try:
            async for piece in _pieces(request):
                writer.write(piece)
            return await self._answer(request, service, replace(head, upload=writer.finish()))
        finally:
            writer.discard()

    async def _answer(
        self, request: web.BaseRequest, service: Service, received: Request
    ) -> web.StreamResponse:
        await asyncio.sleep(service.service_time)
        try:
            response, fault = service.respond(received)
        except Exception as error:
            service.errors.append(error)
            raise
        if fault is None and isinstance(response.body, bytes):
            return web.Response(status=response.status, headers=response.headers, body=response.body)
        return await _send_in_chunks(request, response, fault or NO_FAULT)


async def _read(request: web.BaseRequest) -> bytes:
    try:
        return await request.read()
    except (ConnectionError, web.RequestPayloadError) as error:
        raise _incomplete() from error


async def _pieces(request: web.BaseRequest) -> AsyncIterator[bytes]:
    """Yield a body of any size as it is received."""
    try:
        async for piece in request.content.iter_any():
            yield piece
    except (ConnectionError, web.RequestPayloadError) as error:
        raise _incomplete() from error


async def _receive_half(request: web.BaseRequest) -> web.StreamResponse:
    """Receive half of the body, then reset the connection."""
    missing = (request.content_length or 0) / 2
    async for piece in _pieces(request):
        missing -= len(piece)
        if missing <= 0:
            break
    _reset(request.transport)
    return web.StreamResponse()


def _incomplete() -> web.HTTPBadRequest:
    """Return the response if the client is gone before the end of its body: not an error of the sandbox."""
    return web.HTTPBadRequest(reason="The body ended too early.")


async def _send_in_chunks(request: web.BaseRequest, response: Response, fault: Fault) -> web.StreamResponse:
    transport = request.transport
    sent = web.StreamResponse(status=response.status, headers=response.headers)
    if transport is None:
        return sent  # the client is gone
    transport.write(fault.informational_head)
    await asyncio.sleep(fault.delay)
    if fault.sends == "nothing":
        _reset(transport)
    elif fault.trickles_headers:
        await _trickle_with_headers(transport, response, fault.seconds_per_byte)
    else:
        if not fault.zeros:
            sent.content_length = len(response.body)
        await sent.prepare(request)
        if request.method == "HEAD":
            return sent
        for chunk, pause in _chunks(response.body, fault):
            await sent.write(chunk)
            await asyncio.sleep(pause)
        if fault.resets:
            _reset(transport)
        elif fault.sends == "half":
            transport.close()
    return sent


async def _trickle_with_headers(
    transport: asyncio.WriteTransport, response: Response, seconds_per_byte: float
) -> None:
    """Send a whole response byte by byte and close the connection; aiohttp sends all headers at once."""
    headers = {**response.headers, "Content-Length": str(len(response.body)), "Connection": "close"}
    for byte in head_of(response.status, headers) + bytes(response.body):
        if not transport.is_closing():
            transport.write(bytes([byte]))
            await asyncio.sleep(seconds_per_byte)
    transport.close()


def _chunks(body: bytes | Content, fault: Fault) -> Iterator[tuple[bytes, float]]:
    """Yield the parts in which a body is sent, and the seconds to pause after each."""
    if fault.zeros:
        compressor = zlib.compressobj(wbits=_GZIP_FORMAT)
        for start in range(0, fault.zeros, len(_ZEROS)):
            zeros = _ZEROS[: fault.zeros - start]
            yield compressor.compress(zeros) if fault.zeros_are_compressed else zeros, 0.0
        if fault.zeros_are_compressed:
            yield compressor.flush(), 0.0
    elif fault.seconds_per_byte:
        yield from ((bytes([byte]), fault.seconds_per_byte) for byte in bytes(body))
    elif fault.body_delay:
        half = len(body) // 2
        yield bytes(body[:half]), fault.body_delay
        yield bytes(body[half:]), 0.0
    elif isinstance(body, Content):
        yield from ((piece, 0.0) for piece in fault.sent_part(body).pieces())
    else:
        yield fault.sent_part(body), 0.0


def _reset(transport: asyncio.BaseTransport | None) -> None:
    """Reset the connection, unless it is closed already."""
    if isinstance(transport, asyncio.Transport) and not transport.is_closing():
        connection = transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        transport.abort()
