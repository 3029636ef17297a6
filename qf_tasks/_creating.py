"""Creating a task once, although the service has no token that would make a repeat harmless.

A create that may have arrived is never sent again. It is looked for: a task that equals everything that was
sent, was created since, and is no other create's of this client.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Protocol
from weakref import WeakValueDictionary

from qf_tasks import _listing
from qf_tasks._clock import Clock, pauses
from qf_tasks._protocol import decoding
from qf_tasks._protocol.responses import service_time
from qf_tasks.errors import (
    InvalidRequestError,
    OutcomeUnknownError,
    QfTasksError,
    QuotaExceededError,
    TaskNotFoundError,
)
from qf_tasks.models import CreatedTask, Response, RunStatus, Task, TaskPage

ACTION = "CreateBatchInferenceTask"
_LOOKS = (0.0, 1.0, 2.0, 4.0)  # pauses before each look, in seconds: a create may still be under way
_CLOCK_MARGIN = 1.0  # seconds: the service's times have no fractions
_MOST_PAGES = 100
_LONGEST_SLOT_PAUSE = 30.0
_DIRECTORIES = ("inputBosUri", "outputBosUri")
_ALWAYS_TOLD = ("name", "endpoint", "modelId", *_DIRECTORIES)
_MODEL_HINT = "model_id takes a version id (amv-…), not a model id (am-…): see client.models()."
_DEFAULTS: dict[str, tuple[object, ...]] = {
    "description": ("",),
    "inferenceParams": ({},),
    "dataFormat": ("", "default"),
}


class Verbs(Protocol):
    """What this room needs of the client."""

    def call(self, action: str, params: Mapping[str, Any]) -> Response: ...

    def get(self, task: str) -> Task: ...


class Claims:
    """The ids that creates of one client were given or adopted, so that no two of them take the same."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._claimed_at: dict[str, float] = {}
        self._renew()

    def _renew(self) -> None:
        self._process = os.getpid()
        self._own_lock = threading.Lock()
        self._turns: WeakValueDictionary[str, threading.Lock] = WeakValueDictionary()

    @property
    def _lock(self) -> threading.Lock:
        """The lock of this process: a forked child would wait for ever for one held by its parent."""
        if self._process != os.getpid():
            self._renew()
        return self._own_lock

    def turn(self, body: Mapping[str, Any]) -> threading.Lock:
        """Return the lock under which equal creates take turns: one is settled before the next is sent."""
        likeness = "\n".join(str(body[field]).rstrip("/") for field in ("name", *_DIRECTORIES))
        with self._lock:
            return self._turns.setdefault(likeness, threading.Lock())

    def claim(self, task_id: str) -> None:
        """Take an id for a create of this client."""
        with self._lock:
            self._claimed_at[task_id] = self._clock.now()

    def is_claimed(self, task_id: str) -> bool:
        """Return whether a create of this client has this id."""
        with self._lock:
            return task_id in self._claimed_at

    def age(self, task_id: str) -> float | None:
        """Return the seconds since this client created a task, None where it did not."""
        with self._lock:
            claimed_at = self._claimed_at.get(task_id)
        return None if claimed_at is None else self._clock.now() - claimed_at


def create(
    verbs: Verbs,
    body: Mapping[str, Any],
    claims: Claims,
    clock: Clock,
    *,
    adopt_within: float | None,
    quota_timeout: float | None,
) -> CreatedTask:
    """Create one task, or find the one that an earlier attempt has created."""
    creation = _Creation(verbs, body, claims, clock)
    if adopt_within is not None and (found := creation.of_earlier_process(adopt_within)):
        return found
    deadline = clock.now() + (quota_timeout or 0.0)
    for pause in pauses(_LONGEST_SLOT_PAUSE):
        try:
            return creation.once()
        except QuotaExceededError:  # surely refused: sending it again makes no second task
            left = deadline - clock.now()
            if left <= 0:
                raise
        clock.sleep(min(pause, left))
    raise AssertionError("pauses never end")


class _Creation:
    """One create: its sending, and the search for a task that it, or one like it, has made."""

    def __init__(self, verbs: Verbs, body: Mapping[str, Any], claims: Claims, clock: Clock) -> None:
        self._verbs = verbs
        self._body = body
        self._claims = claims
        self._clock = clock

    def once(self) -> CreatedTask:
        """Send the create, and look for the task where it may have arrived without an answer."""
        with self._claims.turn(self._body):
            started = self._clock.now()
            try:
                reply = self._verbs.call(ACTION, self._body)
                task_id = decoding.created_task_id(reply)
            except QfTasksError as failure:
                if failure.may_have_been_applied:
                    return self._adopted(self._made_despite(failure, started))
                if isinstance(failure, InvalidRequestError) and self._names_a_model:
                    failure.set_hint(_MODEL_HINT)
                raise
            self._claims.claim(task_id)
            return CreatedTask(task_id, reply.request_id, self._body["name"])

    @property
    def _names_a_model(self) -> bool:
        return str(self._body.get("modelId", "")).startswith("am-")

    def _adopted(self, task: Task) -> CreatedTask:
        """Take a task that was found as the one that this create has made."""
        self._claims.claim(task.task_id)
        return CreatedTask(task.task_id, task.request_id, self._body["name"], reused=True)

    def of_earlier_process(self, within: float) -> CreatedTask | None:
        """Return the task that an earlier run of the same program created, unless it came to a bad end."""
        with self._claims.turn(self._body):
            matches = [task for task in self._matches(within) if not _has_failed(task)]
            if len(matches) > 1:
                raise OutcomeUnknownError(
                    f"{len(matches)} tasks equal what is to be created: it is not plain which to adopt",
                    candidates=matches,
                    action=ACTION,
                    may_have_been_applied=False,
                )
            return self._adopted(matches[0]) if matches else None

    def _made_despite(self, failure: QfTasksError, started: float) -> Task:
        """Return the one task that a create of unknown outcome has made.

        Raises:
            OutcomeUnknownError: there is none like it, there are several, or the look itself failed.
        """
        matches: list[Task] = []
        try:
            for pause in _LOOKS:
                self._clock.sleep(pause)
                if matches := self._matches(self._clock.now() - started):
                    break
        except QfTasksError as unseen:
            raise self._unknown(failure, f"and the look for it failed ({unseen})", ()) from failure
        if len(matches) != 1:
            what = f"{len(matches)} tasks equal it" if matches else "no task like it is listed yet"
            raise self._unknown(failure, what, matches) from failure
        return matches[0]

    def _unknown(
        self, failure: QfTasksError, what: str, candidates: list[Task] | tuple[()]
    ) -> OutcomeUnknownError:
        name = self._body["name"]
        return OutcomeUnknownError(
            f"The create of {name!r} may or may not have happened ({failure}); {what}",
            candidates=candidates,
            action=ACTION,
            code=failure.code,
            status=failure.status,
            request_id=failure.request_id,
            attempts=failure.attempts,
            hint=f"Do not repeat it blindly: look with list(name={name!r}) (qf-tasks list --name), wait a "
            "minute and look again, or create with adopt_within. 结果未知，请先查询任务列表，勿直接重试。",
        )

    def _matches(self, within: float) -> list[Task]:
        """Return the tasks that equal what was sent, newest first, created within the last seconds.

        "Now" is the service's own, by the `Date` of its answer: the clock here may be off.
        """
        likely = [
            task.task_id
            for task in self._created_within(within)
            if not self._claims.is_claimed(task.task_id) and self._may_equal(task.raw)
        ]
        return [task for task in map(self._got, likely) if task and self._equals(task.raw)]

    def _got(self, task_id: str) -> Task | None:
        try:
            return self._verbs.get(task_id)
        except TaskNotFoundError:  # deleted since it was listed, or so new that it is not seen everywhere
            return None

    def _created_within(self, within: float) -> Iterator[Task]:
        query = _listing.Query((), newest_first=True, page_size=100)
        now: datetime | None = None

        def call(action: str, params: dict[str, Any]) -> Response:
            nonlocal now
            reply = self._verbs.call(action, params)
            now = now or service_time(reply.headers) or datetime.now(UTC)
            return reply

        def is_fresh(task: Task) -> bool:
            if now is None or task.create_time is None:
                return False
            return (now - task.create_time).total_seconds() <= within + _CLOCK_MARGIN

        for number, page in enumerate(_listing.pages(call, query), 1):
            yield from filter(is_fresh, page)
            if _is_past(page) and not any(map(is_fresh, page)):
                return
            if page.is_truncated and number == _MOST_PAGES:
                raise OutcomeUnknownError(
                    f"The account has too many tasks to look for one created within {within:.0f} s",
                    action=ACTION,
                    may_have_been_applied=False,
                )

    def _may_equal(self, raw: Mapping[str, Any]) -> bool:
        """Return whether a listed task does not contradict what was sent; a list tells less than a look."""
        return all(field not in raw or _same(field, raw[field], sent) for field, sent in self._body.items())

    def _equals(self, raw: Mapping[str, Any]) -> bool:
        """Return whether a task has all that was sent, and nothing that was not.

        What the service does not tell of any task (`completion_window`, fields unknown to it) cannot count.
        """
        return (
            self._may_equal(raw)
            and all(name in raw for name in _ALWAYS_TOLD if name in self._body)
            and all(raw.get(name) in (None, *_DEFAULTS[name]) for name in _DEFAULTS if name not in self._body)
        )


def _is_past(page: TaskPage) -> bool:
    """Return whether older tasks alone can follow: that `pageReverse` means newest first is inferred."""
    times = [task.create_time for task in page if task.create_time]
    return len(times) == len(page) and times == sorted(times, reverse=True)


def _same(field: str, told: object, sent: object) -> bool:
    if field in _DIRECTORIES:  # the same with and without the slash at the end
        return str(told).rstrip("/") == str(sent).rstrip("/")
    return told == sent


def _has_failed(task: Task) -> bool:
    return task.run_status == RunStatus.STOPPING or (task.is_final and not task.is_success)
