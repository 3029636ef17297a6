"""SIGTERM and SIGHUP end a run as Ctrl-C does, so that what was done is told."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from qf_tasks.cli._terminal import Terminal

_ENDING = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
_AS_USUAL = (signal.SIG_DFL, signal.default_int_handler)
_PATIENCE = 2  # the first ends the work, the second the wait for what is in flight; then there is the report


@contextmanager
def as_interrupts(terminal: Terminal) -> Iterator[None]:
    """Turn the signals into a KeyboardInterrupt while this lasts; one that is ignored (nohup) stays so.

    After a second one the process ends with its report: Python would still wait for threads. A third ends it
    at once, unless there is something in flight still.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, _frame: FrameType | None) -> None:
        terminal.signal = number
        terminal.interrupts += 1
        if terminal.interrupts > _PATIENCE and not terminal.in_flight:
            os._exit(128 + number)
        if terminal.in_flight and terminal.interrupts == 1:
            with suppress(OSError, RuntimeError):  # the terminal is gone, or was being written to just now
                terminal.note(f"Finishing {terminal.in_flight} in flight; Ctrl-C again leaves them unknown.")
        raise KeyboardInterrupt

    before = {number: signal.getsignal(number) for number in _ENDING}
    taken = [number for number, handler in before.items() if handler in _AS_USUAL]
    for number in taken:
        signal.signal(number, interrupt)
    try:
        yield
        if terminal.interrupts >= _PATIENCE:
            os._exit(terminal.exit_code)
    finally:
        for number in taken:
            signal.signal(number, before[number])
