"""A command line that runs in this process against a sandbox: into pipes, or on a pseudo-terminal."""

from __future__ import annotations

import contextlib
import io
import os
import re
import signal
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest

from qf_tasks import TaskClient
from qf_tasks.__main__ import main
from qf_tasks._runtime.blocking import Clock
from qf_tasks.sandbox import Fault, Sandbox
from tests.clients import SandboxTime

from .screen import Screen

_REQUEST_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class Ran(NamedTuple):
    """What one command printed; request ids are `REQUEST-ID`, as they are new each time."""

    code: int
    out: str
    err: str


class Session(NamedTuple):
    """What one command did to a terminal: its screen at the end, and every byte that was written."""

    code: int
    screen: list[str]
    written: str


Run = Callable[..., Ran]
RunOnTerminal = Callable[..., Session]


def shown(text: str) -> str:
    """Return what was printed, without what differs between runs or cannot be seen."""
    lines = _REQUEST_ID.sub("REQUEST-ID", text).splitlines()
    return "".join(f"{line.rstrip()}\n" for line in lines)


def interrupt_with(number: int = signal.SIGINT) -> Fault:
    """Return a fault that sends a signal to this process when the sandbox answers."""

    def interrupt(response: Any) -> Any:
        os.kill(os.getpid(), number)
        return response

    return Fault.transform(interrupt)


@pytest.fixture(autouse=True)
def local_time(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as here:
        here.setenv("TZ", "UTC-08:00")  # eight hours ahead of UTC, in POSIX notation
        time.tzset()
        yield
    time.tzset()


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)


@pytest.fixture
def own_sandbox(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Sandbox:
    """Return a sandbox that the environment points to, and whose clock clients wait by."""
    for name, value in sandbox.env().items():
        monkeypatch.setenv(name, value)
    passing = SandboxTime(sandbox)
    monkeypatch.setattr(TaskClient, "_clock", Clock(passing.now, passing.sleep))
    return sandbox


@pytest.fixture
def run(own_sandbox: Sandbox, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return what runs a command with pipes for streams; `typed` is what stdin has."""
    assert own_sandbox
    monkeypatch.delenv("COLUMNS", raising=False)

    def run(*arguments: str, typed: str = "") -> Ran:
        monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
        code = main(arguments)
        printed = capsys.readouterr()
        return Ran(code, shown(printed.out), shown(printed.err))

    return run


@pytest.fixture
def run_on_terminal(own_sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> RunOnTerminal:
    """Return what runs a command on a pseudo-terminal; `typed` is what the user types."""
    assert own_sandbox

    def run(
        *arguments: str,
        width: int = 80,
        height: int = 24,
        typed: str = "",
        colors: bool = True,
        encoding: str = "utf-8",
        term: str = "xterm-256color",
    ) -> Session:
        with monkeypatch.context() as here:
            for name, value in {"TERM": term, "COLUMNS": str(width), "LINES": str(height)}.items():
                here.setenv(name, value)
            here.delenv("NO_COLOR", raising=False)
            if not colors:
                here.setenv("NO_COLOR", "1")
            code, written = _run_on_pty(here, arguments, typed, encoding)
        screen = Screen(width, height)
        screen.write(written)
        return Session(code, screen.lines, written)

    return run


def _run_on_pty(
    monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], typed: str, encoding: str
) -> tuple[int, str]:
    """Return the exit code of a command, and what it wrote to a pseudo-terminal."""
    controller, terminal = os.openpty()
    attributes = termios.tcgetattr(terminal)
    attributes[3] &= ~termios.ECHO  # what is typed would be shown before the question
    termios.tcsetattr(terminal, termios.TCSANOW, attributes)
    received: list[bytes] = []

    def receive() -> None:
        with contextlib.suppress(OSError):  # the other end was closed
            while data := os.read(controller, 65_536):
                received.append(data)

    reader = threading.Thread(target=receive)
    reader.start()
    os.write(controller, typed.encode())
    with contextlib.ExitStack() as streams:
        for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
            buffering = 1 if mode == "w" else -1  # by lines, as on a terminal
            stream = os.fdopen(os.dup(terminal), mode, buffering, encoding=encoding)
            monkeypatch.setattr(sys, name, streams.enter_context(stream))
        code = main(arguments)
    os.close(terminal)
    reader.join()
    os.close(controller)
    return code, b"".join(received).decode(encoding, "replace")
