"""Runs operations without an event loop, so that they work in notebooks and inside a running loop.

Every request, pause and lock of this runtime blocks the thread instead of suspending the coroutine. An
operation therefore runs to its end with a single `send(None)`.
"""

from __future__ import annotations

import _thread
import os
import sys
import threading
import time
from collections import deque
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Iterator,
    Mapping,
)
from contextlib import asynccontextmanager, suppress
from queue import Empty, SimpleQueue
from typing import Any, Generic, NamedTuple, NoReturn, Protocol, TypeVar
from weakref import WeakValueDictionary

from qf_tasks.errors import QfTasksError, RequestTimeoutError
from qf_tasks.models import Response

Item = TypeVar("Item")
Result = TypeVar("Result")

_WAKE_INTERVAL = 0.05  # seconds; matters only if an exception in `get` has lost what it returned


class Transport(Protocol):
    """Sends one request; what a runtime needs of `_transport`."""

    def call(self, action: str, params: Mapping[str, Any], *, timeout: float | None = None) -> Response:
        """Return the response to an action that was sent once."""
        ...


class Clock(NamedTuple):
    """A clock that only goes forward, and how to wait for it."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


def run(operation: Awaitable[Result]) -> Result:
    """Run a coroutine that never suspends, and return its result.

    The traceback of an error begins here: the frames of the operations explain nothing to a caller.
    """
    steps = operation.__await__()
    hooks = sys.get_asyncgen_hooks()
    sys.set_asyncgen_hooks(None, None)  # else a loop that runs in this thread ends our iterators when it ends
    try:
        next(steps)
    except StopIteration as stop:
        result: Result = stop.value
        return result
    except QfTasksError as error:
        raise without_frames(error) from error.__cause__
    finally:
        sys.set_asyncgen_hooks(*hooks)
    raise AssertionError("an operation awaited something that is not of its runtime")


def without_frames(error: QfTasksError) -> QfTasksError:
    """Return an error whose traceback, and that of its cause, no longer lead into this library."""
    cause = error.__cause__
    while cause is not None:
        cause.__traceback__, cause = None, cause.__cause__
    error.__context__ = None
    return error.with_traceback(None)


class BlockingIterator(Generic[Result], Iterator[Result]):
    """An iterator over what an operation yields; close it to end the operation early."""

    def __init__(self, operation: AsyncGenerator[Result, None], method: str) -> None:
        self._operation = operation
        self._method = method

    def __next__(self) -> Result:
        """Return the next result, with requests if necessary."""
        try:
            return run(self._next())
        except StopAsyncIteration:
            raise StopIteration from None

    async def _next(self) -> Result:
        return await anext(self._operation)

    def close(self) -> None:
        """End the operation."""
        run(self._operation.aclose())

    def __getitem__(self, index: object) -> NoReturn:
        """Explain what to do instead: results arrive one by one."""
        raise TypeError(
            f"{self._method}() is an iterator and cannot be indexed: use next({self._method}()) for the "
            f"first, or list({self._method}(...)) for all of them"
        )


class BlockingRuntime:
    """Sends in the calling thread, sleeps in it, and works concurrently with threads."""

    def __init__(self, transport: Transport, clock: Clock) -> None:
        self._transport = transport
        self._clock = clock
        self._locks = Locks()
        self._shared: dict[str, tuple[float, Any]] = {}
        self.now = clock.now

    async def sleep(self, seconds: float) -> None:
        """Block this thread for some seconds."""
        self._clock.sleep(seconds)

    async def send(self, action: str, params: Mapping[str, Any], deadline: float | None) -> Response:
        """Send a request once from this thread."""
        timeout = None if deadline is None else deadline - self.now()
        return self._transport.call(action, params, timeout=timeout)

    @asynccontextmanager
    async def lock(self, key: str) -> AsyncIterator[None]:
        """Hold the lock of a key."""
        with self._locks.of(key):
            yield

    async def each(
        self,
        work: Callable[[Item], Awaitable[Result]],
        items: Iterable[Item],
        limit: int,
        *,
        finish_started: bool = False,
    ) -> AsyncGenerator[tuple[Item, Result], None]:
        """Yield items with their results as they are done, worked on by threads."""
        workers = _WorkerThreads(work, list(items), limit, always_threads=finish_started)
        try:
            for item, result in workers.results():
                yield item, result()
        finally:
            workers.stop(wait=finish_started)

    async def share(
        self, key: str, work: Callable[..., Awaitable[Result]], *, max_age: float, deadline: float | None
    ) -> Result:
        """Return a result that is at most `max_age` seconds old, worked out by one thread for all."""
        lock = self._locks.of(key)
        try:
            if not lock.acquire(timeout=-1 if deadline is None else self._seconds_until(deadline)):
                raise RequestTimeoutError(
                    "A request that this call shares did not end in time", code="ReadTimeout"
                )
            made_at, result = self._shared.get(key, (0.0, None))
            if key not in self._shared or self.now() - made_at > max_age:
                began_at, result = self.now(), await work(deadline)
                self._shared[key] = began_at, result
            shared: Result = result
            return shared
        finally:
            with suppress(RuntimeError):  # it was not acquired, or only just when a signal handler raised
                lock.release()

    def _seconds_until(self, deadline: float) -> float:
        return min(threading.TIMEOUT_MAX, max(0.0, deadline - self.now()))

    async def notify(self, callback: Callable[..., object], *args: object) -> None:
        """Call a function of the user's in this thread."""
        callback(*args)

    async def in_thread(self, function: Callable[..., Result], *args: Any) -> Result:
        """Call a function in this thread."""
        return function(*args)


class Locks:
    """Locks by key, which exist as long as somebody uses them."""

    def __init__(self) -> None:
        self._renew()

    def _renew(self) -> None:
        self._process = os.getpid()
        self._own_lock = threading.Lock()
        self._by_key: WeakValueDictionary[str, threading.RLock] = WeakValueDictionary()

    def of(self, key: str) -> threading.RLock:
        """Return the lock of a key."""
        if self._process != os.getpid():  # a forked child would wait for ever for a lock that its parent held
            self._renew()
        with self._own_lock:
            return self._by_key.setdefault(key, threading.RLock())


class _WorkerThreads(Generic[Item, Result]):
    """Threads that work on items; for a single one, the caller's thread will do.

    A signal handler may raise at any moment in the caller's thread, even between the acquisition of a Python
    lock and the statement that releases it. So that thread uses none: it neither starts nor joins a
    `threading.Thread`, and only waits on a queue that is written in C.
    """

    def __init__(
        self,
        work: Callable[[Item], Awaitable[Result]],
        items: list[Item],
        limit: int,
        *,
        always_threads: bool,
    ) -> None:
        self._work = work
        self._count = len(items)
        self._items = deque(items)
        self._size = min(limit, len(items)) if always_threads or len(items) > 1 else 0
        self._results: SimpleQueue[tuple[Item, Callable[[], Result]] | None] = SimpleQueue()
        self._is_started = False
        self._ended: list[None] = []  # one for each thread

    def results(self) -> Iterator[tuple[Item, Callable[[], Result]]]:
        """Yield items as they are done, with a function that returns the result or raises its exception."""
        if self._size:
            self._is_started = True  # before, for an interrupt may come in between
            try:
                _thread.start_new_thread(self._start_threads, ())
            except RuntimeError:  # the system allows no more threads
                self._is_started = False
                self._process_items()
        else:
            self._process_items()
        done = 0
        while done < self._count:
            if result := self._results.get():
                done += 1
                yield result

    def stop(self, *, wait: bool) -> None:
        """Begin no other item; with `wait`, return when what has begun is done."""
        self._items.clear()
        while wait and self._is_started and len(self._ended) < self._size:
            with suppress(Empty):
                self._results.get(timeout=_WAKE_INTERVAL)

    def _start_threads(self) -> None:
        for _ in range(self._size):
            try:
                threading.Thread(target=self._process_items, name="qf-tasks", daemon=True).start()
            except RuntimeError:  # the system allows no more threads
                self._process_items()

    def _process_items(self) -> None:
        while True:
            try:
                item = self._items.popleft()
            except IndexError:
                self._ended.append(None)
                self._results.put(None)  # wakes up `stop`
                return
            self._results.put((item, _outcome(self._work, item)))


def _outcome(work: Callable[[Item], Awaitable[Result]], item: Item) -> Callable[[], Result]:
    """Do the work; return a function that returns its result or raises its exception."""
    try:
        result = run(work(item))
    except BaseException as error:  # noqa: BLE001 - raised again by the function
        failure = error

        def fail() -> NoReturn:
            raise failure

        return fail
    return lambda: result
