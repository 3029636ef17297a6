"""What a signal handler raises ends a call unchanged, and leaves nothing behind that hangs a later one."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from types import FrameType
from typing import Any

import pytest

from qf_tasks._protocol.actions import DELETE
from qf_tasks._transport.sdk_hook import Transport

from .conftest import MakeTransport, StartServer
from .raw_server import Exchange, json_response


class SoftTimeLimit(Exception):
    """A limit of other code."""


EXCEPTIONS = [
    SoftTimeLimit,
    TimeoutError,
    OSError,
    ConnectionResetError,
    BrokenPipeError,
    RuntimeError,
    ValueError,
]


def limit(kind: type[Exception], _number: int, _frame: FrameType | None) -> None:
    raise kind("out of time")


class Limit:
    """A callable object, and a method, that raise."""

    def __init__(self, kind: type[Exception]) -> None:
        self.kind = kind

    def __call__(self, number: int, frame: FrameType | None) -> None:
        limit(self.kind, number, frame)

    def method(self, number: int, frame: FrameType | None) -> None:
        limit(self.kind, number, frame)


HANDLERS: dict[str, Callable[[type[Exception]], Callable[..., None]]] = {
    "function": lambda kind: lambda number, frame: limit(kind, number, frame),
    "partial": lambda kind: partial(limit, kind),
    "object": Limit,
    "method": lambda kind: Limit(kind).method,
}


@pytest.fixture
def set_handler() -> Iterator[Callable[[Any], Any]]:
    before = signal.getsignal(signal.SIGUSR1)
    yield partial(signal.signal, signal.SIGUSR1)
    signal.signal(signal.SIGUSR1, before)


def signalled_while_waiting(exchange: Exchange) -> None:
    """Interrupt the client's wait for the response of its first request."""
    if exchange.params.get("taskId") == "infer-limited":
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)
    else:
        exchange.send(json_response(True))


@pytest.mark.parametrize("kind", EXCEPTIONS)
@pytest.mark.parametrize("handler", HANDLERS)
def test_call_interrupted_by_handler_raises_what_the_handler_raised(
    start_server: StartServer,
    make_transport: MakeTransport,
    set_handler: Callable[[Any], Any],
    handler: str,
    kind: type[Exception],
) -> None:
    transport = make_transport(start_server(signalled_while_waiting))
    transport.call(DELETE, {"taskId": "infer-1"})
    set_handler(HANDLERS[handler](kind))

    with pytest.raises(kind, match="out of time") as caught:
        transport.call(DELETE, {"taskId": "infer-limited"})

    assert type(caught.value) is kind
    assert transport.call(DELETE, {"taskId": "infer-2"}).result is True


def test_call_interrupted_while_handling_another_exception_raises_what_the_handler_raised(
    start_server: StartServer, make_transport: MakeTransport, set_handler: Callable[[Any], Any]
) -> None:
    transport = make_transport(start_server(signalled_while_waiting), request_timeout=10)
    transport.call(DELETE, {"taskId": "infer-1"})
    set_handler(partial(limit, TimeoutError))

    try:
        raise LookupError("of the caller")
    except LookupError:
        with pytest.raises(TimeoutError, match="out of time"):
            transport.call(DELETE, {"taskId": "infer-limited"})


class Interrupt(BaseException):
    """What a signal handler may raise between any two lines."""


def interrupt_at(line: int) -> Callable[..., Any]:
    """Return a trace function that raises at a line of the sender or of the libraries below it."""
    left = line

    def trace(frame: FrameType, event: str, _argument: object) -> Any:
        nonlocal left
        module = str(frame.f_globals.get("__name__"))
        if not module.startswith(("qf_tasks._transport", "urllib3", "http.client", "socket", "ssl")):
            return None
        if event == "line":
            left -= 1
            if left == 0:
                raise Interrupt
        return trace

    return trace


def _interrupted_call(transport: Transport, line: int) -> bool:
    """Return whether a call was interrupted at this line."""
    before = sys.gettrace()
    sys.settrace(interrupt_at(line))
    try:
        transport.call(DELETE, {"taskId": "infer-1"})
    except Interrupt:
        return True
    finally:
        sys.settrace(before)
    return False


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_call_after_one_interrupted_at_any_line_works(
    start_either_server: StartServer, make_transport: MakeTransport
) -> None:
    server = start_either_server(lambda exchange: exchange.send(json_response(True)))
    transport = make_transport(server, request_timeout=10)
    transport.call(DELETE, {"taskId": "infer-1"})
    line = 1

    while _interrupted_call(transport, line):
        assert transport.call(DELETE, {"taskId": "infer-2"}).result is True
        line += 2

    assert line > 80
