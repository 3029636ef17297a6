"""Jobs against a sandbox whose clock moves when a client waits.

Both clients run the same operations: what their own methods do is tested with both, the rest with one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, cast

import pytest

from qf_tasks import AsyncJob, Job, TaskClient
from qf_tasks.sandbox import Sandbox
from tests.clients import BlockingAdapter, Kind
from tests.conftest import MakeClient

BOS_URI = "bos:/bucket/jobs/nightly/"
MakeJobsClient = Callable[..., TaskClient]
both_clients = pytest.mark.parametrize("kind", ["blocking", "asyncio"])


class AsyncAdapter:
    """An `AsyncTaskClient`, or an `AsyncJob` of it, behind the interface of the blocking one."""

    def __init__(self, client: BlockingAdapter, target: object) -> None:
        self._client = client
        self._target = target

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._target, name)
        if not callable(attribute):
            return attribute

        def method(*args: Any, **kwargs: Any) -> Any:
            result = attribute(*args, **kwargs)
            if isinstance(result, AsyncIterator):
                return self._iterate(result)
            value = self._client._run(result) if asyncio.iscoroutine(result) else result
            return AsyncAdapter(self._client, value) if isinstance(value, AsyncJob) else value

        return method

    def _iterate(self, results: AsyncIterator[Any]) -> Iterator[Any]:
        try:
            yield from self._client._iterate(results)
        finally:
            self._client._run(cast(Any, results).aclose())


@pytest.fixture
def kind() -> Kind:
    """Return the kind of client that a test uses unless it is one of `both_clients`."""
    return "blocking"


@pytest.fixture
def make_jobs_client(make_client: MakeClient, sandbox: Sandbox) -> MakeJobsClient:
    """Return a maker of clients of either kind that do not pause between attempts."""

    def make(**fields: Any) -> TaskClient:
        client = make_client(**{"bos_endpoint": sandbox.url, "max_retry_wait": 0, **fields})
        if isinstance(client, BlockingAdapter):
            return cast(TaskClient, AsyncAdapter(client, client._client))
        return client

    return make


@pytest.fixture
def client(make_jobs_client: MakeJobsClient) -> TaskClient:
    """Return a client of either kind."""
    return make_jobs_client()


@pytest.fixture
def submit(client: TaskClient) -> Callable[..., Job]:
    """Return a function that submits records, given by their number or as they are."""

    def submit(records: object = 3, **options: Any) -> Job:
        values = questions(records) if isinstance(records, int) else records
        return client.submit(values, **{"bos_uri": BOS_URI, "endpoint": "ernie", **options})

    return submit


def questions(count: int) -> list[dict[str, str]]:
    """Return records whose ids are their positions, from 1."""
    return [{"id": str(number), "query": f"question {number}"} for number in range(1, count + 1)]


def count(sandbox: Sandbox, action: str) -> int:
    return sum(request.action == action for request in sandbox.requests)
