"""Commands that end tasks named by their ids: stop and delete."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypedDict

import typer

from qf_tasks.cli import _bulk
from qf_tasks.cli._errors import told_if_cut_off
from qf_tasks.cli._options import (
    MOST_TASKS,
    DryRun,
    Journal,
    MaxTasks,
    MaxWorkers,
    StopFirst,
    StopTimeout,
    TaskIds,
    Yes,
    limit_or_none,
)
from qf_tasks.cli._terminal import Terminal
from qf_tasks.errors import TaskNotFoundError
from qf_tasks.models import Model, RunStatus

if TYPE_CHECKING:
    from qf_tasks import TaskClient

_STDIN = "-"
_OF_JSON = ("[", "{", '"')


def stop(terminal: Terminal, task_ids: TaskIds, *, max_workers: MaxWorkers = 8) -> None:
    """Stop tasks, which takes them a while and cannot be undone."""
    ids = list(dict.fromkeys(task_ids))
    with terminal.client() as client:
        if len(ids) == 1:
            with told_if_cut_off(f"{ids[0]} may have been told to stop; look: qf-tasks get {ids[0]}"):
                stopped = client.stop(ids[0])
            terminal.show_one(stopped, ("task_id", "run_status", "request_id"))
            return
        _bulk.run(
            terminal,
            "Stopping",
            len(ids),
            max_workers,
            lambda on_progress: client.stop_many(ids, max_workers=max_workers, on_progress=on_progress),
        )


class _Wanted(TypedDict):
    """What a delete is to do, as keywords of the client."""

    stop_first: bool
    stop_timeout: float | None
    missing_ok: bool


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
    dry_run: DryRun = False,
    yes: Yes = False,
    max_tasks: MaxTasks = None,
    max_workers: MaxWorkers = 8,
    journal: Journal = None,
) -> None:
    """Delete tasks by their ids, irrevocably and without asking.

    From stdin the first word of each line is an id, so that what `list` prints can be piped here. Those need
    --yes, and are no more than --max-tasks.
    """
    ids = _ids(task_ids, allowed=yes or dry_run, max_tasks=max_tasks or MOST_TASKS)
    timeout = limit_or_none(stop_timeout, "--stop-timeout")
    wanted = _Wanted(stop_first=stop_first, stop_timeout=timeout, missing_ok=missing_ok)
    with terminal.client() as client:
        if dry_run:
            looks = _looks(client, ids, stop_first=stop_first)
            terminal.show_many(looks, ("task_id", "run_status", "name", "effect"))
        elif ids == task_ids[:1] and journal is None:
            _delete_one(terminal, client, ids[0], wanted)
        else:
            _delete_many(terminal, client, ids, wanted, max_workers=max_workers, journal=journal)


def _ids(words: Sequence[str], *, allowed: bool, max_tasks: int) -> list[str]:
    """Return each id once; those on stdin only where that is allowed, and no more than `max_tasks`."""
    piped: list[str] = []
    if _STDIN in words:
        if not allowed:
            raise typer.BadParameter("ids from stdin are deleted with --yes only", param_hint=_STDIN)
        piped = _piped_ids()
    if len(piped) > max_tasks:
        raise typer.BadParameter(
            f"stdin has {len(piped)} ids, and --max-tasks is {max_tasks}", param_hint=_STDIN
        )
    return list(dict.fromkeys([*(word for word in words if word != _STDIN), *piped]))


def _piped_ids() -> list[str]:
    ids = list(dict.fromkeys(line.split()[0] for line in sys.stdin if line.strip()))
    if any(it.startswith(_OF_JSON) for it in ids):
        raise typer.BadParameter("stdin holds JSON and not ids; pipe what -q prints", param_hint=_STDIN)
    return ids


def _delete_one(terminal: Terminal, client: TaskClient, task_id: str, wanted: _Wanted) -> None:
    unknown = f"Whether {task_id} was deleted is not known"
    if wanted["stop_first"]:
        unknown = f"{task_id} may have been told to stop, and may have been deleted after that"
    with told_if_cut_off(f"{unknown}; look: qf-tasks get {task_id}"):
        deleted = client.delete(task_id, **wanted)
    terminal.show_one(deleted, ("task_id", "outcome", "request_id"))


def _delete_many(
    terminal: Terminal,
    client: TaskClient,
    ids: Sequence[str],
    wanted: _Wanted,
    *,
    max_workers: int,
    journal: Path | None,
) -> None:
    _bulk.run(
        terminal,
        "Deleting",
        len(ids),
        max_workers,
        lambda on_progress: client.delete_many(
            ids, **wanted, max_workers=max_workers, journal=journal, on_progress=on_progress
        ),
    )


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
