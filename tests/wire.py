"""What stands between a client and a sandbox, and breaks: ports, relays and proxies of this machine.

They know bytes and connections, and nothing of what is said on them.
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
GARBAGE = b"this is no TLS record\n" * 3

Count = Callable[[], int]


@contextmanager
def refusing_port() -> Iterator[int]:
    """Yield a port that is taken, but where nobody listens."""
    with socket.socket() as bound:
        bound.bind((LOOPBACK, 0))
        yield bound.getsockname()[1]


@contextmanager
def silent_port() -> Iterator[int]:
    """Yield a port where a connection is neither taken nor refused: its queue is full."""
    with contextlib.ExitStack() as stack:
        listening = stack.enter_context(socket.create_server((LOOPBACK, 0), backlog=0))
        address = listening.getsockname()
        for _ in range(4):
            queued = stack.enter_context(socket.socket())
            queued.setblocking(False)
            queued.connect_ex(address)
        yield address[1]


@dataclass
class Line:
    """A line to a port that breaks when it speaks: at once, or after a count has grown.

    What it carries from there until then may be edited.
    """

    target: int
    count: Count | None
    last_words: bytes = b""
    connect_status: int | None = None
    edit: Callable[[bytes], bytes] = bytes
    port: int = 0
    connects: list[str] = field(default_factory=list)
    open: list[socket.socket] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    def carry(self, client: socket.socket) -> None:
        """Carry bytes both ways until the line breaks."""
        if self.connect_status is not None and not self._connected(client, self.connect_status):
            return
        with socket.create_connection((LOOPBACK, self.target)) as service:
            self.open += [client, service]
            before = self.count() if self.count else 0
            upward = threading.Thread(target=_pump, args=(client, service))
            upward.start()
            with contextlib.suppress(OSError):
                while (said := service.recv(65536)) and self.count and self.count() == before:
                    client.sendall(self.edit(said))
                client.sendall(self.last_words)
            _hang_up(client)
            _hang_up(service)
            upward.join()

    def _connected(self, client: socket.socket, status: int) -> bool:
        """Answer the CONNECT of a client to its proxy."""
        asked = b""
        while b"\r\n\r\n" not in asked:
            asked += client.recv(65536)
        self.connects.append(asked.decode().partition("\r\n")[0])
        client.sendall(f"HTTP/1.1 {status} Answered\r\nContent-Length: 0\r\n\r\n".encode())
        return status == 200


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while said := source.recv(65536):
            sink.sendall(said)
    _hang_up(sink)


def _hang_up(line: socket.socket) -> None:
    with contextlib.suppress(OSError):
        line.shutdown(socket.SHUT_RDWR)


@contextmanager
def _served(line: Line) -> Iterator[Line]:
    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            line.carry(self.request)

    with socketserver.ThreadingTCPServer((LOOPBACK, 0), Handler) as server:
        line.port = server.server_address[1]
        serving = threading.Thread(target=server.serve_forever, args=(0.01,))
        serving.start()
        try:
            yield line
        finally:
            server.shutdown()
            serving.join()
            for end in line.open:
                _hang_up(end)


def relay(
    target: int, *, count: Count | None, last_words: bytes = b"", edit: Callable[[bytes], bytes] = bytes
) -> contextlib.AbstractContextManager[Line]:
    """Relay to a port, and break with these last words."""
    return _served(Line(target, count, last_words, edit=edit))


def proxy(
    target: int, *, count: Count | None, connect_status: int = 200
) -> contextlib.AbstractContextManager[Line]:
    """Be a proxy that answers CONNECT with a status, leads to a port whatever was named, and breaks."""
    return _served(Line(target, count, connect_status=connect_status))


def half_as_long(said: bytes) -> bytes:
    """Halve the length that the head of an answer tells."""
    head, name, rest = said.partition(b"Content-Length: ")
    length = re.match(rb"\d+", rest)
    return head + name + b"%d" % (int(length[0]) // 2) + rest[length.end() :] if length else said


@contextmanager
def tls_sandbox(directory: Path, name: str) -> Iterator[tuple[Sandbox, Path]]:
    """Yield a sandbox whose certificate is for a name, and the file of the authority that vouches for it."""
    authority = trustme.CA()
    bundle = directory / "authority.pem"
    authority.cert_pem.write_to_path(str(bundle))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(name).configure_cert(context)
    with Sandbox(frozen=True, ssl_context=context) as sandbox:
        yield sandbox, bundle
