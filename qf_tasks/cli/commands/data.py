"""Commands on the data of tasks and jobs: upload, results, download."""

from __future__ import annotations

from typing import Annotated

import typer

from qf_tasks.cli import completion, options, progress
from qf_tasks.cli.commands.jobs import write_results_of_job
from qf_tasks.cli.errors import note_on_interrupt
from qf_tasks.cli.options import flag
from qf_tasks.cli.output import Terminal
from qf_tasks.cli.registry import command
from qf_tasks.cli.transfers import (
    SENT,
    Files,
    ResultFile,
    check_target,
    records_in,
    report_results,
    write_results,
)

_RECEIVED = "Run it again to continue where it stopped."


@command(
    "upload",
    examples=(
        "qf-tasks upload questions.jsonl bos:/bucket/in/",
        "qf-tasks upload monday.jsonl tuesday.jsonl bos:/bucket/in/ --dry-run",
    ),
    ids=False,
)
def upload(
    terminal: Terminal,
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
    source = records_in(records)
    with terminal.client() as client:
        if dry_run:
            plan = client.data.plan(source)
            terminal.show_fields(plan.model_dump(), as_json=plan)
            terminal.note("Nothing was sent.")
            return
        view = progress.TransferProgress(terminal, "Uploading", before="Checking records")
        with progress.shown(terminal, view), note_on_interrupt(SENT):
            done = client.data.upload(source, bos_uri, on_progress=view.update)
    terminal.show_fields(done.model_dump(), as_json=done)


@command(
    "results",
    examples=(
        "qf-tasks results infer-9ia3kc1wt9mp -o results.jsonl",
        "qf-tasks results bos:/bucket/jobs/nightly/ --failures | head",
    ),
    ids=False,
)
def results(
    terminal: Terminal,
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
        bool, flag("--missing", "Tasks only: read the input as well, and add what is missing.")
    ] = False,
    failures: Annotated[
        bool, flag("--failures", "Jobs only: print the records without a usable result.")
    ] = False,
    ordered: Annotated[bool, flag("--ordered", "Jobs only: print in the order of the records.")] = False,
    timeout: Annotated[
        str | None, options.time_limit("Jobs only: how long to wait for tasks; or none.")
    ] = "25h",
    poll_interval: options.PollInterval = "30s",
) -> None:
    """Print results, one JSON object a line, in no particular order.

    Each has id, outcome (succeeded, failed, unreadable, missing, unexpected), query, text, output, error,
    usage, file and line. For a job this creates the tasks that are missing, waits for all of them, and prints
    one result for each record. Records that failed do not change the exit code; the counts are printed on
    stderr, with --json -o FILE on stdout.
    """
    check_target(target)
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
            limits = {"timeout": timeout, "poll_interval": poll_interval}
            outcomes = write_results_of_job(
                terminal, client.job(task), target, failures=failures, ordered=ordered, **limits
            )
        else:
            view = progress.View(terminal, "Reading results")
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
    terminal: Terminal,
    task: Annotated[
        str,
        typer.Argument(
            metavar="TASK", help="The id of a task that has ended.", autocompletion=completion.task_ids
        ),
    ],
    path: Annotated[
        str, typer.Argument(metavar="PATH", help="A file; or a directory, for one file per input file.")
    ],
) -> None:
    """Download the output of a task as it is in BOS.

    A file appears when it is whole; run it again after an interrupt, and it continues. With --json one
    object: {"path", "bytes"}.
    """
    view = progress.TransferProgress(terminal, "Downloading", before="Listing files")
    with terminal.client() as client, progress.shown(terminal, view), note_on_interrupt(_RECEIVED):
        written = client.data.download(task, path, on_progress=view.update)
    terminal.show_fields({"path": str(written), "bytes": view.total})
