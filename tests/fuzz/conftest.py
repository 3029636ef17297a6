from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from qf_tasks.sandbox import Sandbox
from tests.clients import SandboxTime


class Hasty(SandboxTime):
    """A time in which no pause is too short to pass, and none too long to wait for."""

    def sleep(self, seconds: float) -> None:
        super().sleep(min(seconds, 3600.0) + 1.0)


class LooseMouth(ThreadingHTTPServer):
    """A server that takes any request, says whatever bytes it was given, and hangs up."""

    says = b""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Saying)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Saying(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.close_connection = True
        if isinstance(self.server, LooseMouth):
            self.wfile.write(self.server.says)


@contextmanager
def _serving(server: LooseMouth) -> Iterator[None]:
    thread = Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()


@pytest.fixture
def loose_mouth() -> Iterator[LooseMouth]:
    with LooseMouth() as server, _serving(server):
        yield server


@pytest.fixture
def sandbox_time(sandbox: Sandbox) -> SandboxTime:
    return Hasty(sandbox)
