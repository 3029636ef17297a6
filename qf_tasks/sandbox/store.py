"""The tasks of every account and their states.

The state of a task is worked out when it is read, from its scheduled transitions. Knows nothing of HTTP.
Not thread-safe: the caller holds a lock.
"""

import secrets
import string
from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, NamedTuple

from .clock import to_text

QUEUING, RUNNING, DONE = "Queuing", "Running", "Done"
STOPPING, STOPPED, FAILED, EXPIRED = "Stopping", "Stopped", "Failed", "Expired"

ACTIVE = frozenset({QUEUING, RUNNING, STOPPING})  # what the quota counts
FINAL = frozenset({DONE, STOPPED, FAILED, EXPIRED})

# A choice: the number of records of a task whose input is not in the object store, and the tokens of each.
RECORDS = 100
_INPUT_TOKENS, _OUTPUT_TOKENS = 12, 48

# The service shows these only when a single task is described.
_NOT_LISTED = ("searchCounts", "searchTokens")

_ID_CHARACTERS = string.ascii_lowercase + string.digits


class Transition(NamedTuple):
    """From this time on, the task has this state."""

    time: float
    run_status: str


class Position(NamedTuple):
    """The position of a task in the list of its account: by creation time, then by order of arrival."""

    created_at: float
    number: int
    task_id: str


@dataclass(kw_only=True)
class StoredTask:
    """A task as the service keeps it."""

    account: str
    position: Position
    created: dict[str, Any]
    transitions: list[Transition]
    creator: str
    output_dir: str = field(default_factory=lambda: secrets.token_hex(12))
    records: int = RECORDS
    usage: tuple[int, int] | None = None
    """The tokens of input and output, if its records were read."""
    progress: int | None = None
    error_code: int = 1
    error_reason: str = ""
    overrides: dict[str, Any] = field(default_factory=dict)

    def run_status(self, now: float) -> str:
        """Return the state at the time `now`."""
        return self._last_transition(now).run_status

    def _last_transition(self, now: float) -> Transition:
        past = [transition for transition in self.transitions if transition.time <= now]
        return past[-1] if past else self.transitions[0]

    def reschedule(self, now: float, *transitions: Transition) -> None:
        """Replace the scheduled transitions; unless the task gets Done, its progress stays as it is now."""
        self.progress = self.records_done(now) if transitions[-1].run_status != DONE else None
        self.transitions = list(transitions)

    def fail(self, now: float, reason: str) -> None:
        """End the task as Failed."""
        self.error_reason = reason
        self.reschedule(now, Transition(now, FAILED))

    def entered_at(self, now: float) -> float:
        """Return when the task got into its state at the time `now`."""
        return self._last_transition(now).time

    def records_done(self, now: float) -> int:
        """Return how many records have been processed at the time `now`."""
        if self.progress is not None:
            return self.progress
        status = self.run_status(now)
        if status == DONE:
            return self.records
        states = [transition.run_status for transition in self.transitions]
        if status == QUEUING or RUNNING not in states:
            return 0
        running = states.index(RUNNING)
        start = self.transitions[running].time
        end = self.transitions[running + 1].time if running + 1 < len(states) else float("inf")
        return self.records if now >= end else int(self.records * (now - start) / (end - start))

    def described(self, now: float) -> dict[str, Any]:
        """Return the task as `DescribeBatchInferenceTask` shows it."""
        transition = self._last_transition(now)
        fields = {
            "taskId": self.position.task_id,
            **self.created,
            "searchCounts": 0,
            "searchTokens": 0,
            "runStatus": transition.run_status,
            **self._fields_of_state(transition, now),
            "creator": self.creator,
            "createTime": to_text(self.position.created_at),
        }
        return fields | self.overrides

    def listed(self, now: float) -> dict[str, Any]:
        """Return the task as an item of `taskList`."""
        return {name: value for name, value in self.described(now).items() if name not in _NOT_LISTED}

    def _fields_of_state(self, transition: Transition, now: float) -> dict[str, Any]:
        """Return the fields that are documented for this state alone."""
        done = self.records_done(now)
        fields: dict[str, Any] = {"progress": done}
        if transition.run_status != QUEUING:
            fields["outputDir"] = self.output_dir
        if transition.run_status == DONE:
            input_tokens, output_tokens = self.usage or (_INPUT_TOKENS * done, _OUTPUT_TOKENS * done)
            fields |= {"inputTokenUsage": input_tokens, "outputTokenUsage": output_tokens}
        if transition.run_status == FAILED:
            fields |= {"errorCode": self.error_code, "errorReason": self.error_reason}
        if transition.run_status in FINAL:
            fields["finishTime"] = to_text(transition.time)
        return fields


class Store:
    """Every task of every account."""

    def __init__(self) -> None:
        self._tasks: dict[str, StoredTask] = {}
        self._positions: defaultdict[str, list[Position]] = defaultdict(list)
        self._deleted: dict[tuple[str, str], Position] = {}
        self._count = 0

    def position(self, created_at: float, task_id: str | None = None) -> Position:
        """Return the position of a new task; raises `ValueError` for an id that is in use."""
        task_id = task_id or "infer-" + "".join(secrets.choice(_ID_CHARACTERS) for _ in range(12))
        if task_id in self._tasks:
            raise ValueError(f"task {task_id} already exists")
        self._count += 1
        return Position(created_at, self._count, task_id)

    def add(self, task: StoredTask) -> str:
        """Store a task and return its id."""
        self._tasks[task.position.task_id] = task
        insort(self._positions[task.account], task.position)
        return task.position.task_id

    def delete(self, task: StoredTask) -> None:
        """Delete a task; its former position is kept for markers."""
        positions = self._positions[task.account]
        del positions[bisect_left(positions, task.position)]
        del self._tasks[task.position.task_id]
        self._deleted[task.account, task.position.task_id] = task.position

    def get(self, task_id: str, account: str | None = None) -> StoredTask | None:
        """Return a task of `account`, or of any account if that is None."""
        task = self._tasks.get(task_id)
        return task if task and account in (None, task.account) else None

    def ids(self) -> list[str]:
        """Return the ids of all tasks of all accounts, the deleted ones last."""
        return [*self._tasks, *(task_id for _, task_id in self._deleted)]

    def tasks_of(self, account: str) -> list[StoredTask]:
        """Return the tasks of an account, oldest first."""
        return [self._tasks[position.task_id] for position in self._positions[account]]

    def count(self, account: str, states: Collection[str], now: float) -> int:
        """Return how many tasks of the account are in one of `states`."""
        return sum(task.run_status(now) in states for task in self.tasks_of(account))

    def position_of_deleted(self, account: str, task_id: str) -> Position | None:
        """Return the former position of a deleted task."""
        return self._deleted.get((account, task_id))

    def page(
        self,
        account: str,
        matches: Callable[[StoredTask], bool],
        *,
        start: Position | None,
        inclusive: bool,
        reverse: bool,
        size: int,
    ) -> tuple[list[StoredTask], StoredTask | None]:
        """Return up to `size` matching tasks from `start` on, and the next one after them, if any."""
        found = filter(matches, self._tasks_from(account, start, inclusive, reverse))
        return list(islice(found, size)), next(found, None)

    def _tasks_from(
        self, account: str, start: Position | None, inclusive: bool, reverse: bool
    ) -> Iterator[StoredTask]:
        positions = self._positions[account]
        if start is None:
            first = len(positions) - 1 if reverse else 0
        else:
            first = bisect_left(positions, start)
            exists = first < len(positions) and positions[first] == start
            if reverse and not (exists and inclusive):
                first -= 1
            elif exists and not inclusive:
                first += 1
        indices = range(first, -1, -1) if reverse else range(first, len(positions))
        return (self._tasks[positions[index].task_id] for index in indices)
