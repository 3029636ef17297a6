"""SIGTERM and SIGHUP end a run as Ctrl-C does, so that its report is printed."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from qf_tasks.cli.output import Terminal

_ENDING = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
_DEFAULTS = (signal.SIG_DFL, signal.default_int_handler)


@contextmanager
def as_interrupts(terminal: Terminal) -> Iterator[None]:
    """Turn the signals into a KeyboardInterrupt while this lasts; one that is ignored (nohup) stays so.

    The first stops the work and lets what is in flight finish; the second does not wait for that, and the
    process exits when the report is printed. Any further one has its default effect.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in _ENDING}
    replaced = [number for number, handler in before.items() if handler in _DEFAULTS]

    def interrupt(number: int, _frame: FrameType | None) -> None:
        terminal.signal = number
        terminal.interrupts += 1
        if terminal.interrupts > 1:
            for each in replaced:
                signal.signal(each, signal.SIG_DFL)
        elif terminal.in_flight:
            with suppress(OSError, RuntimeError):  # the terminal is gone, or was being written to
                terminal.note(f"Finishing {terminal.in_flight} in flight; Ctrl-C again leaves them unknown.")
        raise KeyboardInterrupt

    for number in replaced:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number in replaced:
            signal.signal(number, before[number])
