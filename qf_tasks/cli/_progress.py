"""What a person sees while a command works: a live table or a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import timedelta
from typing import TYPE_CHECKING

from rich.console import Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from qf_tasks.cli import _tables
from qf_tasks.cli._terminal import Terminal

if TYPE_CHECKING:
    from qf_tasks.models import Task
    from qf_tasks.reports import BulkOutcome

_COLUMNS = ("task_id", "run_status", "progress", "name")
_REDRAWS = 4  # a second
_OTHER_LINES = 4  # heading, footer, what does not fit, and the line of the prompt

OnProgress = Callable[["BulkOutcome", int, int], None]


class Watched:
    """The tasks that are waited for, as they were last seen; rich draws it again and again."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self._started = time.monotonic()
        self._tasks: dict[str, Task] = {}

    @property
    def tasks(self) -> list[Task]:
        """The tasks as they were last seen, in the order in which they were first."""
        return list(self._tasks.values())

    def shown(self) -> AbstractContextManager[object]:
        """Show them on a terminal while this lasts."""
        if not self._terminal.can_animate:
            return nullcontext()
        return Live(
            self,
            console=self._terminal.err,
            refresh_per_second=_REDRAWS,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def __call__(self, task: Task) -> None:
        """Take in what has changed."""
        self._tasks[task.task_id] = task
        if not self._terminal.can_animate:
            records = "" if task.progress is None else f"  {task.progress} records"
            self._terminal.note(f"{self._elapsed}  {task.task_id}  {task.run_status}{records}")

    def __rich__(self) -> Group:
        """Draw the tasks that go on first, as many as the terminal has lines for."""
        tasks = sorted(self.tasks, key=lambda task: task.is_final)
        room = max(self._terminal.err.height - _OTHER_LINES, 1)
        rows = [_tables.cells(task, _COLUMNS) for task in tasks]
        width = max(self._terminal.err.width, _tables.id_width(rows))
        ended = sum(task.is_final for task in tasks)
        more = [Text(f"… and {len(rows) - room} more", style="dim")] if len(rows) > room else []
        footer = Text(
            f"{ended} of {len(tasks)} ended, {self._elapsed}. Ctrl-C leaves them alone.", style="dim"
        )
        return Group(_tables.table(_COLUMNS, rows[:room], width), *more, footer)

    @property
    def _elapsed(self) -> timedelta:
        return timedelta(seconds=int(time.monotonic() - self._started))


def spinning(terminal: Terminal, doing: str) -> AbstractContextManager[object]:
    """Show that something is under way while this lasts."""
    return terminal.err.status(f"{doing} …") if terminal.can_animate else nullcontext()


@contextmanager
def bar(terminal: Terminal, doing: str, total: int) -> Iterator[OnProgress]:
    """Give what is to be told of every outcome, and show a bar while this lasts."""
    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=terminal.err,
        disable=not terminal.can_animate,
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
    )
    with progress:
        row = progress.add_task(doing, total=total)
        yield lambda _outcome, done, total: progress.update(row, completed=done, total=total)
