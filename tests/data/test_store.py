"""The object store: the SDK's contract, addresses, and how asyncio ends a transfer."""

from __future__ import annotations

import asyncio
import inspect
import json
import sys
import warnings
from types import ModuleType
from typing import Any

import pytest
from baidubce.services.bos.bos_client import BosClient

from qf_tasks import InvalidArgumentError, QfTasksError, Settings
from qf_tasks._protocol.responses import RawResponse
from qf_tasks.data.facades import AsyncData, Data
from qf_tasks.data.store import ObjectStore, _Request
from qf_tasks.data.uri import BosUri
from qf_tasks.sandbox import Sandbox
from tests.clients import client_of


def settings(**fields: Any) -> Settings:
    return Settings(access_key="ALTAKexample1234", secret_key="0123456789abcdef", **fields)


def test_send_request_of_the_sdk_has_the_signature_that_is_overridden() -> None:
    """A failure here names what an upgrade of bce-python-sdk has changed."""
    overridden = inspect.signature(BosClient._send_request)
    ours = inspect.signature(ObjectStore._sdk_request)

    assert list(ours.parameters) == list(overridden.parameters)


@pytest.mark.parametrize("name", ["plan", "upload", "records", "results", "download", "delete"])
def test_method_of_the_asyncio_client_has_the_signature_of_the_blocking_one(name: str) -> None:
    blocking, asynchronous = (inspect.signature(getattr(cls, name)) for cls in (Data, AsyncData))

    assert asynchronous.parameters == blocking.parameters
    result = str(blocking.return_annotation)
    is_iterator = result.startswith("Iterator[")
    assert asynchronous.return_annotation == (
        f"Async{result}" if is_iterator else f"Coroutine[Any, Any, {result}]"
    )


def test_endpoint_of_a_bucket_is_that_of_its_region_looked_up_once(monkeypatch: pytest.MonkeyPatch) -> None:
    store, lookups = ObjectStore(settings()), list[str]()

    def location(bucket: str) -> str:
        lookups.append(bucket)
        return "gz"

    monkeypatch.setattr(store._sdk, "get_bucket_location", location)

    urls = [store._signed(_Request("GET", BosUri("bucket", key), {"a": "b"}, {}))[0] for key in ("x y", "z")]

    assert urls == ["https://bucket.gz.bcebos.com/x%20y?a=b", "https://bucket.gz.bcebos.com/z?a=b"]
    assert lookups == ["bucket"]
    assert store._signed(_Request("GET", BosUri("bucket", ""), {"location": ""}, {}))[0] == (
        "https://bucket.bj.bcebos.com/?location="
    )


@pytest.mark.parametrize(
    ("fields", "url"),
    [
        ({"base_url": "http://127.0.0.1:8080"}, "http://127.0.0.1:8080/bucket/key"),
        (
            {"base_url": "http://127.0.0.1:8080", "bos_endpoint": "https://bos.example"},
            "https://bos.example/bucket/key",
        ),
        ({"bos_endpoint": "https://gz.bcebos.com"}, "https://bucket.gz.bcebos.com/key"),
    ],
)
def test_endpoint_is_that_of_the_settings_or_a_loopback_base_url(fields: dict[str, str], url: str) -> None:
    store = ObjectStore(settings(**fields))

    assert store._signed(_Request("GET", BosUri("bucket", "key"), {}, {}))[0] == url


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        ("bos://bucket/x/", "Pass 'bos:/bucket/x/'."),
        ("bucket/x/", "Pass 'bos:/bucket/x/'."),
        ("s3://bucket/x/", None),
        ("bos:/Bucket/x/", "A bucket has"),
        ("bos:/bucket/a/../b/", None),
        ("bos:/bucket/a//b/", None),
        ("bos:/bucket/", "Pass a directory"),
        ("bos:/bucket/x/file.jsonl", "Pass the directory of the file: 'bos:/bucket/x/'."),
        (7, None),
    ],
)
def test_address_that_is_no_directory_is_refused_with_what_was_meant(value: object, hint: str | None) -> None:
    with pytest.raises(InvalidArgumentError, match="bos_uri") as caught:
        BosUri.parse_directory(value)

    assert (caught.value.hint or "").startswith(hint or "")
    assert (caught.value.hint is None) == (hint is None)


def test_error_of_a_response_that_repeats_the_signature_does_not_have_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store, signatures = (
        ObjectStore(settings(bos_endpoint="http://127.0.0.1:8080", max_retries=0)),
        list[str](),
    )

    def request(_method: str, _url: str, headers: dict[str, str], _body: object) -> RawResponse:
        signatures.append(headers["Authorization"].rpartition("/")[2])
        content = json.dumps({"code": "SignatureDoesNotMatch", "message": f"not {signatures[0]}"})
        return RawResponse(400, {}, content.encode())

    monkeypatch.setattr(store._sender, "request", request)

    with pytest.raises(QfTasksError) as caught:
        store.delete("bucket", ["key"])

    assert signatures[0] not in str(caught.value)


def test_upload_that_is_cancelled_sends_no_further_parts(sandbox: Sandbox) -> None:
    async def main() -> None:
        async with sandbox.async_client() as client:
            uploads: list[asyncio.Task[Any]] = []
            upload = client.data.upload(
                [{"query": "a"}], "bos:/bucket/in/", on_progress=lambda *_: uploads[0].cancel()
            )
            uploads.append(asyncio.create_task(upload))
            with pytest.raises(asyncio.CancelledError):
                await uploads[0]

    asyncio.run(main())

    assert dict(sandbox.objects) == {}


def test_iteration_that_is_left_early_keeps_the_client_usable(sandbox: Sandbox) -> None:
    async def main() -> None:
        async with sandbox.async_client() as client:
            await client.data.upload([{"query": "a"}] * 1000, "bos:/bucket/in/")
            async for _record in client.data.records("bos:/bucket/in/"):
                break
            assert await client.data.delete("bos:/bucket/in/") == 1

    asyncio.run(main())


def test_store_is_imported_without_the_warnings_that_its_sdk_causes(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Module(ModuleType):
        def __getattr__(self, name: str) -> object:
            warnings.warn(f"invalid escape sequence, before {name}", SyntaxWarning, stacklevel=2)
            return ObjectStore

    monkeypatch.setitem(sys.modules, "qf_tasks.data.store", Module("qf_tasks.data.store"))

    with client_of(sandbox, bos_endpoint=sandbox.url) as client:
        assert client.data.delete("bos:/bucket/in/") == 0
