"""The asyncio client where it is more than `TaskClient` with `await`: loop, iterators, callbacks, end."""

from __future__ import annotations

import asyncio
import gc
import inspect
import signal
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

import pytest

from qf_tasks import (
    AsyncTaskClient,
    BulkOutcome,
    BulkReport,
    InvalidArgumentError,
    PermissionDeniedError,
    QfTasksError,
    Task,
    TaskClient,
    TaskNotFoundError,
)
from qf_tasks.sandbox import Fault, Sandbox
from tests.clients import SandboxTime, async_client_of

from .loops import HeldResponse, on_loop, settle, threads_of_clients

GET = "DescribeBatchInferenceTask"
LIST = "DescribeBatchInferenceTasks"
DELETE = "DeleteBatchInferenceTask"
MISSING = "infer-9ia3kc1wt9mp"


def public_names(client: type) -> set[str]:
    return {name for name in dir(client) if not name.startswith("_")}


def running(sandbox: Sandbox, ends_after: float) -> str:
    return sandbox.add_task(run_status="Running", ends_after=ends_after)


# The same methods


def test_methods_are_those_of_the_blocking_client() -> None:
    assert public_names(AsyncTaskClient) == public_names(TaskClient) | {"aclose"}


@pytest.mark.parametrize("name", sorted(public_names(TaskClient) - {"account", "close", "data"}))
def test_signature_is_that_of_the_blocking_client(name: str) -> None:
    blocking = inspect.signature(getattr(TaskClient, name))
    expected = dict(blocking.parameters)
    if name == "as_completed":
        both = "Iterable[TaskLike] | AsyncIterable[TaskLike]"
        expected["tasks"] = expected["tasks"].replace(annotation=both)

    signature = inspect.signature(getattr(AsyncTaskClient, name))

    assert dict(signature.parameters) == expected
    result = str(blocking.return_annotation)
    if result.startswith("Iterator["):
        assert signature.return_annotation == result.replace("Iterator[", "AsyncResults[")
    else:
        result = "AsyncJob" if result == "Job" else result
        assert signature.return_annotation == f"Coroutine[Any, Any, {result}]"


def test_constructor_is_that_of_the_blocking_client() -> None:
    assert inspect.signature(AsyncTaskClient) == inspect.signature(TaskClient)


@pytest.mark.parametrize(
    "call",
    [
        lambda client: client.get("no id"),
        lambda client: client.create(name="n", input_bos_uri="bos:/b/i/", output_bos_uri="bos:/b/o/"),
        lambda client: client.stop(""),
        lambda client: client.delete(MISSING, stop_timeout="soon"),
        lambda client: client.list(older_than=30),
        lambda client: client.pages(page_size=0),
        lambda client: client.wait(MISSING, timeout="soon"),
        lambda client: client.wait_all([MISSING], poll_interval=0),
        lambda client: client.as_completed(["no id"]),
        lambda client: client.stop_many([MISSING], max_workers=0),
        lambda client: client.delete_many(MISSING),
        lambda client: client.plan_purge(max_tasks=0),
        lambda client: client.purge("plan"),
        lambda client: client.call("", {}),
    ],
)
def test_call_with_a_bad_argument_raises_before_it_is_awaited(
    async_client: AsyncTaskClient, call: Callable[[AsyncTaskClient], object]
) -> None:
    with pytest.raises(InvalidArgumentError):
        call(async_client)


@on_loop
async def test_call_that_is_never_awaited_is_named_in_the_warning(async_client: AsyncTaskClient) -> None:
    forgotten: list[object] = [async_client.delete(MISSING)]

    with pytest.warns(RuntimeWarning, match=r"coroutine 'AsyncTaskClient\.delete' was never awaited"):
        forgotten.clear()

    forgotten = [async_client.data.delete("bos:/bucket/in/")]
    with pytest.warns(RuntimeWarning, match=r"coroutine 'AsyncData\.delete' was never awaited"):
        forgotten.clear()


@on_loop
async def test_gather_of_50_calls_returns_every_result(
    async_client: AsyncTaskClient, sandbox: Sandbox
) -> None:
    task_ids = sandbox.add_tasks(50)

    results = await asyncio.gather(*map(async_client.delete, task_ids))

    assert [result.task_id for result in results] == task_ids
    assert sandbox.tasks == {}


@on_loop
async def test_iterator_that_is_indexed_says_what_to_do_instead(async_client: AsyncTaskClient) -> None:
    with pytest.raises(TypeError, match=r"use await anext\(client\.list\(\)\) for the first"):
        async_client.list()[0]


# Loops, and the end of a client


def test_client_in_a_second_event_loop_says_so(sandbox: Sandbox) -> None:
    client = async_client_of(sandbox)
    task_ids = sandbox.add_tasks(2)
    asyncio.run(read(client, task_ids[0]))

    with pytest.raises(QfTasksError, match=r"make one in each asyncio\.run\(\)") as caught:
        asyncio.run(read(client, task_ids[0]))

    assert caught.value.code == "WrongEventLoop"
    asyncio.run(client.close())


async def read(client: AsyncTaskClient, task_id: str) -> Task:
    return await client.get(task_id)


def test_close_in_a_second_event_loop_ends_although_a_request_of_the_first_is_in_flight(
    sandbox: Sandbox,
) -> None:
    client = async_client_of(sandbox)
    task_id = sandbox.add_task()
    held: list[HeldResponse] = []

    async def leave_a_request() -> None:
        held.append(HeldResponse(sandbox, GET))
        reading = asyncio.create_task(client.get(task_id))
        await held[0].arrived()
        reading.cancel()

    asyncio.run(leave_a_request())

    asyncio.run(client.close())

    assert held[0].is_holding
    held[0].release()


@on_loop
async def test_close_leaves_no_thread_and_no_socket(sandbox: Sandbox) -> None:
    async with async_client_of(sandbox) as client:
        await asyncio.gather(*(client.get(task_id) for task_id in sandbox.add_tasks(20)))
        assert threads_of_clients()
        assert sockets_to(sandbox)

    assert threads_of_clients() == []
    assert sockets_to(sandbox) == []


def sockets_to(sandbox: Sandbox) -> list[socket.socket]:
    """Return the connected sockets of this process that a client of the sandbox opened."""
    sockets = [each for each in gc.get_objects() if isinstance(each, socket.socket) and each.fileno() != -1]
    return [each for each in sockets if peer_port(each) == sandbox.port]


def peer_port(connected: socket.socket) -> int | None:
    try:
        return int(connected.getpeername()[1])
    except (OSError, IndexError):
        return None


@on_loop
async def test_close_waits_for_the_request_in_flight_and_rejects_others(sandbox: Sandbox) -> None:
    task_id = sandbox.add_task()
    client = async_client_of(sandbox, max_connections=1)
    with HeldResponse(sandbox, GET) as held:
        in_flight = asyncio.create_task(client.get(task_id))
        await held.arrived()
        waiting_for_a_thread = asyncio.create_task(client.delete(task_id))
        await settle()
        closing = asyncio.create_task(client.aclose())
        await settle()
        was_waiting = not closing.done()
        with pytest.raises(QfTasksError, match="This client is closed"):
            await client.models()
        held.release()
        await closing

    assert was_waiting
    assert (await in_flight).task_id == task_id
    with pytest.raises(QfTasksError, match="This client is closed"):
        await waiting_for_a_thread
    assert task_id in sandbox.tasks


@on_loop
async def test_close_while_waits_share_a_poll_ends_them_with_an_error(sandbox: Sandbox) -> None:
    client = async_client_of(sandbox)
    with HeldResponse(sandbox, LIST) as held:
        waiting = asyncio.create_task(client.wait_all(sandbox.add_tasks(2)))
        await held.arrived()
        closing = asyncio.create_task(client.close())
        await settle()
        held.release()
        await closing

    with pytest.raises(QfTasksError, match="This client is closed"):
        await waiting


@on_loop
async def test_cancelled_close_closes_all_the_same(sandbox: Sandbox) -> None:
    task_id = sandbox.add_task()
    client = async_client_of(sandbox)
    with HeldResponse(sandbox, GET) as held:
        in_flight = asyncio.create_task(client.get(task_id))
        await held.arrived()
        closing = asyncio.create_task(client.close())
        await settle()
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        held.release()
        await in_flight

    await client.close()
    assert threads_of_clients() == []
    assert sockets_to(sandbox) == []


# Iterators


@on_loop
async def test_abandoned_iterators_leave_nothing_behind(
    async_client: AsyncTaskClient, sandbox: Sandbox
) -> None:
    sandbox.add_tasks(3)
    active = running(sandbox, 3600)
    waiting_for_more = asyncio.Event()

    async def more_to_come() -> AsyncIterator[str]:
        yield active
        yield sandbox.add_task()
        waiting_for_more.set()
        await asyncio.Event().wait()

    async for _task in async_client.list(page_size=2):
        break
    async for _page in async_client.pages(page_size=2):
        break
    async for _task in async_client.as_completed([sandbox.add_task(), active]):
        break
    async for _task in async_client.as_completed(more_to_come()):
        break
    await waiting_for_more.wait()
    gc.collect()
    await settle()

    assert asyncio.all_tasks() == {asyncio.current_task()}


@on_loop
async def test_closed_iterator_ends(async_client: AsyncTaskClient, sandbox: Sandbox) -> None:
    sandbox.add_tasks(3)
    tasks = async_client.list(page_size=2)
    await anext(tasks)

    await tasks.aclose()

    assert [task async for task in tasks] == []
    assert len(sandbox.requests) == 1


@on_loop
async def test_as_completed_of_an_async_iterable_returns_tasks_that_are_added_late(
    async_client: AsyncTaskClient, sandbox: Sandbox
) -> None:
    first, second, third = running(sandbox, 60), running(sandbox, 30), running(sandbox, 90)
    first_two_have_ended = asyncio.Event()

    async def added() -> AsyncIterator[str]:
        yield first
        yield second
        yield first  # each is returned once
        await first_two_have_ended.wait()
        yield third

    ended = []
    async for task in async_client.as_completed(added()):
        ended.append(task.task_id)
        if len(ended) == 2:
            first_two_have_ended.set()

    assert ended[2] == third
    assert set(ended[:2]) == {first, second}


@on_loop
async def test_as_completed_of_an_iterable_that_adds_nothing_leaves_the_loop_free(
    async_client: AsyncTaskClient, sandbox: Sandbox
) -> None:
    may_end = asyncio.Event()

    async def nothing() -> AsyncIterator[str]:
        await may_end.wait()
        for task_id in list[str]():
            yield task_id

    async def collect() -> list[Task]:
        return [task async for task in async_client.as_completed(nothing(), timeout=1, poll_interval=0.1)]

    collecting = asyncio.create_task(collect())
    await settle()
    may_end.set()

    assert await collecting == []
    assert sandbox.requests == []


@pytest.mark.parametrize("error", [ValueError("the source is gone"), InvalidArgumentError("task must be")])
@on_loop
async def test_as_completed_of_an_iterable_that_fails_raises_after_the_tasks_so_far(
    async_client: AsyncTaskClient, sandbox: Sandbox, error: Exception
) -> None:
    active = running(sandbox, 60)

    async def added() -> AsyncIterator[Any]:
        yield active
        if isinstance(error, ValueError):
            raise error
        yield 7

    ended = async_client.as_completed(added())

    assert (await anext(ended)).task_id == active
    with pytest.raises(type(error), match=str(error)):
        await anext(ended)


@on_loop
async def test_as_completed_of_an_iterable_with_a_missing_task_raises_and_ends_the_others(
    async_client: AsyncTaskClient, sandbox: Sandbox
) -> None:
    has_ended = asyncio.Event()

    async def added() -> AsyncIterator[str]:
        try:
            yield running(sandbox, 3600)
            yield MISSING
            await asyncio.Event().wait()
        finally:
            has_ended.set()

    async with aclosing(async_client.as_completed(added())) as ended:
        with pytest.raises(TaskNotFoundError):
            await anext(ended)

    assert has_ended.is_set()
    assert asyncio.all_tasks() == {asyncio.current_task()}


@on_loop
async def test_as_completed_whose_tasks_all_fail_at_once_raises_one_error(
    async_client: AsyncTaskClient, sandbox: Sandbox
) -> None:
    sandbox.inject(Fault.status(403, code="AccessDenied"), action=LIST)

    async def added() -> AsyncIterator[str]:
        for _ in range(3):
            yield running(sandbox, 60)

    with pytest.raises(PermissionDeniedError):  # and asyncio does not report the others
        await anext(async_client.as_completed(added()))


# Callbacks


@on_loop
async def test_callbacks_may_be_coroutine_functions(async_client: AsyncTaskClient, sandbox: Sandbox) -> None:
    states: list[str] = []
    progress: list[tuple[str, int, int]] = []

    async def on_change(task: Task) -> None:
        await asyncio.sleep(0)
        states.append(task.run_status)

    async def on_progress(outcome: BulkOutcome, done: int, total: int) -> None:
        await asyncio.sleep(0)
        progress.append((outcome.outcome, done, total))

    task = await async_client.wait(running(sandbox, 60), on_change=on_change)
    await async_client.delete_many([task], on_progress=on_progress)

    assert (states[0], states[-1]) == ("Running", "Done")
    assert progress == [("deleted", 1, 1)]


@on_loop
async def test_callback_that_raises_ends_the_wait(async_client: AsyncTaskClient, sandbox: Sandbox) -> None:
    async def on_change(_task: Task) -> None:
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        await async_client.wait(running(sandbox, 60), on_change=on_change)


# Ctrl-C


def test_ctrl_c_in_asyncio_run_during_a_bulk_run_gives_the_report(sandbox: Sandbox) -> None:
    task_ids = sandbox.add_tasks(3)
    reports: list[BulkReport] = []

    async def press_ctrl_c(held: HeldResponse) -> None:
        await held.arrived()
        signal.raise_signal(signal.SIGINT)
        await settle()
        held.release()

    async def main() -> None:
        async with async_client_of(sandbox) as client:
            with HeldResponse(sandbox, DELETE) as held:
                pressing = asyncio.create_task(press_ctrl_c(held))
                try:
                    await client.delete_many(task_ids, max_workers=1)
                except asyncio.CancelledError as cancelled:
                    reports.append(vars(cancelled)["report"])
                    await pressing
                    raise

    with pytest.raises(KeyboardInterrupt) as caught:
        asyncio.run(main(), debug=True)

    (report,) = reports
    assert [outcome.outcome for outcome in report] == ["deleted", "not_tried", "not_tried"]
    assert str(report) in "\n".join(getattr(caught.value.__context__, "__notes__", []))


@on_loop
async def test_network_errors_are_those_of_the_blocking_client(
    async_client: AsyncTaskClient, sandbox: Sandbox, sandbox_time: SandboxTime
) -> None:
    task_id = sandbox.add_task()
    sandbox.inject(Fault.reset_after(), action=DELETE)

    result = await async_client.delete(task_id)

    assert (result.outcome, result.attempts) == ("already_gone", 2)
    assert len(sandbox_time.sleeps) == 1
