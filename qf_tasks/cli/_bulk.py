"""One run over many tasks: a bar while it goes, and its report at the end, whatever ends it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from qf_tasks.cli import _progress
from qf_tasks.cli._errors import exit_code_of_many
from qf_tasks.cli._terminal import Terminal

if TYPE_CHECKING:
    from qf_tasks.reports import BulkOutcome, BulkReport

_COLUMNS = ("task_id", "outcome", "request_id", "error")
_DONE = ("deleted", "already_gone", "stopping", "stopped")
_FINE = (*_DONE, "skipped")

Work = Callable[[_progress.OnProgress], "BulkReport"]


def run(terminal: Terminal, doing: str, total: int, max_workers: int, work: Work) -> None:
    """Do the work, print its report, and set the exit code."""
    try:
        report = _followed(terminal, doing, total, max_workers, work)
    except BaseException as cut_off:
        if told := getattr(cut_off, "report", None):
            _show(terminal, told)
        raise
    if not report.ok:
        failures = [it.error for it in report if it.error and it.outcome not in _FINE]
        terminal.exit_code = exit_code_of_many(failure.kind for failure in failures)
    _show(terminal, report)


def _followed(terminal: Terminal, doing: str, total: int, max_workers: int, work: Work) -> BulkReport:
    """Do the work with a bar, and let the terminal know how many tasks are in flight."""
    with _progress.bar(terminal, doing, total) as draw:

        def on_progress(outcome: BulkOutcome, done: int, total: int) -> None:
            terminal.in_flight = min(max_workers, total - done)
            draw(outcome, done, total)

        terminal.in_flight = min(max_workers, total)
        try:
            return work(on_progress)
        finally:
            terminal.in_flight = 0


def _show(terminal: Terminal, report: BulkReport) -> None:
    try:
        if terminal.as_json:
            terminal.show_one(report)
        else:
            outcomes = [it for it in report if it.outcome in _DONE] if terminal.ids_only else report
            terminal.show_many(outcomes, _COLUMNS[:-1] if terminal.out.is_terminal else _COLUMNS)
    finally:  # also where nobody reads the report: what was done is told
        _summarize(terminal, report)


def _summarize(terminal: Terminal, report: BulkReport) -> None:
    """Say what went wrong, how many had which outcome, and once for each cause what to do.

    The reasons are sentences, too long for a column on a terminal.
    """
    for it in report if terminal.out.is_terminal else ():
        if it.error:
            terminal.note(f"{it.task_id} {it.outcome}: {it.error}")
    counts = ", ".join(f"{count} {outcome}" for outcome, count in report.counts.items() if count)
    terminal.note(f"{counts or 'nothing to do'}; account {report.account}")
    for hint in dict.fromkeys(it.error.hint for it in report if it.error and it.error.hint):
        terminal.note(f"Hint: {hint}")
