"""When a request is sent again.

Reads may always be repeated. A stop or delete may be, since doing it twice does no more than once; the
error then tells that an earlier attempt may have worked. A create, and any action that this library does not
know, is repeated only where the request surely did not arrive or was surely refused. This file is given a
function that sends once; it does not know how.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from qf_tasks._clock import Clock
from qf_tasks._protocol.actions import IDEMPOTENT_ACTIONS, READ_ACTIONS
from qf_tasks._protocol.error_codes import is_retryable, may_have_been_applied
from qf_tasks.errors import QfTasksError, RateLimitError
from qf_tasks.models import Response
from qf_tasks.settings import Settings

if TYPE_CHECKING:
    from tenacity import RetryCallState

_logger = logging.getLogger("qf_tasks")


class Retrier:
    """Sends an action until it is answered or may not be repeated; shared by all threads of a client."""

    def __init__(
        self,
        settings: Settings,
        send: Callable[[str, Mapping[str, Any]], Response],
        clock: Clock,
    ) -> None:
        self._settings = settings
        self._send = send
        self._clock = clock
        self._resume_at = 0.0

    def call(self, action: str, params: Mapping[str, Any]) -> Response:
        """Return the reply to an action; its `attempts` and `elapsed` are those of all attempts.

        Raises:
            QfTasksError: the last failure; `attempts` and `may_have_been_applied` are those of all attempts.
        """
        from tenacity import Retrying, retry_if_exception

        attempts = _Attempts(action, started=self._clock.now())
        retrying = Retrying(
            retry=retry_if_exception(attempts.may_go_on),
            stop=lambda state: self._is_enough(attempts, state),
            wait=self._pause,
            before_sleep=lambda state: self._announce(action, state),
            sleep=self._clock.sleep,
            reraise=True,
        )
        return retrying(self._attempt, attempts, params)

    def _attempt(self, attempts: _Attempts, params: Mapping[str, Any]) -> Response:
        if (pause := self._resume_at - self._clock.now()) > 0:
            self._clock.sleep(pause)
        attempts.count += 1
        try:
            reply = self._send(attempts.action, params)
        except QfTasksError as error:
            attempts.mark(error)
            raise
        return replace(reply, attempts=attempts.count, elapsed=self._clock.now() - attempts.started)

    def _is_enough(self, attempts: _Attempts, state: RetryCallState) -> bool:
        """Return whether to give up: by number, by time, or since the service says to wait for too long."""
        settings = self._settings
        is_told_too_long = (_error_of(state).retry_after or 0.0) > settings.max_retry_wait
        time_spent = self._clock.now() - attempts.started + state.upcoming_sleep
        return (
            state.attempt_number > settings.max_retries
            or is_told_too_long
            or time_spent >= settings.retry_budget
        )

    def _pause(self, state: RetryCallState) -> float:
        """Return the seconds until the next attempt: the service's figure, or a jittered exponential."""
        from tenacity import wait_random_exponential

        if (told := _error_of(state).retry_after) is not None:
            return told
        return wait_random_exponential(multiplier=0.5, max=self._settings.max_retry_wait)(state)

    def _announce(self, action: str, state: RetryCallState) -> None:
        error, pause = _error_of(state), state.upcoming_sleep
        if isinstance(error, RateLimitError):  # meant for the account, so for every thread of this client
            self._resume_at = max(self._resume_at, self._clock.now() + pause)
        _logger.warning(
            "%s failed (%s), attempt %d; again in %.1f s", action, error, state.attempt_number, pause
        )


@dataclass
class _Attempts:
    """What is known of the attempts of one call."""

    action: str
    started: float
    count: int = 0
    may_have_been_applied: bool = False

    def mark(self, error: QfTasksError) -> None:
        """Tell a failure what all attempts together mean."""
        if self.action not in READ_ACTIONS and may_have_been_applied(error):
            self.may_have_been_applied = True
        error.attempts = self.count
        error.may_have_been_applied = self.may_have_been_applied
        error.retryable = error.retryable and (
            not self.may_have_been_applied or self.action in IDEMPOTENT_ACTIONS
        )

    def may_go_on(self, error: BaseException) -> bool:
        """Return whether the action may be sent again after this failure."""
        return isinstance(error, QfTasksError) and is_retryable(self.action, error)


def _error_of(state: RetryCallState) -> QfTasksError:
    error = state.outcome.exception() if state.outcome else None
    return error if isinstance(error, QfTasksError) else QfTasksError("no failure")
