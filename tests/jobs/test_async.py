"""`AsyncJob` where it is more than `Job` with `await`: callbacks, cancellation, and the event loop."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest

from qf_tasks import AsyncTaskClient, JobStatus
from qf_tasks.sandbox import Sandbox
from tests.clients import async_client_of
from tests.runtime.loops import on_loop

from .conftest import BOS_URI, questions


@pytest.fixture
def async_client(sandbox: Sandbox) -> AsyncTaskClient:
    return async_client_of(sandbox, bos_endpoint=sandbox.url, max_retry_wait=0)


@on_loop
async def test_progress_of_a_job_is_reported_to_coroutine_functions(async_client: AsyncTaskClient) -> None:
    reported: list[object] = []

    async def report(*progress: object) -> None:
        await asyncio.sleep(0)
        reported.append(progress)

    async with async_client as client:
        job = await client.submit(questions(3), bos_uri=BOS_URI, endpoint="ernie", on_progress=report)
        sent = reported[-1]
        status = await job.run(on_progress=report)

    assert isinstance(sent, tuple)
    assert sent[0] == sent[1] > 0
    assert reported[-1] == (status,)


@on_loop
async def test_run_that_is_cancelled_can_be_repeated(async_client: AsyncTaskClient, sandbox: Sandbox) -> None:
    async with async_client as client:
        job = await client.submit(questions(4), bos_uri=BOS_URI, endpoint="ernie", max_records_per_task=2)
        task = asyncio.current_task()
        assert task

        def cancel(_: JobStatus) -> None:
            task.cancel()

        with pytest.raises(asyncio.CancelledError):
            await job.run(on_progress=cancel)
        task.uncancel()

        assert (await job.run()).state == "Done"
    assert len(sandbox.tasks) == 2


@on_loop
async def test_results_of_several_jobs_are_read_side_by_side(
    async_client: AsyncTaskClient, sandbox: Sandbox
) -> None:
    async with async_client as client:

        async def run(number: int) -> list[str | None]:
            job = await client.submit(
                questions(20), bos_uri=f"bos:/bucket/jobs/job-{number}/", endpoint="ernie"
            )
            async with aclosing(job.results(ordered=True)) as results:
                return [result.id async for result in results]

        ids = await asyncio.gather(*map(run, range(5)))

    assert ids == [[record["id"] for record in questions(20)]] * 5
    assert len(sandbox.tasks) == 5
