"""The object store, by requests signed by hand: what it responds, with and without faults."""

import base64
import hashlib
import http.client
import json
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from qf_tasks.sandbox import Fault, Sandbox, ServerBehavior

from .signed_client import Response, SignedClient, bce_time, sign

CONTENT = b"0123456789"
MD5 = hashlib.md5(CONTENT, usedforsecurity=False)


@pytest.fixture(params=["memory", "directory"])
def sandbox(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Sandbox]:
    """Return a running sandbox that keeps objects in memory or in a directory."""
    directory = tmp_path / "objects" if request.param == "directory" else None
    behavior = ServerBehavior(min_part_size=4)
    with Sandbox(frozen=True, directory=directory, behavior=behavior) as running:
        yield running
    assert running.errors == []


@pytest.fixture
def digits(client: SignedClient) -> str:
    """Return the path of an object with ten digits."""
    assert client.object("PUT", "/bucket/digits", CONTENT).status == 200
    return "/bucket/digits"


def listed(response: Response) -> list[str]:
    return [entry["key"] for entry in response.body["contents"]]


def test_put_object_returns_md5_as_etag(sandbox: Sandbox, client: SignedClient) -> None:
    response = client.object("PUT", "/bucket/digits", CONTENT)

    assert (response.status, response.content) == (200, b"")
    assert response.headers["ETag"] == f'"{MD5.hexdigest()}"'
    assert response.headers["Server"] == "BceBos"
    assert response.headers["x-bce-request-id"]
    assert response.headers["x-bce-debug-id"]
    assert sandbox.get("bos:/bucket/digits") == CONTENT


def test_put_object_with_the_right_checksums_is_stored(client: SignedClient) -> None:
    headers = {
        "content-md5": base64.b64encode(MD5.digest()).decode(),
        "x-bce-content-sha256": hashlib.sha256(CONTENT).hexdigest(),
        "x-bce-content-crc32": str(zlib.crc32(CONTENT)),
    }
    assert client.object("PUT", "/bucket/digits", CONTENT, headers=headers).status == 200


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("content-md5", base64.b64encode(bytes(16)).decode()),
        ("x-bce-content-sha256", "0" * 64),
        ("x-bce-content-crc32", "1"),
    ],
)
def test_put_object_with_wrong_checksum_is_rejected(
    sandbox: Sandbox, client: SignedClient, name: str, value: str
) -> None:
    response = client.object("PUT", "/bucket/digits", CONTENT, headers={name: value})

    assert response.rejection == (400, "BadDigest")
    assert response.body["requestId"] == response.headers["x-bce-request-id"]
    assert sandbox.objects == {}


def test_get_object_returns_content_and_kept_headers(client: SignedClient) -> None:
    headers = {"content-type": "text/plain", "x-bce-meta-sha": "abc"}
    client.object("PUT", "/bucket/digits", CONTENT, headers=headers)

    response = client.object("GET", "/bucket/digits")

    assert response.content == CONTENT
    assert (response.headers["Content-Type"], response.headers["x-bce-meta-sha"]) == ("text/plain", "abc")
    assert response.headers["Last-Modified"].endswith("GMT")


@pytest.mark.parametrize(
    ("selected", "content", "content_range"),
    [
        ("bytes=2-4", b"234", "bytes 2-4/10"),
        ("bytes=7-", b"789", "bytes 7-9/10"),
        ("bytes=-2", b"89", "bytes 8-9/10"),
        ("bytes=8-99", b"89", "bytes 8-9/10"),
    ],
)
def test_get_object_with_range_returns_part(
    client: SignedClient, digits: str, selected: str, content: bytes, content_range: str
) -> None:
    response = client.object("GET", digits, headers={"range": selected})

    assert (response.status, response.content) == (206, content)
    assert response.headers["Content-Range"] == content_range


@pytest.mark.parametrize("selected", ["bytes=0-1,3-4", "bytes=-", "lines=1-2"])
def test_get_object_with_other_range_returns_all(client: SignedClient, digits: str, selected: str) -> None:
    response = client.object("GET", digits, headers={"range": selected})
    assert (response.status, response.content) == (200, CONTENT)


def test_get_object_with_range_past_the_end_is_rejected(client: SignedClient, digits: str) -> None:
    response = client.object("GET", digits, headers={"range": "bytes=10-"})
    assert response.rejection == (416, "InvalidRange")


def test_get_object_of_missing_key_is_rejected(client: SignedClient) -> None:
    assert client.object("GET", "/bucket/missing").rejection == (404, "NoSuchKey")


def test_get_object_checks_if_match(client: SignedClient, digits: str) -> None:
    matching = client.object("GET", digits, headers={"if-match": f'"{MD5.hexdigest()}"'})
    other = client.object("GET", digits, headers={"if-match": '"other"'})
    cached = client.object("GET", digits, headers={"if-none-match": MD5.hexdigest()})

    assert matching.status == 200
    assert other.rejection == (412, "PreconditionFailed")
    assert (cached.status, cached.content) == (304, b"")


def test_put_object_checks_if_none_match(sandbox: Sandbox, client: SignedClient, digits: str) -> None:
    response = client.object("PUT", digits, b"other", headers={"if-none-match": "*"})

    assert response.rejection == (412, "PreconditionFailed")
    assert sandbox.get("bos:/bucket/digits") == CONTENT


def test_head_object_returns_headers_without_body(client: SignedClient, digits: str) -> None:
    response = client.object("HEAD", digits)
    missing = client.object("HEAD", "/bucket/missing")

    assert (response.status, response.headers["Content-Length"], response.content) == (200, "10", b"")
    assert (missing.status, missing.content) == (404, b"")


def test_list_objects_returns_pages_after_the_marker(sandbox: Sandbox, client: SignedClient) -> None:
    for name in ("a/1", "a/2", "a/3", "b"):
        sandbox.put(f"bos:/bucket/{name}", name)

    first = client.object("GET", "/bucket", query="prefix=a%2F&maxKeys=2")
    rest = client.object("GET", "/bucket", query="prefix=a%2F&maxKeys=2&marker=a%2F2")

    assert listed(first) == ["a/1", "a/2"]
    assert (first.body["isTruncated"], first.body["nextMarker"]) == (True, "a/2")
    assert listed(rest) == ["a/3"]
    assert rest.body["isTruncated"] is False
    assert "nextMarker" not in rest.body
    assert rest.body["contents"][0]["size"] == 3


def test_list_objects_with_delimiter_returns_each_prefix_once(sandbox: Sandbox, client: SignedClient) -> None:
    for name in ("a/1", "a/2", "b", "c/1", "c/2", "d"):
        sandbox.put(f"bos:/bucket/{name}", name)

    found, marker = [], ""
    for _ in range(4):
        query = f"delimiter=%2F&marker={quote(marker, safe='')}&maxKeys=1"
        page = client.object("GET", "/bucket", query=query).body
        found += [entry["key"] for entry in page["contents"]]
        found += [entry["prefix"] for entry in page.get("commonPrefixes", [])]
        marker = page.get("nextMarker", "")

    assert found == ["a/", "b", "c/", "d"]
    assert marker == ""


def test_list_objects_without_next_marker_is_a_choice(sandbox: Sandbox, client: SignedClient) -> None:
    sandbox.behavior = ServerBehavior(object_next_marker=False)
    for name in "ab":
        sandbox.put(f"bos:/bucket/{name}", name)

    page = client.object("GET", "/bucket", query="maxKeys=1").body

    assert page["isTruncated"] is True
    assert "nextMarker" not in page


def test_list_objects_with_malformed_number_is_rejected(client: SignedClient) -> None:
    assert client.object("GET", "/bucket", query="maxKeys=x").rejection == (400, "InvalidArgument")


def test_delete_object_removes_it(sandbox: Sandbox, client: SignedClient, digits: str) -> None:
    assert client.object("DELETE", digits).status == 204
    assert sandbox.objects == {}
    assert client.object("DELETE", digits).rejection == (404, "NoSuchKey")

    sandbox.behavior = ServerBehavior(missing_object_delete_status=204)
    assert client.object("DELETE", digits).status == 204


def test_delete_multiple_objects_returns_errors_alone(sandbox: Sandbox, client: SignedClient) -> None:
    for name in "abc":
        sandbox.put(f"bos:/bucket/{name}", name)

    all_deleted = delete_many(client, ["a", "b"])
    partly = delete_many(client, ["c", "missing"])

    assert (all_deleted.status, all_deleted.content) == (200, b"")
    assert [(error["key"], error["code"]) for error in partly.body["errors"]] == [("missing", "NoSuchKey")]
    assert sandbox.objects == {}
    assert delete_many(client, ["x"] * 1001).rejection == (400, "InappropriateJSON")


def delete_many(client: SignedClient, keys: list[str]) -> Response:
    content = json.dumps({"objects": [{"key": key} for key in keys]}).encode()
    return client.object("POST", "/bucket", content, query="delete")


@pytest.mark.parametrize(
    ("content", "code"),
    [(b"{", "MalformedJSON"), (b"[]", "InappropriateJSON"), (b'{"objects": [{}]}', "InappropriateJSON")],
)
def test_delete_multiple_objects_with_other_body_is_rejected(
    client: SignedClient, content: bytes, code: str
) -> None:
    assert client.object("POST", "/bucket", content, query="delete").rejection == (400, code)


def test_copy_object_copies_content_and_metadata(sandbox: Sandbox, client: SignedClient) -> None:
    client.object("PUT", "/bucket/a%20b", CONTENT, headers={"x-bce-meta-kind": "digits"})

    response = client.object("PUT", "/other/copy", headers={"x-bce-copy-source": "/bucket/a%20b"})

    assert response.body["eTag"] == MD5.hexdigest()
    assert sandbox.get("bos:/other/copy") == CONTENT
    assert client.object("HEAD", "/other/copy").headers["x-bce-meta-kind"] == "digits"


def test_copy_object_of_changed_source_is_rejected(client: SignedClient, digits: str) -> None:
    headers = {"x-bce-copy-source": digits, "x-bce-copy-source-if-match": "other"}
    assert client.object("PUT", "/bucket/copy", headers=headers).rejection == (412, "PreconditionFailed")


def start_upload(client: SignedClient) -> str:
    response = client.object("POST", "/bucket/whole", query="uploads")
    assert response.status == 200
    return str(response.body["uploadId"])


def upload_part(client: SignedClient, upload_id: str, number: int, content: bytes) -> dict[str, object]:
    query = f"partNumber={number}&uploadId={upload_id}"
    response = client.object("PUT", "/bucket/whole", content, query=query)
    assert response.status == 200
    return {"partNumber": number, "eTag": response.headers["ETag"].strip('"')}


def complete(client: SignedClient, upload_id: str, parts: list[dict[str, object]]) -> Response:
    content = json.dumps({"parts": parts}).encode()
    return client.object("POST", "/bucket/whole", content, query=f"uploadId={upload_id}")


def test_multipart_upload_joins_parts_in_order(sandbox: Sandbox, client: SignedClient) -> None:
    upload_id = start_upload(client)
    last = upload_part(client, upload_id, 7, b"!")
    upload_part(client, upload_id, 2, b"replaced")
    first = upload_part(client, upload_id, 2, b"hello")

    listing = client.object("GET", "/bucket/whole", query=f"uploadId={upload_id}&maxParts=1").body
    response = complete(client, upload_id, [first, last])

    assert [part["partNumber"] for part in listing["parts"]] == [2]
    assert (listing["isTruncated"], listing["nextPartNumberMarker"]) == (True, 2)
    assert response.body["eTag"]
    assert sandbox.get("bos:/bucket/whole") == b"hello!"
    assert complete(client, upload_id, [first, last]).rejection == (404, "NoSuchUpload")


def test_multipart_upload_with_wrong_parts_is_rejected(sandbox: Sandbox, client: SignedClient) -> None:
    upload_id = start_upload(client)
    first = upload_part(client, upload_id, 1, b"abc")
    second = upload_part(client, upload_id, 2, b"defg")

    assert complete(client, upload_id, []).rejection == (400, "InvalidPartOrder")
    assert complete(client, upload_id, [second, first]).rejection == (400, "InvalidPartOrder")
    assert complete(client, upload_id, [first, {**second, "eTag": "x"}]).rejection == (400, "InvalidPart")
    assert complete(client, upload_id, [first, second]).rejection == (400, "EntityTooSmall")
    assert sandbox.objects == {}


def test_multipart_upload_that_is_aborted_leaves_nothing(client: SignedClient) -> None:
    upload_id = start_upload(client)
    upload_part(client, upload_id, 1, b"abc")

    before = client.object("GET", "/bucket", query="uploads").body["uploads"]
    assert client.object("DELETE", "/bucket/whole", query=f"uploadId={upload_id}").status == 204
    after = client.object("GET", "/bucket", query="uploads").body["uploads"]

    assert [upload["uploadId"] for upload in before] == [upload_id]
    assert after == []


def test_bucket_comes_into_being_at_its_first_use(client: SignedClient) -> None:
    assert client.object("HEAD", "/bucket").status == 200
    assert client.object("PUT", "/bucket").rejection == (409, "BucketAlreadyExists")
    assert client.object("GET", "/bucket", query="location").body == {"locationConstraint": "bj"}
    assert [bucket["name"] for bucket in client.object("GET", "/").body["buckets"]] == ["bucket"]
    assert client.object("DELETE", "/bucket").status == 204


def test_missing_bucket_is_refused_by_choice(sandbox: Sandbox, client: SignedClient) -> None:
    sandbox.behavior = ServerBehavior(missing_buckets_refused=True)

    assert client.object("PUT", "/bucket/digits", CONTENT).rejection == (404, "NoSuchBucket")
    assert client.object("PUT", "/bucket").status == 200
    assert client.object("PUT", "/bucket/digits", CONTENT).status == 200
    assert client.object("DELETE", "/bucket").rejection == (409, "BucketNotEmpty")


def test_bucket_of_another_account_is_denied(sandbox: Sandbox, client: SignedClient, digits: str) -> None:
    sandbox.add_key("other-key", "other-secret", account="other")
    other = SignedClient(sandbox, "other-key", "other-secret")

    assert other.object("GET", digits).rejection == (403, "AccessDenied")
    assert client.object("GET", digits).status == 200
    other.close()


def test_key_without_permission_for_an_operation_is_denied(sandbox: Sandbox, digits: str) -> None:
    sandbox.add_key("reader", "secret", allowed=["GetObject"])
    reader = SignedClient(sandbox, "reader", "secret")

    assert reader.object("GET", digits).status == 200
    assert reader.object("DELETE", digits).rejection == (403, "AccessDenied")
    reader.close()


def test_virtual_host_names_the_bucket(sandbox: Sandbox, client: SignedClient) -> None:
    assert client.object("PUT", "/digits", CONTENT, host="bucket.gz.bcebos.com").status == 200
    assert client.object("GET", "/bucket/digits", host="gz.bcebos.com").content == CONTENT
    assert client.object("GET", "/bucket/digits", host=f"localhost:{sandbox.port}").content == CONTENT


def test_unusual_keys_are_kept(sandbox: Sandbox, client: SignedClient) -> None:
    keys = ["名 字.jsonl", "folder/", "a//b", "a/./b", "100%", "%2E", "a/..b", "?#&=+"]
    for key in keys:
        assert client.object("PUT", f"/bucket/{quote(key)}", key.encode()).status == 200

    assert sorted(sandbox.objects) == sorted(f"bos:/bucket/{key}" for key in keys)
    for key in keys:
        assert client.object("GET", f"/bucket/{quote(key)}").content == key.encode()


def test_wrong_signature_is_rejected_as_unexpected(sandbox: Sandbox, digits: str) -> None:
    client = SignedClient(sandbox, secret_key="wrong")

    assert client.object("GET", digits).rejection == (400, "SignatureDoesNotMatch")
    assert client.object("PUT", digits, b"other").rejection == (400, "SignatureDoesNotMatch")
    assert sandbox.get("bos:/bucket/digits") == CONTENT
    assert len(sandbox.unexpected) == 2
    client.close()


def test_explicit_list_of_signed_headers_is_accepted(
    sandbox: Sandbox, client: SignedClient, digits: str
) -> None:
    timestamp = bce_time(time.time())
    signed = {"host": f"127.0.0.1:{sandbox.port}", "x-bce-date": timestamp}
    authorization = sign(
        sandbox.access_key,
        sandbox.secret_key,
        signed,
        query="",
        timestamp=timestamp,
        method="GET",
        path=digits,
    )

    headers = {**signed, "Authorization": authorization, "Content-Type": "text/plain"}
    assert client.send(b"", headers, target=digits, method="GET").content == CONTENT


@pytest.mark.parametrize(
    ("method", "path", "query"),
    [("GET", "/bucket", "acl"), ("POST", "/bucket/key", ""), ("POST", "/bucket", "")],
)
def test_unknown_operation_is_rejected_as_unexpected(
    sandbox: Sandbox, client: SignedClient, method: str, path: str, query: str
) -> None:
    assert client.object(method, path, query=query).rejection == (404, "InvalidURI")
    assert sandbox.requests[-1].unexpected


def test_recorded_request_names_the_operation(sandbox: Sandbox, client: SignedClient, digits: str) -> None:
    client.object("GET", digits)

    put, get = sandbox.requests
    assert (put.action, put.body, put.status, put.applied) == ("PutObject", b"", 200, True)
    assert (get.action, get.answer) == ("GetObject", b"")


def test_fault_for_an_operation_fires_for_it_alone(
    sandbox: Sandbox, client: SignedClient, digits: str
) -> None:
    sandbox.inject(Fault.status(503, retry_after=1), action="GetObject")

    assert client.object("HEAD", digits).status == 200
    response = client.object("GET", digits)
    assert response.rejection == (503, "ServiceUnavailable")
    assert response.headers["Retry-After"] == "1"
    assert client.object("GET", digits).content == CONTENT


def test_fault_with_applied_stores_the_object(sandbox: Sandbox, client: SignedClient) -> None:
    sandbox.inject(Fault.status(500, applied=True), action="PutObject")

    response = client.object("PUT", "/bucket/digits", CONTENT)

    assert response.rejection == (500, "InternalServerError")
    assert response.headers["Content-Type"].startswith("application/json")
    assert sandbox.get("bos:/bucket/digits") == CONTENT


def test_truncated_download_ends_after_half(sandbox: Sandbox, client: SignedClient, digits: str) -> None:
    sandbox.inject(Fault.truncated(), action="GetObject")

    with pytest.raises(http.client.IncompleteRead) as caught:
        client.object("GET", digits)

    assert caught.value.partial == CONTENT[:5]


def test_reset_during_download_resets_the_connection(
    sandbox: Sandbox, client: SignedClient, digits: str
) -> None:
    sandbox.inject(Fault.reset_during(), action="GetObject")

    with pytest.raises(ConnectionResetError):
        client.object("GET", digits)


def test_corrupt_download_differs_in_one_byte(sandbox: Sandbox, client: SignedClient, digits: str) -> None:
    sandbox.inject(Fault.corrupt(), action="GetObject")

    response = client.object("GET", digits)

    assert response.content == b"0123446789"
    assert response.headers["ETag"] == f'"{MD5.hexdigest()}"'


@pytest.mark.parametrize("fault", [Fault.slow(0.05), Fault.slow_body(0.05), Fault.trickle(1e-3)])
def test_slow_download_arrives_completely(
    sandbox: Sandbox, client: SignedClient, digits: str, fault: Fault
) -> None:
    sandbox.inject(fault, action="GetObject")
    assert client.object("GET", digits).content == CONTENT


def test_reset_upload_stores_nothing(sandbox: Sandbox, client: SignedClient) -> None:
    sandbox.inject(Fault.reset_upload(), action="PutObject", skip=1)
    assert client.object("PUT", "/bucket/first", CONTENT).status == 200

    with pytest.raises(ConnectionError):
        client.object("PUT", "/bucket/second", bytes(20_000_000))

    assert list(sandbox.objects) == ["bos:/bucket/first"]
    assert (sandbox.requests[-1].action, sandbox.requests[-1].status) == ("PutObject", None)
    assert sandbox.unused_faults == []


def test_upload_that_ends_early_stores_nothing(sandbox: Sandbox, client: SignedClient) -> None:
    client.connection.request("PUT", "/bucket/digits", b"01234", {"Content-Length": "10"})
    client.close()

    other = SignedClient(sandbox)
    assert other.object("GET", "/bucket").body["contents"] == []
    other.close()


def test_put_and_get_of_the_sandbox_check_the_uri(sandbox: Sandbox) -> None:
    sandbox.put("bos:/bucket/text", "ü")

    assert sandbox.get("bos:/bucket/text") == "ü".encode()
    assert sandbox.objects == {"bos:/bucket/text": 2}
    with pytest.raises(KeyError):
        sandbox.get("bos:/bucket/missing")
    for uri in ("bos://bucket/key", "bos:/bucket/", "/bucket/key"):
        with pytest.raises(ValueError, match="bos:/bucket/key"):
            sandbox.put(uri, b"")


def test_directory_keeps_objects_for_the_next_sandbox(tmp_path: Path) -> None:
    with Sandbox(directory=tmp_path) as first:
        first.put("bos:/bucket/in/a.jsonl", CONTENT)
        first.put("bos:/bucket/in/./b", CONTENT)
        first.put("bos:/bucket/in//c/", b"")
        first.put("bos:/bucket/gone/c", CONTENT)
        client = SignedClient(first)
        client.object("DELETE", "/bucket/gone/c")
        client.close()

    assert (tmp_path / "bucket/in/a.jsonl").read_bytes() == CONTENT
    assert not (tmp_path / "bucket/gone").exists()
    assert list((tmp_path / ".uploads").iterdir()) == []
    assert Sandbox(directory=tmp_path).objects == {
        "bos:/bucket/in/./b": 10,
        "bos:/bucket/in//c/": 0,
        "bos:/bucket/in/a.jsonl": 10,
    }


def test_directory_rejects_key_that_it_cannot_keep(tmp_path: Path) -> None:
    with Sandbox(directory=tmp_path) as sandbox:
        client = SignedClient(sandbox)
        client.object("PUT", "/bucket/a", CONTENT)

        assert client.object("PUT", "/bucket/a/b", CONTENT).rejection == (400, "InvalidObjectName")
        client.close()
    assert list(sandbox.objects) == ["bos:/bucket/a"]
