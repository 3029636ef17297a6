"""Commands on the data of tasks and jobs: upload, results, download."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from qf_tasks.cli import completion, options, progress
from qf_tasks.cli.commands.jobs import results_of_job, run_limits
from qf_tasks.cli.errors import note_on_interrupt
from qf_tasks.cli.output import Terminal
from qf_tasks.cli.registry import command, terminal_of
from qf_tasks.cli.transfers import (
    SENT,
    Files,
    ResultFile,
    check_target,
    records_in,
    report_results,
    write_results,
)

if TYPE_CHECKING:
    from qf_tasks import UploadPlan

_RECEIVED = "Run it again to continue where it stopped."
_Task = Annotated[
    str,
    typer.Argument(
        metavar="TASK", help="The id of a task that has ended.", autocompletion=completion.task_ids
    ),
]


@command(
    "upload",
    examples=(
        "qf-tasks upload questions.jsonl bos:/bucket/in/",
        "qf-tasks upload monday.jsonl tuesday.jsonl bos:/bucket/in/ --dry-run",
    ),
    ids=False,
)
def upload(
    context: typer.Context,
    records: Files,
    bos_uri: Annotated[
        str, typer.Argument(metavar="BOS_URI", help="The directory of the records, bos:/bucket/folder/.")
    ],
    *,
    dry_run: options.DryRun = False,
) -> None:
    """Check records, and upload them as the input of a task.

    One record a line, such as {"id": "1", "query": "..."}. Nothing is sent before all records are checked; a
    record without an id gets its position. What is already there is not sent again. With --json one object:
    {"uri", "records", "bytes", "files", "files_sent"}.
    """
    terminal = terminal_of(context)
    source = records_in(records)
    with terminal.client() as client:
        if dry_run:
            _show_upload_plan(terminal, client.data.plan(source))
            return
        view = progress.TransferProgress(terminal, "Uploading", before="Checking records")
        with progress.shown(terminal, view), note_on_interrupt(SENT):
            done = client.data.upload(source, bos_uri, on_progress=view.update)
    if terminal.as_json:
        terminal.show_json(done.model_dump(mode="json"))
    else:
        terminal.show_fields(done.model_dump())


def _show_upload_plan(terminal: Terminal, plan: UploadPlan) -> None:
    """Print how large an upload would be."""
    if terminal.as_json:
        terminal.show_json(plan.model_dump(mode="json"))
    else:
        terminal.show_fields(plan.model_dump())
        terminal.note("Nothing was sent.")


@command(
    "results",
    examples=(
        "qf-tasks results infer-9ia3kc1wt9mp -o results.jsonl",
        "qf-tasks results bos:/bucket/jobs/nightly/ --failures | head",
    ),
    ids=False,
)
def results(
    context: typer.Context,
    task: Annotated[
        str,
        typer.Argument(
            metavar="ID_OR_BOS_URI",
            help="A task that has ended, or the directory of a job.",
            autocompletion=completion.task_ids,
        ),
    ],
    *,
    target: ResultFile = None,
    missing: Annotated[
        bool, typer.Option("--missing", help="Tasks only: read the input as well, and add what is missing.")
    ] = False,
    failures: Annotated[
        bool, typer.Option("--failures", help="Jobs only: print the records without a usable result.")
    ] = False,
    ordered: Annotated[
        bool, typer.Option("--ordered", help="Jobs only: print in the order of the records.")
    ] = False,
    timeout: Annotated[
        str, typer.Option(metavar="DURATION", help="Jobs only: how long to wait for tasks; or none.")
    ] = "25h",
    poll_interval: options.PollInterval = "30s",
) -> None:
    """Print results, one JSON object a line, in no particular order.

    Each has id, outcome (succeeded, failed, unreadable, missing, unexpected), query, text, output, error,
    usage, file and line. For a job this creates the tasks that are missing, waits for all of them, and prints
    one result for each record. Records that failed do not change the exit code; the counts are printed on
    stderr, with --json -o FILE on stdout.
    """
    terminal = terminal_of(context)
    check_target(target)
    limits = run_limits(timeout, poll_interval)
    is_job = task.startswith("bos:")
    for option, is_given, needs_job in (
        ("--missing", missing, False),
        ("--failures", failures, True),
        ("--ordered", ordered, True),
    ):
        if is_given and needs_job != is_job:
            raise typer.BadParameter(f"only for a {'job' if needs_job else 'task'}", param_hint=option)
    with terminal.client() as client:
        if is_job:
            results_of_job(
                terminal, client.job(task), target, failures=failures, ordered=ordered, limits=limits
            )
            return
        view = progress.Step(terminal, "Reading results")
        with progress.shown(terminal, view, beside=target is None):
            outcomes = write_results(terminal, client.data.results(task, missing=missing), target, view)
    report_results(terminal, outcomes, target)


@command(
    "download",
    examples=(
        "qf-tasks download infer-9ia3kc1wt9mp results.jsonl",
        "qf-tasks download infer-9ia3kc1wt9mp results/",
    ),
    ids=False,
)
def download(
    context: typer.Context,
    task: _Task,
    path: Annotated[
        str, typer.Argument(metavar="PATH", help="A file; or a directory, for one file per input file.")
    ],
) -> None:
    """Download the output of a task as it is in BOS.

    A file appears when it is whole; run it again after an interrupt, and it continues. With --json one
    object: {"path", "bytes"}.
    """
    terminal = terminal_of(context)
    view = progress.TransferProgress(terminal, "Downloading", before="Listing files")
    with terminal.client() as client, progress.shown(terminal, view), note_on_interrupt(_RECEIVED):
        written = client.data.download(task, path, on_progress=view.update)
    if terminal.as_json:
        terminal.show_json({"path": str(written), "bytes": view.total})
    else:
        terminal.show_fields({"path": str(written), "bytes": view.total})
