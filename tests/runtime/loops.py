"""Event loops for tests, and responses that are held back until a test releases them."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any, ParamSpec, Self

from qf_tasks.sandbox import Fault, Sandbox

Arguments = ParamSpec("Arguments")

_TOO_LONG = 30.0  # seconds: what takes longer hangs, on any machine
_PASSES = 20  # of the loop, in which every task that can go on does


def on_loop(test: Callable[Arguments, Coroutine[Any, Any, None]]) -> Callable[Arguments, None]:
    """Run an async test on a loop of its own, in debug mode."""

    @functools.wraps(test)
    def run(*args: Arguments.args, **kwargs: Arguments.kwargs) -> None:
        with asyncio.Runner(debug=True) as runner:
            runner.get_loop().slow_callback_duration = _TOO_LONG
            runner.run(test(*args, **kwargs))

    return run


async def settle() -> None:
    """Let the loop run until all that is left waits for a thread or for a time."""
    for _ in range(_PASSES):
        await asyncio.sleep(0)


class HeldResponse:
    """Holds back the response to the next request of an action until `release` or the end of a `with`.

    Unless a fault says otherwise, it has been applied. Meanwhile the sandbox responds to no other request.
    """

    def __init__(self, sandbox: Sandbox, action: str, fault: Fault | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        self._arrived = asyncio.Event()
        self._released = threading.Event()
        sandbox.inject(replace(fault or Fault.transform(self._hold), function=self._hold), action=action)

    def _hold(self, body: Any) -> Any:
        self._loop.call_soon_threadsafe(self._arrived.set)
        self._released.wait(_TOO_LONG)
        return body

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    async def arrived(self) -> None:
        """Return when the request is at the sandbox."""
        async with asyncio.timeout(_TOO_LONG):
            await self._arrived.wait()

    @property
    def is_holding(self) -> bool:
        return self._arrived.is_set() and not self._released.is_set()

    def release(self) -> None:
        self._released.set()


def threads_of_clients() -> list[threading.Thread]:
    """Return the threads in which asyncio clients send."""
    return [thread for thread in threading.enumerate() if thread.name.startswith("qf-tasks_")]
