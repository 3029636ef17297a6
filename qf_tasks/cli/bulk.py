"""One operation on many tasks: progress while it runs, and its report at the end, whatever ends it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from qf_tasks.cli import completion, progress, tables
from qf_tasks.cli.errors import exit_code_of, report_hints
from qf_tasks.cli.output import Terminal
from qf_tasks.cli.wording import in_options

if TYPE_CHECKING:
    from qf_tasks import BulkOutcome, BulkReport

_COLUMNS = ("task_id", "outcome", "request_id", "error")
_GONE = ("deleted", "already_gone")
_OK = (*_GONE, "stopped", "stopping", "skipped")

Work = Callable[..., "BulkReport"]  # accepts max_workers and on_progress


def run(terminal: Terminal, doing: str, total: int, max_workers: int, work: Work) -> None:
    """Do the work, print its report, and set the exit code."""
    try:
        report = _with_progress(terminal, doing, total, max_workers, work)
    except BaseException as error:
        if partial := getattr(error, "report", None):
            _show(terminal, partial)
        raise
    if not report.ok:
        errors = [outcome.error for outcome in report if outcome.error and outcome.outcome not in _OK]
        terminal.exit_code = exit_code_of(error.kind for error in errors)
    _show(terminal, report)


def _with_progress(terminal: Terminal, doing: str, total: int, max_workers: int, work: Work) -> BulkReport:
    """Do the work behind a progress display, and keep count of the tasks in flight."""
    view = progress.BulkProgress(terminal, doing, total)

    def on_progress(outcome: BulkOutcome, done: int, total: int) -> None:
        terminal.in_flight = min(max_workers, total - done)
        view.update(outcome, done)

    with progress.shown(terminal, view):
        terminal.in_flight = min(max_workers, total)
        try:
            return work(max_workers=max_workers, on_progress=on_progress)
        finally:
            terminal.in_flight = 0


def _show(terminal: Terminal, report: BulkReport) -> None:
    completion.remember([], gone=[outcome.task_id for outcome in report if outcome.outcome in _GONE])
    shown = (outcome for outcome in report if not terminal.ids_only or outcome.outcome in _OK)
    rows = ({name: getattr(outcome, name) for name in _COLUMNS} for outcome in shown)
    try:
        terminal.show(report, rows, _COLUMNS[:-1], piped=_COLUMNS)
    finally:  # also if nobody reads the report
        _summarize(terminal, report)


def _summarize(terminal: Terminal, report: BulkReport) -> None:
    """Print the reasons, how many tasks had which outcome, and once for each cause what to do.

    The reasons are sentences, too long for a column on a terminal.
    """
    for outcome in report if terminal.out.is_terminal or terminal.ids_only else ():
        if outcome.error:
            text = in_options(str(outcome.error), terminal.names)
            terminal.note(f"{outcome.task_id} {outcome.outcome}: {text}")
    counts = [f"{count} {outcome}" for outcome, count in report.counts.items() if count]
    retries = [tables.counted(terminal.retries, "retry", "retries")] if terminal.retries else []
    terminal.note(f"{', '.join([*counts, *retries]) or 'nothing to do'}; account {report.account}")
    report_hints(terminal, (outcome.error.hint for outcome in report if outcome.error))
