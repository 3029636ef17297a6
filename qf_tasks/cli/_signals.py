"""SIGTERM and SIGHUP end a run as Ctrl-C does, so that what was done is told; who insists is let go at once."""

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
_PATIENCE = 2  # signals that are waited for: by the work in flight, then by the report


@contextmanager
def as_interrupts(terminal: Terminal) -> Iterator[None]:
    """Turn the signals into a KeyboardInterrupt while this lasts; one that is ignored (nohup) stays so.

    After the second, what is in flight is not waited for, not even by Python's own end; after the third,
    nothing is.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, _frame: FrameType | None) -> None:
        terminal.signal = number
        terminal.interrupts += 1
        if terminal.interrupts > _PATIENCE:
            os._exit(128 + number)
        with suppress(OSError, RuntimeError):  # the terminal is gone, or was being written to just now
            terminal.note_interrupt()
        raise KeyboardInterrupt

    before = {number: signal.getsignal(number) for number in _ENDING}
    taken = [number for number, handler in before.items() if handler in _AS_USUAL]
    for number in taken:
        signal.signal(number, interrupt)
    try:
        yield
        if terminal.interrupts == _PATIENCE:
            terminal.flush()
            os._exit(terminal.exit_code)
    finally:
        for number in taken:
            signal.signal(number, before[number])
