r"""pytest fixtures for programs that use `qf_tasks`: a sandbox in place of the service, and a client of it.

Enable them in the `conftest.py` of the root directory:

    pytest_plugins = ["qf_tasks.testing"]

Fixtures:
    qianfan_sandbox: A running `Sandbox`, new for each test. The environment variables name it, so that
        `TaskClient()` in the code under test uses it; the developer's own settings have no effect. Its clock
        runs a hundred times as fast as real time, so that `client.wait(...)` ends within a second.
    qianfan_client: A `TaskClient` of that sandbox, closed after the test.

The sandbox also stores objects (BOS). A task whose input is there reads its records and writes results:

    def test_answers(qianfan_sandbox, qianfan_client):
        qianfan_sandbox.set_answers(lambda record: "4" if record["query"] == "2+2?" else None)
        qianfan_sandbox.put("bos:/bucket/in/a.jsonl", '{"id": "1", "query": "2+2?"}\n')
        created = qianfan_client.create(
            name="nightly", endpoint="e", input_bos_uri="bos:/bucket/in/", output_bos_uri="bos:/bucket/out/"
        )
        task = qianfan_client.wait(created, poll_interval=0.2)
        results = qianfan_sandbox.get(f"bos:/bucket/out/{task.output_dir}/a.jsonl")
        assert json.loads(results)["output"]["result"] == "4"

`set_answers` also decides which records and files fail. Tests need no objects: without them, a task ends as
Done.

A test fails at its end in two cases, unless a mark allows it:
    qianfan_allow_rejections: The sandbox rejected a request for its path, action or signature.
    qianfan_allow_unused_faults: An injected fault did not fire as often as it was injected for.
"""

from .plugin import pytest_configure, qianfan_client, qianfan_sandbox

__all__ = ["pytest_configure", "qianfan_client", "qianfan_sandbox"]
