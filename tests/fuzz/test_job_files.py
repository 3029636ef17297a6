"""Whatever the files of a job are: an error of this library, and no task of anybody else is touched."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qf_tasks import Job, QfTasksError, TaskClient
from qf_tasks.sandbox import Sandbox
from tests.conftest import MakeClient

from .values import Json, json_values

pytestmark = pytest.mark.fuzz

JOB = "bos:/bucket/job/"
FILES = ("job.json", "tasks/0001.json", "stopped.json")
RECORDS = [{"id": str(number), "query": f"question {number}"} for number in range(3)]
CALLS: dict[str, Callable[[Job], object]] = {
    "status": Job.status,
    "run": lambda job: job.run(timeout="1h"),
    "results": lambda job: list(job.results(timeout="1h")),
    "retry_failures": Job.retry_failures,
    "stop": Job.stop,
    "delete": lambda job: job.delete(data=True),
}


@st.composite
def damages(draw: st.DrawFn) -> Callable[[bytes], bytes]:
    """Return how a file is damaged: cut, replaced, or with another value somewhere in its JSON."""
    kind = draw(st.sampled_from(["cut", "bytes", "JSON", "member", "member", "member"]))
    size, other, value = draw(st.integers(0, 400)), draw(st.binary(max_size=30)), draw(json_values)
    path = draw(st.lists(st.integers(0, 20), min_size=1, max_size=4))

    def damage(content: bytes) -> bytes:
        if kind == "cut":
            return content[:size]
        if kind == "bytes":
            return other
        if kind == "JSON":
            return json.dumps(value).encode()
        return json.dumps(with_member(json.loads(content or b"{}"), path, value)).encode()

    return damage


def with_member(document: Json, path: list[int], value: Json) -> Json:
    """Return a document with another value at a path of positions, as far as it goes."""
    result = copy.deepcopy(document)
    parent: Any = result
    for index, position in enumerate(path):
        if not parent:
            break
        key = [*parent][position % len(parent)] if isinstance(parent, dict) else position % len(parent)
        if index == len(path) - 1 or not isinstance(parent[key], dict | list):
            parent[key] = value
            break
        parent = parent[key]
    return result


@pytest.fixture
def blocking_job_client(make_client: MakeClient, sandbox: Sandbox) -> TaskClient:
    return make_client(kind="blocking", bos_endpoint=sandbox.url, max_retries=0)


@pytest.mark.parametrize("kind", ["blocking"])
@pytest.mark.parametrize("call", CALLS)
def test_job_with_damaged_files_raises_error_or_works(
    blocking_job_client: TaskClient, sandbox: Sandbox, call: str
) -> None:
    @given(file=st.sampled_from(FILES), damage=damages(), has_run=st.booleans())
    def check(file: str, damage: Callable[[bytes], bytes], *, has_run: bool) -> None:
        sandbox.reset()
        stranger = sandbox.add_task("infer-stranger", run_status="Running")
        job = blocking_job_client.submit(RECORDS, bos_uri=JOB, endpoint="ernie")
        if has_run:
            job.run(timeout="1h")
        uri = f"{JOB}{file}"
        sandbox.put(uri, damage(sandbox.get(uri) if uri in sandbox.objects else b"{}"))
        with suppress(QfTasksError):
            CALLS[call](blocking_job_client.job(JOB))
        assert sandbox.tasks[stranger]["runStatus"] == "Running"
        assert sandbox.errors == []

    check()
