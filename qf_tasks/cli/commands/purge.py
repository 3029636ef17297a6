"""The command that deletes tasks by criteria: a plan, a question, its application."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qf_tasks.cli import bulk, options, progress, tables
from qf_tasks.cli.commands.read import PIPED
from qf_tasks.cli.errors import FAILED
from qf_tasks.cli.output import Terminal
from qf_tasks.cli.registry import command, terminal_of

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
    context: typer.Context,
    *,
    run_status: options.RunStatuses = None,
    name: options.NamePattern = None,
    older_than: options.OlderThan = None,
    creator: options.Creator = None,
    keep_newest: Annotated[int, typer.Option(min=0, metavar="N", help="Keep the N newest.")] = 0,
    stop_first: options.StopFirst = False,
    stop_timeout: options.StopTimeout = "5m",
    max_tasks: options.MaxTasks = None,
    dry_run: options.DryRun = False,
    plan: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Apply a plan that --dry-run --json printed.")
    ] = None,
    yes: options.Yes = False,
    max_workers: options.MaxWorkers = 8,
    journal: options.Journal = None,
) -> None:
    """Delete all tasks that meet the criteria, after asking. This cannot be undone.

    At least one criterion is required; a task has to meet all that are given. With --json one report, as of
    `delete`; with --dry-run --json the plan, which --plan applies.
    """
    terminal = terminal_of(context)
    timeout = options.time_limit(stop_timeout, "--stop-timeout")
    criteria = options.not_none(
        run_status=options.states(run_status), name=name, older_than=older_than, creator=creator
    )
    if plan and (criteria or keep_newest or stop_first):
        raise typer.BadParameter(f"a plan has its criteria; leave out {_CRITERIA}", param_hint="--plan")
    options.require_answer(terminal, is_needless=yes or dry_run)
    loaded = _loaded(plan, max_tasks) if plan else None
    with terminal.client() as client:
        with progress.shown(terminal, progress.Step(terminal, "Listing tasks")):
            planned = loaded or client.plan_purge(
                **criteria,
                keep_newest=keep_newest,
                stop_first=stop_first,
                max_tasks=max_tasks or options.MAX_TASKS,
            )
        _summarize(terminal, planned, previewed=0 if dry_run else _PREVIEWED)
        if dry_run:
            _show_plan(terminal, planned)
        elif _is_confirmed(terminal, planned, yes=yes):
            bulk.run(
                terminal,
                "Stopping and deleting" if planned.criteria.stop_first else "Deleting",
                len(planned),
                max_workers,
                lambda on_progress: client.purge(
                    planned,
                    stop_timeout=timeout,
                    max_workers=max_workers,
                    journal=journal,
                    on_progress=on_progress,
                ),
            )


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


def _show_plan(terminal: Terminal, plan: PurgePlan) -> None:
    if terminal.as_json:
        terminal.show_json(plan.model_dump(mode="json"))
    else:
        columns = (*_PREVIEW, "create_time", "finish_time")
        rows = (tables.task_row(task, {*columns, *PIPED}) for task in plan)
        terminal.show_rows(rows, columns, piped=PIPED)


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


def _is_confirmed(terminal: Terminal, plan: PurgePlan, *, yes: bool) -> bool:
    """Return whether the user wants it, by option or by answer."""
    if yes or not len(plan):
        return True
    account = plan.account
    if terminal.ask(f"Delete {tables.counted(len(plan), 'task')} of {account.access_key} at {account.host}?"):
        return True
    terminal.note("Nothing was deleted.")
    terminal.exit_code = FAILED
    return False
