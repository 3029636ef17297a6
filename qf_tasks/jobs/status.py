"""Computes the status of a job from the states of its shards."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from qf_tasks.errors import TaskFailedError
from qf_tasks.jobs import models
from qf_tasks.jobs.manifest import Shard
from qf_tasks.jobs.models import JobStatus, JobTask
from qf_tasks.jobs.parts import Part
from qf_tasks.models import RunStatus

_MAX_NAMED = 5


def status_of(parts: Sequence[Part]) -> JobStatus:
    """Return the status of a job; records that are not in the newest part are done."""
    first, newest = parts[0].manifest, parts[-1]
    manifest = newest.manifest
    is_done = {shard.name for shard in manifest.shards if _run_status(newest, shard) == RunStatus.DONE}
    failed = tuple(
        shard.name for shard in manifest.shards if newest.is_finished(shard) and shard.name not in is_done
    )
    processed = sum(_processed(newest, shard) for shard in manifest.shards)
    tokens = [state.tokens for part in parts for state in part.states.values() if state.tokens is not None]
    state = _state(newest, failed)
    return JobStatus(
        bos_uri=first.bos_uri,
        name=first.parameters.name,
        state=state,
        records=first.records,
        records_done=first.records - manifest.records + processed,
        records_failed=_failed_records(newest),
        shards=len(manifest.shards),
        shards_done=len(is_done),
        failed_shards=failed,
        tasks=tuple(_tasks(newest)),
        usage=sum(tokens) if tokens else None,
        created=first.created,
        remaining=None if newest.has_ended else _remaining(manifest.created, processed, manifest.records),
    )


def failure_of(part: Part, status: JobStatus) -> TaskFailedError:
    """Return the error for a job that did not end as Done; it names the shards."""
    details = []
    for name in status.failed_shards[:_MAX_NAMED]:
        state = part.states.get(name)
        if state is None:
            details.append(f"{name} not submitted")
        else:
            reason = f": {state.error}" if state.error else ""
            details.append(f"{name} {state.run_status} (task {state.task_id}{reason})")
    more = ", …" if len(status.failed_shards) > _MAX_NAMED else ""
    counts = f"{len(status.failed_shards)} of {status.shards} shards failed"
    return TaskFailedError(
        f"Job {status.bos_uri} ended as {status.state}: {counts}: {', '.join(details)}{more}",
        hint="results() yields the results so far; retry_failures() submits the records without one again. "
        "部分分片未成功，可用 retry_failures() 重试。",
    )


def _state(part: Part, failed: Sequence[str]) -> str:
    shards = part.manifest.shards
    if part.has_ended:
        if not failed:
            return models.DONE
        return models.STOPPED if part.is_stopped else models.FAILED
    if part.is_stopped:
        return models.STOPPING
    return models.SUBMITTING if any(part.needs_task(shard) for shard in shards) else models.RUNNING


def _run_status(part: Part, shard: Shard) -> RunStatus | None:
    state = part.states.get(shard.name)
    return state.run_status if state else None


def _processed(part: Part, shard: Shard) -> int:
    state = part.states.get(shard.name)
    if state is None:
        return 0
    return shard.records if state.run_status == RunStatus.DONE else min(state.progress or 0, shard.records)


def _failed_records(part: Part) -> int | None:
    counts = [part.failed_records.get(shard.name) for shard in part.manifest.shards]
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None


def _tasks(part: Part) -> list[JobTask]:
    return [
        JobTask(state.task_id, shard.name, state.attempt, state.run_status, state.progress)
        for shard in part.manifest.shards
        if (state := part.states.get(shard.name))
    ]


def _remaining(started: datetime, processed: int, records: int) -> timedelta | None:
    """Return the time that the rest takes at the rate so far."""
    elapsed = datetime.now(UTC) - started
    if processed == 0 or elapsed <= timedelta(0):
        return None
    return elapsed * ((records - processed) / processed)
