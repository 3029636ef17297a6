"""What a person sees while a command works: a live display on a terminal, a line a minute elsewhere."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from rich.console import Group, RenderableType
from rich.filesize import decimal
from rich.live import Live
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from qf_tasks.cli import tables
from qf_tasks.cli.output import Terminal

if TYPE_CHECKING:
    from qf_tasks import BulkOutcome, JobStatus, Task

_REDRAWS_PER_SECOND = 4
_SECONDS_PER_LINE = 60.0  # where there is no terminal
_OTHER_LINES = 4  # of a table: heading, what does not fit, footer, and the line of the prompt
_BAR_WIDTH = 20
_UNDONE = ("failed", "unknown", "not_found")


class View(Protocol):
    """Something that is going on: drawn again and again, or said in one line.

    Attributes:
        found: what has come of it so far, such as "94 results".
    """

    found: str

    def __rich__(self) -> RenderableType:
        """Return what is drawn."""
        ...

    def line(self) -> str:
        """Return the same as text."""
        ...


@contextmanager
def shown(terminal: Terminal, view: View, *, beside: bool = False) -> Iterator[None]:
    """Show a view while this lasts: live on a terminal, as one line a minute elsewhere.

    Args:
        beside: Whether results are printed on stdout meanwhile; if that is a terminal, they are enough.
    """
    if beside and terminal.out.is_terminal:
        yield
        return
    if terminal.can_animate:
        with Live(
            view,
            console=terminal.err,
            refresh_per_second=_REDRAWS_PER_SECOND,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        ):
            yield
        return
    ended = threading.Event()

    def print_lines() -> None:
        while not ended.wait(_SECONDS_PER_LINE):
            terminal.note(view.line())

    thread = threading.Thread(target=print_lines, name="qf-tasks-progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


class _Timed:
    """What all views say: how long it has taken, and how many requests were retried."""

    def __init__(self, terminal: Terminal) -> None:
        self.terminal = terminal
        self.found = ""
        self._started = time.monotonic()

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self._started

    def facts(self) -> list[str]:
        retries = self.terminal.retries
        return [
            tables.clock_of(self.elapsed),
            *([self.found] if self.found else []),
            *([tables.counted(retries, "retry", "retries")] if retries else []),
        ]


class Step(_Timed):
    """One thing that takes a while, such as a listing."""

    def __init__(self, terminal: Terminal, doing: str) -> None:
        super().__init__(terminal)
        self._doing = doing

    def line(self) -> str:
        """Return what is going on, and for how long."""
        return f"{self._doing} ... {', '.join(self.facts())}"

    def __rich__(self) -> Text:
        return Text(self.line(), no_wrap=True, overflow="ellipsis")


class TransferProgress(_Timed):
    """Bytes that are sent or received: how many, how fast, how long; and a step before and after."""

    def __init__(self, terminal: Terminal, doing: str, *, before: str, after: str | None = None) -> None:
        super().__init__(terminal)
        self._before = Step(terminal, before)
        self._after = Step(terminal, after) if after else None
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(_BAR_WIDTH),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=terminal.err,
        )
        self._bar.add_task(doing, total=None)
        [self._task] = self._bar.tasks

    @property
    def total(self) -> int:
        """All bytes, 0 while they are not known."""
        return int(self._task.total or 0)

    @property
    def is_complete(self) -> bool:
        """Whether all bytes are done."""
        return bool(self._task.total) and self._task.completed == self._task.total

    def update(self, done: int, total: int) -> None:
        """Keep how many of all bytes are done."""
        self._bar.update(self._task.id, completed=done, total=total)

    @property
    def _step(self) -> Step | None:
        """What is shown in the place of the bar."""
        if self._task.total is None:
            return self._before
        return self._after if self.is_complete else None

    def line(self) -> str:
        """Return all of it as text."""
        if self._step:
            return self._step.line()
        done, total = decimal(int(self._task.completed)), decimal(self.total)
        return ", ".join([f"{self._task.description}: {done} of {total}", *self.facts()])

    def __rich__(self) -> RenderableType:
        if self._step:
            return self._step.__rich__()
        return self._bar.get_renderable()


class BulkProgress(_Timed):
    """A bulk operation: how many tasks are done and failed, what it waits for, how long it will take."""

    def __init__(self, terminal: Terminal, doing: str, total: int) -> None:
        super().__init__(terminal)
        self._doing = doing
        self._total = total
        self._done = 0
        self._failed = 0

    def update(self, outcome: BulkOutcome, done: int) -> None:
        """Count one outcome."""
        self._done = done
        self._failed += outcome.outcome in _UNDONE
        self.terminal.stopping.discard(outcome.task_id)

    def line(self) -> str:
        """Return all of it as text."""
        return ", ".join([f"{self._doing}: {self._done} of {self._total}", *self.facts()])

    def facts(self) -> list[str]:
        """Return what is worth saying now."""
        stopping = len(self.terminal.stopping)
        return [
            *([f"{self._failed} failed"] if self._failed else []),
            *([f"waiting for {tables.counted(stopping, 'task')} to stop"] if stopping else []),
            *super().facts(),
            *([f"{tables.clock_of(self._left)} left"] if self._left else []),
        ]

    @property
    def _left(self) -> float:
        """Seconds that the rest takes at the pace so far; 0 while nothing is done."""
        return self.elapsed / self._done * (self._total - self._done) if self._done else 0.0

    def __rich__(self) -> Group:
        return _with_bar(self._doing, self._done, self._total, ", ".join(self.facts()))


class JobProgress(_Timed):
    """The records of a job: how many are done, in how many tasks, how long it will take."""

    def __init__(self, terminal: Terminal, records: int) -> None:
        super().__init__(terminal)
        self._records = records
        self.status: JobStatus | None = None

    def update(self, status: JobStatus) -> None:
        """Keep the status; without a terminal print its state when that changes."""
        has_changed = self.status is None or status.state != self.status.state
        self.status = status
        if has_changed and not self.terminal.can_animate:
            self.terminal.note(self.line())

    def line(self) -> str:
        """Return all of it as text."""
        facts = ", ".join(self.facts())
        if self.status is None:
            return f"Reading the job ... {facts}"
        return f"{self.status.state}: {self.status.records_done} of {self._records} records, {facts}"

    def facts(self) -> list[str]:
        """Return what is worth saying now."""
        if self.status is None:
            return super().facts()
        failed, remaining = len(self.status.failed_shards), self.status.remaining
        return [
            f"{self.status.shards_done} of {tables.counted(self.status.shards, 'task')} done",
            *([f"{failed} failed"] if failed else []),
            *super().facts(),
            *([f"{tables.clock_of(remaining.total_seconds())} left"] if remaining else []),
        ]

    def __rich__(self) -> RenderableType:
        if self.status is None:
            return Text(self.line(), no_wrap=True, overflow="ellipsis")
        facts = f"{', '.join(self.facts())}. Ctrl-C stops watching; the tasks keep running."
        status = self.status
        return _with_bar(status.state, status.records_done, self._records, facts, unit=" records")


def _with_bar(doing: str, done: int, total: int, facts: str, unit: str = "") -> Group:
    """Return a line with a bar, and one with what else is worth saying."""
    bar = Table.grid(padding=(0, 1))
    bar.add_row(
        Text(doing, no_wrap=True),
        ProgressBar(total=total, completed=done, width=_BAR_WIDTH),
        Text(f"{done}/{total}{unit}", no_wrap=True),
    )
    return Group(bar, Text(facts, "dim", no_wrap=True, overflow="ellipsis"))


class WaitProgress(_Timed):
    """The tasks that are waited for, as they were last seen."""

    _COLUMNS = ("task_id", "run_status", "records_done", "age", "name")

    def __init__(self, terminal: Terminal, total: int) -> None:
        super().__init__(terminal)
        self._total = total
        self._tasks: dict[str, Task] = {}

    @property
    def tasks(self) -> list[Task]:
        """The tasks as they were last seen, in the order in which they were first."""
        return list(self._tasks.values())

    def update(self, task: Task) -> None:
        """Keep what has changed; without a terminal print it, if it is the state."""
        before = self._tasks.get(task.task_id)
        self._tasks[task.task_id] = task
        if not self.terminal.can_animate and (before is None or before.run_status != task.run_status):
            records = "" if task.progress is None else f"  {tables.counted(task.progress, 'record')}"
            self.terminal.note(f"{tables.clock_of(self.elapsed)}  {task.task_id}  {task.run_status}{records}")

    def line(self) -> str:
        """Return how many tasks have ended."""
        ended = [task for task in self.tasks if task.is_final]
        failed = sum(not task.is_success for task in ended)
        counts = f"{len(ended)} of {self._total} ended"
        return ", ".join([counts, *([f"{failed} not Done"] if failed else []), *self.facts()])

    def __rich__(self) -> Group:
        """Draw active tasks first, as many as the terminal has lines for."""
        tasks = sorted(self.tasks, key=lambda task: task.is_final)
        lines = max(self.terminal.err.height - _OTHER_LINES, 1)
        rows = [tables.cells(tables.task_row(task, self._COLUMNS), self._COLUMNS) for task in tasks[:lines]]
        width = max(self.terminal.err.width, tables.id_width(rows))
        hidden = len(tasks) - len(rows)
        more = [Text(f"... and {hidden} more", "dim")] if hidden else []
        footer = Text(
            f"{self.line()}. Ctrl-C stops watching; the tasks keep running.",
            "dim",
            no_wrap=True,
            overflow="ellipsis",
        )
        return Group(*([tables.table(self._COLUMNS, rows, width)] if rows else []), *more, footer)
