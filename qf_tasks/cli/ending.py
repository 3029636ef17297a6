"""Commands that end tasks named by their ids: stop and delete."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from qf_tasks.cli import _bulk
from qf_tasks.cli._errors import told_if_cut_off
from qf_tasks.cli._options import (
    Journal,
    MaxWorkers,
    StopFirst,
    StopTimeout,
    TaskIds,
    limit_or_none,
)
from qf_tasks.cli._terminal import Terminal
from qf_tasks.errors import TaskNotFoundError
from qf_tasks.models import Model
from qf_tasks.run_status import RunStatus

if TYPE_CHECKING:
    from qf_tasks import TaskClient

_STDIN = "-"


def stop(terminal: Terminal, task_ids: TaskIds, *, max_workers: MaxWorkers = 8) -> None:
    """Stop tasks, which takes them a while and cannot be undone."""
    ids = list(dict.fromkeys(task_ids))
    with terminal.client() as client:
        if len(ids) == 1:
            terminal.show_one(client.stop(ids[0]), ("task_id", "run_status", "request_id"))
            return
        _bulk.run(
            terminal,
            "Stopping",
            len(ids),
            lambda on_progress: client.stop_many(ids, max_workers=max_workers, on_progress=on_progress),
        )


def delete(
    terminal: Terminal,
    task_ids: Annotated[
        list[str], typer.Argument(metavar="TASK_ID", help="One or several ids; - reads them from stdin.")
    ],
    *,
    stop_first: StopFirst = False,
    stop_timeout: StopTimeout = "5m",
    missing_ok: Annotated[
        bool, typer.Option("--missing-ok", help="A task not there counts as deleted.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the states; delete nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Needed for ids from stdin.")] = False,
    max_tasks: Annotated[
        int, typer.Option(min=1, metavar="N", help="How many ids from stdin at most.")
    ] = 1000,
    max_workers: MaxWorkers = 8,
    journal: Journal = None,
) -> None:
    """Delete tasks by their ids, irrevocably and without asking.

    From stdin the first word of each line is an id, so that what `list` prints can be piped here.
    """
    ids = _ids(task_ids, allowed=yes or dry_run, max_tasks=max_tasks)
    timeout = limit_or_none(stop_timeout, "--stop-timeout")
    with terminal.client() as client:
        if dry_run:
            looks = _looks(client, ids, stop_first=stop_first)
            terminal.show_many(looks, ("task_id", "run_status", "name", "effect"))
        elif ids == task_ids[:1] and journal is None:
            unknown = f"Whether {ids[0]} was deleted is not known; look: qf-tasks get {ids[0]}"
            with told_if_cut_off(terminal, unknown):
                deleted = client.delete(
                    ids[0], stop_first=stop_first, stop_timeout=timeout, missing_ok=missing_ok
                )
            terminal.show_one(deleted, ("task_id", "outcome", "request_id"))
        else:
            _bulk.run(
                terminal,
                "Deleting",
                len(ids),
                lambda on_progress: client.delete_many(
                    ids,
                    stop_first=stop_first,
                    stop_timeout=timeout,
                    missing_ok=missing_ok,
                    max_workers=max_workers,
                    journal=journal,
                    on_progress=on_progress,
                ),
            )


def _ids(words: Iterable[str], *, allowed: bool, max_tasks: int) -> list[str]:
    """Return each id once; those on stdin only where that is allowed, and no more than `max_tasks`."""
    typed = [word for word in words if word != _STDIN]
    piped: list[str] = []
    if len(typed) < len(list(words)):
        if not allowed:
            raise typer.BadParameter("ids from stdin are deleted with --yes only", param_hint=_STDIN)
        piped = list(dict.fromkeys(line.split()[0] for line in sys.stdin if line.strip()))
    if len(piped) > max_tasks:
        raise typer.BadParameter(
            f"stdin has {len(piped)} ids, and --max-tasks is {max_tasks}", param_hint=_STDIN
        )
    return list(dict.fromkeys([*typed, *piped]))


@dataclass(frozen=True, slots=True)
class _Look(Model):
    """What a delete of a task would meet."""

    task_id: str
    run_status: RunStatus | None
    name: str | None
    effect: str


def _looks(client: TaskClient, ids: Iterable[str], *, stop_first: bool) -> Iterator[_Look]:
    for task_id in ids:
        try:
            task = client.get(task_id)
        except TaskNotFoundError:
            yield _Look(task_id, None, None, "not there")
        else:
            yield _Look(task_id, task.run_status, task.name, _effect(task.run_status, stop_first=stop_first))


def _effect(run_status: RunStatus, *, stop_first: bool) -> str:
    if run_status.can_delete:
        return "would be deleted"
    if stop_first and run_status in RunStatus.KNOWN:
        return "would be stopped and deleted"
    return "would be refused"
