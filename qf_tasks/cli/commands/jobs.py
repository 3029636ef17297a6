"""Commands on jobs, sets of records of any size: submit, run, status, retry-failures.

`results`, `stop` and `delete` accept the address of a job as well as tasks.
"""

from __future__ import annotations

import signal
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.filesize import decimal

from qf_tasks.cli import options, progress, tables
from qf_tasks.cli.errors import FAILED, as_object, exit_code_of, note_on_interrupt
from qf_tasks.cli.options import flag, option
from qf_tasks.cli.output import Terminal
from qf_tasks.cli.registry import command
from qf_tasks.cli.transfers import (
    SENT,
    Files,
    check_target,
    records_in,
    write_results,
)
from qf_tasks.errors import QfTasksError

if TYPE_CHECKING:
    from qf_tasks import Job, JobDeletion, JobStatus, TaskClient

_RUNNING = "The tasks keep running; run it again to continue."

JobUri = Annotated[
    str, typer.Argument(metavar="BOS_URI", help="The directory of the job, bos:/bucket/folder/.")
]
_Wait = Annotated[bool, flag("--wait", "Wait until all tasks have ended.")]


@dataclass(frozen=True, kw_only=True)
class Submission:
    """The options that describe a job, named like the keywords of `TaskClient.submit`."""

    records: Files
    bos_uri: Annotated[str, option("URI", "A directory for this job alone: records, results and state.")]
    endpoint: options.Endpoint = None
    model_id: options.ModelId = None
    inference_params: options.InferenceParams = None
    data_format: options.DataFormat = None
    name: Annotated[str | None, option("NAME", "2 to 20 characters; by default that of the directory.")] = (
        None
    )
    description: options.Description = None
    max_records_per_task: Annotated[
        int | None, option("N", "Make tasks of at most N records, smaller than needed.", min=1)
    ] = None
    shard_retries: Annotated[
        int, option("N", "How often a task that failed is tried again.", min=0, max=10)
    ] = 1


@command(
    "submit",
    examples=(
        "qf-tasks submit questions.jsonl --bos-uri bos:/bucket/jobs/nightly/ --endpoint ernie-x1-turbo-32k",
        "qf-tasks status bos:/bucket/jobs/nightly/",
    ),
    ids=False,
    shared=Submission,
)
def submit(
    terminal: Terminal,
    submission: Submission,
    *,
    wait: _Wait = False,
    timeout: options.Timeout = "25h",
    poll_interval: options.PollInterval = "30s",
) -> None:
    """Upload any number of records, and create the tasks that they need.

    The job is its directory in BOS: any machine can go on with it. The same command again continues the same
    job. Tasks beyond the free slots of the account are created by --wait, `run` and `results`. FILE may be a
    directory of JSON Lines in BOS. With --json the status.
    """
    keywords = _keywords(submission)
    with terminal.client() as client:
        job = _submitted(client, keywords, _upload_view(terminal))
        _report(terminal, job, wait=wait, timeout=timeout, poll_interval=poll_interval)


@command(
    "run",
    examples=(
        "qf-tasks run questions.jsonl --bos-uri bos:/bucket/jobs/$DAY/ --endpoint ernie-x1-turbo-32k \\",
        "    -o results.jsonl --on-terminate stop",
    ),
    ids=False,
    shared=Submission,
)
def run(
    terminal: Terminal,
    submission: Submission,
    *,
    target: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="Download the results; FILE appears when it is whole."
        ),
    ] = None,
    ordered: Annotated[bool, flag("--ordered", "Write results in the order of the records.")] = False,
    timeout: options.Timeout = "25h",
    poll_interval: options.PollInterval = "30s",
    on_terminate: Annotated[
        Literal["leave", "stop"], option("ACTION", "What SIGTERM does to the tasks: leave or stop.")
    ] = "leave",
) -> None:
    """Submit records, wait, and download the results: one command for a scheduler.

    Run it again after any failure: it continues the same job, and creates no task twice. At the end it prints
    one JSON object: the status, "output" and "outcomes" of the results, "error" and "exit_code", which is 1
    if some tasks failed after their retries. Records that failed are counted in "outcomes".
    """
    check_target(target)
    keywords = _keywords(submission)
    with terminal.client() as client:
        job_run = _Run(terminal, client, submission.bos_uri, target, ordered=ordered)
        limits = {"timeout": timeout, "poll_interval": poll_interval}
        job_run.run(keywords, limits, stops=on_terminate == "stop")


class _Run:
    """A job from its records to its results, reported as one JSON object whatever ends it."""

    def __init__(
        self, terminal: Terminal, client: TaskClient, bos_uri: str, target: Path | None, *, ordered: bool
    ) -> None:
        self._terminal = terminal
        self._client = client
        self._bos_uri = bos_uri
        self._target = target
        self._ordered = ordered
        self._upload = _upload_view(terminal)
        self._is_submitted = False
        self._status: JobStatus | None = None
        self._outcomes: Counter[str] | None = None

    def run(self, parameters: dict[str, Any], limits: dict[str, Any], *, stops: bool) -> None:
        """Submit, wait and download."""
        terminal = self._terminal
        try:
            status = self._run(parameters, limits)
        except KeyboardInterrupt as interrupt:
            if stops and terminal.signal == signal.SIGTERM:
                self._stop(interrupt)
            self._show({"error": "KeyboardInterrupt", "message": "Interrupted"}, terminal.interrupt_code)
            raise
        except (QfTasksError, OSError) as error:
            self._show(as_object(terminal, error), exit_code_of([type(error).__name__]))
            raise
        terminal.exit_code = 0 if status.state == "Done" else FAILED
        self._show(None, terminal.exit_code)
        note_failures(terminal, status)

    def _run(self, parameters: dict[str, Any], limits: dict[str, Any]) -> JobStatus:
        job = _submitted(self._client, parameters, self._upload)
        self._is_submitted = True
        view = progress.JobProgress(self._terminal, job.records)
        try:
            with note_on_interrupt(_RUNNING), progress.shown(self._terminal, view):
                if self._target is None:
                    self._status = job.run(on_progress=view.update, raise_on_failure=False, **limits)
                else:
                    found = job.results(ordered=self._ordered, on_progress=view.update, **limits)
                    self._outcomes = write_results(self._terminal, found, self._target, view)
                    self._status = job.status()
                return self._status
        finally:
            self._status = self._status or view.status

    def _stop(self, interrupt: KeyboardInterrupt) -> None:
        """Stop the job, if it is certain to be this one and not another in the same directory.

        That is so when its records were compared, which happens before the last of them is sent.
        """
        getattr(interrupt, "__notes__", []).clear()
        if not (self._is_submitted or self._upload.is_complete):
            interrupt.add_note(f"Submitting was interrupted; check: qf-tasks status {self._bos_uri}")
            return
        try:
            self._status = self._client.job(self._bos_uri).stop()
        except QfTasksError as error:
            interrupt.add_note(f"The job was not stopped ({error}); run: qf-tasks stop {self._bos_uri}")
        else:
            interrupt.add_note(f"The job is {self._status.state}.")

    def _show(self, error: dict[str, object] | None, exit_code: int) -> None:
        status = self._status.model_dump(mode="json") if self._status else {"state": None}
        self._terminal.show_json(
            {
                "bos_uri": self._bos_uri,
                **status,
                "output": str(self._target) if self._target and self._outcomes is not None else None,
                "outcomes": self._outcomes,
                "error": error,
                "exit_code": exit_code,
            }
        )


@command(
    "status",
    examples=(
        "qf-tasks status bos:/bucket/jobs/nightly/",
        "qf-tasks status bos:/bucket/jobs/nightly/ --json",
    ),
    ids=False,
)
def status(terminal: Terminal, bos_uri: JobUri) -> None:
    """Show how far a job is: records, tasks, tokens, remaining time."""
    with terminal.client() as client, progress.step(terminal, "Reading the job"):
        found = client.job(bos_uri).status()
    show_status(terminal, found)


@command(
    "retry-failures",
    examples=(
        "qf-tasks retry-failures bos:/bucket/jobs/nightly/ --wait",
        "qf-tasks results bos:/bucket/jobs/nightly/ -o results.jsonl",
    ),
    ids=False,
)
def retry_failures(
    terminal: Terminal,
    bos_uri: JobUri,
    *,
    wait: _Wait = False,
    timeout: options.Timeout = "25h",
    poll_interval: options.PollInterval = "30s",
) -> None:
    """Run the records of a job again that have no usable result.

    The job has to have ended. Afterwards `results` has the newest result of each record.
    """
    with terminal.client() as client:
        with progress.step(terminal, "Reading results"):
            job = client.job(bos_uri).retry_failures()
        _report(terminal, job, wait=wait, timeout=timeout, poll_interval=poll_interval)


def _keywords(submission: Submission) -> dict[str, Any]:
    return options.keywords(submission) | {"records": records_in(submission.records)}


def _upload_view(terminal: Terminal) -> progress.TransferProgress:
    return progress.TransferProgress(terminal, "Uploading", before="Checking records", after="Creating tasks")


def _submitted(client: TaskClient, keywords: dict[str, Any], view: progress.TransferProgress) -> Job:
    """Submit records, and show how the upload goes."""
    with progress.shown(view.terminal, view), note_on_interrupt(SENT):
        return client.submit(on_progress=view.update, **keywords)


def _report(terminal: Terminal, job: Job, *, wait: bool, **limits: Any) -> None:
    """Show how far a job is; with `wait`, after it has ended."""
    if wait:
        view = progress.JobProgress(terminal, job.records)
        with note_on_interrupt(_RUNNING), progress.shown(terminal, view):
            found = job.run(on_progress=view.update, raise_on_failure=False, **limits)
        terminal.exit_code = 0 if found.state == "Done" else FAILED
    else:
        found = job.status()
    show_status(terminal, found)


def show_status(terminal: Terminal, found: JobStatus) -> None:
    """Print how far a job is."""
    failed = f", {found.records_failed} failed" if found.records_failed else ""
    terminal.show_fields(
        {
            "bos_uri": found.bos_uri,
            "name": found.name,
            "state": found.state,
            "records": f"{found.records_done} of {found.records} done{failed}",
            "tasks": f"{found.shards_done} of {found.shards} done",
            "tokens": found.usage,
            "created": found.created,
            "remaining": found.remaining and tables.clock_of(found.remaining.total_seconds()),
        },
        as_json=found,
    )
    note_failures(terminal, found)


def note_failures(terminal: Terminal, found: JobStatus) -> None:
    """Print which shards of a job failed, and what to do."""
    by_shard = {task.shard: task for task in found.tasks}
    for name in found.failed_shards:
        task = by_shard.get(name)
        state = f"task {task.task_id} {task.run_status}" if task else "was not submitted"
        terminal.note(f"Shard {name}: {state}", style="red")
    if found.is_final and (found.failed_shards or found.records_failed):
        terminal.note(f"Hint: qf-tasks retry-failures {found.bos_uri} runs the failed records again.")
    elif found.is_final and found.records_failed is None:
        terminal.note(f"Records without a result: qf-tasks results {found.bos_uri} --failures")


def write_results_of_job(
    terminal: Terminal, job: Job, target: Path | None, *, failures: bool, **keywords: Any
) -> Counter[str]:
    """Write the results of a job as its tasks end, and return how many there are of each outcome."""
    view = progress.JobProgress(terminal, job.records)
    method = job.failures if failures else job.results
    with note_on_interrupt(_RUNNING), progress.shown(terminal, view, beside=target is None):
        return write_results(terminal, method(on_progress=view.update, **keywords), target, view)


def stop_job(terminal: Terminal, client: TaskClient, bos_uri: str) -> None:
    """Stop a job, and show what has become of it."""
    with progress.step(terminal, "Stopping"):
        found = client.job(bos_uri).stop()
    show_status(terminal, found)


def delete_job(
    terminal: Terminal, client: TaskClient, bos_uri: str, *, data: bool, dry_run: bool, yes: bool
) -> None:
    """Show what would be deleted of a job, ask, and delete it."""
    with progress.step(terminal, "Reading the job"):
        job = client.job(bos_uri)
        planned = job.delete(data=data, dry_run=True)
    what = tables.counted(len(planned.tasks), "task")
    if data:
        what += f" and {tables.counted(planned.objects, 'object')} ({decimal(planned.bytes)})"
    terminal.note(f"Job: {job.bos_uri}, {tables.counted(job.records, 'record')}, {what}")
    if dry_run:
        _show_deletion(terminal, planned)
        terminal.note("Nothing was deleted.")
        return
    terminal.note("Deleting cannot be undone.")
    if yes or terminal.confirm_deletion(what, client.account):
        with progress.step(terminal, "Deleting"):
            deleted = job.delete(data=data)
        _show_deletion(terminal, deleted)


def _show_deletion(terminal: Terminal, deletion: JobDeletion) -> None:
    terminal.show(deletion, ({"task_id": task_id} for task_id in deletion.tasks), ("task_id",))
    if deletion.objects:
        terminal.note(f"{tables.counted(deletion.objects, 'object')}, {decimal(deletion.bytes)}")
