"""The server of a benchmark: a sandbox in a process of its own, controlled by lines of JSON."""

from __future__ import annotations

import json
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

import certifi
import trustme

from qf_tasks import RunStatus
from qf_tasks.sandbox import Sandbox

ROOT = Path(__file__).parents[2]
SCHEMES = ("https", "http")


class Server:
    """A sandbox in another process."""

    def __init__(self, process: subprocess.Popen[str], ca_bundle: Path) -> None:
        self._process = process
        self.ca_bundle = ca_bundle
        self.env: dict[str, str] = self.run("env")
        self.access_key = self.env["QIANFAN_ACCESS_KEY"]
        self.secret_key = self.env["QIANFAN_SECRET_KEY"]
        self.url = self.env["QIANFAN_CONSOLE_API_BASE_URL"]
        self.netloc = urlsplit(self.url).netloc

    def run(self, command: str, **arguments: Any) -> Any:
        """Return the result of a command: one of those at the end of this file."""
        assert self._process.stdin
        assert self._process.stdout
        print(json.dumps([command, arguments]), file=self._process.stdin, flush=True)
        return json.loads(self._process.stdout.readline())


@contextmanager
def running(scheme: str, *, service_time: float = 0.0, frozen: bool = True) -> Iterator[Server]:
    """Start a server, whose clock runs unless frozen; the end of its input is the end of its process."""
    with TemporaryDirectory() as directory:
        ca_bundle = Path(directory, "ca.pem")
        with subprocess.Popen(
            [sys.executable, "-m", __spec__.name, scheme, str(service_time), str(int(frozen)), ca_bundle],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            yield Server(process, ca_bundle)


def _serve(scheme: str, service_time: float, frozen: bool, ca_bundle: Path) -> None:
    with Sandbox(
        ssl_context=_tls(ca_bundle) if scheme == "https" else None,
        frozen=frozen,
        service_time=service_time,
        remember=100_000,
    ) as sandbox:
        commands: dict[str, Callable[..., Any]] = {
            "env": sandbox.env,
            "add_tasks": sandbox.add_tasks,
            "add_task": sandbox.add_task,
            "advance": sandbox.advance,
            "run_task": lambda input_bos_uri: _run_task(sandbox, input_bos_uri),
            "count_requests": lambda: len(sandbox.requests),
        }
        for line in sys.stdin:
            command, arguments = json.loads(line)
            print(json.dumps(commands[command](**arguments)), flush=True)


def _run_task(sandbox: Sandbox, input_bos_uri: str) -> None:
    """Create a task and let the worker finish it."""
    with sandbox.client(request_timeout=600) as client:
        client.create(
            name="benchmark",
            endpoint="ernie",
            input_bos_uri=input_bos_uri,
            output_bos_uri="bos:/benchmarks/out/",
        )
        sandbox.advance(3600)
        assert next(client.list()).run_status == RunStatus.DONE


def _tls(ca_bundle: Path) -> ssl.SSLContext:
    """Return the server's side of TLS, and write the CA bundle of its clients.

    That is the test's own authority beside the public ones: a client of the service reads those too, and
    the raw SDK does so at every call.
    """
    authority = trustme.CA()
    ca_bundle.write_bytes(Path(certifi.where()).read_bytes() + authority.cert_pem.bytes())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


if __name__ == "__main__":
    _serve(sys.argv[1], float(sys.argv[2]), sys.argv[3] == "1", Path(sys.argv[4]))
