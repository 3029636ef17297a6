"""The library's log while a command runs: retries and stops are counted, the rest is printed."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager

from qf_tasks.cli.output import Terminal
from qf_tasks.cli.wording import in_options

_RETRY = re.compile(r"retrying in|still waiting")
_STOPPING = re.compile(r"Task (\S+) stopping\b")


class _Handler(logging.Handler):
    """Counts what the progress display shows, and prints warnings; with --debug it prints everything."""

    def __init__(self, terminal: Terminal) -> None:
        super().__init__(logging.DEBUG if terminal.debug else logging.INFO)
        self._terminal = terminal

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        is_warning = record.levelno >= logging.WARNING
        is_retry = is_warning and _RETRY.search(text) is not None
        self._terminal.retries += is_retry
        if stopping := _STOPPING.match(text):
            self._terminal.stopping.add(stopping[1])
        if self._terminal.debug or (is_warning and not is_retry):
            self._terminal.note(f"{record.levelname.capitalize()}: {in_options(text, self._terminal.names)}")


@contextmanager
def followed(terminal: Terminal) -> Iterator[None]:
    """Follow the log while this lasts."""
    logger, handler = logging.getLogger("qf_tasks"), _Handler(terminal)
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(handler.level)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
