"""How time and memory grow with the number of records and of tasks; each measurement in a process of its own.

Reads `/proc`, so it needs Linux.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from qf_tasks import TaskClient
from tests.benchmarks.measuring import MEGA, Case, Figure, Point, Size, at_most
from tests.benchmarks.server import ROOT, Server, running

_KILO = 1024
_MAX_MEMORY = at_most(64)
_WORKERS = 16
_TEXT = "Which of the seven states can a task be deleted in, and which must be waited for? "


def growth(size: Size) -> Case:
    """Measure every operation with every number of records or tasks."""
    points = [
        *(point for count in size.records for point in _of_records(count)),
        *(point for count in size.tasks for point in _of_tasks(count)),
    ]
    largest = [point for point in points if point.of == "records" and point.count == max(size.records)]
    return Case(
        [
            Figure(f"{point.operation}, {point.count:,} records, memory", point.megabytes, "MB", _MAX_MEMORY)
            for point in largest
        ],
        points=points,
    )


def _of_records(count: int) -> Iterator[Point]:
    with running("http") as server:
        yield _measured(server, "data.plan", "records", count)
        yield _measured(server, "data.upload", "records", count)
        server.run("run_task", input_bos_uri=_INPUT)
        yield _measured(server, "data.results", "records", count)


def _of_tasks(count: int) -> Iterator[Point]:
    with running("http") as server:
        server.run("add_tasks", count=count)
        for operation in ("list", "wait_all", "delete_many"):
            yield _measured(server, operation, "tasks", count)


def _measured(server: Server, operation: str, of: str, count: int) -> Point:
    ran = subprocess.run(
        [sys.executable, "-m", __spec__.name, operation, str(count)],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], **server.env},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    seconds, megabytes = json.loads(ran.stdout)
    return Point(operation, of, count, seconds, megabytes)


# What follows runs in the process that is measured. Preparing an operation returns what is timed.

_INPUT = "bos:/growth/in/"
Timed = Callable[[], int]


def _plan(client: TaskClient, count: int) -> Timed:
    return lambda: client.data.plan(_records(count)).records


def _upload(client: TaskClient, count: int) -> Timed:
    return lambda: client.data.upload(_records(count), _INPUT).records


def _results(client: TaskClient, _count: int) -> Timed:
    task = next(client.list())
    return lambda: sum(result.outcome == "succeeded" for result in client.data.results(task))


def _list(client: TaskClient, _count: int) -> Timed:
    return lambda: sum(1 for _ in client.list())


def _wait_all(client: TaskClient, _count: int) -> Timed:
    task_ids = [task.task_id for task in client.list()]
    return lambda: len(client.wait_all(task_ids))


def _delete_many(client: TaskClient, _count: int) -> Timed:
    task_ids = [task.task_id for task in client.list()]
    return lambda: client.delete_many(task_ids, max_workers=_WORKERS).counts["deleted"]


def _records(count: int) -> Iterator[dict[str, str]]:
    return ({"id": f"r{number}", "query": f"{_TEXT}{number}"} for number in range(count))


_OPERATIONS: dict[str, Callable[[TaskClient, int], Timed]] = {
    "data.plan": _plan,
    "data.upload": _upload,
    "data.results": _results,
    "list": _list,
    "wait_all": _wait_all,
    "delete_many": _delete_many,
}


def _measure(operation: str, count: int) -> tuple[float, float]:
    """Return the seconds that an operation takes, and the megabytes by which memory grows at most."""
    with TaskClient() as client:
        client.models()  # imports the SDK, opens a connection
        timed = _OPERATIONS[operation](client, count)
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
        before, started = _memory("VmRSS"), time.perf_counter()
        done = timed()
        seconds = time.perf_counter() - started
        if done != count:
            raise AssertionError(f"{operation} of {count}: only {done} succeeded")
        return seconds, (_memory("VmHWM") - before) / MEGA


def _memory(name: str) -> int:
    """Return a line of the process's status, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * _KILO
    raise LookupError(name)


if __name__ == "__main__":
    print(json.dumps(_measure(sys.argv[1], int(sys.argv[2]))))
