"""The values that jobs return."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from qf_tasks.models import Model, RunStatus, html_table

# The states of a job. They are plain text, so that others can be added.
SUBMITTING = "Submitting"
RUNNING = "Running"
STOPPING = "Stopping"
DONE = "Done"
FAILED = "Failed"
STOPPED = "Stopped"

_FINAL = (DONE, FAILED, STOPPED)


@dataclass(frozen=True, slots=True)
class JobTask(Model):
    """The task of a shard.

    Attributes:
        attempt: from 1; a shard whose task failed is tried again.
        progress: how many of its records have been processed, as the service counts.
    """

    task_id: str
    shard: str
    attempt: int
    run_status: RunStatus
    progress: int | None = None


@dataclass(frozen=True, slots=True, repr=False)
class JobStatus(Model):
    """The progress of a job.

    After `retry_failures`, shards and tasks are those of the newest part, which has only the records that
    were submitted again.

    Attributes:
        state: `"Submitting"` (some shards have no task yet), `"Running"`, `"Stopping"`, `"Done"`, `"Failed"`
            (every task has ended, and some shards failed after their retries) or `"Stopped"`.
        records_done: how many have been processed, as the service counts: some of them may have failed.
        records_failed: how many have no usable result; None until the results were read to their end.
        shards_done: how many shards have ended as Done.
        failed_shards: the names of those that failed, expired or were stopped.
        tasks: the newest task of each shard that has one.
        usage: input and output tokens of all tasks together; None until the service has reported some.
        created: when the job was submitted.
        remaining: the estimated time to the end, at the rate so far; None if no record was processed yet, or
            the job has ended.
    """

    bos_uri: str
    name: str
    state: str
    records: int
    records_done: int
    records_failed: int | None
    shards: int
    shards_done: int
    failed_shards: tuple[str, ...]
    tasks: tuple[JobTask, ...]
    usage: int | None
    created: datetime
    remaining: timedelta | None = None

    @property
    def is_final(self) -> bool:
        """Whether the job has ended, well or not."""
        return self.state in _FINAL

    def __repr__(self) -> str:
        """Return one short line."""
        return (
            f"<JobStatus {self.name!r} {self.state}, {self.records_done} of {self.records} records, "
            f"{self.shards_done} of {self.shards} shards>"
        )

    __str__ = __repr__

    def _repr_html_(self) -> str:
        rows = (
            ("name", self.name),
            ("state", self.state),
            ("records", f"{self.records_done} of {self.records}"),
            ("failed records", self.records_failed),
            ("shards", f"{self.shards_done} of {self.shards}"),
            ("failed shards", ", ".join(self.failed_shards)),
            ("tokens", self.usage),
            ("created", self.created),
            ("remaining", self.remaining and timedelta(seconds=round(self.remaining.total_seconds()))),
        )
        return html_table(f"Job {self.bos_uri}", rows)


@dataclass(frozen=True, slots=True)
class JobDeletion(Model):
    """What was deleted of a job, or would be.

    Attributes:
        tasks: the ids of its tasks.
        objects, bytes: number and size of the objects below its `bos_uri`; 0 if the data is kept.
    """

    tasks: tuple[str, ...]
    objects: int = 0
    bytes: int = 0
