"""`data.upload`, `data.records` and `data.delete`: what arrives in the store, and what is refused."""

from __future__ import annotations

import hashlib
import logging
import tempfile
from base64 import b64encode
from itertools import product
from pathlib import Path
from traceback import walk_tb
from typing import Any

import pytest

from qf_tasks import (
    BadResponseError,
    InvalidArgumentError,
    InvalidRecordError,
    NotFoundError,
    PermissionDeniedError,
    QfTasksError,
    TaskClient,
)
from qf_tasks.data import jsonl
from qf_tasks.data.facades import Data
from qf_tasks.sandbox import Fault, Sandbox, ServerBehavior

RECORDS = [{"id": str(number), "query": f"question {number} – 问题"} for number in range(40)]
DIRECTORY = "bos:/bucket/in/"


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make shards so small that the records above need four."""
    monkeypatch.setattr(jsonl, "SHARD_BYTES", 600)


def stored(sandbox: Sandbox) -> bytes:
    return b"".join(sandbox.get(uri) for uri in sorted(sandbox.objects))


def count(sandbox: Sandbox, action: str) -> int:
    return sum(request.action == action for request in sandbox.requests)


@pytest.mark.usefixtures("small_shards")
def test_upload_of_records_arrives_in_shards_and_can_be_read(data: Data, sandbox: Sandbox) -> None:
    progress: list[tuple[int, int]] = []

    upload = data.upload(RECORDS, DIRECTORY, on_progress=lambda *bytes_: progress.append(bytes_))

    assert (upload.uri, upload.records, upload.files_sent) == (DIRECTORY, 40, upload.files)
    assert upload.files == len(sandbox.objects) > 3
    assert upload.bytes == sum(sandbox.objects.values())
    assert max(sandbox.objects.values()) <= 600
    assert [record.raw for record in data.records("bos:/bucket/in")] == RECORDS
    assert progress[0] == (0, upload.bytes)
    assert progress[-1] == (upload.bytes, upload.bytes)
    assert sandbox.unexpected == []


@pytest.mark.usefixtures("small_shards")
def test_upload_of_the_same_records_again_sends_nothing(data: Data, sandbox: Sandbox) -> None:
    first = data.upload(RECORDS, DIRECTORY)

    again = data.upload(iter(RECORDS), "bos:/bucket/in")

    assert (again.files, again.files_sent) == (first.files, 0)
    assert count(sandbox, "PutObject") == first.files


@pytest.mark.usefixtures("small_shards")
def test_upload_to_a_directory_with_other_objects_is_refused(data: Data, sandbox: Sandbox) -> None:
    data.upload(RECORDS, DIRECTORY)

    with pytest.raises(InvalidArgumentError, match="other objects"):
        data.upload(RECORDS[1:], DIRECTORY)

    assert count(sandbox, "PutObject") == len(sandbox.objects)


def test_upload_sends_the_checksum_of_an_object(data: Data, sandbox: Sandbox) -> None:
    data.upload(RECORDS, DIRECTORY)

    (sent,) = (request for request in sandbox.requests if request.action == "PutObject")
    digest = hashlib.md5(stored(sandbox), usedforsecurity=False).digest()
    assert sent.headers["Content-MD5"] == b64encode(digest).decode()


def test_upload_of_an_invalid_record_sends_nothing(data: Data, sandbox: Sandbox, tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    path.write_text('{"query": "fine"}\n\n{"query": 1}\n')

    with pytest.raises(InvalidRecordError) as caught:
        data.upload(path, DIRECTORY)

    assert (caught.value.file, caught.value.line) == (str(path), 3)
    assert sandbox.requests == []


def test_upload_beyond_the_limits_of_a_task_is_refused(
    data: Data, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jsonl, "SHARD_BYTES", 100)

    with pytest.raises(InvalidArgumentError, match="exceed the limits of one task"):
        data.upload(({"query": "x" * 60} for _ in range(102)), DIRECTORY)

    assert data.plan({"query": "x" * 60} for _ in range(102)).tasks == 2
    assert sandbox.requests == []


@pytest.mark.usefixtures("small_shards")
@pytest.mark.parametrize("action", ["ListObjects", "PutObject"])
def test_upload_with_a_fault_at_any_request_arrives_whole_or_raises(
    make_blocking_data: Any, sandbox: Sandbox, action: str
) -> None:
    whole = b"".join(jsonl.lines(RECORDS))
    faults = [
        Fault.status(503),
        Fault.status(400, code="BadDigest"),
        Fault.html(502),
        Fault.reset_before(),
        Fault.reset_after(),
        Fault.truncated(),
        Fault.body(b"<html>"),
    ]
    for retries, fault, skip in product((0, 2), faults, (0, 1)):
        data = make_blocking_data(max_retries=retries)
        directory = f"bos:/bucket/{retries}-{faults.index(fault)}-{skip}/"
        sandbox.inject(fault, action=action, skip=skip)
        try:
            data.upload(RECORDS, directory)
        except QfTasksError:
            is_readable = fault is not faults[-1]  # the page of a proxy in place of a response
            assert retries == 0 or not is_readable
            data.upload(RECORDS, directory)  # goes on where it stopped
        uris = [uri for uri in sandbox.objects if uri.startswith(directory)]
        assert b"".join(sandbox.get(uri) for uri in uris) == whole
    assert sandbox.unused_faults == []


@pytest.mark.usefixtures("small_shards")
def test_upload_whose_part_fails_raises_and_then_sends_only_the_rest(
    make_blocking_data: Any, sandbox: Sandbox
) -> None:
    data = make_blocking_data(max_retries=0)
    sandbox.inject(Fault.status(503), action="PutObject", skip=2)
    with pytest.raises(QfTasksError):
        data.upload(RECORDS, DIRECTORY)
    arrived = len(sandbox.objects)

    upload = data.upload(RECORDS, DIRECTORY)

    assert upload.files_sent == upload.files - arrived > 0
    assert stored(sandbox) == b"".join(jsonl.lines(RECORDS))


@pytest.mark.parametrize("sandbox", [ServerBehavior(object_list_delay=10)], indirect=True)
def test_upload_waits_for_a_listing_that_lags_behind(make_blocking_data: Any, sandbox: Sandbox) -> None:
    make_blocking_data().upload(RECORDS, DIRECTORY)

    assert count(sandbox, "PutObject") == 1
    assert count(sandbox, "ListObjects") > 2


@pytest.mark.parametrize("sandbox", [ServerBehavior(object_list_delay=3600)], indirect=True)
def test_upload_that_is_not_listed_whole_raises(make_blocking_data: Any, sandbox: Sandbox) -> None:
    with pytest.raises(QfTasksError, match="does not list what was uploaded") as caught:
        make_blocking_data().upload(RECORDS, DIRECTORY)

    assert caught.value.retryable
    assert count(sandbox, "ListObjects") < 20


@pytest.mark.parametrize("sandbox", [ServerBehavior(missing_buckets_refused=True)], indirect=True)
def test_upload_to_a_missing_bucket_raises_not_found(data: Data) -> None:
    with pytest.raises(NotFoundError, match="the bucket does not exist"):
        data.upload(RECORDS, DIRECTORY)


def test_upload_without_permission_names_what_to_grant(data: Data, sandbox: Sandbox) -> None:
    sandbox.inject(Fault.status(403, code="AccessDenied"), action="ListObjects")

    with pytest.raises(PermissionDeniedError) as caught:
        data.upload(RECORDS, DIRECTORY)

    assert "BOSFullControlAccessPolicy" in str(caught.value.hint)


def test_upload_beyond_the_bandwidth_of_the_bucket_is_repeated(
    make_blocking_data: Any, sandbox: Sandbox
) -> None:
    sandbox.inject(Fault.status(403, code="RequestRateLimitExceeded"), action="PutObject")

    assert make_blocking_data().upload(RECORDS, DIRECTORY).files_sent == 1
    assert count(sandbox, "PutObject") == 2


def test_upload_logs_no_keys(data: Data, sandbox: Sandbox, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)

    data.upload(RECORDS, DIRECTORY)

    assert "PUT bos:/bucket/in/" in caplog.text
    assert sandbox.secret_key not in caplog.text
    assert "bce-auth-v1" not in caplog.text


def test_upload_error_has_no_frames_with_signed_headers(make_blocking_data: Any, sandbox: Sandbox) -> None:
    sandbox.inject(Fault.reset_before(), action="PutObject", times=None)

    with pytest.raises(QfTasksError) as caught:
        make_blocking_data(max_retries=0).upload(RECORDS, DIRECTORY)

    frames = [frame for frame, _line in walk_tb(caught.value.__traceback__)][1:]
    assert frames
    assert not any("bce-auth-v1" in repr(frame.f_locals) for frame in frames)
    assert caught.value.__context__ is None


def test_clients_of_two_accounts_do_not_mix(make_blocking_data: Any, sandbox: Sandbox) -> None:
    access_key, secret_key = "ALTAKofanotherone", "fedcba9876543210"
    sandbox.add_key(access_key, secret_key, account="other")
    mine, other = make_blocking_data(), make_blocking_data(access_key=access_key, secret_key=secret_key)
    mine.upload(RECORDS, DIRECTORY)

    with pytest.raises(PermissionDeniedError):
        list(other.records(DIRECTORY))
    assert len(list(mine.records(DIRECTORY))) == len(RECORDS)


def test_delete_removes_the_directory_alone(data: Data, sandbox: Sandbox) -> None:
    for uri in ("bos:/bucket/in/a", "bos:/bucket/in/b/c.jsonl", "bos:/bucket/in2/a", "bos:/bucket/in"):
        sandbox.put(uri, "x")

    deleted = data.delete("bos:/bucket/in")

    assert deleted == 2
    assert list(sandbox.objects) == ["bos:/bucket/in", "bos:/bucket/in2/a"]


@pytest.mark.parametrize(
    "sandbox", [ServerBehavior(), ServerBehavior(object_next_marker=False)], indirect=True
)
def test_delete_of_more_than_a_page_removes_all(make_blocking_data: Any, sandbox: Sandbox) -> None:
    for number in range(1001):
        sandbox.put(f"bos:/bucket/in/{number}", "")

    assert make_blocking_data().delete(DIRECTORY) == 1001
    assert dict(sandbox.objects) == {}


def test_delete_whose_response_is_lost_succeeds(data: Data, sandbox: Sandbox) -> None:
    sandbox.put("bos:/bucket/in/a.jsonl", "x")
    sandbox.inject(Fault.reset_after(), action="DeleteMultipleObjects")

    assert data.delete("bos:/bucket/in/a.jsonl") == 1
    assert dict(sandbox.objects) == {}


def test_delete_of_a_file_keeps_others_that_begin_alike(data: Data, sandbox: Sandbox) -> None:
    for name in ("a.jsonl", "a.jsonl.old"):
        sandbox.put(f"bos:/bucket/in/{name}", "x")

    assert data.delete("bos:/bucket/in/a.jsonl") == 1
    assert list(sandbox.objects) == ["bos:/bucket/in/a.jsonl.old"]


@pytest.mark.parametrize(
    "uri", ["bos:/bucket", "bos:/bucket/", "bos:/bucket//", "bos://bucket/in/", "in/", ""]
)
def test_delete_of_a_bucket_or_no_directory_is_refused(data: Data, sandbox: Sandbox, uri: str) -> None:
    with pytest.raises(InvalidArgumentError):
        data.delete(uri)

    assert sandbox.requests == []


@pytest.mark.parametrize(
    ("line", "rule"),
    [('{"query": "q"}', "it has no id"), ("[]", "not a JSON object"), ('{"id": ""}', "no id")],
)
def test_records_with_a_line_that_is_none_raise_after_those_before(
    make_blocking_data: Any, sandbox: Sandbox, line: str, rule: str
) -> None:
    sandbox.put("bos:/bucket/in/a.jsonl", f'{{"id": "1", "query": "q"}}\n\n{line}\n')
    records = make_blocking_data().records(DIRECTORY)

    assert next(records).id == "1"
    with pytest.raises(InvalidRecordError, match=rule) as caught:
        next(records)
    assert (caught.value.file, caught.value.line) == ("bos:/bucket/in/a.jsonl", 3)


def test_records_leave_out_what_consoles_make_for_directories_and_delete_does_not(
    data: Data, sandbox: Sandbox
) -> None:
    sandbox.put("bos:/bucket/in/", "")
    sandbox.put("bos:/bucket/in/inner/", "")
    sandbox.put("bos:/bucket/in/inner/a.jsonl", '{"id": "1", "query": "q"}')

    assert [record.id for record in data.records(DIRECTORY)] == ["1"]
    assert sum(request.action == "GetObject" for request in sandbox.requests) == 1
    assert data.delete(DIRECTORY) == 3


@pytest.mark.parametrize(
    "listing",
    [
        {"contents": [{"key": "other/a", "size": 1, "eTag": "a"}], "isTruncated": False},
        {"contents": [{"key": "in/a", "size": -1, "eTag": "a"}], "isTruncated": False},
        {"contents": [{"key": "in/a", "size": 1}], "isTruncated": False},
        {"contents": [{"key": "in/a", "size": 1, "eTag": "a"}], "isTruncated": True, "nextMarker": "in/a"},
        {"contents": [], "isTruncated": True},
        {"contents": []},
    ],
)
def test_delete_by_a_listing_that_is_none_deletes_nothing(
    make_blocking_data: Any, sandbox: Sandbox, listing: dict[str, Any]
) -> None:
    sandbox.inject(Fault.transform(lambda _: listing), action="ListObjects", times=None)

    with pytest.raises(BadResponseError, match="The listing of bos:/bucket/in/"):
        make_blocking_data().delete(DIRECTORY)

    assert count(sandbox, "DeleteMultipleObjects") == 0


def test_records_of_a_closed_client_are_refused(blocking_client: TaskClient) -> None:
    blocking_client.close()

    with pytest.raises(QfTasksError, match="This client is closed"):
        list(blocking_client.data.records(DIRECTORY))


def test_records_of_an_empty_directory_raises_not_found(data: Data) -> None:
    with pytest.raises(NotFoundError):
        list(data.records("bos:/bucket/nothing/"))


def test_upload_has_no_named_file_that_a_kill_would_leave_behind(
    make_blocking_data: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder := tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    found: list[Path] = []

    make_blocking_data().upload(RECORDS, DIRECTORY, on_progress=lambda *_: found.extend(folder.iterdir()))

    assert found == []
