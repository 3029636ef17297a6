"""The command that deletes tasks by criteria: a plan, a question, its application."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qf_tasks.cli import bulk, options, progress, tables
from qf_tasks.cli.commands.read import PIPED
from qf_tasks.cli.options import option
from qf_tasks.cli.output import Terminal
from qf_tasks.cli.registry import command

if TYPE_CHECKING:
    from qf_tasks import PurgePlan

_PREVIEWED = 20  # tasks that are shown before the question
_PREVIEW = ("task_id", "run_status", "age", "name")
_CRITERIA = "--status, --name, --older-than, --creator, --keep-newest, --stop-first"


@command(
    "purge",
    examples=(
        "qf-tasks purge --status failed,expired --older-than 30d",
        "qf-tasks purge --name 'test-*' --dry-run --json > plan.json && qf-tasks purge --plan plan.json",
    ),
)
def purge(
    terminal: Terminal,
    *,
    run_status: options.RunStatuses = None,
    name: options.NamePattern = None,
    older_than: options.OlderThan = None,
    creator: options.Creator = None,
    keep_newest: Annotated[int, option("N", "Keep the N newest.", min=0)] = 0,
    stop_first: options.StopFirst = False,
    stop_timeout: options.StopTimeout = "5m",
    max_tasks: options.MaxTasks = None,
    dry_run: options.DryRun = False,
    plan: Annotated[Path | None, option("FILE", "Apply a plan that --dry-run --json printed.")] = None,
    yes: options.Yes = False,
    max_workers: options.MaxWorkers = 8,
    journal: options.Journal = None,
) -> None:
    """Delete all tasks that meet the criteria, after asking. This cannot be undone.

    At least one criterion is required; a task has to meet all that are given. With --json one report, as of
    `delete`; with --dry-run --json the plan, which --plan applies.
    """
    criteria = options.not_none(run_status=run_status, name=name, older_than=older_than, creator=creator)
    if plan and (criteria or keep_newest or stop_first):
        raise typer.BadParameter(f"a plan has its criteria; leave out {_CRITERIA}", param_hint="--plan")
    terminal.require_answer(is_needless=yes or dry_run)
    planned = _loaded(plan, max_tasks) if plan else None
    with terminal.client() as client:
        if planned is None:
            with progress.step(terminal, "Listing tasks"):
                planned = client.plan_purge(
                    **criteria,
                    keep_newest=keep_newest,
                    stop_first=stop_first,
                    max_tasks=max_tasks or options.MAX_TASKS,
                )
        _summarize(terminal, planned, previewed=0 if dry_run else _PREVIEWED)
        tasks = tables.counted(len(planned), "task")
        if dry_run:
            columns = (*_PREVIEW, "create_time", "finish_time")
            rows = (tables.task_row(task, {*columns, *PIPED}) for task in planned)
            terminal.show(planned, rows, columns, piped=PIPED)
        elif yes or not len(planned) or terminal.confirm_deletion(tasks, planned.account):
            doing = "Stopping and deleting" if planned.criteria.stop_first else "Deleting"
            work = partial(client.purge, planned, stop_timeout=stop_timeout, journal=journal)
            bulk.run(terminal, doing, len(planned), max_workers, work)


def _loaded(path: Path, max_tasks: int | None) -> PurgePlan:
    """Return the plan of a file; its size was limited when it was made, and is again if asked for."""
    from qf_tasks import PurgePlan

    try:
        plan = PurgePlan.model_validate_json(path.read_bytes())
    except OSError as error:
        raise typer.BadParameter(f"{path}: {error.strerror}", param_hint="--plan") from None
    except ValueError:
        raise typer.BadParameter(f"{path} is not a plan of --dry-run --json", param_hint="--plan") from None
    if max_tasks and len(plan) > max_tasks:
        raise typer.BadParameter(f"{path} has {len(plan)} tasks", param_hint="--max-tasks")
    return plan


def _summarize(terminal: Terminal, plan: PurgePlan, *, previewed: int) -> None:
    """Print what would be deleted: how many, how old, which, and how many are still active."""
    terminal.note(f"Account: {plan.account}")
    for reason, count in plan.skipped.items():
        terminal.note(f"Skipped: {count} {reason}")
    if not len(plan):
        terminal.note("No tasks match; there is nothing to delete.")
        return
    terminal.note_rows((tables.task_row(task, _PREVIEW) for task in plan.tasks[:previewed]), _PREVIEW)
    if 0 < previewed < len(plan):
        terminal.note(f"... and {len(plan) - previewed} more; --dry-run shows all.")
    times = sorted(task.create_time for task in plan if task.create_time)
    span = f", created {tables.text_of(times[0])} to {tables.text_of(times[-1])}" if times else ""
    terminal.note(f"Tasks: {len(plan)}{span}")
    if active := sum(not task.is_final for task in plan):
        terminal.note(f"Still active, will be stopped first: {active}")
    terminal.note("Deleting cannot be undone. Deleting a task may not delete its output in BOS.")
