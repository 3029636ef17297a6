"""The command that deletes many tasks by what they are like: a plan, a question, its application."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qf_tasks.cli import _bulk, _progress
from qf_tasks.cli._errors import FAILED
from qf_tasks.cli._options import (
    Journal,
    MaxWorkers,
    NamePattern,
    OlderThan,
    RunStatuses,
    StopFirst,
    StopTimeout,
    limit_or_none,
    listed,
)
from qf_tasks.cli._tables import text_of
from qf_tasks.cli._terminal import Terminal
from qf_tasks.cli.tasks import TASK_COLUMNS

if TYPE_CHECKING:
    from qf_tasks.reports import PurgePlan

_CRITERIA = "--run-status, --name, --older-than, --creator, --keep-newest, --stop-first"


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
    max_tasks: Annotated[
        int, typer.Option(min=1, metavar="N", help="Refuse where more than this are taken.")
    ] = 1000,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the tasks; delete nothing.")] = False,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Keep the plan of a --dry-run.")] = None,
    plan: Annotated[Path | None, typer.Option(metavar="FILE", help="Apply a plan that was kept.")] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    max_workers: MaxWorkers = 8,
    journal: Journal = None,
) -> None:
    """Delete all tasks that meet the criteria, irrevocably, after asking.

    At least one criterion is needed; a task has to meet all that are given.
    """
    if plan and any((run_status, name, older_than, creator, keep_newest, stop_first)):
        raise typer.BadParameter(f"a plan has its criteria; leave out {_CRITERIA}", param_hint="--plan")
    if out and not dry_run:
        raise typer.BadParameter("only with --dry-run", param_hint="--out")
    with terminal.client() as client:
        if plan:
            planned = _kept(plan)
        else:
            with _progress.spinning(terminal, "Looking through the account"):
                planned = client.plan_purge(
                    run_status=listed(run_status),
                    name=name,
                    older_than=older_than,
                    creator=creator,
                    keep_newest=keep_newest,
                    stop_first=stop_first,
                    max_tasks=max_tasks,
                )
        _tell(terminal, planned)
        if dry_run:
            _show(terminal, planned, out)
        elif _agreed(terminal, len(planned), yes=yes):
            timeout = limit_or_none(stop_timeout, "--stop-timeout")
            _bulk.run(
                terminal,
                "Deleting",
                len(planned),
                lambda on_progress: client.purge(
                    planned,
                    stop_timeout=timeout,
                    max_workers=max_workers,
                    journal=journal,
                    on_progress=on_progress,
                ),
            )


def _kept(path: Path) -> PurgePlan:
    from qf_tasks.reports import PurgePlan

    try:
        return PurgePlan.model_validate_json(path.read_bytes())
    except OSError as error:
        raise typer.BadParameter(f"{path}: {error.strerror}", param_hint="--plan") from None
    except ValueError:
        raise typer.BadParameter(f"{path} holds no plan of a --dry-run", param_hint="--plan") from None


def _show(terminal: Terminal, plan: PurgePlan, out: Path | None) -> None:
    if out:
        out.write_text(plan.model_dump_json(indent=2) + "\n", "utf-8")
        terminal.note(f"The plan is in {out}. Apply it: qf-tasks purge --plan {out}")
    if terminal.as_json:
        terminal.show_one(plan)
    else:
        terminal.show_many(plan, TASK_COLUMNS)


def _tell(terminal: Terminal, plan: PurgePlan) -> None:
    """Say what is about to go: whose, how many, how old, how many of them still run."""
    terminal.note(f"Account: {plan.account}")
    for reason, count in plan.skipped.items():
        terminal.note(f"Skipped: {count} {reason}")
    if not len(plan):
        terminal.note("No task fits; nothing is to be deleted.")
        return
    times = sorted(task.create_time for task in plan if task.create_time)
    span = f", created {text_of(times[0])} to {text_of(times[-1])}" if times else ""
    terminal.note(f"Tasks: {len(plan)}{span}")
    active = sum(not task.is_final for task in plan)
    terminal.note(f"Not ended, to be stopped first: {active}")
    terminal.note("Deleting cannot be undone. Output in BOS is not known to be removed with a task.")


def _agreed(terminal: Terminal, count: int, *, yes: bool) -> bool:
    """Return whether the user wants it, by option or by answer."""
    if yes or not count:
        return True
    if not terminal.can_ask:
        raise typer.BadParameter("nobody can be asked here", param_hint="--yes")
    if terminal.ask(f"Delete {count} task{'s' if count > 1 else ''}?"):
        return True
    terminal.note("Nothing was deleted.")
    terminal.exit_code = FAILED
    return False
