"""The blocking runtime: operations run to their end without an event loop."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any, cast

import pytest

import qf_tasks
from qf_tasks import InvalidArgumentError, QfTasksError, TaskClient, TaskNotFoundError
from qf_tasks._runtime.blocking import BlockingIterator, BlockingRuntime, Clock, run
from qf_tasks._transport.sdk_hook import Transport
from qf_tasks.sandbox import Sandbox

OURS = Path(qf_tasks.__file__).parent
MISSING = "infer-9ia3kc1wt9mp"


class Numbers:
    """An operation that yields numbers, and notes that it has ended."""

    def __init__(self) -> None:
        self.has_ended = False

    async def results(self) -> AsyncGenerator[int, None]:
        try:
            for number in range(3):
                yield number
        finally:
            self.has_ended = True


def runtime() -> BlockingRuntime:
    """Return a runtime for operations that send nothing."""
    return BlockingRuntime(Transport.__new__(Transport), Clock())


def test_client_in_a_running_loop_works(blocking_client: TaskClient, sandbox: Sandbox) -> None:
    task_ids = sandbox.add_tasks(3)

    async def main() -> list[str]:
        assert list(blocking_client.wait_all(task_ids)) == task_ids
        assert blocking_client.delete_many(task_ids[:1]).counts["deleted"] == 1
        return [task.task_id for task in blocking_client.list(newest_first=False)]

    assert asyncio.run(main()) == task_ids[1:]


@pytest.mark.parametrize(
    "call",
    [
        lambda client, function: client.wait(MISSING, on_change=function),
        lambda client, function: client.wait_all([MISSING], on_change=function),
        lambda client, function: client.as_completed([MISSING], on_change=function),
        lambda client, function: client.stop_many([MISSING], on_progress=function),
        lambda client, function: client.delete_many([MISSING], on_progress=function),
        lambda client, function: client.data.upload([], "bos:/bucket/in/", on_progress=function),
        lambda client, function: client.data.download(MISSING, "out", on_progress=function),
    ],
)
def test_callback_that_is_a_coroutine_function_is_rejected_before_any_request(
    blocking_client: TaskClient, sandbox: Sandbox, call: Callable[[TaskClient, object], object]
) -> None:
    async def function(*_: object) -> None:
        pass

    with pytest.raises(InvalidArgumentError, match=r"on_\w+ must be a plain function"):
        call(blocking_client, function)

    assert sandbox.requests == []


def test_run_of_an_operation_that_suspends_is_a_programming_error() -> None:
    async def suspends() -> None:
        await asyncio.sleep(0)

    with pytest.raises(AssertionError, match="awaited something that is not of its runtime"):
        run(suspends())


def test_error_has_few_frames_of_this_library_and_none_of_another(blocking_client: TaskClient) -> None:
    with pytest.raises(TaskNotFoundError) as caught:
        blocking_client.get(MISSING)

    files = [Path(frame.filename) for frame in traceback.extract_tb(caught.value.__traceback__)]
    assert len([file for file in files if OURS in file.parents]) <= 5
    assert {file for file in files if OURS not in file.parents} == {Path(__file__)}


def test_error_while_iterating_has_few_frames_too(blocking_client: TaskClient) -> None:
    with pytest.raises(TaskNotFoundError) as caught:
        next(blocking_client.as_completed([MISSING]))

    assert len(traceback.extract_tb(caught.value.__traceback__)) <= 6


def test_iterator_that_is_indexed_says_what_to_do_instead(blocking_client: TaskClient) -> None:
    with pytest.raises(TypeError) as caught:
        cast(Any, blocking_client.list())[0]

    assert str(caught.value) == (
        "client.list() is an iterator and cannot be indexed: use next(client.list()) for the first, or "
        "list(client.list(...)) for all of them"
    )


def test_iterator_that_is_closed_ends_its_operation() -> None:
    numbers = Numbers()
    results = BlockingIterator(numbers.results(), "client.numbers")
    assert next(results) == 0

    results.close()

    assert numbers.has_ended
    assert list(results) == []


def test_iterator_that_is_abandoned_ends_its_operation() -> None:
    numbers = Numbers()

    next(BlockingIterator(numbers.results(), "client.numbers"))

    assert numbers.has_ended


def test_iterator_begun_in_a_loop_goes_on_after_it() -> None:
    results = BlockingIterator(Numbers().results(), "client.numbers")

    async def begin() -> int:
        return next(results)

    assert asyncio.run(begin()) == 0
    assert list(results) == [1, 2]


def test_each_raises_what_the_work_raises_and_begins_nothing_else() -> None:
    begun: list[int] = []

    async def work(item: int) -> int:
        begun.append(item)
        if item == 2:
            raise QfTasksError("the second fails")
        return item

    async def consume() -> None:
        async with aclosing(runtime().each(work, range(1, 100), 1, finish_started=True)) as results:
            async for _item, _result in results:
                pass

    with pytest.raises(QfTasksError, match="the second fails"):
        run(consume())
    assert begun[:2] == [1, 2]
