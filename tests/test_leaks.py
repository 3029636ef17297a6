"""A secret key or a signature is in nothing that records, jobs, bulk operations and `configure` leave behind.

Checked are logs at every level, both streams, files, objects in the store, values and their pickles, and the
frames that an error carries out of a call.
"""

from __future__ import annotations

import base64
import pickle
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import product
from pathlib import Path
from typing import Any, cast

import pytest

from qf_tasks import QfTasksError, TaskClient
from qf_tasks.sandbox import Fault, Sandbox
from tests.clients import BlockingAdapter, Kind, SandboxTime, client_of
from tests.data.conftest import DataAdapter
from tests.jobs.conftest import AsyncAdapter
from tests.transport.test_redaction import seen_of

SECRET_KEY = "canary0secret0key0of0the0leaks01"
ECHO = "Authorization: bce-auth-v1/AK/2025-01-01T00:00:00Z/300/host/0123456789abcdef"
IN, JOB = "bos:/bucket/in/", "bos:/bucket/job/"
RECORDS = [{"id": str(number), "query": f"question {number}"} for number in range(5)]
FAULTS = {
    "echo": Fault.status(403, code="AccessDenied", message=ECHO),
    "not arrived": Fault.reset_before(),
    "truncated": Fault.truncated(),
    "another content": Fault.corrupt(),
}


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(frozen=True, secret_key=SECRET_KEY) as running:
        yield running


class Seen:
    """What a test has seen, as text."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def value(self, value: object) -> None:
        self.texts += [repr(value), str(value), pickle.dumps(value).decode("latin-1")]

    def call(self, function: Callable[[], object]) -> None:
        """Call a function, and keep its result or all that its error carries."""
        try:
            self.value(function())
        except QfTasksError as error:
            self.texts += seen_of(error)


@pytest.fixture
def seen(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> Iterator[Seen]:
    """Collect what is seen, and check all of it after the test."""
    caplog.set_level(1)
    for name in ("qf_tasks", "baidubce", "qianfan", "urllib3"):
        caplog.set_level(1, name)
    collected = Seen()
    yield collected
    collected.texts += [repr(vars(record)) + record.getMessage() for record in caplog.get_records("call")]
    collected.texts += [*capfd.readouterr()]
    collected.texts += [path.read_bytes().decode("latin-1") for path in tmp_path.rglob("*") if path.is_file()]
    collected.texts += [sandbox.get(uri).decode("latin-1") for uri in sandbox.objects]
    forbidden = [SECRET_KEY, base64.b64encode(SECRET_KEY.encode()).decode(), SECRET_KEY.encode().hex()]
    signed = [request.headers["Authorization"].rpartition("/")[2] for request in sandbox.requests]
    assert signed
    for text in collected.texts:
        for secret in (*forbidden, *signed, "bce-auth-v1"):
            at = text.find(secret)
            assert at < 0, f"{secret} in …{text[max(0, at - 300) : at + 20]}…"


@pytest.fixture
def client(sandbox: Sandbox, kind: Kind) -> Iterator[TaskClient]:
    """Return a client of either kind, whose `data` and `submit` block."""
    with ExitStack() as stack:
        settings = {"bos_endpoint": sandbox.url, "max_retries": 0}
        made: Any = client_of(sandbox, SandboxTime(sandbox), kind=kind, **settings)
        stack.enter_context(made)
        yield cast(TaskClient, AsyncAdapter(made, made._client)) if kind == "asyncio" else made


def data_of(client: Any) -> Any:
    is_adapter = isinstance(client, AsyncAdapter)
    return DataAdapter(cast(BlockingAdapter, client._client)) if is_adapter else client.data


def task_with_results(client: Any, sandbox: Sandbox) -> str:
    data_of(client).upload(RECORDS, IN)
    created = client.create(
        name="task", endpoint="ernie", input_bos_uri=IN, output_bos_uri="bos:/bucket/out/"
    )
    sandbox.advance(3600)
    return str(created.task_id)


@pytest.mark.parametrize("fault", [(None, None), *product(["PutObject", "GetObject", "ListObjects"], FAULTS)])
def test_transfer_of_records_shows_no_secret(
    sandbox: Sandbox, client: Any, seen: Seen, tmp_path: Path, fault: tuple[str, str]
) -> None:
    data, task_id = data_of(client), task_with_results(client, sandbox)
    action, name = fault
    if action:
        sandbox.inject(FAULTS[name], action=action, times=None)

    seen.call(lambda: data.upload(RECORDS, "bos:/bucket/more/"))
    seen.call(lambda: list(data.records(IN)))
    seen.call(lambda: list(data.results(task_id, missing=True)))
    seen.call(lambda: data.download(task_id, tmp_path / "results.jsonl"))
    seen.call(lambda: data.delete("bos:/bucket/more/"))
    seen.texts.append(repr(data))


def test_data_with_wrong_keys_shows_no_secret(sandbox: Sandbox, seen: Seen) -> None:
    with client_of(sandbox, bos_endpoint=sandbox.url, secret_key=SECRET_KEY[::-1]) as client:
        seen.call(lambda: client.data.upload(RECORDS, IN))
        seen.call(lambda: client.delete_many(["infer-1", "infer-2"]))
    assert not [text for text in seen.texts if SECRET_KEY[::-1] in text]


@pytest.mark.parametrize("fault", [None, "echo", "truncated"])
def test_job_shows_no_secret(sandbox: Sandbox, client: Any, seen: Seen, fault: str | None) -> None:
    job = client.submit(RECORDS, bos_uri=JOB, endpoint="ernie")
    if fault:
        sandbox.inject(FAULTS[fault], times=None)

    seen.call(job.run)
    seen.call(lambda: list(job.results()))
    seen.call(job.status)
    seen.call(lambda: job.delete(data=False))
    seen.texts.append(repr(job))
    assert [uri for uri in sandbox.objects if uri.endswith("job.json")]


def test_bulk_deletion_with_a_journal_shows_no_secret(
    sandbox: Sandbox, client: Any, seen: Seen, tmp_path: Path
) -> None:
    task_ids = sandbox.add_tasks(4)
    sandbox.inject(FAULTS["echo"], action="DeleteBatchInferenceTask", times=2)

    seen.call(lambda: client.delete_many(task_ids, journal=tmp_path / "journal.jsonl"))
    seen.call(lambda: client.purge(client.plan_purge(), journal=tmp_path / "purge.jsonl"))

    assert (tmp_path / "journal.jsonl").read_text()
