"""What operations need from outside: requests, time, locks, concurrency.

Operations reach nothing else, so they run unchanged without an event loop or on one.
"""

from __future__ import annotations

import copy
import threading
from collections import OrderedDict
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol, Self, TypeVar

from qf_tasks._operations.retry import BeforeAttempt, RateLimitPause, RetryPolicy, send_with_retries
from qf_tasks.models import Account, Response

Item = TypeVar("Item")
Result = TypeVar("Result")


class Runtime(Protocol):
    """How requests are sent, time passes and work runs concurrently."""

    def now(self) -> float:
        """Return the time in seconds, from a clock that only goes forward."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return after some seconds."""
        ...

    async def send(self, action: str, params: Mapping[str, Any], deadline: float | None) -> Response:
        """Send a request once; with a deadline, give up at that time."""
        ...

    def lock(self, key: str) -> AbstractAsyncContextManager[object]:
        """Return a lock that all callers of this client with the same key share."""
        ...

    def each(
        self,
        work: Callable[[Item], Awaitable[Result]],
        items: Iterable[Item],
        limit: int,
        *,
        finish_started: bool = False,
    ) -> AsyncGenerator[tuple[Item, Result], None]:
        """Yield items with their results as they are done, at most `limit` at a time.

        Close it with `aclosing`. If an exception (Ctrl-C, a cancellation) ends it early, work that has begun
        is finished first with `finish_started`, and abandoned without.
        """
        ...

    async def share(
        self, key: str, work: Callable[..., Awaitable[Result]], *, max_age: float, deadline: float | None
    ) -> Result:
        """Return the result of `work`, or of another caller's with this key that is at most `max_age` old.

        `work` is called with the deadline if its caller cannot stop waiting for it earlier.
        """
        ...

    async def notify(self, callback: Callable[..., object], *args: object) -> None:
        """Call a function of the user's."""
        ...

    async def in_thread(self, function: Callable[..., Result], *args: Any) -> Result:
        """Call a function that may block on a file."""
        ...


class CreatedTasks:
    """Which tasks this client created or reused, and when: no two of its creates may claim the same one."""

    _MAX_SIZE = 10_000  # the oldest are forgotten, so that the memory of a long-lived client does not grow

    def __init__(self) -> None:
        self._created_at: OrderedDict[str, float] = OrderedDict()
        self._lock = threading.Lock()

    def add(self, task_id: str, now: float) -> None:
        """Remember a task."""
        with self._lock:
            self._created_at[task_id] = now
            if len(self._created_at) > self._MAX_SIZE:
                self._created_at.popitem(last=False)

    def __contains__(self, task_id: str) -> bool:
        """Return whether a create of this client has this id."""
        return task_id in self._created_at

    def age(self, task_id: str, now: float) -> float | None:
        """Return the seconds since this client created a task, None if it did not."""
        created_at = self._created_at.get(task_id)
        return None if created_at is None else now - created_at


class Api:
    """The service as one account sees it: actions with retries, on top of a runtime.

    Attributes:
        deadline: a time of `runtime.now()` at which calls end, or None.
        awaited: how many tasks the waits of this client are polling, by wait.
    """

    def __init__(self, runtime: Runtime, policy: RetryPolicy, account: Account, base_url: str) -> None:
        self.runtime = runtime
        self.policy = policy
        self.account = account
        self.base_url = base_url
        self.deadline: float | None = None
        self.rate_limit_pause: RateLimitPause = RateLimitPause()
        self.created: CreatedTasks = CreatedTasks()
        self.awaited: dict[object, int] = {}

    def before(self, deadline: float | None) -> Self:
        """Return the same API, whose calls end at the deadline (a time of `runtime.now()`) at the latest."""
        if deadline is None:
            return self
        limited = copy.copy(self)
        limited.deadline = deadline
        return limited

    async def call(
        self, action: str, params: Mapping[str, Any], before_attempt: BeforeAttempt | None = None
    ) -> Response:
        """Send an action, with the retries that are safe, and return the response.

        Args:
            before_attempt: Awaited before each attempt; what it raises ends the call.

        Raises:
            QfTasksError: The last failure, with `attempts` and `may_have_been_applied` of all attempts.
        """
        return await send_with_retries(self, action, params, before_attempt)
