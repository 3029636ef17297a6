"""`client.data` of both clients from one source, against the object store of a sandbox."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from typing import Any, cast

import pytest

from qf_tasks.data.facades import Data
from qf_tasks.sandbox import Sandbox
from tests.clients import BlockingAdapter, client_of
from tests.conftest import MakeClient


class DataAdapter:
    """`AsyncTaskClient.data` behind the interface of `TaskClient.data`."""

    def __init__(self, client: BlockingAdapter) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        def method(*args: Any, **kwargs: Any) -> Any:
            result = getattr(self._client.data, name)(*args, **kwargs)
            if isinstance(result, AsyncIterator):
                return self._client._iterate(result)
            return self._client._run(result)

        return method


@pytest.fixture
def make_data(make_client: MakeClient, sandbox: Sandbox) -> Any:
    """Return a maker of `client.data` of either kind, which does not pause between attempts."""

    def make(**fields: Any) -> Data:
        client = make_client(**{"bos_endpoint": sandbox.url, "max_retry_wait": 0, **fields})
        return cast(Data, DataAdapter(client)) if isinstance(client, BlockingAdapter) else client.data

    return make


@pytest.fixture
def make_blocking_data(sandbox: Sandbox) -> Iterator[Any]:
    """Return a maker of the blocking client's `data`, for what both kinds do in the same code."""
    with ExitStack() as stack:

        def make(**fields: Any) -> Data:
            settings = {"bos_endpoint": sandbox.url, "max_retry_wait": 0, **fields}
            return stack.enter_context(client_of(sandbox, **settings)).data

        yield make


@pytest.fixture
def data(make_data: Any) -> Data:
    """Return `client.data` of either kind."""
    made: Data = make_data()
    return made


@pytest.fixture
def task_with_output(sandbox: Sandbox) -> str:
    """Return a task that is Done: four records, of which two have results, in two files."""
    sandbox.put("bos:/bucket/in/a.jsonl", "".join(f'{{"id": "{n}", "query": "q{n}"}}\n' for n in "1234"))
    task_id = sandbox.add_task(fields={"inputBosUri": "bos:/bucket/in/", "outputBosUri": "bos:/bucket/out/"})
    directory = f"bos:/bucket/out/{sandbox.tasks[task_id]['outputDir']}"
    sandbox.put(f"{directory}/a.jsonl", '{"id": "2", "query": "q2", "output": {"result": "two"}}\n')
    sandbox.put(f"{directory}/b.jsonl", '{"id": "1", "query": "q1", "output": {"result": "one"}}')
    return task_id
