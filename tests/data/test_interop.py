"""The SDK's own client beside ours: what one wrote, the other reads."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from baidubce.auth.bce_credentials import BceCredentials
from baidubce.bce_client_configuration import BceClientConfiguration
from baidubce.services.bos.bos_client import BosClient

from qf_tasks import Settings
from qf_tasks.data.store import ObjectStore
from qf_tasks.data.uri import BosUri
from qf_tasks.sandbox import Sandbox, ServerBehavior

# baidubce uses functions that Python 3.12 deprecated, and leaves sockets to the garbage collector.
pytestmark = [
    pytest.mark.filterwarnings("ignore:datetime.datetime.utc:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

URI = BosUri("bucket", "a key/ä+b.jsonl")
CONTENT = b"0123456789" * 3


@pytest.fixture
def theirs(sandbox: Sandbox) -> Any:
    credentials = BceCredentials(sandbox.access_key, sandbox.secret_key)
    return BosClient(BceClientConfiguration(credentials=credentials, endpoint=sandbox.url))


@pytest.fixture
def ours(sandbox: Sandbox) -> Iterator[ObjectStore]:
    settings = Settings(
        access_key=sandbox.access_key, secret_key=sandbox.secret_key, base_url=sandbox.url, max_retries=0
    )
    with closing(ObjectStore(settings)) as store:
        yield store


def test_object_of_the_sdk_is_read_and_listed(theirs: Any, ours: ObjectStore) -> None:
    theirs.put_object_from_string(URI.bucket, URI.key, CONTENT.decode())

    assert b"".join(ours.read(URI)) == CONTENT
    assert [(info.uri, info.size) for info in ours.list(BosUri("bucket", "a key/"))] == [(URI, len(CONTENT))]


@pytest.mark.parametrize("sandbox", [ServerBehavior(min_part_size=10)], indirect=True)
def test_object_that_both_uploaded_in_parts_is_read_from_any_position(theirs: Any, ours: ObjectStore) -> None:
    upload_id = theirs.initiate_multipart_upload(URI.bucket, URI.key).upload_id
    parts = []
    for number, client in enumerate([theirs, ours._sdk, theirs], start=1):
        part = client.upload_part(URI.bucket, URI.key, upload_id, number, 10, io.BytesIO(b"0123456789"))
        parts.append({"partNumber": number, "eTag": part.metadata.etag})
    ours._sdk.complete_multipart_upload(URI.bucket, URI.key, upload_id, parts)

    assert theirs.get_object_as_string(URI.bucket, URI.key) == CONTENT
    for start in (0, 9, 10, 29):
        assert b"".join(ours.read(URI, start)) == CONTENT[start:]


def test_object_of_ours_is_read_by_the_sdk_with_a_range(theirs: Any, ours: ObjectStore) -> None:
    md5 = hashlib.md5(CONTENT, usedforsecurity=False).hexdigest()
    ours.put(URI, io.BytesIO(CONTENT), len(CONTENT), md5)

    assert theirs.get_object_as_string(URI.bucket, URI.key) == CONTENT
    assert theirs.get_object_as_string(URI.bucket, URI.key, range=[5, 12]) == CONTENT[5:13]
    assert theirs.get_object_meta_data(URI.bucket, URI.key).metadata.etag == md5


def test_object_that_ours_deleted_is_gone_for_the_sdk(theirs: Any, ours: ObjectStore) -> None:
    theirs.put_object_from_string(URI.bucket, URI.key, "content")

    ours.delete(URI.bucket, [URI.key, "missing"])

    assert [*theirs.list_all_objects(URI.bucket)] == []
