"""Commands that end tasks named by their ids: stop and delete."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from qf_tasks.cli import bulk, ids, options, progress
from qf_tasks.cli.commands.jobs import delete_job, stop_job
from qf_tasks.cli.lookup import Lookup
from qf_tasks.cli.options import flag
from qf_tasks.cli.output import Terminal
from qf_tasks.cli.registry import command
from qf_tasks.cli.tables import Row

if TYPE_CHECKING:
    from qf_tasks import Task, TaskClient


@command(
    "stop",
    "cancel",
    examples=(
        "qf-tasks stop infer-9ia3kc1wt9mp",
        "qf-tasks list -q --status queuing --name 'test-*' | qf-tasks stop -",
        "qf-tasks stop bos:/bucket/jobs/nightly/",
    ),
)
def stop(
    terminal: Terminal,
    task_ids: options.Ids,
    *,
    max_tasks: options.MaxTasks = None,
    max_workers: options.MaxWorkers = 8,
) -> None:
    """Stop tasks, or a job. This cannot be undone, and takes the service a while.

    With --json always one report: {"account", "outcomes": [{"task_id", "outcome", "error", ...}]}. Pass the
    BOS_URI of a job instead of ids to stop all its tasks and submit no more; --json prints its status then.
    Alias: cancel.
    """
    if bos_uri := ids.job_uri(task_ids):
        with terminal.client() as client:
            stop_job(terminal, client, bos_uri)
        return
    wanted = ids.read(task_ids, max_tasks)
    with terminal.client() as client:
        bulk.run(terminal, "Stopping", len(wanted), max_workers, partial(client.stop_many, wanted))


@command(
    "delete",
    "rm",
    examples=(
        "qf-tasks delete infer-9ia3kc1wt9mp --stop-first",
        "qf-tasks list -q --status failed | qf-tasks delete - --yes",
        "qf-tasks delete bos:/bucket/jobs/nightly/ --data",
    ),
)
def delete(
    terminal: Terminal,
    task_ids: options.Ids,
    *,
    stop_first: options.StopFirst = False,
    stop_timeout: options.StopTimeout = "5m",
    missing_ok: Annotated[bool, flag("--missing-ok", "Ignore tasks that do not exist.")] = False,
    dry_run: options.DryRun = False,
    yes: options.Yes = False,
    max_tasks: options.MaxTasks = None,
    max_workers: options.MaxWorkers = 8,
    journal: options.Journal = None,
    data: Annotated[bool, flag("--data", "Jobs only: delete the records and results, too.")] = False,
) -> None:
    """Delete tasks by their ids, without asking; or a job, after asking. This cannot be undone.

    Ids from stdin need --yes. With --json always one report: {"account", "outcomes": [{"task_id", "outcome",
    "error", ...}]}. Pass the BOS_URI of a job that has ended instead of ids to delete its tasks, and with
    --data everything in its directory; --json prints {"tasks", "objects", "bytes"} then. Alias: rm.
    """
    if bos_uri := ids.job_uri(task_ids):
        if stop_first or missing_ok or journal:
            raise typer.BadParameter("accepts only --data, --dry-run and --yes", param_hint="BOS_URI")
        terminal.require_answer(is_needless=yes or dry_run)
        with terminal.client() as client:
            delete_job(terminal, client, bos_uri, data=data, dry_run=dry_run, yes=yes)
        return
    if data:
        raise typer.BadParameter("only for a job", param_hint="--data")
    if ids.STDIN in task_ids and not (yes or dry_run):
        raise typer.BadParameter("required to delete ids from stdin", param_hint="--yes")
    wanted = ids.read(task_ids, max_tasks)
    with terminal.client() as client:
        if dry_run:
            _preview(terminal, client, wanted, stop_first=stop_first)
            return
        bulk.run(
            terminal,
            "Stopping and deleting" if stop_first else "Deleting",
            len(wanted),
            max_workers,
            partial(
                client.delete_many,
                wanted,
                stop_first=stop_first,
                stop_timeout=stop_timeout,
                missing_ok=missing_ok,
                journal=journal,
            ),
        )


def _preview(terminal: Terminal, client: TaskClient, wanted: Sequence[str], *, stop_first: bool) -> None:
    """Show what a delete would do to each task."""
    found = Lookup()
    with progress.step(terminal, "Reading tasks"):
        found.read(client, wanted)
    tasks = {task.task_id: task for task in found.tasks}
    effects = [_effect(task_id, tasks.get(task_id), stop_first=stop_first) for task_id in wanted]
    columns = ("task_id", "run_status", "name", "effect")
    terminal.show({"account": client.account, "outcomes": effects}, effects, columns)
    terminal.note(f"Nothing was deleted from {client.account}.")


def _effect(task_id: str, task: Task | None, *, stop_first: bool) -> Row:
    if task is None:
        return {"task_id": task_id, "run_status": None, "name": None, "effect": "does not exist"}
    if task.run_status.can_delete:
        effect = "would be deleted"
    elif stop_first and task.run_status in type(task.run_status).KNOWN:
        effect = "would be stopped and deleted"
    else:
        effect = "would be rejected"
    return {"task_id": task_id, "run_status": task.run_status, "name": task.name, "effect": effect}
