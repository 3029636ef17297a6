"""Many calls at the same time: waits on one event loop, and gets by 16 at a time."""

from __future__ import annotations

import asyncio
import statistics
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from qf_tasks._runtime.asyncio import AsyncClock
from tests.benchmarks.measuring import MILLI, Case, Figure, Size, at_most, medians
from tests.benchmarks.server import Server, running
from tests.benchmarks.subjects import async_facade, facade, raw_sdk

_SERVICE_TIME = 0.02
_POLL_INTERVAL = 2.0
_AT_A_TIME = 16
_TICK = 0.005  # seconds between two measurements of the loop


def waits(size: Size) -> Case:
    """Measure waits for tasks that all end at the same time: on one loop, and in a thread each."""
    with running("http", service_time=_SERVICE_TIME, frozen=False) as server:
        figures = asyncio.run(_waits_on_a_loop(server, size))
        threads = list(_waits_in_threads(server, size))
    return Case([*figures, *threads])


async def _waits_on_a_loop(server: Server, size: Size) -> list[Figure]:
    sleeps = 0

    async def sleep(seconds: float) -> None:
        nonlocal sleeps
        sleeps += 1
        await asyncio.sleep(seconds)

    async with async_facade(server, AsyncClock(sleep=sleep)) as client:
        warm_up = server.run("add_tasks", count=_AT_A_TIME)
        await asyncio.gather(*map(client.get, warm_up))  # imports the SDK, opens connections
        task_ids = _running_tasks(server, size)
        requests = server.run("count_requests")
        watch = _LoopWatch()
        measuring = asyncio.create_task(watch.measure())
        started = time.perf_counter()
        await asyncio.gather(*(client.wait(task, poll_interval=_POLL_INTERVAL) for task in task_ids))
        wall = time.perf_counter() - started
        measuring.cancel()
    polls = sleeps / len(task_ids) + 1
    # The end of each task takes a request of its own, however it is polled.
    per_poll = (server.run("count_requests") - requests - len(task_ids)) / polls
    return [
        Figure("asyncio, wall", wall, "s"),
        Figure("asyncio, threads", watch.threads, "", at_most(18)),
        Figure("asyncio, longest stall of the loop", max(watch.stalls) * MILLI, "ms", at_most(60)),
        Figure("asyncio, p99 stall of the loop", _p99(watch.stalls) * MILLI, "ms", at_most(10)),
        Figure("asyncio, longest CPU time of the loop", max(watch.cpu_seconds) * MILLI, "ms"),
        Figure("asyncio, polls of each wait", polls),
        Figure("asyncio, requests per poll", per_poll, "requests", at_most(3)),
    ]


def _waits_in_threads(server: Server, size: Size) -> Iterator[Figure]:
    task_ids = _running_tasks(server, size)
    with facade(server) as client, ThreadPoolExecutor(len(task_ids)) as threads:
        started = time.perf_counter()
        ended = [threads.submit(client.wait, task, poll_interval=_POLL_INTERVAL) for task in task_ids]
        count = threading.active_count()
        for wait in ended:
            wait.result()
        wall = time.perf_counter() - started
    yield Figure("threads, wall", wall, "s")
    yield Figure("threads, threads", count)


def _running_tasks(server: Server, size: Size) -> list[str]:
    task_ids: list[str] = server.run(
        "add_tasks", count=size.waited, run_status="Running", ends_after=size.wait_seconds
    )
    return task_ids


class _LoopWatch:
    """Measures by how much the loop is late, how long it computes, and how many threads there are."""

    def __init__(self) -> None:
        self.stalls: list[float] = [0.0, 0.0]
        self.cpu_seconds: list[float] = [0.0]
        self.threads = 0

    async def measure(self) -> None:
        while True:
            before, cpu_before = time.perf_counter(), time.thread_time()
            await asyncio.sleep(_TICK)
            self.stalls.append(time.perf_counter() - before - _TICK)
            self.cpu_seconds.append(time.thread_time() - cpu_before)
            self.threads = max(self.threads, threading.active_count())


def _p99(values: list[float]) -> float:
    return statistics.quantiles(values, n=100)[98]


def gets(size: Size) -> Case:
    """Measure many gets, 16 at a time: asyncio, threads, and the SDK in threads."""
    with running("http") as server, facade(server) as client, asyncio.Runner() as runner:
        task_id = server.run("add_task")
        raw = raw_sdk(server)
        async_client = async_facade(server)

        async def get_all() -> None:
            await asyncio.gather(*(async_client.get(task_id) for _ in range(size.gets)))

        def raw_get(task_id: str) -> object:
            return raw("DescribeBatchInferenceTask", {"taskId": task_id})

        with ThreadPoolExecutor(_AT_A_TIME) as threads:
            seconds = medians(
                {
                    "asyncio": lambda: runner.run(get_all()),
                    "threads": lambda: list(threads.map(client.get, [task_id] * size.gets)),
                    "raw SDK in threads": lambda: list(threads.map(raw_get, [task_id] * size.gets)),
                },
                size.bulk_rounds,
            )
        runner.run(async_client.close())
    figures = [Figure(name, value, "s") for name, value in seconds.items()]
    figures.append(Figure("asyncio / threads", seconds["asyncio"] / seconds["threads"]))
    figures.append(Figure("asyncio / raw SDK", seconds["asyncio"] / seconds["raw SDK in threads"]))
    return Case(figures)
