"""Runs operations on an asyncio event loop: requests in threads of its own, everything else on the loop."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import logging
import sys
import time
from collections import deque
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Coroutine,
    Iterable,
    Mapping,
)
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, NamedTuple, NoReturn, ParamSpec, TypeVar
from weakref import WeakValueDictionary

from qf_tasks._protocol.actions import READ_ACTIONS
from qf_tasks._protocol.error_codes import may_have_been_applied
from qf_tasks._runtime.blocking import Transport, without_frames
from qf_tasks.errors import QfTasksError, RequestTimeoutError
from qf_tasks.models import Response

Arguments = ParamSpec("Arguments")
Item = TypeVar("Item")
Result = TypeVar("Result")

_MAX_THREADS = 16

_logger = logging.getLogger("qf_tasks")


class AsyncClock(NamedTuple):
    """A clock that only goes forward, and how to wait for it on the loop."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep


def run(
    operation: Callable[Arguments, Coroutine[Any, Any, Result]],
    *args: Arguments.args,
    **kwargs: Arguments.kwargs,
) -> Coroutine[Any, Any, Result]:
    """Return a coroutine that runs an operation; the traceback of an error begins there.

    The operation's own coroutine is made when that one starts: Python complains about a coroutine that was
    never awaited, and a task may be cancelled before it starts.
    """

    async def start() -> Result:
        return await _without_frames(operation(*args, **kwargs))

    # Python names a coroutine that is never awaited: as the method that calls this.
    start.__qualname__ = sys._getframe(1).f_code.co_qualname
    return start()


async def _without_frames(awaitable: Awaitable[Result]) -> Result:
    try:
        return await awaitable
    except QfTasksError as error:
        raise without_frames(error) from error.__cause__


class AsyncResults(Generic[Result], AsyncIterator[Result]):
    """An async iterator over what an operation yields; `aclose()` ends the operation early."""

    def __init__(self, operation: AsyncGenerator[Result, None], method: str) -> None:
        self._operation = operation
        self._method = method

    async def __anext__(self) -> Result:
        """Return the next result, with requests if necessary."""
        return await _without_frames(anext(self._operation))

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
        threads = min(_MAX_THREADS, max_connections)
        self._transport = transport
        self._clock = clock
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="qf-tasks")
        self._free_threads = asyncio.Semaphore(threads)
        self._in_flight: set[asyncio.Future[Any]] = set()
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._shared: dict[str, _SharedWork] = {}
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

        sent = await self._start(call)
        try:
            return await asyncio.shield(sent)
        except asyncio.CancelledError:
            if action not in READ_ACTIONS:
                await _log_outcome(sent, action, params)
            raise

    async def in_thread(self, function: Callable[..., Result], *args: Any) -> Result:
        """Call a function that may block in a thread; a cancellation does not wait for it."""
        return await asyncio.shield(await self._start(partial(function, *args)))

    async def _start(self, function: Callable[[], Result]) -> asyncio.Future[Result]:
        """Wait for a free thread, call a function in it, and return the future of its result.

        The queue of the pool stays empty, so a cancellation before that means that nothing will be called. A
        thread is free when its call has ended, even if nobody waits for the result any more.
        """
        self._check()
        await self._free_threads.acquire()
        try:
            self._check()  # the client may have been closed meanwhile
            context = contextvars.copy_context()
            future = asyncio.get_running_loop().run_in_executor(self._threads, context.run, function)
        except BaseException:
            self._free_threads.release()
            raise
        self._in_flight.add(future)
        future.add_done_callback(self._ended)
        return future

    def _ended(self, future: asyncio.Future[Any]) -> None:
        self._free_threads.release()
        self._in_flight.discard(future)
        _retrieve_exception(future)

    def _check(self) -> None:
        """Reject a call after `close` or in a second event loop."""
        if self._is_closed:
            raise QfTasksError("This client is closed; make a new one", code="ClientClosed")
        loop = asyncio.get_running_loop()
        if self._loop not in (None, loop):
            raise QfTasksError(
                "This client was used in another event loop; make one in each asyncio.run()",
                code="WrongEventLoop",
            )
        self._loop = loop

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
        running: dict[asyncio.Task[Result], Item] = {}
        try:
            while waiting or running:
                while waiting and len(running) < limit:
                    item = waiting.popleft()
                    running[asyncio.ensure_future(work(item))] = item
                done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    yield running.pop(task), task.result()
        finally:
            await end_tasks(running, finish=finish_started)

    async def share(
        self, key: str, work: Callable[[], Awaitable[Result]], *, max_age: float, deadline: float | None
    ) -> Result:
        """Return a result that is at most `max_age` seconds old, worked out by one task for all callers.

        A failure is only for those who waited for it, and the work ends when no caller waits any more.
        """
        self._check()
        shared = self._shared.get(key)
        if shared is None or not shared.is_usable(since=self.now() - max_age):
            shared = self._shared[key] = _SharedWork(asyncio.ensure_future(work()), self.now())
        timeout = None if deadline is None else max(0.0, deadline - self.now())
        shared.callers += 1
        try:
            await asyncio.wait([shared.task], timeout=timeout)
        finally:
            shared.callers -= 1
            if not shared.callers:
                shared.task.cancel()
        if not shared.task.done():
            raise RequestTimeoutError(
                "A request that this call shares did not end in time", code="ReadTimeout"
            )
        result: Result = shared.task.result()
        return result

    async def notify(self, callback: Callable[..., object], *args: object) -> None:
        """Call a function of the user's on the loop, and await it if it is a coroutine function."""
        result = callback(*args)
        if inspect.isawaitable(result):
            await result

    async def close(self) -> None:
        """Let requests in flight end, and end the threads; calls that would send another one fail."""
        self._is_closed = True
        try:
            # Requests of another loop end in their threads: nothing of them can be awaited here.
            if self._in_flight and self._loop is asyncio.get_running_loop():
                await asyncio.wait(self._in_flight)
        finally:
            self._threads.shutdown(wait=not self._in_flight)


@dataclass
class _SharedWork:
    """A task whose result several callers wait for."""

    task: asyncio.Task[Any]
    started_at: float
    callers: int = 0

    def is_usable(self, since: float) -> bool:
        """Return whether another caller may have the result: it is still to come, or a success since then."""
        if not self.task.done():
            return not self.task.cancelling()
        is_success = not self.task.cancelled() and self.task.exception() is None
        return is_success and self.started_at >= since


async def end_tasks(tasks: Collection[asyncio.Task[Any]], *, finish: bool = False) -> None:
    """Return when tasks have finished, or have been cancelled unless they should finish.

    A cancellation meanwhile cancels them too, and does not wait. Even after its end, a task that is cancelled
    does not make asyncio report its exception.
    """
    if not tasks:
        return
    try:
        if finish:
            await asyncio.wait(tasks)
    finally:
        for task in tasks:
            task.cancel()
    await asyncio.wait(tasks)


def _retrieve_exception(future: asyncio.Future[Any]) -> None:
    """Mark an exception as seen: perhaps nobody waits for this future any more."""
    if not future.cancelled():
        future.exception()


async def _log_outcome(sent: asyncio.Future[Response], action: str, params: Mapping[str, Any]) -> None:
    """Wait for the response of a request whose caller was cancelled, and log what it did."""
    subject = params.get("taskId") or params.get("name") or ""
    try:
        response = await asyncio.shield(sent)
    except asyncio.CancelledError:
        _logger.warning("%s %s was cancelled twice; its outcome is unknown", action, subject)
    except QfTasksError as error:
        effect = "may have taken effect" if may_have_been_applied(error) else "had no effect"
        _logger.warning("%s %s was cancelled, and %s: %s", action, subject, effect, error)
    else:
        _logger.warning("%s %s was cancelled after it took effect: %s", action, subject, response.result)
