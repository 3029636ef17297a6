"""HTTP for the service: aiohttp in a thread, on this machine only.

Knows how an answer, whole or broken, is put on the wire, and nothing of what is in it.
"""

import asyncio
import logging
import socket
import ssl
import struct
import threading
from concurrent.futures import Future
from typing import Any

from aiohttp import web

from .faults import Fault
from .service import Service
from .wire import Answer, Request

# A body is kept as it was sent; errors are kept in a list, requests in a record.
_HTTP_OPTIONS: dict[str, Any] = {
    "logger": logging.getLogger(__name__),
    "access_log": None,
    "auto_decompress": False,
}

_NO_LINGER = struct.pack("ii", 1, 0)  # a closed socket then sends a reset and not an end

# asyncio leaks a connection that is cut while it is being accepted; some turns of the loop later it is whole.
_TURNS_TO_ACCEPT = 10


class _Connection(web.RequestHandler):
    """aiohttp's connection, with a number."""

    number = 0


class Server:
    """Serves `service` from `start` to `stop`, which both return quickly."""

    def __init__(
        self, service: Service, port: int, ssl_context: ssl.SSLContext | None, service_time: float
    ) -> None:
        self.service_time = service_time
        self.connections = 0
        self.errors: list[Exception] = []
        self._service = service
        self._port = port
        self._ssl_context = ssl_context
        self._running: _Running | None = None

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"{'https' if self._ssl_context else 'http'}://127.0.0.1:{self.port}"

    @property
    def port(self) -> int:
        """The port it listens on; the same one again after a new start."""
        if not self._port:
            raise RuntimeError("the sandbox has no port before it is started")
        return self._port

    def start(self) -> None:
        """Listen; raises here what keeps the server from starting."""
        if self._running is not None:
            return
        listening = socket.create_server(("127.0.0.1", self._port), backlog=1024)
        try:
            self._running = _Running(self, listening, self._ssl_context)
        except BaseException:
            listening.close()
            raise
        self._port = listening.getsockname()[1]

    def stop(self) -> None:
        """Cut every connection and free the port, whatever is under way."""
        if self._running is not None:
            self._running.stop()
            self._running = None

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request of aiohttp's."""
        received = Request(
            method=request.method,
            path=request.rel_url.raw_path,
            raw_query=request.rel_url.raw_query_string,
            headers=request.headers,
            body=await _read(request),
            connection=request.protocol.number if isinstance(request.protocol, _Connection) else 0,
        )
        if self.service_time:
            await asyncio.sleep(self.service_time)
        try:
            answer, fault = self._service.answer(received)
        except Exception as error:
            self.errors.append(error)
            raise
        if fault is None:
            return web.Response(status=answer.status, headers=answer.headers, body=answer.body)
        return await _send(request, answer, fault)


class _Running:
    """The thread of a server, its loop and the way to end them."""

    def __init__(self, server: Server, listening: socket.socket, ssl_context: ssl.SSLContext | None) -> None:
        self._server = server
        self._listening = listening
        self._ssl_context = ssl_context
        self._loop = asyncio.SelectorEventLoop()
        self._started: Future[None] = Future()
        self._stopping = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="qf-tasks-sandbox", daemon=True)
        self._thread.start()
        self._started.result()

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        http = web.Server(self._server.answer)

        def connection() -> _Connection:
            made = _Connection(http, loop=self._loop, **_HTTP_OPTIONS)
            self._server.connections += 1
            made.number = self._server.connections
            return made

        try:
            listener = await self._loop.create_server(connection, sock=self._listening, ssl=self._ssl_context)
        except (OSError, TypeError, ValueError) as error:
            self._started.set_exception(error)
            return
        self._started.set_result(None)
        await self._stopping.wait()
        self._loop.remove_reader(self._listening)
        for _ in range(_TURNS_TO_ACCEPT):
            await asyncio.sleep(0)
        listener.close()
        for open_connection in http.connections:
            _abort(open_connection.transport)


async def _read(request: web.BaseRequest) -> bytes:
    """The body; a client that leaves before its end is no error of the sandbox."""
    try:
        return await request.read()
    except (ConnectionError, web.RequestPayloadError) as error:
        raise web.HTTPBadRequest(reason="The body ended too early.") from error


async def _send(request: web.BaseRequest, answer: Answer, fault: Fault) -> web.StreamResponse:
    """Put the answer on the wire as the fault wants it."""
    await asyncio.sleep(fault.delay)
    response = web.StreamResponse(status=answer.status, headers=answer.headers)
    if fault.sends == "nothing":
        _abort(request.transport)
        return response
    response.content_length = len(answer.body)
    await response.prepare(request)
    at_once = len(answer.body) // (2 if fault.body_delay or fault.sends == "half" else 1)
    await response.write(answer.body[:at_once])
    if fault.sends == "half" and request.transport is not None:
        request.transport.close()
        return response
    await asyncio.sleep(fault.body_delay)
    await response.write(answer.body[at_once:])
    return response


def _abort(transport: asyncio.BaseTransport | None) -> None:
    """Reset the connection, unless it is gone already."""
    if isinstance(transport, asyncio.Transport) and not transport.is_closing():
        connection = transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        transport.abort()
