"""The connections of the object store: of one process and account, through a proxy, with certificates."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import trustme

from qf_tasks import QfTasksError, ServiceUnreachableError, Settings
from qf_tasks.data.store import ObjectStore
from qf_tasks.data.uri import BosUri
from qf_tasks.sandbox import Fault, Sandbox
from tests.clients import async_client_of
from tests.runtime.loops import on_loop
from tests.transport import tcp_proxy

URI = BosUri("bucket", "key")
HOST = "bucket.gz.bcebos.com"
THREADS, READS = 8, 400
TOO_LONG = 30.0  # seconds, on any machine: what is waited for takes twice as long


def store_of(sandbox: Sandbox, **fields: Any) -> closing[ObjectStore]:
    keys = {"access_key": sandbox.access_key, "secret_key": sandbox.secret_key, "base_url": sandbox.url}
    values: dict[str, Any] = {**keys, "max_retries": 0, **fields}
    return closing(ObjectStore(Settings(**values)))


def content(store: ObjectStore) -> bytes:
    return b"".join(store.read(URI))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_read_in_forked_child_uses_its_own_connection(sandbox: Sandbox) -> None:
    script = """
        import os
        from qf_tasks import TaskClient
        client = TaskClient()
        list(client.data.records("bos:/bucket/in/parent.jsonl"))
        child = os.fork()
        if child == 0:
            list(client.data.records("bos:/bucket/in/child.jsonl"))
            client.close()
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        list(client.data.records("bos:/bucket/in/parent.jsonl"))
        client.close()
        """
    for name in ("parent", "child"):
        sandbox.put(f"bos:/bucket/in/{name}.jsonl", '{"id": "1", "query": "q"}')

    subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(script)],
        env={**os.environ, **sandbox.env()},
        check=True,
    )

    before, child, after = (request.connection for request in sandbox.requests)
    assert before == after != child


def test_reads_of_two_clients_in_threads_never_mix(sandbox: Sandbox) -> None:
    interval = sys.getswitchinterval()
    with (
        Sandbox(frozen=True) as second,
        store_of(sandbox) as one,
        store_of(second) as two,
        ThreadPoolExecutor(THREADS) as pool,
    ):
        for each in (sandbox, second):
            each.put(str(URI), each.access_key)
        sys.setswitchinterval(1e-6)  # between threads at nearly every step
        try:
            found = [*pool.map(content, [one, two] * (READS // 2))]
        finally:
            sys.setswitchinterval(interval)

    assert found == [sandbox.access_key.encode(), second.access_key.encode()] * (READS // 2)
    for each in (sandbox, second):
        assert {request.access_key for request in each.requests} == {each.access_key}
        assert each.connections <= THREADS
        assert each.unexpected == []


def test_read_through_a_proxy_names_the_host_of_the_bucket(tmp_path: Path) -> None:
    with (
        tcp_proxy.tls_sandbox(tmp_path, HOST) as (sandbox, bundle),
        tcp_proxy.proxy(sandbox.port, count=lambda: 0) as proxy,
        store_of(
            sandbox,
            base_url="https://qianfan.example",
            bos_endpoint="https://gz.bcebos.com",
            proxy=proxy.url,
            ca_bundle=bundle,
        ) as store,
    ):
        sandbox.put(str(URI), "content")

        assert [content(store) for _ in range(2)] == [b"content"] * 2
        assert [line.split()[:2] for line in proxy.connects] == [["CONNECT", f"{HOST}:443"]]


def test_read_with_another_authority_is_refused(
    tls_sandbox: Sandbox, ca_bundle: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(str(other))
    tls_sandbox.put(str(URI), "content")

    with store_of(tls_sandbox, ca_bundle=ca_bundle) as store:
        assert content(store) == b"content"
    with store_of(tls_sandbox, ca_bundle=other) as store, pytest.raises(ServiceUnreachableError) as caught:
        content(store)

    assert caught.value.code == "CertificateNotVerified"
    assert len(tls_sandbox.requests) == 1


@on_loop
async def test_close_of_the_asyncio_client_ends_a_pause_between_two_attempts(sandbox: Sandbox) -> None:
    client = async_client_of(sandbox, bos_endpoint=sandbox.url, max_retry_wait=100, retry_budget=1000)
    sandbox.inject(Fault.status(503, retry_after=60), action="PutObject")
    uploading = asyncio.create_task(client.data.upload([{"query": "q"}], "bos:/bucket/in/"))
    while not any(request.action == "PutObject" for request in sandbox.requests):
        await asyncio.sleep(0.01)

    async with asyncio.timeout(TOO_LONG):
        await client.close()

    with pytest.raises(QfTasksError, match="This client is closed"):
        await uploading
