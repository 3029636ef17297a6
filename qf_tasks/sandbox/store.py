"""The tasks of every account, and the states they move through.

A state is worked out when it is read, from the moves that were declared. Knows nothing of HTTP, of keys or
of the shape of a request's body. Not thread-safe: its owner holds a lock.
"""

import secrets
import string
from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, NamedTuple

from .clock import as_text

QUEUING, RUNNING, DONE = "Queuing", "Running", "Done"
STOPPING, STOPPED, FAILED, EXPIRED = "Stopping", "Stopped", "Failed", "Expired"

STATES = frozenset({QUEUING, RUNNING, DONE, STOPPING, STOPPED, FAILED, EXPIRED})
ACTIVE = frozenset({QUEUING, RUNNING, STOPPING})  # what counts towards the quota (amh4suzbi)
FINAL = STATES - ACTIVE

# A choice: as many records are in the input of every task that is not told otherwise.
RECORDS = 100

# The service shows these only when a single task is described (mluhsekbp, blvje5ica).
_NOT_LISTED = ("searchCounts", "searchTokens")

_ID_LETTERS = string.ascii_lowercase + string.digits


class Move(NamedTuple):
    """From this moment on, the task is in this state."""

    at: float
    run_status: str


class Position(NamedTuple):
    """A task's place in the list of its account: by creation, then in order of arrival."""

    created_at: float
    number: int
    task_id: str


@dataclass(kw_only=True)
class StoredTask:
    """A task as the service keeps it."""

    account: str
    position: Position
    created: dict[str, Any]
    moves: list[Move]
    creator: str
    output_dir: str = field(default_factory=lambda: secrets.token_hex(12))
    progress: int | None = None
    error_code: int = 1
    error_reason: str = "the sandbox was told to let this task fail"
    overrides: dict[str, Any] = field(default_factory=dict)

    def run_status(self, now: float) -> str:
        """The state at `now`."""
        return self._move(now).run_status

    def _move(self, now: float) -> Move:
        reached = self.moves[0]
        for move in self.moves:
            if move.at > now:
                break
            reached = move
        return reached

    def turn(self, now: float, *moves: Move) -> None:
        """Replace what was to come; the records done so far stay done."""
        self.progress = self._records_done(now) if moves[-1].run_status != DONE else None
        self.moves = list(moves)

    def _records_done(self, now: float) -> int:
        if self.progress is not None:
            return self.progress
        status = self.run_status(now)
        running = next((i for i, move in enumerate(self.moves) if move.run_status == RUNNING), None)
        if status == DONE:
            return RECORDS
        if running is None or status == QUEUING:
            return 0
        start = self.moves[running].at
        end = self.moves[running + 1].at if running + 1 < len(self.moves) else float("inf")
        return RECORDS if now >= end else int(RECORDS * (now - start) / (end - start))

    def described(self, now: float) -> dict[str, Any]:
        """The task as `DescribeBatchInferenceTask` answers it (mluhsekbp)."""
        move = self._move(now)
        wire = {
            "taskId": self.position.task_id,
            **self.created,
            "searchCounts": 0,
            "searchTokens": 0,
            "runStatus": move.run_status,
            **self._outcome(move, now),
            "creator": self.creator,
            "createTime": as_text(self.position.created_at),
        }
        return wire | self.overrides

    def listed(self, now: float) -> dict[str, Any]:
        """The task as it stands in `taskList`."""
        wire = self.described(now)
        return {name: value for name, value in wire.items() if name not in _NOT_LISTED}

    def _outcome(self, move: Move, now: float) -> dict[str, Any]:
        """What the state adds: each member only where its page says so."""
        done = self._records_done(now)
        wire: dict[str, Any] = {"progress": done}
        if move.run_status != QUEUING:
            wire["outputDir"] = self.output_dir
        if move.run_status == DONE:
            wire |= {"inputTokenUsage": 12 * done, "outputTokenUsage": 48 * done}
        if move.run_status == FAILED:
            wire |= {"errorCode": self.error_code, "errorReason": self.error_reason}
        if move.run_status in FINAL:
            wire["finishTime"] = as_text(move.at)
        return wire


class Store:
    """Every task of every account."""

    def __init__(self) -> None:
        self._tasks: dict[str, StoredTask] = {}
        self._order: defaultdict[str, list[Position]] = defaultdict(list)
        self._deleted: dict[tuple[str, str], Position] = {}
        self._numbers = 0

    def position(self, created_at: float, task_id: str | None = None) -> Position:
        """A place for a new task; raises `ValueError` where the id is taken."""
        task_id = task_id or self._new_id()
        if task_id in self._tasks:
            raise ValueError(f"there is a task {task_id} already")
        self._numbers += 1
        return Position(created_at, self._numbers, task_id)

    def _new_id(self) -> str:
        return "infer-" + "".join(secrets.choice(_ID_LETTERS) for _ in range(12))

    def add(self, task: StoredTask) -> str:
        """Keep a task; returns its id."""
        self._tasks[task.position.task_id] = task
        insort(self._order[task.account], task.position)
        return task.position.task_id

    def delete(self, task: StoredTask) -> None:
        """Forget a task, but not where it stood."""
        order = self._order[task.account]
        del order[bisect_left(order, task.position)]
        del self._tasks[task.position.task_id]
        self._deleted[task.account, task.position.task_id] = task.position

    def get(self, task_id: str, account: str | None = None) -> StoredTask | None:
        """The task, or None where no such task is in `account` (None: in any)."""
        task = self._tasks.get(task_id)
        return task if task and account in (None, task.account) else None

    def of(self, account: str) -> list[StoredTask]:
        """The account's tasks, oldest first."""
        return [self._tasks[position.task_id] for position in self._order[account]]

    def count(self, account: str, states: Collection[str], now: float) -> int:
        """How many of the account's tasks are in one of `states`."""
        return sum(task.run_status(now) in states for task in self.of(account))

    def deleted(self, account: str, task_id: str) -> Position | None:
        """Where a deleted task stood."""
        return self._deleted.get((account, task_id))

    def page(
        self,
        account: str,
        *,
        start: Position | None,
        inclusive: bool,
        reverse: bool,
        states: Collection[str],
        size: int,
        now: float,
    ) -> tuple[list[StoredTask], StoredTask | None]:
        """Up to `size` tasks from `start` on, and the one after them, if any."""
        found = (
            task
            for task in self._walk(account, start, inclusive, reverse)
            if not states or task.run_status(now) in states
        )
        return list(islice(found, size)), next(found, None)

    def _walk(
        self, account: str, start: Position | None, inclusive: bool, reverse: bool
    ) -> Iterator[StoredTask]:
        order = self._order[account]
        if start is None:
            first = len(order) - 1 if reverse else 0
        else:
            first = bisect_left(order, start)
            stands = first < len(order) and order[first] == start
            if reverse and not (stands and inclusive):
                first -= 1
            elif stands and not inclusive:
                first += 1
        indices = range(first, -1, -1) if reverse else range(first, len(order))
        return (self._tasks[order[index].task_id] for index in indices)
