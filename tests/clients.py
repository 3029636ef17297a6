"""Clients of a sandbox whose pauses advance its clock; the asyncio client behind the blocking interface."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Coroutine, Iterator
from typing import Any, ClassVar, Literal, cast

from qf_tasks import AsyncTaskClient, Settings, TaskClient
from qf_tasks._runtime.asyncio import AsyncClock
from qf_tasks._runtime.blocking import Clock
from qf_tasks.sandbox import Sandbox

Kind = Literal["blocking", "asyncio"]

_TICK = 2e-6  # a sleep does not end early, and the clock of the sandbox counts whole microseconds


class SandboxTime:
    """The time of a sandbox, as a client uses it."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self.sleeps: list[float] = []

    def now(self) -> float:
        return self._sandbox.now.timestamp()

    def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        self._sandbox.advance(seconds + _TICK)

    async def sleep_on_loop(self, seconds: float) -> None:
        self.sleep(seconds)
        await asyncio.sleep(0)


class BlockingAdapter:
    """An `AsyncTaskClient` on a loop of its own thread, used like a `TaskClient`.

    One test then holds both clients to the same behaviour.
    """

    def __init__(self, client: AsyncTaskClient) -> None:
        self._client = client
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._client, name)
        if not callable(attribute):
            return attribute

        def method(*args: Any, **kwargs: Any) -> Any:
            result = attribute(*args, **kwargs)
            if isinstance(result, AsyncIterator):
                return self._iterate(result)
            return self._run(result) if asyncio.iscoroutine(result) else result

        return method

    def __enter__(self) -> BlockingAdapter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return repr(self._client)

    def close(self) -> None:
        if self._thread.is_alive():
            self._run(self._client.close())
            self._run(self._loop.shutdown_asyncgens())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    def _run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        async def outcome() -> tuple[Any, BaseException | None]:
            try:
                return await coroutine, None
            except BaseException as error:  # noqa: BLE001 - a KeyboardInterrupt would end the loop's thread
                return None, error

        result, error = asyncio.run_coroutine_threadsafe(outcome(), self._loop).result()
        if error is not None:
            raise error
        return result

    def _iterate(self, results: AsyncIterator[Any]) -> Iterator[Any]:
        async def next_result() -> Any:
            return await anext(results)

        while True:
            try:
                yield self._run(next_result())
            except StopAsyncIteration:
                return


def client_of(
    sandbox: Sandbox, time: SandboxTime | None = None, *, kind: Kind = "blocking", **fields: Any
) -> TaskClient:
    """Return a client of the sandbox, with any setting."""
    if kind == "asyncio":
        return cast(TaskClient, BlockingAdapter(async_client_of(sandbox, time, **fields)))
    sandbox_time = time or SandboxTime(sandbox)

    class BlockingClient(TaskClient):
        _clock: ClassVar[Clock] = Clock(sandbox_time.now, sandbox_time.sleep)

    return BlockingClient(_settings_of(sandbox, fields))


def async_client_of(sandbox: Sandbox, time: SandboxTime | None = None, **fields: Any) -> AsyncTaskClient:
    """Return an asyncio client of the sandbox, with any setting."""
    sandbox_time = time or SandboxTime(sandbox)

    class AsyncClient(AsyncTaskClient):
        _clock: ClassVar[AsyncClock] = AsyncClock(sandbox_time.now, sandbox_time.sleep_on_loop)

    return AsyncClient(_settings_of(sandbox, fields))


def _settings_of(sandbox: Sandbox, fields: dict[str, Any]) -> Settings:
    keys: dict[str, Any] = {
        "access_key": sandbox.access_key,
        "secret_key": sandbox.secret_key,
        "base_url": sandbox.url,
    }
    return Settings(**{**keys, **fields})
