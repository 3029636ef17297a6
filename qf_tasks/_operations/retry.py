"""Decides whether a failed request may be sent again, and when."""

from __future__ import annotations

import logging
import random
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from qf_tasks._protocol.actions import IDEMPOTENT_ACTIONS, READ_ACTIONS
from qf_tasks._protocol.error_codes import is_retryable, may_have_been_applied
from qf_tasks.errors import QfTasksError, RateLimitError
from qf_tasks.models import Response

if TYPE_CHECKING:
    from qf_tasks._operations.api import Api

_logger = logging.getLogger("qf_tasks")
_random = random.SystemRandom()

_FIRST_BACK_OFF = 0.5  # seconds
_MAX_DOUBLINGS = 32  # far beyond any `max_wait`, and no overflow of a float after a thousand attempts

BeforeAttempt = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how long a call is repeated.

    Attributes:
        max_retries: attempts after the first one.
        max_wait: the longest pause before an attempt, in seconds.
        budget: seconds from the first attempt in which another one may begin.
    """

    max_retries: int
    max_wait: float
    budget: float

    def delay(self, attempt: int, retry_after: float | None) -> float:
        """Return the seconds before the next attempt: `Retry-After`, or a back-off with full jitter."""
        if retry_after is not None:
            return retry_after
        back_off = _FIRST_BACK_OFF * 2.0 ** min(attempt - 1, _MAX_DOUBLINGS)
        return _random.uniform(0, min(self.max_wait, back_off))


class RateLimitPause:
    """Until when the calls of a client pause: a rate limit is meant for the account, not for one call."""

    def __init__(self) -> None:
        self._until = 0.0

    def extend(self, until: float) -> None:
        """Pause all calls until this time."""
        self._until = max(self._until, until)

    def remaining(self, now: float) -> float:
        """Return the seconds left."""
        return max(0.0, self._until - now)


async def send_with_retries(
    api: Api, action: str, params: Mapping[str, Any], before_attempt: BeforeAttempt | None
) -> Response:
    """Send a request until it succeeds, must not be repeated, or the limits of the policy are reached."""
    runtime = api.runtime
    started = runtime.now()
    attempt, applied = 0, False
    while True:
        attempt += 1
        await _pause_for_rate_limit(api)
        if before_attempt:
            await before_attempt()
        try:
            response = await runtime.send(action, params, api.deadline)
        except QfTasksError as error:
            applied = applied or (action not in READ_ACTIONS and may_have_been_applied(error))
            may_retry = is_retryable(action, error)
            error.attempts, error.may_have_been_applied = attempt, applied
            error.retryable = error.retryable and (not applied or action in IDEMPOTENT_ACTIONS)
            delay = api.policy.delay(attempt, error.retry_after)
            if not may_retry or attempt > api.policy.max_retries or not _is_in_time(api, started, delay):
                raise
            _logger.warning("%s failed (%s), attempt %d; retrying in %.1f s", action, error, attempt, delay)
            if isinstance(error, RateLimitError):
                api.rate_limit_pause.extend(runtime.now() + delay)
        else:
            return replace(response, attempts=attempt, elapsed=runtime.now() - started)
        await runtime.sleep(delay)


async def _pause_for_rate_limit(api: Api) -> None:
    """Sleep while the rate limit holds, but not beyond the deadline."""
    now = api.runtime.now()
    pause = api.rate_limit_pause.remaining(now)
    if api.deadline is not None:
        pause = min(pause, api.deadline - now)
    if pause > 0:
        await api.runtime.sleep(pause)


def _is_in_time(api: Api, started: float, delay: float) -> bool:
    """Return whether another attempt after this delay is within the policy and the deadline."""
    resumed = api.runtime.now() + delay
    return (
        delay <= api.policy.max_wait
        and resumed - started < api.policy.budget
        and (api.deadline is None or resumed < api.deadline)
    )


def poll_delays(longest: float) -> Iterator[float]:
    """Yield the pauses between polls in seconds: 1 at first, then half as long again, at most `longest`.

    Each is shortened by up to a quarter at random, so that many waiting programs do not poll in step.
    """
    delay = min(1.0, longest)
    while True:
        yield delay * _random.uniform(0.75, 1.0)
        delay = min(delay * 1.5, longest)
