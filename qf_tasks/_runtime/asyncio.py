"""Runs operations on an asyncio event loop: requests in threads of its own, everything else on the loop."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import logging
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any, Generic, NamedTuple, NoReturn, TypeVar
from weakref import WeakValueDictionary

from qf_tasks._protocol.actions import READ_ACTIONS
from qf_tasks._runtime.blocking import Transport, without_frames
from qf_tasks.errors import QfTasksError, RequestTimeoutError
from qf_tasks.models import Response

Item = TypeVar("Item")
Result = TypeVar("Result")

_MAX_THREADS = 16

_logger = logging.getLogger("qf_tasks")


class AsyncClock(NamedTuple):
    """A clock that only goes forward, and how to wait for it on the loop."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep


async def run(operation: Awaitable[Result]) -> Result:
    """Await an operation; the traceback of an error begins here."""
    try:
        return await operation
    except QfTasksError as error:
        raise without_frames(error) from error.__cause__


class AsyncResults(Generic[Result], AsyncIterator[Result]):
    """An async iterator over what an operation yields; `aclose()` ends the operation early."""

    def __init__(self, operation: AsyncGenerator[Result, None], method: str) -> None:
        self._operation = operation
        self._method = method

    async def __anext__(self) -> Result:
        """Return the next result, with requests if necessary."""
        return await run(anext(self._operation))

    async def aclose(self) -> None:
        """End the operation."""
        await self._operation.aclose()

    def __getitem__(self, index: object) -> NoReturn:
        """Explain what to do instead: results arrive one by one."""
        raise TypeError(
            f"{self._method}() is an async iterator and cannot be indexed: use await anext({self._method}()) "
            f"for the first, or [item async for item in {self._method}(...)] for all of them"
        )


class AsyncRuntime:
    """Sends in a pool of threads, sleeps on the loop, and works concurrently with asyncio tasks."""

    def __init__(self, transport: Transport, clock: AsyncClock, max_connections: int) -> None:
        self._transport = transport
        self._clock = clock
        self._threads = ThreadPoolExecutor(min(_MAX_THREADS, max_connections), thread_name_prefix="qf-tasks")
        # A semaphore before the pool: a call that is cancelled while it waits leaves nothing in the queue.
        self._slots = asyncio.Semaphore(min(_MAX_THREADS, max_connections))
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._shared: dict[str, tuple[float, asyncio.Future[Any]]] = {}
        self._in_flight: set[asyncio.Future[Any]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_closed = False
        self.now = clock.now

    async def sleep(self, seconds: float) -> None:
        """Let the loop run for some seconds."""
        await self._clock.sleep(seconds)

    async def send(self, action: str, params: Mapping[str, Any], deadline: float | None) -> Response:
        """Send a request once, in a thread.

        A cancellation before a thread is free means that nothing was sent. The response to a read is dropped.
        For what may change a task, the first cancellation waits for the response and logs the outcome, and a
        second one gives up.
        """

        def call() -> Response:
            timeout = None if deadline is None else deadline - self.now()
            return self._transport.call(action, params, timeout=timeout)

        self._check()
        async with self._slots:
            sent = self._submit(call)
            try:
                return await asyncio.shield(sent)
            except asyncio.CancelledError:
                if action not in READ_ACTIONS:
                    await _log_outcome(sent, action, params)
                raise

    async def in_thread(self, function: Callable[..., Result], *args: Any) -> Result:
        """Call a function that may block in a thread; a cancellation does not wait for it."""
        self._check()
        async with self._slots:
            return await asyncio.shield(self._submit(lambda: function(*args)))

    def _check(self) -> None:
        """Reject a call after `close` or in a second event loop."""
        loop = asyncio.get_running_loop()
        if self._is_closed:
            raise QfTasksError("This client is closed; make a new one", code="ClientClosed")
        if self._loop not in (None, loop):
            raise QfTasksError(
                "This client was used in another event loop; make one in each asyncio.run()",
                code="WrongEventLoop",
            )
        self._loop = loop

    def _submit(self, function: Callable[[], Result]) -> asyncio.Future[Result]:
        self._check()
        future = asyncio.get_running_loop().run_in_executor(
            self._threads, contextvars.copy_context().run, function
        )
        self._in_flight.add(future)
        future.add_done_callback(self._finished)
        return future

    def _finished(self, future: asyncio.Future[Any]) -> None:
        self._in_flight.discard(future)
        if not future.cancelled():
            future.exception()  # retrieved, though nobody may wait for it any more

    @asynccontextmanager
    async def lock(self, key: str) -> AsyncIterator[None]:
        """Hold the lock of a key."""
        lock = self._locks.setdefault(key, asyncio.Lock())
        async with lock:
            yield

    async def each(
        self,
        work: Callable[[Item], Awaitable[Result]],
        items: Iterable[Item],
        limit: int,
        *,
        finish_started: bool = False,
    ) -> AsyncGenerator[tuple[Item, Result], None]:
        """Yield items with their results as they are done, worked on by asyncio tasks."""
        waiting = deque(items)
        running: dict[asyncio.Future[Result], Item] = {}
        try:
            while waiting or running:
                while waiting and len(running) < limit:
                    item = waiting.popleft()
                    running[asyncio.ensure_future(work(item))] = item
                done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    yield running.pop(task), task.result()
        finally:
            await _end(running, finish=finish_started)

    async def share(
        self, key: str, work: Callable[[], Awaitable[Result]], *, max_age: float, deadline: float | None
    ) -> Result:
        """Return a result that is at most `max_age` seconds old, worked out by one task for all callers."""
        made_at, shared = self._shared.get(key, (0.0, None))
        if shared is None or (shared.done() and self.now() - made_at > max_age):
            shared = asyncio.ensure_future(work())
            self._shared[key] = self.now(), shared
            self._in_flight.add(shared)
            shared.add_done_callback(self._finished)
        if deadline is not None:
            await asyncio.wait([shared], timeout=max(0.0, deadline - self.now()))
            if not shared.done():
                raise RequestTimeoutError(
                    "A request that this call shares did not end in time", code="ReadTimeout"
                )
        result: Result = await asyncio.shield(shared)
        return result

    async def notify(self, callback: Callable[..., object], *args: object) -> None:
        """Call a function of the user's on the loop, and await it if it is a coroutine function."""
        result = callback(*args)
        if inspect.isawaitable(result):
            await result

    async def close(self) -> None:
        """Let requests in flight end, and end the threads."""
        self._is_closed = True
        while self._in_flight:
            await asyncio.wait(set(self._in_flight))
        self._threads.shutdown()


async def _log_outcome(sent: asyncio.Future[Response], action: str, params: Mapping[str, Any]) -> None:
    """Wait for the response of a request whose caller was cancelled, and log what it did."""
    subject = params.get("taskId") or params.get("name") or ""
    try:
        response = await asyncio.shield(sent)
    except asyncio.CancelledError:
        _logger.warning("%s %s was cancelled twice; its outcome is unknown", action, subject)
    except QfTasksError as error:
        _logger.warning("%s %s was cancelled, and failed: %s", action, subject, error)
    else:
        _logger.warning("%s %s was cancelled after it took effect: %s", action, subject, response.result)


async def _end(running: Mapping[asyncio.Future[Any], object], *, finish: bool) -> None:
    """Wait for running tasks, or cancel them; a cancellation meanwhile cancels them in any case."""
    if not running:
        return
    try:
        if finish:
            await asyncio.wait(running)
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
