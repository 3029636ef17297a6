"""What a person sees while a command works: a live display on a terminal, a line a minute elsewhere."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.filesize import decimal
from rich.live import Live
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
_WATCHING = ". Ctrl-C stops watching; the tasks keep running."


class View:
    """Something that is going on: what, for how long, and how many requests were retried.

    Attributes:
        found: What has come of it so far, such as "94 results".
    """

    def __init__(self, terminal: Terminal, doing: str) -> None:
        self.terminal = terminal
        self.doing: str = doing
        self.found = ""
        self.started: float = time.monotonic()

    @property
    def elapsed(self) -> float:
        """Seconds since it began."""
        return time.monotonic() - self.started

    def facts(self) -> list[str]:
        """Return what is worth saying now."""
        retries = self.terminal.retries
        return [
            tables.clock_of(self.elapsed),
            *([self.found] if self.found else []),
            *([tables.counted(retries, "retry", "retries")] if retries else []),
        ]

    def line(self) -> str:
        """Return all of it as text."""
        return f"{self.doing} ... {', '.join(self.facts())}"

    def __rich__(self) -> RenderableType:
        return _one_line(self.line())


class Bar(View):
    """A count that is known to grow to a total."""

    done = 0
    total = 0
    unit = ""
    note = ""

    @property
    def count(self) -> str:
        """How much of all is done."""
        return f"{self.done} of {self.total}{self.unit}"

    @property
    def left(self) -> float:
        """Seconds that the rest takes at the pace so far; 0 while nothing is done."""
        return self.elapsed / self.done * (self.total - self.done) if self.done else 0.0

    def facts(self) -> list[str]:
        """Return what is worth saying now."""
        return [*super().facts(), *([f"{tables.clock_of(self.left)} left"] if self.left else [])]

    def line(self) -> str:
        """Return all of it as text."""
        return ", ".join([f"{self.doing}: {self.count}", *self.facts()])

    def __rich__(self) -> RenderableType:
        bar = ProgressBar(total=self.total, completed=self.done, width=_BAR_WIDTH)
        grid = Table.grid(padding=(0, 1))
        grid.add_row(_one_line(self.doing), bar, _one_line(self.count))
        return Group(grid, _one_line(f"{', '.join(self.facts())}{self.note}", "dim"))


class TransferProgress(Bar):
    """Bytes that are sent or received; and a step before, while nothing is known, and after."""

    def __init__(self, terminal: Terminal, doing: str, *, before: str, after: str = "") -> None:
        super().__init__(terminal, doing)
        self._step: View | None = View(terminal, before)
        self._after = after

    @property
    def is_complete(self) -> bool:
        """Whether all bytes are done."""
        return 0 < self.total == self.done

    def update(self, done: int, total: int) -> None:
        """Keep how many of all bytes are done."""
        if not self.total:
            self.started: float = time.monotonic()
        self.done: int = done
        self.total: int = total
        self._step = View(self.terminal, self._after) if self.is_complete and self._after else None

    @property
    def count(self) -> str:
        """How much of all is done, and how fast."""
        speed = decimal(int(self.done / self.elapsed)) if self.elapsed else "0 bytes"
        return f"{decimal(self.done)} of {decimal(self.total)}, {speed}/s"

    def line(self) -> str:
        """Return all of it as text."""
        return self._step.line() if self._step else super().line()

    def __rich__(self) -> RenderableType:
        return self._step.__rich__() if self._step else super().__rich__()


class BulkProgress(Bar):
    """A bulk operation: how many tasks are done and failed, what it waits for, how long it will take."""

    def __init__(self, terminal: Terminal, doing: str, total: int) -> None:
        super().__init__(terminal, doing)
        self.total = total
        self._failed = 0

    def update(self, outcome: BulkOutcome, done: int) -> None:
        """Count one outcome."""
        self.done = done
        self._failed += outcome.outcome in _UNDONE
        self.terminal.stopping.discard(outcome.task_id)

    def facts(self) -> list[str]:
        """Return what is worth saying now."""
        stopping = len(self.terminal.stopping)
        return [
            *([f"{self._failed} failed"] if self._failed else []),
            *([f"waiting for {tables.counted(stopping, 'task')} to stop"] if stopping else []),
            *super().facts(),
        ]


class JobProgress(Bar):
    """The records of a job: how many are done, in how many tasks, how long it will take."""

    unit = " records"
    note = _WATCHING

    def __init__(self, terminal: Terminal, records: int) -> None:
        super().__init__(terminal, "Reading the job")
        self.total = records
        self.status: JobStatus | None = None

    def update(self, status: JobStatus) -> None:
        """Keep the status; without a terminal print its state when that changes."""
        has_changed = status.state != self.doing
        self.status = status
        self.doing: str = status.state
        self.done: int = status.records_done
        if has_changed and not self.terminal.can_animate:
            self.terminal.note(self.line())

    @property
    def left(self) -> float:
        """Seconds that the service needs, by the job's own estimate."""
        remaining = self.status and self.status.remaining
        return remaining.total_seconds() if remaining else 0.0

    def facts(self) -> list[str]:
        """Return what is worth saying now."""
        if self.status is None:
            return super().facts()
        failed = len(self.status.failed_shards)
        return [
            f"{self.status.shards_done} of {tables.counted(self.status.shards, 'task')} done",
            *([f"{failed} failed"] if failed else []),
            *super().facts(),
        ]


class WaitProgress(View):
    """The tasks that are waited for, as they were last seen."""

    _COLUMNS = ("task_id", "run_status", "records_done", "age", "name")

    def __init__(self, terminal: Terminal, total: int) -> None:
        super().__init__(terminal, "Waiting")
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

    def __rich__(self) -> RenderableType:
        """Draw active tasks first, as many as the terminal has lines for."""
        tasks = sorted(self.tasks, key=lambda task: task.is_final)
        lines = max(self.terminal.err.height - _OTHER_LINES, 1)
        rows = [tables.cells(tables.task_row(task, self._COLUMNS), self._COLUMNS) for task in tasks[:lines]]
        width = max(self.terminal.err.width, tables.id_width(rows))
        hidden = len(tasks) - len(rows)
        return Group(
            *([tables.table(self._COLUMNS, rows, width)] if rows else []),
            *([_one_line(f"... and {hidden} more", "dim")] if hidden else []),
            _one_line(f"{self.line()}{_WATCHING}", "dim"),
        )


def _one_line(text: str, style: str = "") -> Text:
    return Text(text, style, no_wrap=True, overflow="ellipsis")


def step(terminal: Terminal, doing: str) -> AbstractContextManager[None]:
    """Show one thing that takes a while, such as a listing."""
    return shown(terminal, View(terminal, doing))


@contextmanager
def shown(terminal: Terminal, view: View, *, beside: bool = False) -> Iterator[None]:
    """Show a view while this lasts: live on a terminal, as one line a minute elsewhere.

    Args:
        beside: Whether results are printed on stdout meanwhile; if that is a terminal, they are enough.
    """
    if beside and terminal.out.is_terminal:
        yield
    elif terminal.can_animate:
        with Live(
            view,
            console=terminal.err,
            refresh_per_second=_REDRAWS_PER_SECOND,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        ):
            yield
    else:
        with _line_a_minute(terminal, view):
            yield


@contextmanager
def _line_a_minute(terminal: Terminal, view: View) -> Iterator[None]:
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
