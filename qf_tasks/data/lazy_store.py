"""The object storage of a client, made at its first use: the SDK takes time to import."""

from __future__ import annotations

import threading
import time
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING

from qf_tasks.settings import Settings

if TYPE_CHECKING:
    from qf_tasks.data.store import ObjectStore


class LazyStore:
    """An `ObjectStore` that is opened when it is needed; the arguments are those of `ObjectStore`."""

    def __init__(
        self,
        settings: Settings,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._settings = settings
        self._now, self._sleep = now, sleep
        self._lock = threading.Lock()
        self._opened: ObjectStore | None = None
        self._is_closed = False

    def open(self) -> ObjectStore:
        """Return the store, the same one each time; after `close` its requests are rejected."""
        with self._lock:
            if self._opened is None:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # deprecated features that the SDK uses
                    from qf_tasks.data.store import ObjectStore
                self._opened = ObjectStore(self._settings, self._now, self._sleep)
                if self._is_closed:
                    self._opened.close()
            return self._opened

    def close(self) -> None:
        """Close the connections; a later request is rejected."""
        with self._lock:
            self._is_closed = True
            if self._opened:
                self._opened.close()
