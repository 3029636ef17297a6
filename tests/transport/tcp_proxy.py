"""Ports, relays and proxies between a client and a sandbox, which break on purpose.

They handle bytes and connections, and know nothing of requests.
"""

from __future__ import annotations

import contextlib
import re
import socket
import socketserver
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import trustme

from qf_tasks.sandbox import Sandbox

LOOPBACK = "127.0.0.1"
NOT_TLS = b"this is not a TLS record\n" * 3

Count = Callable[[], int]


@contextmanager
def refusing_port() -> Iterator[int]:
    """Yield a port that is bound, but does not listen."""
    with socket.socket() as bound:
        bound.bind((LOOPBACK, 0))
        yield bound.getsockname()[1]


@contextmanager
def silent_port() -> Iterator[int]:
    """Yield a port where a connection is neither accepted nor refused: its queue is full."""
    with contextlib.ExitStack() as stack:
        listening = stack.enter_context(socket.create_server((LOOPBACK, 0), backlog=0))
        address = listening.getsockname()
        for _ in range(4):
            queued = stack.enter_context(socket.socket())
            queued.setblocking(False)
            queued.connect_ex(address)
        yield address[1]


@dataclass
class TcpProxy:
    """Forwards a connection to a port, and breaks when the service responds or when a count has grown.

    Attributes:
        count: What is compared; None breaks at the first bytes of the service.
        final_bytes: What the client gets in place of those at which the connection breaks.
        connect_status: With it this is an HTTP proxy that responds to CONNECT.
        edit: Changes what the service sends before the connection breaks.
        context: With it the connection to the client uses TLS.
    """

    target: int
    count: Count | None
    final_bytes: bytes = b""
    connect_status: int | None = None
    edit: Callable[[bytes], bytes] = bytes
    context: ssl.SSLContext | None = None
    port: int = 0
    connects: list[str] = field(default_factory=list)
    open: list[socket.socket] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"{'https' if self.context else 'http'}://{LOOPBACK}:{self.port}"

    def serve(self, client: socket.socket) -> None:
        """Forward bytes both ways until the connection breaks."""
        if self.context:
            client = self.context.wrap_socket(client, server_side=True)
        with client:
            self._forward_until_broken(client)

    def _forward_until_broken(self, client: socket.socket) -> None:
        if self.connect_status is not None and not self._respond_to_connect(client, self.connect_status):
            return
        with socket.create_connection((LOOPBACK, self.target)) as service:
            self.open += [client, service]
            before = self.count() if self.count else 0
            upstream = threading.Thread(target=_forward, args=(client, service))
            upstream.start()
            with contextlib.suppress(OSError):
                while (data := service.recv(65536)) and self.count and self.count() == before:
                    client.sendall(self.edit(data))
                client.sendall(self.final_bytes)
            _shut_down(client)
            _shut_down(service)
            upstream.join()

    def _respond_to_connect(self, client: socket.socket, status: int) -> bool:
        request = b""
        while b"\r\n\r\n" not in request:
            request += client.recv(65536)
        self.connects.append(request.decode().partition("\r\n")[0])
        client.sendall(f"HTTP/1.1 {status} Status\r\nContent-Length: 0\r\n\r\n".encode())
        return status == 200


def _forward(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    _shut_down(sink)


def _shut_down(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


@contextmanager
def _served(proxy: TcpProxy) -> Iterator[TcpProxy]:
    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            proxy.serve(self.request)

    with socketserver.ThreadingTCPServer((LOOPBACK, 0), Handler) as server:
        proxy.port = server.server_address[1]
        serving = threading.Thread(target=server.serve_forever, args=(0.01,))
        serving.start()
        try:
            yield proxy
        finally:
            server.shutdown()
            serving.join()
            for connection in proxy.open:
                _shut_down(connection)


def relay(
    target: int, *, count: Count | None, final_bytes: bytes = b"", edit: Callable[[bytes], bytes] = bytes
) -> contextlib.AbstractContextManager[TcpProxy]:
    """Forward to a port without any HTTP."""
    return _served(TcpProxy(target, count, final_bytes, edit=edit))


def proxy(
    target: int, *, count: Count | None, connect_status: int = 200, context: ssl.SSLContext | None = None
) -> contextlib.AbstractContextManager[TcpProxy]:
    """Be an HTTP proxy that forwards to one port, whatever host CONNECT names."""
    return _served(TcpProxy(target, count, connect_status=connect_status, context=context))


def half_as_long(data: bytes) -> bytes:
    """Halve the Content-Length in the head of a response."""
    head, name, rest = data.partition(b"Content-Length: ")
    length = re.match(rb"\d+", rest)
    return head + name + b"%d" % (int(length[0]) // 2) + rest[length.end() :] if length else data


def server_context(authority: trustme.CA, name: str) -> ssl.SSLContext:
    """Return the TLS context of a server whose certificate for a name was signed by an authority."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(name).configure_cert(context)
    return context


@contextmanager
def tls_sandbox(directory: Path, name: str) -> Iterator[tuple[Sandbox, Path]]:
    """Yield a sandbox whose certificate is for a name, and the file of the authority that signed it."""
    authority = trustme.CA()
    bundle = directory / "authority.pem"
    authority.cert_pem.write_to_path(str(bundle))
    with Sandbox(frozen=True, ssl_context=server_context(authority, name)) as sandbox:
        yield sandbox, bundle
