"""SIGTERM and SIGHUP end a run as Ctrl-C does, so that its report is printed."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from qf_tasks.cli.output import Terminal

_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
_AT_ONCE = 0.1  # seconds
_DEFAULTS = (signal.SIG_DFL, signal.default_int_handler)


@contextmanager
def as_interrupts(terminal: Terminal) -> Iterator[None]:
    """Turn the signals into a KeyboardInterrupt while this lasts; one that is ignored (nohup) stays so.

    The first stops the work and lets what is in flight finish; the second does not wait for that, and the
    process exits when the report is printed. Any further one has its default effect. The same signal twice at
    once is one: `timeout` sends it to the process and to its group.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    replaced = [number for number, handler in before.items() if handler in _DEFAULTS]

    last = (0, -math.inf)

    def interrupt(number: int, _frame: FrameType | None) -> None:
        nonlocal last
        before_last, last = last, (number, time.monotonic())
        if number == before_last[0] and last[1] - before_last[1] < _AT_ONCE:
            return
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
