"""Measure what deferred tasks cost: `python -m tests.airflow.polls` prints requests, connections and stalls.

Compares triggers as they are, which share one client and so its polls, with a client for each trigger.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from qf_tasks import AsyncTaskClient
from qf_tasks.airflow import triggers
from qf_tasks.airflow.hooks import QianfanHook
from qf_tasks.airflow.triggers import QianfanTaskTrigger
from qf_tasks.sandbox import Sandbox

_ENDS_AFTER = 15.0  # seconds
_POLL_INTERVAL = 2.0
_SERVICE_TIME = 0.02
_TICK = 0.01

Clients = Callable[[str], AbstractAsyncContextManager[AsyncTaskClient]]


@asynccontextmanager
async def client_of_its_own(conn_id: str) -> AsyncIterator[AsyncTaskClient]:
    async with await QianfanHook(conn_id).get_async_conn() as client:
        yield client


async def longest_stall(waiting: asyncio.Future[list[None]]) -> float:
    longest = 0.0
    while not waiting.done():
        before = time.perf_counter()
        await asyncio.sleep(_TICK)
        longest = max(longest, time.perf_counter() - before - _TICK)
    return longest


async def wait_for(task_ids: list[str]) -> float:
    async def fire(task_id: str) -> None:
        trigger = QianfanTaskTrigger(
            task_ids=[task_id], qianfan_conn_id="qianfan_default", poll_interval=_POLL_INTERVAL
        )
        assert [event.payload["status"] async for event in trigger.run()] == ["ended"]

    waiting = asyncio.gather(*map(fire, task_ids))
    stall = await longest_stall(waiting)
    await waiting
    return stall


def measure(count: int, label: str, clients: Clients) -> None:
    with Sandbox(service_time=_SERVICE_TIME) as sandbox:
        connection = {"login": sandbox.access_key, "password": sandbox.secret_key, "host": sandbox.url}
        os.environ["AIRFLOW_CONN_QIANFAN_DEFAULT"] = json.dumps({"conn_type": "qianfan", **connection})
        task_ids = sandbox.add_tasks(count, run_status="Running", ends_after=_ENDS_AFTER)
        setattr(triggers, "_shared_client", clients)  # noqa: B010 - it is private
        stall = asyncio.run(wait_for(task_ids))
        requests, connections = len(sandbox.requests), sandbox.connections
    print(f"{count:4} tasks, {label:22} {requests:5} requests, {connections:4} connections, "
          f"longest stall {stall * 1000:.0f} ms")  # fmt: skip


if __name__ == "__main__":
    shared = triggers._shared_client
    measure(1, "(imports)", shared)
    for number in (20, 100):
        measure(number, "one client", shared)
        measure(number, "a client per task", client_of_its_own)
