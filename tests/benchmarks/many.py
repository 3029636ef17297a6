"""Many tasks: deleted, awaited, listed."""

from __future__ import annotations

import statistics
import time
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

from qf_tasks._runtime.blocking import Clock
from qf_tasks.models import RunStatus
from tests.benchmarks.measuring import MEGA, MILLI, Case, Figure, Size, at_least, at_most, medians
from tests.benchmarks.server import SCHEMES, Server, running
from tests.benchmarks.subjects import DELETE, facade, raw_sdk

_SERVICE_TIME = 0.02
_WORKERS = 16
_WAIT_SECONDS = 7200
_TICKS_PER_RAW_POLL = 50

Raw = Callable[[str, dict[str, Any]], Any]


def bulk(size: Size) -> Case:
    """Measure `delete_many` against the loop, where the service takes its time."""
    return Case([figure for scheme in SCHEMES for figure in _bulk_over(scheme, size)])


def _bulk_over(scheme: str, size: Size) -> Iterator[Figure]:
    with running(scheme, service_time=_SERVICE_TIME) as server, facade(server) as client:
        raw = raw_sdk(server)
        counts = [_WORKERS, _WORKERS, *[size.bulk] * 2 * size.bulk_rounds]  # the first two warm up
        batches = iter([server.run("add_tasks", count=count) for count in counts])
        seconds = medians(
            {
                "ours": lambda: client.delete_many(next(batches), max_workers=_WORKERS),
                "raw": lambda: [raw(DELETE, {"taskId": task_id}) for task_id in next(batches)],
            },
            size.bulk_rounds,
        )
    for name, value in seconds.items():
        yield Figure(f"{scheme}, {name}", value, "s")
    yield Figure(f"{scheme}, raw / ours", seconds["raw"] / seconds["ours"], target=at_least(12))


def wait(size: Size) -> Case:
    """Measure `wait_all` of tasks that end one after the other, on the sandbox's clock.

    The raw loop gets every task that has not ended; it runs at some of the ticks.
    """
    with running("http") as server:
        pause = _WAIT_SECONDS / size.waited
        task_ids: list[str] = [
            server.run("add_task", run_status="Running", ends_after=pause * place)
            for place in range(1, size.waited + 1)
        ]
        loop = _RawLoop(raw_sdk(server), task_ids)
        ticks = _Ticks(server, loop.poll)
        with facade(server, ticks.clock) as client:
            client.get(task_ids[0])  # the SDK's import is no part of a tick
            before = server.run("count_requests")
            ticks.start()
            client.wait_all(task_ids)
        requests = server.run("count_requests") - before - sum(loop.requests)
    return Case(
        [
            Figure("ticks", ticks.count),
            Figure("ours, per tick", requests / ticks.count, "requests", at_most(3)),
            Figure("raw, per tick", statistics.mean(loop.requests), "requests"),
            Figure("ours, CPU per tick", statistics.median(ticks.cpu_seconds) * MILLI, "ms"),
            Figure("raw, CPU per tick", statistics.median(loop.cpu_seconds) * MILLI, "ms"),
        ]
    )


class _Ticks:
    """A clock for a client: when it sleeps, the server's clock advances; notes the CPU time in between."""

    def __init__(self, server: Server, beside: Callable[[], object]) -> None:
        self._server = server
        self._beside = beside
        self._now = 0.0
        self._woke = 0.0
        self.cpu_seconds: list[float] = []
        self.clock = Clock(lambda: self._now, self._sleep)

    def start(self) -> None:
        self._woke = time.process_time()

    @property
    def count(self) -> int:
        """How often the client polled: before each sleep, and after the last."""
        return len(self.cpu_seconds) + 1

    def _sleep(self, seconds: float) -> None:
        self.cpu_seconds.append(time.process_time() - self._woke)
        if len(self.cpu_seconds) % _TICKS_PER_RAW_POLL == 1:
            self._beside()
        self._now += seconds
        self._server.run("advance", seconds=seconds)
        self._woke = time.process_time()


class _RawLoop:
    """The loop over the raw SDK that waits for tasks, one poll at a time."""

    def __init__(self, raw: Raw, task_ids: list[str]) -> None:
        self._raw = raw
        self._pending = task_ids
        self.requests: list[int] = []
        self.cpu_seconds: list[float] = []

    def poll(self) -> None:
        started = time.process_time()
        self.requests.append(len(self._pending))
        self._pending = [task_id for task_id in self._pending if not self._has_ended(task_id)]
        self.cpu_seconds.append(time.process_time() - started)

    def _has_ended(self, task_id: str) -> bool:
        body = self._raw("DescribeBatchInferenceTask", {"taskId": task_id})
        return RunStatus(body["result"]["runStatus"]).is_final


def listing(size: Size) -> Case:
    """Measure a listing of everything: time, requests, and memory where no task is kept."""
    return Case([figure for scheme in SCHEMES for figure in _listing_over(scheme, size)])


def _listing_over(scheme: str, size: Size) -> Iterator[Figure]:
    with running(scheme) as server, facade(server) as client:
        raw = raw_sdk(server)
        server.run("add_tasks", count=size.listed)
        seconds = medians(
            {"ours": lambda: _count(client.list()), "raw": lambda: _count(_raw_listing(raw))},
            size.listing_rounds,
        )
        before = server.run("count_requests")
        growth = _growth(lambda: _count(client.list()))
        requests = server.run("count_requests") - before
    for name, value in seconds.items():
        yield Figure(f"{scheme}, {name}", value, "s")
    yield Figure(f"{scheme}, ours / raw", seconds["ours"] / seconds["raw"], target=at_most(1.25))
    yield Figure(f"{scheme}, growth", growth / MEGA, "MB", at_most(20))
    yield Figure(f"{scheme}, requests", requests)


def _raw_listing(raw: Raw) -> Iterator[dict[str, Any]]:
    """Yield every task as the SDK returns it; a page may begin with the task that its marker names."""
    params: dict[str, Any] = {"maxKeys": 100, "pageReverse": True}
    last = None
    while True:
        result = raw("DescribeBatchInferenceTasks", params)["result"]
        for task in result["taskList"]:
            if task["taskId"] != last:
                yield task
        if not result["pageInfo"]["isTruncated"]:
            return
        last = result["taskList"][-1]["taskId"]
        params = {**params, "marker": result["pageInfo"].get("nextMarker", last)}


def _count(tasks: Iterator[object]) -> int:
    return sum(1 for _ in tasks)


def _growth(subject: Callable[[], object]) -> int:
    """Return the bytes by which memory grew at most."""
    tracemalloc.start()
    try:
        subject()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
