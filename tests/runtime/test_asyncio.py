"""The asyncio runtime: cancellation, threads, locks and shared polls."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar
from unittest.mock import patch

import pytest

from qf_tasks import AsyncTaskClient, BulkReport, Response, ServerError
from qf_tasks._runtime.asyncio import AsyncClock
from qf_tasks._transport.sdk_hook import Transport
from qf_tasks.sandbox import Fault, Sandbox
from tests.clients import SandboxTime, async_client_of

from .loops import HeldResponse, on_loop, settle, threads_of_clients

CREATE = "CreateBatchInferenceTask"
GET = "DescribeBatchInferenceTask"
LIST = "DescribeBatchInferenceTasks"
MODELS = "DescribeBatchInferenceModel"
STOP = "StopBatchInferenceTask"
DELETE = "DeleteBatchInferenceTask"

NEW_TASK: dict[str, Any] = {
    "name": "nightly",
    "endpoint": "ernie-x1-turbo-32k",
    "input_bos_uri": "bos:/bucket/in/",
    "output_bos_uri": "bos:/bucket/out/",
}

Method = Callable[[AsyncTaskClient, str], Coroutine[Any, Any, Any]]


async def first(results: AsyncIterator[Any]) -> Any:
    return await anext(results)


READS: dict[str, tuple[Method, str]] = {
    "get": (lambda client, task_id: client.get(task_id), GET),
    "list": (lambda client, _: first(client.list()), LIST),
    "pages": (lambda client, _: first(client.pages()), LIST),
    "models": (lambda client, _: client.models(), MODELS),
    "call": (lambda client, task_id: client.call(GET, {"taskId": task_id}), GET),
    "wait": (lambda client, task_id: client.wait(task_id), GET),
    "wait_all": (lambda client, task_id: client.wait_all([task_id, "infer-2"]), LIST),
    "as_completed": (lambda client, task_id: first(client.as_completed([task_id])), GET),
    "plan_purge": (lambda client, _: client.plan_purge(run_status="Done"), LIST),
}
CHANGES: dict[str, tuple[Method, str]] = {
    "create": (lambda client, _: client.create(**NEW_TASK), CREATE),
    "stop": (lambda client, task_id: client.stop(task_id), STOP),
    "delete": (lambda client, task_id: client.delete(task_id), DELETE),
    "call": (lambda client, task_id: client.call(DELETE, {"taskId": task_id}), DELETE),
}


def a_task(sandbox: Sandbox, action: str) -> str:
    return sandbox.add_task(run_status="Running" if action == STOP else "Done")


def actions(sandbox: Sandbox) -> list[str | None]:
    return [request.action for request in sandbox.requests]


@pytest.mark.parametrize("method", READS)
@on_loop
async def test_cancel_of_a_read_in_flight_raises_at_once(
    async_client: AsyncTaskClient, sandbox: Sandbox, method: str
) -> None:
    call, action = READS[method]
    task_id = sandbox.add_task()
    with HeldResponse(sandbox, action) as held:
        task = asyncio.create_task(call(async_client, task_id))
        await held.arrived()
        task.cancel()

        with pytest.raises(asyncio.CancelledError):
            await task

        assert held.is_holding


@pytest.mark.parametrize("method", CHANGES)
@on_loop
async def test_first_cancel_of_a_change_in_flight_waits_for_its_response_and_logs_it(
    async_client: AsyncTaskClient, sandbox: Sandbox, caplog: pytest.LogCaptureFixture, method: str
) -> None:
    call, action = CHANGES[method]
    task_id = a_task(sandbox, action)
    with HeldResponse(sandbox, action) as held:
        task = asyncio.create_task(call(async_client, task_id))
        await held.arrived()
        task.cancel()
        await settle()
        was_waiting = not task.done()
        held.release()

        with pytest.raises(asyncio.CancelledError):
            await task

    assert was_waiting
    assert f"{action} " in caplog.text
    assert "was cancelled after it took effect" in caplog.text
    assert actions(sandbox) == [action]


@pytest.mark.parametrize("method", CHANGES)
@on_loop
async def test_second_cancel_of_a_change_in_flight_gives_up(
    async_client: AsyncTaskClient, sandbox: Sandbox, caplog: pytest.LogCaptureFixture, method: str
) -> None:
    call, action = CHANGES[method]
    task_id = a_task(sandbox, action)
    with HeldResponse(sandbox, action) as held:
        task = asyncio.create_task(call(async_client, task_id))
        await held.arrived()
        task.cancel()
        await settle()
        task.cancel()

        with pytest.raises(asyncio.CancelledError):
            await task

        assert held.is_holding
    assert "was cancelled twice; its outcome is unknown" in caplog.text


@pytest.mark.parametrize(
    ("fault", "outcome"),
    [(Fault.status(503), "may have taken effect"), (Fault.status(429), "had no effect")],
    ids=["503", "429"],
)
@on_loop
async def test_cancel_of_a_change_that_fails_logs_what_that_means_and_retries_nothing(
    async_client: AsyncTaskClient,
    sandbox: Sandbox,
    caplog: pytest.LogCaptureFixture,
    fault: Fault,
    outcome: str,
) -> None:
    task_id = sandbox.add_task()
    with HeldResponse(sandbox, DELETE, fault) as held:
        task = asyncio.create_task(async_client.delete(task_id))
        await held.arrived()
        task.cancel()
        held.release()

        with pytest.raises(asyncio.CancelledError):
            await task

    assert f"DeleteBatchInferenceTask {task_id} was cancelled, and {outcome}" in caplog.text
    assert actions(sandbox) == [DELETE]


@on_loop
async def test_timeout_around_a_read_ends_it_at_once(async_client: AsyncTaskClient, sandbox: Sandbox) -> None:
    with HeldResponse(sandbox, GET) as held:
        with pytest.raises(TimeoutError):
            await with_timeout(async_client.get(sandbox.add_task()), held)

        assert held.is_holding


@on_loop
async def test_timeout_around_a_create_waits_for_its_response_and_logs_it(
    async_client: AsyncTaskClient, sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    with HeldResponse(sandbox, CREATE) as held, pytest.raises(TimeoutError):
        await with_timeout(async_client.create(**NEW_TASK), held, and_release=True)

    (task_id,) = sandbox.tasks
    assert f"{CREATE} nightly was cancelled after it took effect: {{'taskId': '{task_id}'}}" in caplog.text


async def with_timeout(
    call: Coroutine[Any, Any, object], held: HeldResponse, *, and_release: bool = False
) -> None:
    """Await a call with a timeout that expires when its request is at the sandbox."""

    async def expire(timeout: asyncio.Timeout) -> None:
        await held.arrived()
        timeout.reschedule(asyncio.get_running_loop().time())
        await settle()
        if and_release:
            held.release()

    async with asyncio.timeout(None) as timeout:
        expiring = asyncio.create_task(expire(timeout))
        await call
        await expiring


# Cancelled before a request is sent


@pytest.mark.parametrize("method", CHANGES)
@on_loop
async def test_cancel_before_a_thread_is_free_sends_nothing(sandbox: Sandbox, method: str) -> None:
    call, action = CHANGES[method]
    task_id = a_task(sandbox, action)
    async with async_client_of(sandbox, max_connections=1) as client:
        with HeldResponse(sandbox, GET) as held:
            reading = asyncio.create_task(client.get(task_id))
            await held.arrived()
            task = asyncio.create_task(call(client, task_id))
            await settle()
            task.cancel()

            with pytest.raises(asyncio.CancelledError):
                await task

        await reading
    assert actions(sandbox) == [GET]


@on_loop
async def test_thread_of_a_cancelled_read_is_not_free_until_the_response_arrives(sandbox: Sandbox) -> None:
    task_id = sandbox.add_task()
    async with async_client_of(sandbox, max_connections=1) as client:
        with HeldResponse(sandbox, GET) as held:
            reading = asyncio.create_task(client.get(task_id))
            await held.arrived()
            reading.cancel()
            deleting = asyncio.create_task(client.delete(task_id))
            await settle()
            deleting.cancel()

            with pytest.raises(asyncio.CancelledError):
                await deleting

    assert actions(sandbox) == [GET]


@on_loop
async def test_cancel_before_the_first_step_sends_nothing(
    async_client: AsyncTaskClient, sandbox: Sandbox
) -> None:
    task = asyncio.create_task(async_client.delete(sandbox.add_task()))
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task

    assert sandbox.requests == []


@on_loop
async def test_cancel_in_a_back_off_raises_at_once_and_retries_nothing(sandbox: Sandbox) -> None:
    sleeping = asyncio.Event()

    async def sleep(_seconds: float) -> None:
        sleeping.set()
        await asyncio.Event().wait()

    class SleepingClient(AsyncTaskClient):
        _clock: ClassVar[AsyncClock] = AsyncClock(sleep=sleep)

    sandbox.inject(Fault.status(503), times=None)
    async with SleepingClient(
        access_key=sandbox.access_key, secret_key=sandbox.secret_key, base_url=sandbox.url
    ) as client:
        task = asyncio.create_task(client.delete(sandbox.add_task()))
        await sleeping.wait()
        task.cancel()

        with pytest.raises(asyncio.CancelledError):
            await task

    assert actions(sandbox) == [DELETE]


# A cancelled create


class CancelAt:
    """Cancels a task at one moment of its requests: before one is sent, or when its response has arrived."""

    def __init__(self, moment: int) -> None:
        self._request, self._is_after = divmod(moment, 2)
        self._count = 0
        self._loop = asyncio.get_running_loop()
        self.task: asyncio.Task[object] | None = None
        self.action: str | None = None

    @contextmanager
    def active(self) -> Iterator[None]:
        send = Transport.call

        def call(transport: Transport, action: str, params: Mapping[str, Any], **limits: Any) -> Response:
            is_cancelled_here = self._count == self._request
            self._count += 1
            if is_cancelled_here and not self._is_after:
                self._cancel(action)
            try:
                return send(transport, action, params, **limits)
            finally:
                if is_cancelled_here and self._is_after:
                    self._cancel(action)

        with patch.object(Transport, "call", call):
            yield

    def _cancel(self, action: str) -> None:
        """Cancel from the thread of the request, which goes on when that has been done."""
        self.action = action
        cancelled = threading.Event()

        def cancel() -> None:
            assert self.task
            self.task.cancel()
            cancelled.set()

        self._loop.call_soon_threadsafe(cancel)
        cancelled.wait()


@on_loop
async def test_create_cancelled_at_any_of_32_moments_is_found_again_by_its_key(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    for moment in range(32):  # eight rounds of a search and a create, of which only the last succeeds
        sandbox.reset()
        sandbox.inject(Fault.status(429), action=CREATE, times=7)
        caplog.clear()
        cancel = CancelAt(moment)

        async with async_client_of(sandbox, max_retries=7, retry_budget=3600) as client:
            with cancel.active():
                cancel.task = asyncio.create_task(client.create(**NEW_TASK, idempotency_key="nightly"))
                with pytest.raises(asyncio.CancelledError):
                    await cancel.task

        requests, created = len(sandbox.requests), list(sandbox.tasks)
        assert requests == moment // 2 + 1, "nothing is sent after a cancellation"
        assert len(created) == (1 if moment >= 30 else 0)
        logged = [record for record in caplog.messages if f"{CREATE} nightly was cancelled" in record]
        assert len(logged) == (1 if cancel.action == CREATE else 0)
        assert all(task_id in logged[0] for task_id in created)
        async with async_client_of(sandbox, max_retries=7, retry_budget=3600) as client:
            again = await client.create(**NEW_TASK, idempotency_key="nightly")
        assert (list(sandbox.tasks), again.reused) == ([again.task_id], bool(created))


# Bulk runs


@pytest.mark.parametrize("method", ["stop_many", "delete_many", "purge"])
@on_loop
async def test_cancel_of_a_bulk_run_finishes_what_is_in_flight_and_carries_the_report(
    async_client: AsyncTaskClient, sandbox: Sandbox, method: str
) -> None:
    action = STOP if method == "stop_many" else DELETE
    task_ids = [a_task(sandbox, action) for _ in range(3)]
    with HeldResponse(sandbox, action) as held:
        task = asyncio.create_task(await bulk_run(async_client, method, task_ids))
        await held.arrived()
        task.cancel()
        await settle()
        was_waiting = not task.done()
        held.release()

        with pytest.raises(asyncio.CancelledError) as caught:
            await task

    assert was_waiting
    outcomes = [outcome.outcome for outcome in vars(caught.value)["report"]]
    assert outcomes == ["stopping" if action == STOP else "deleted", "not_tried", "not_tried"]
    assert "2 not_tried" in caught.value.__notes__[0]


@on_loop
async def test_second_cancel_of_a_bulk_run_does_not_wait(
    async_client: AsyncTaskClient, sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    task_ids = sandbox.add_tasks(3)
    with HeldResponse(sandbox, DELETE) as held:
        task = asyncio.create_task(async_client.delete_many(task_ids, max_workers=1))
        await held.arrived()
        task.cancel()
        await settle()
        task.cancel()

        with pytest.raises(asyncio.CancelledError) as caught:
            await task

        assert held.is_holding
    await async_client.close()
    await settle()
    assert [outcome.outcome for outcome in vars(caught.value)["report"]] == ["unknown", *["not_tried"] * 2]
    assert f"{DELETE} {task_ids[0]} was cancelled after it took effect" in caplog.text


async def bulk_run(
    client: AsyncTaskClient, method: str, task_ids: list[str]
) -> Coroutine[Any, Any, BulkReport]:
    if method == "purge":
        plan = await client.plan_purge(run_status="Done", keep_newest=0)
        return client.purge(plan, max_workers=1)
    if method == "stop_many":
        return client.stop_many(task_ids, max_workers=1)
    return client.delete_many(task_ids, max_workers=1)


# Threads, locks, shared polls


@on_loop
async def test_context_variables_are_copied_into_the_thread(
    async_client: AsyncTaskClient, sandbox: Sandbox
) -> None:
    trace = contextvars.ContextVar("trace", default="")
    seen: list[tuple[str, bool]] = []
    send = Transport.call

    def call(*args: Any, **kwargs: Any) -> Response:
        seen.append((trace.get(), threading.current_thread() is threading.main_thread()))
        return send(*args, **kwargs)

    trace.set("request 7")
    with patch.object(Transport, "call", call):
        await async_client.get(sandbox.add_task())

    assert seen == [("request 7", False)]


@on_loop
async def test_no_more_than_16_threads_send(async_client: AsyncTaskClient, sandbox: Sandbox) -> None:
    task_id = sandbox.add_task()

    await asyncio.gather(*(async_client.get(task_id) for _ in range(100)))

    assert len(threads_of_clients()) <= 16


@on_loop
async def test_equal_creates_wait_for_each_other_without_blocking_the_loop(
    async_client: AsyncTaskClient, sandbox: Sandbox
) -> None:
    with HeldResponse(sandbox, CREATE) as held:
        creates = [
            asyncio.create_task(async_client.create(**NEW_TASK, idempotency_key="nightly")) for _ in range(3)
        ]
        await held.arrived()
        await settle()  # the loop is free although two creates wait for the lock
        held.release()
        created = await asyncio.gather(*creates)

    assert len({task.task_id for task in created}) == 1
    assert actions(sandbox).count(CREATE) == 1


@on_loop
async def test_waits_that_run_at_the_same_time_share_their_polls(
    async_client: AsyncTaskClient, sandbox: Sandbox, sandbox_time: SandboxTime
) -> None:
    task_ids = [sandbox.add_task(run_status="Running", ends_after=600) for _ in range(20)]

    ended = await asyncio.gather(*(async_client.wait(task_id) for task_id in task_ids))

    assert [task.task_id for task in ended] == task_ids
    assert actions(sandbox).count(LIST) <= len(sandbox_time.sleeps) / 5
    assert actions(sandbox).count(GET) <= 2 * len(task_ids)


@on_loop
async def test_cancel_of_one_wait_leaves_the_poll_that_others_share(
    async_client: AsyncTaskClient, sandbox: Sandbox
) -> None:
    task_ids = sandbox.add_tasks(3)
    with HeldResponse(sandbox, LIST) as held:
        first_wait = asyncio.create_task(async_client.wait_all(task_ids[:2]))
        second_wait = asyncio.create_task(async_client.wait(task_ids[2]))
        await held.arrived()
        first_wait.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first_wait
        held.release()

        ended = await second_wait

    assert ended.task_id == task_ids[2]
    assert actions(sandbox).count(LIST) == 1


@on_loop
async def test_shared_poll_ends_with_its_last_caller(async_client: AsyncTaskClient, sandbox: Sandbox) -> None:
    with HeldResponse(sandbox, LIST, Fault.status(503)) as held:
        waiting = asyncio.create_task(async_client.wait_all(sandbox.add_tasks(2)))
        await held.arrived()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    await settle()
    await async_client.close()

    assert actions(sandbox) == [LIST]


@on_loop
async def test_failure_of_a_shared_poll_is_not_for_a_wait_that_begins_later(
    sandbox: Sandbox, sandbox_time: SandboxTime
) -> None:
    task_ids = sandbox.add_tasks(2)
    sandbox.inject(Fault.status(503), action=LIST)
    async with async_client_of(sandbox, sandbox_time, max_retries=0) as client:
        with pytest.raises(ServerError):
            await client.wait_all(task_ids)

        ended = await client.wait_all(task_ids)

    assert list(ended) == task_ids
