"""The command that deletes many tasks by what they are like: a plan, a question, its application."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypedDict

import typer

from qf_tasks.cli import _bulk, _progress
from qf_tasks.cli._errors import FAILED
from qf_tasks.cli._options import (
    MOST_TASKS,
    DryRun,
    Journal,
    MaxTasks,
    MaxWorkers,
    NamePattern,
    OlderThan,
    RunStatuses,
    StopFirst,
    StopTimeout,
    Yes,
    limit_or_none,
    listed,
)
from qf_tasks.cli._tables import clean, text_of
from qf_tasks.cli._terminal import Terminal
from qf_tasks.cli.tasks import TASK_COLUMNS

if TYPE_CHECKING:
    from qf_tasks import TaskClient
    from qf_tasks.reports import PurgePlan

_NAMED = 20  # how many tasks are named before the question
_CRITERIA = "--run-status, --name, --older-than, --creator, --keep-newest, --stop-first"


class _Criteria(TypedDict):
    """Which tasks are to go, as keywords of the client."""

    run_status: list[str] | None
    name: str | None
    older_than: str | None
    creator: str | None
    keep_newest: int
    stop_first: bool


class _Manner(TypedDict):
    """How they go, as keywords of the client."""

    stop_timeout: float | None
    max_workers: int
    journal: Path | None


def purge(
    terminal: Terminal,
    *,
    run_status: RunStatuses = None,
    name: NamePattern = None,
    older_than: OlderThan = None,
    creator: Annotated[str | None, typer.Option(help="Only tasks of this user.")] = None,
    keep_newest: Annotated[
        int, typer.Option(min=0, metavar="N", help="Leave so many of the newest alone.")
    ] = 0,
    stop_first: StopFirst = False,
    stop_timeout: StopTimeout = "5m",
    max_tasks: MaxTasks = None,
    dry_run: DryRun = False,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Keep the plan of a --dry-run.")] = None,
    plan: Annotated[Path | None, typer.Option(metavar="FILE", help="Apply a plan that was kept.")] = None,
    yes: Yes = False,
    max_workers: MaxWorkers = 8,
    journal: Journal = None,
) -> None:
    """Delete all tasks that meet the criteria, irrevocably, after asking.

    At least one criterion is needed; a task has to meet all that are given.
    """
    criteria = _Criteria(
        run_status=listed(run_status, "--run-status"),
        name=name,
        older_than=older_than,
        creator=creator,
        keep_newest=keep_newest,
        stop_first=stop_first,
    )
    if plan and any(value not in (None, 0) for value in criteria.values()):
        raise typer.BadParameter(f"a plan has its criteria; leave out {_CRITERIA}", param_hint="--plan")
    if out and not dry_run:
        raise typer.BadParameter("only with --dry-run", param_hint="--out")
    timeout = limit_or_none(stop_timeout, "--stop-timeout")
    manner = _Manner(stop_timeout=timeout, max_workers=max_workers, journal=journal)
    with terminal.client() as client:
        planned = _kept(plan, max_tasks) if plan else _made(terminal, client, criteria, max_tasks)
        _tell(terminal, planned, named=0 if dry_run else _NAMED)
        if dry_run:
            _show(terminal, planned, out)
        elif _agreed(terminal, len(planned), yes=yes):
            _apply(terminal, client, planned, manner)


def _made(terminal: Terminal, client: TaskClient, criteria: _Criteria, max_tasks: int | None) -> PurgePlan:
    with _progress.spinning(terminal, "Looking through the account"):
        return client.plan_purge(**criteria, max_tasks=max_tasks or MOST_TASKS)


def _kept(path: Path, max_tasks: int | None) -> PurgePlan:
    """Return the plan of a file; how many it has was limited when it was made, and is again on demand."""
    from qf_tasks.reports import PurgePlan

    try:
        plan = PurgePlan.model_validate_json(path.read_bytes())
    except OSError as error:
        raise typer.BadParameter(f"{path}: {error.strerror}", param_hint="--plan") from None
    except ValueError:
        raise typer.BadParameter(f"{path} holds no plan of a --dry-run", param_hint="--plan") from None
    if max_tasks and len(plan) > max_tasks:
        raise typer.BadParameter(f"{path} has {len(plan)} tasks", param_hint="--max-tasks")
    return plan


def _apply(terminal: Terminal, client: TaskClient, plan: PurgePlan, manner: _Manner) -> None:
    _bulk.run(
        terminal,
        "Deleting",
        len(plan),
        manner["max_workers"],
        lambda on_progress: client.purge(plan, **manner, on_progress=on_progress),
    )


def _show(terminal: Terminal, plan: PurgePlan, out: Path | None) -> None:
    if out:
        out.write_text(plan.model_dump_json(indent=2) + "\n", "utf-8")
        terminal.note(f"The plan is in {out}. Apply it: qf-tasks purge --plan {out}")
    if terminal.as_json:
        terminal.show_one(plan)
    else:
        terminal.show_many(plan, TASK_COLUMNS)


def _tell(terminal: Terminal, plan: PurgePlan, *, named: int) -> None:
    """Say what is about to go: whose, which, how many, how old, how many of them still run."""
    terminal.note(f"Account: {plan.account}")
    for reason, count in plan.skipped.items():
        terminal.note(f"Skipped: {count} {reason}")
    if not len(plan):
        terminal.note("No task fits; nothing is to be deleted.")
        return
    times = sorted(task.create_time for task in plan if task.create_time)
    span = f", created {text_of(times[0])} to {text_of(times[-1])}" if times else ""
    terminal.note(f"Tasks: {len(plan)}{span}")
    for task in plan.tasks[:named]:
        terminal.note(f"  {task.task_id}  {clean(f'{task.run_status}  {task.name}')}")
    if 0 < named < len(plan):
        terminal.note(f"  and {len(plan) - named} more; --dry-run shows all")
    active = sum(not task.is_final for task in plan)
    terminal.note(f"Not ended, to be stopped first: {active}")
    terminal.note("Deleting cannot be undone. Output in BOS is not known to be removed with a task.")


def _agreed(terminal: Terminal, count: int, *, yes: bool) -> bool:
    """Return whether the user wants it, by option or by answer."""
    if yes or not count:
        return True
    if not terminal.can_ask:
        raise typer.BadParameter("needed where nobody can be asked", param_hint="--yes")
    if terminal.ask(f"Delete {count} task{'s' if count > 1 else ''}?"):
        return True
    terminal.note("Nothing was deleted.")
    terminal.exit_code = FAILED
    return False
