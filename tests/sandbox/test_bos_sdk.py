"""The official `bce-python-sdk` and the `BatchInferenceHelper` of the SDK, unchanged, as clients."""

import io
import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from qf_tasks.sandbox import Fault, Sandbox, ServerBehavior

from .signed_client import SignedClient

# baidubce uses functions that Python 3.12 deprecated, and leaves sockets to the garbage collector.
pytestmark = [
    pytest.mark.filterwarnings("ignore:datetime.datetime.utc:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

KEY = "folder/名 字.jsonl"
PART_SIZE = 5 * 1024 * 1024


@pytest.fixture
def bos(sandbox: Sandbox) -> Any:
    """Return a `BosClient` of the sandbox that does not retry."""
    from baidubce.auth.bce_credentials import BceCredentials
    from baidubce.bce_client_configuration import BceClientConfiguration
    from baidubce.retry.retry_policy import NoRetryPolicy
    from baidubce.services.bos.bos_client import BosClient

    credentials = BceCredentials(sandbox.access_key, sandbox.secret_key)
    config = BceClientConfiguration(credentials, endpoint=sandbox.url, retry_policy=NoRetryPolicy())
    return BosClient(config)


def code_of(caught: pytest.ExceptionInfo[Any]) -> tuple[int, str]:
    return caught.value.last_error.status_code, caught.value.last_error.code


def test_object_that_the_sdk_wrote_is_read_back(sandbox: Sandbox, bos: Any, tmp_path: Path) -> None:
    bos.put_object_from_string("bucket", KEY, "hello", user_metadata={"kind": "greeting"})

    bos.get_object_to_file("bucket", KEY, str(tmp_path / "copy"))
    metadata = bos.get_object_meta_data("bucket", KEY).metadata
    assert sandbox.get(f"bos:/bucket/{KEY}") == b"hello"
    assert (tmp_path / "copy").read_bytes() == b"hello"
    assert bos.get_object_as_string("bucket", KEY, range=[1, 3]) == b"ell"
    assert (metadata.content_length, metadata.bce_meta_kind) == ("5", "greeting")
    assert sandbox.unexpected == []


def test_object_that_the_sdk_wrote_is_read_by_another_client(
    client: SignedClient, bos: Any, tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(b"content")
    bos.put_object_from_file("bucket", "file", str(tmp_path / "file"))
    client.object("PUT", "/bucket/other", b"written by hand")

    assert client.object("GET", "/bucket/file").content == b"content"
    assert bos.get_object_as_string("bucket", "other") == b"written by hand"


def test_sdk_lists_all_objects_over_pages(sandbox: Sandbox, bos: Any) -> None:
    for number in range(1005):
        sandbox.put(f"bos:/bucket/a/{number:04}", "x")

    assert len(list(bos.list_all_objects("bucket", prefix="a/"))) == 1005
    listing = bos.list_objects("bucket", delimiter="/")
    assert [entry.prefix for entry in listing.common_prefixes] == ["a/"]


def test_sdk_uploads_in_parts(sandbox: Sandbox, bos: Any) -> None:
    data = bytes(range(256)) * (PART_SIZE // 256) + b"the rest"
    upload_id = bos.initiate_multipart_upload("bucket", "big").upload_id
    parts = []
    for number, start in enumerate((0, PART_SIZE), start=1):
        part = data[start : start + PART_SIZE]
        response = bos.upload_part("bucket", "big", upload_id, number, len(part), io.BytesIO(part))
        parts.append({"partNumber": number, "eTag": response.metadata.etag})

    assert [part.size for part in bos.list_all_parts("bucket", "big", upload_id)] == [PART_SIZE, 8]
    bos.complete_multipart_upload("bucket", "big", upload_id, parts)

    assert sandbox.get("bos:/bucket/big") == data
    assert bos.get_object_as_string("bucket", "big", range=[PART_SIZE, PART_SIZE + 2]) == b"the"


def test_sdk_uploads_large_file_side_by_side(sandbox: Sandbox, bos: Any, tmp_path: Path) -> None:
    data = bytes(2 * PART_SIZE) + b"end"
    (tmp_path / "large").write_bytes(data)

    uploaded = bos.put_super_object_from_file(
        "bucket", "large", str(tmp_path / "large"), chunk_size=5, thread_num=2
    )

    assert uploaded
    assert sandbox.get("bos:/bucket/large") == data


def test_sdk_copies_a_part(sandbox: Sandbox, bos: Any) -> None:
    sandbox.put("bos:/bucket/source", "0123456789")
    upload_id = bos.initiate_multipart_upload("bucket", "target").upload_id

    part = bos.upload_part_copy("bucket", "source", "bucket", "target", upload_id, 1, 3, 2)
    bos.complete_multipart_upload("bucket", "target", upload_id, [{"partNumber": 1, "eTag": part.etag}])

    assert sandbox.get("bos:/bucket/target") == b"234"


def test_sdk_copies_and_deletes_objects(sandbox: Sandbox, bos: Any) -> None:
    sandbox.put("bos:/bucket/a", "x")
    bos.copy_object("bucket", "a", "other", KEY)
    bos.copy_object("bucket", "a", "other", "b")
    assert sandbox.get(f"bos:/other/{KEY}") == b"x"

    bos.delete_object("bucket", "a")
    response = bos.delete_multiple_objects("other", [KEY, "b", "missing"])

    assert [error.key for error in response.errors] == ["missing"]
    assert sandbox.objects == {}


def test_url_that_the_sdk_signed_in_advance_is_accepted(sandbox: Sandbox, bos: Any) -> None:
    sandbox.put("bos:/bucket/a b", "shared")

    url = bos.generate_pre_signed_url("bucket", "a b").decode()

    with urllib.request.urlopen(url) as response:  # noqa: S310 - of the sandbox
        assert response.read() == b"shared"
    with pytest.raises(urllib.error.HTTPError, match="400"):
        urllib.request.urlopen(url.replace("a%20b", "other"))  # noqa: S310


def test_sdk_manages_buckets(sandbox: Sandbox, bos: Any) -> None:
    sandbox.behavior = ServerBehavior(missing_buckets_refused=True)
    assert bos.does_bucket_exist("bucket") is False
    bos.create_bucket("bucket")

    assert bos.does_bucket_exist("bucket") is True
    assert [bucket.name for bucket in bos.list_buckets().buckets] == ["bucket"]
    assert bos.get_bucket_location("bucket") == "bj"
    bos.delete_bucket("bucket")
    assert bos.does_bucket_exist("bucket") is False


def test_sdk_recognizes_errors(sandbox: Sandbox, bos: Any) -> None:
    from baidubce.exception import BceHttpClientError

    with pytest.raises(BceHttpClientError) as missing:
        bos.get_object_as_string("bucket", "missing")
    with pytest.raises(BceHttpClientError) as corrupt:
        bos.put_object("bucket", "key", io.BytesIO(b"hello"), 5, content_crc32="1")
    sandbox.inject(Fault.status(503, code="ServiceUnavailable"), action="PutObject")
    with pytest.raises(BceHttpClientError) as unavailable:
        bos.put_object_from_string("bucket", "key", "hello")

    assert code_of(missing) == (404, "NoSuchKey")
    assert code_of(corrupt) == (400, "BadDigest")
    assert code_of(unavailable) == (503, "ServiceUnavailable")
    assert sandbox.objects == {}


@pytest.fixture
def quick_sandbox() -> Iterator[Sandbox]:
    """Return a sandbox whose tasks do not queue, for the helper takes Queuing as the end of a task."""
    with Sandbox(frozen=True, queue_seconds=0) as running:
        yield running
    assert running.errors == []


@pytest.fixture
def helper(quick_sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    """Return the SDK's helper, whose pauses move the clock of the sandbox.

    It finds the store by virtual hosts, behind a proxy that is the sandbox itself.
    """
    import qianfan
    from qianfan.resources.batch_inference.helper import helper as module

    def sleep(seconds: float) -> None:
        sandbox.advance(seconds)
        time.sleep(0.01)  # for the threads of the helper

    sandbox, config = quick_sandbox, qianfan.get_config()
    monkeypatch.setattr(config, "ACCESS_KEY", sandbox.access_key)
    monkeypatch.setattr(config, "SECRET_KEY", sandbox.secret_key)
    monkeypatch.setattr(config, "CONSOLE_API_BASE_URL", sandbox.url)
    monkeypatch.setattr(module, "time", SimpleNamespace(sleep=sleep))
    monkeypatch.chdir(tmp_path)  # it writes files to the working directory
    made: Any = module.BatchInferenceHelper(bos_region="bj", bos_bucket="bucket", max_single_file_size=1000)
    bos_config = made.client.bos_helper.bos_client.config
    bos_config.proxy_host, bos_config.proxy_port = "127.0.0.1", sandbox.port
    yield made
    made._running = False  # its thread does not end by itself
    made._queue_process_thread.join()


def put_records(sandbox: Sandbox, name: str, count: int) -> None:
    lines = (json.dumps({"id": f"{name}-{number}", "query": f"q{number}"}) for number in range(count))
    sandbox.put(f"bos:/bucket/in/{name}.jsonl", "".join(f"{line}\n" for line in lines))


def ids_of_results(sandbox: Sandbox) -> list[str]:
    outputs = [sandbox.get(uri) for uri in sandbox.objects if uri.startswith("bos:/bucket/out/")]
    return sorted(json.loads(line)["id"] for output in outputs for line in output.splitlines())


def test_helper_runs_from_input_to_results(quick_sandbox: Sandbox, helper: Any) -> None:
    sandbox = quick_sandbox
    put_records(sandbox, "a", 5)
    put_records(sandbox, "b", 5)

    results = helper.batch_inference("bos:/bucket/in/", "bos:/bucket/out/", endpoint="ernie-x1")["results"]

    (task,) = sandbox.tasks.values()
    assert [(result.infer_id, result.status) for result in results] == [(task["taskId"], "Done")]
    assert task["progress"] == 10
    assert ids_of_results(sandbox) == [f"{name}-{number}" for name in "ab" for number in range(5)]


def test_helper_splits_large_file_and_deletes_its_copies(quick_sandbox: Sandbox, helper: Any) -> None:
    sandbox = quick_sandbox
    put_records(sandbox, "a", 60)

    helper.batch_inference(
        "bos:/bucket/in/", "bos:/bucket/out/", endpoint="ernie-x1", del_after_finished=True
    )

    assert len(sandbox.tasks) > 1
    assert ids_of_results(sandbox) == sorted(f"a-{number}" for number in range(60))
    assert [uri for uri in sandbox.objects if uri.startswith("bos:/bucket/in/")] == ["bos:/bucket/in/a.jsonl"]
