"""A TCP server that reads whole requests and sends bytes as a test scripts them."""

from __future__ import annotations

import json
import re
import socket
import socketserver
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from .tcp_proxy import LOOPBACK


class Exchange:
    """One request that has arrived, and the connection to respond on."""

    def __init__(self, server: RawServer, connection: Any, head: bytes, body: bytes) -> None:
        lines = head.decode().split("\r\n")[1:-2]
        self.headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        self.body = body
        self._server = server
        self._connection = connection

    @property
    def params(self) -> Any:
        return json.loads(self.body)

    def send(self, content: bytes) -> None:
        self._connection.sendall(content)

    def trickle(self, content: bytes, interval: float = 0.05) -> None:
        """Send one byte after the other, until the test ends."""
        for byte in content:
            if self._server.stopped.wait(interval):
                return
            self.send(bytes([byte]))

    def close(self) -> None:
        self._connection.shutdown(socket.SHUT_RDWR)


Script = Callable[[Exchange], None]


class RawServer(socketserver.ThreadingTCPServer):
    """Runs a script for each request; `connections` counts those that were accepted."""

    def __init__(self, script: Script, context: ssl.SSLContext | None) -> None:
        super().__init__((LOOPBACK, 0), _Handler)
        self.script = script
        self.context = context
        self.connections = 0
        self.closed_by_client = threading.Event()
        self.stopped = threading.Event()

    @property
    def url(self) -> str:
        return f"{'https' if self.context else 'http'}://{LOOPBACK}:{self.server_address[1]}"


class _Handler(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        server = self.server
        assert isinstance(server, RawServer)
        server.connections += 1
        with suppress(OSError):
            connection = self.request
            if server.context:
                connection = server.context.wrap_socket(connection, server_side=True)
            with connection, connection.makefile("rb") as incoming:
                while request := _read_request(incoming):
                    server.script(Exchange(server, connection, *request))
                server.closed_by_client.set()


def _read_request(incoming: Any) -> tuple[bytes, bytes] | None:
    """Return head and body of the next request, None if there is no other."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        line = incoming.readline()
        if not line:
            return None
        head += line
    length = re.search(rb"(?i)content-length: (\d+)", head)
    return head, incoming.read(int(length[1])) if length else b""


@contextmanager
def raw_server(script: Script, context: ssl.SSLContext | None = None) -> Iterator[RawServer]:
    with RawServer(script, context) as server:
        serving = threading.Thread(target=server.serve_forever, args=(0.01,))
        serving.start()
        try:
            yield server
        finally:
            server.stopped.set()
            server.shutdown()
            serving.join()


def response(content: bytes, *headers: str, status: str = "200 OK") -> bytes:
    """Return the bytes of a response with its Content-Length."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(content)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + content


def json_response(result: object, *headers: str) -> bytes:
    return response(json.dumps({"requestId": "r-1", "result": result}).encode(), *headers)
