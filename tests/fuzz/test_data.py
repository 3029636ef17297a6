"""Whatever records, lines and responses of the object storage are: a value, or an error of this library."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qf_tasks import InvalidArgumentError, InvalidRecordError, QfTasksError, TaskClient
from qf_tasks.data import jsonl
from qf_tasks.data.results import join, parse_results
from qf_tasks.sandbox import Fault, Sandbox

from .test_responses import _contents, _headers, _replaced, _statuses
from .values import Json, any_value, json_values

pytestmark = pytest.mark.fuzz

_MAX_REQUESTS = 100


def _check(error: QfTasksError) -> None:
    assert str(error).isprintable()
    assert "bce-auth-v1/" not in str(error)
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


# Records.


@given(
    records=any_value
    | st.lists(any_value, max_size=4)
    | st.lists(st.fixed_dictionaries({"query": any_value}))
)
def test_records_of_any_kind_become_lines_or_are_refused(records: object) -> None:
    try:
        lines = list(jsonl.lines(records))
    except (InvalidRecordError, InvalidArgumentError) as error:
        _check(error)
    else:
        assert all(isinstance(json.loads(line)["id"], str) for line in lines)


_pieces = st.sampled_from(
    [
        *(
            b"\n",
            b"\r\n",
            b" ",
            b"\xef\xbb\xbf",
            b"\xe2\x80\xa8",
            b"\x00",
            b"\xff",
            b"[" * 2000,
            b"x" * 50,
            b"{}",
        ),
        *(b'{"id": "1", "query": "q"}', b'{"id": "2", "query": "q", "output": {"result": "a"}}'),
        *(b'{"id": "3", "output": ', b'{"id": 4}', b"NaN", b'{"id": "\\ud800", "query": "\\ud800"}'),
        *(b'{"id": "5", "error": {"code": 1}}', b'{"id": "1", "output": {"choices": [{"message": null}]}}'),
    ]
)
_results = json_values.map(lambda value: json.dumps({"id": "1", "output": value, "error": value}).encode())
_jsonl = st.lists(_pieces | st.binary(max_size=9) | _results, max_size=12).map(b"".join)


@given(content=_jsonl)
def test_file_of_any_bytes_becomes_lines_or_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    path.write_bytes(content)
    try:
        lines = list(jsonl.lines(path))
    except (InvalidRecordError, InvalidArgumentError) as error:
        _check(error)
    else:
        assert len({json.loads(line)["id"] for line in lines}) == len(lines)


@given(content=_jsonl, size=st.integers(1, 50), max_bytes=st.integers(1, 100))
def test_results_of_any_bytes_have_an_outcome_each_whatever_the_chunks_are(
    content: bytes, size: int, max_bytes: int
) -> None:
    chunks = [content[start : start + size] for start in range(0, len(content), size)]

    lines = list(jsonl.split_lines(chunks, max_bytes))
    results = list(join(parse_results(lines, "file"), lambda: iter([])))

    assert lines == list(jsonl.split_lines([content], max_bytes))
    assert len(results) == len(lines)
    assert all(result.model_validate_json(result.model_dump_json()) == result for result in results)


# Responses of the object storage.

_METHODS: dict[str, Callable[[Any, Path], object]] = {
    "upload": lambda data, _: data.upload([{"query": "q"}], "bos:/bucket/new/"),
    "records": lambda data, _: [*data.records("bos:/bucket/in/")],
    "results": lambda data, _: [*data.results("infer-1", missing=True)],
    "download to a file": lambda data, folder: data.download("infer-1", folder / "results.jsonl"),
    "download to a directory": lambda data, folder: data.download("infer-1", folder),
    "delete": lambda data, _: data.delete("bos:/bucket/in/"),
}
_methods = st.sampled_from([*_METHODS])
_operations = st.sampled_from(["ListObjects", "GetObject", "PutObject", "DeleteMultipleObjects"])
_bos_headers = st.dictionaries(
    st.sampled_from(["ETag", "Content-Range", "x-bce-request-id", "Content-MD5", "x-bce-next-append-offset"]),
    st.sampled_from(['"a"', "", "bytes 0-1/2", "bytes 5-1/0", "bytes */9", "\xff", "nan", "9" * 30]),
    max_size=3,
)
_bos_contents = st.sampled_from(
    [
        b"<?xml version='1.0'?><Error><Code>NoSuchKey</Code></Error>",
        b'{"code": "NoSuchBucket", "message": "x", "requestId": "r"}',
        b'{"code": "SlowDown"}',
        b'{"contents": [], "isTruncated": true}',
        b'{"contents": [{"key": "in/a", "size": 1, "eTag": "a"}], "isTruncated": true, "nextMarker": "in/a"}',
        b'{"contents": {}, "isTruncated": false}',
        b'{"errors": [{}]}',
        b'{"errors": [{"key": "a", "code": "AccessDenied", "message": null}]}',
    ]
)


def _call(client: TaskClient, sandbox: Sandbox, method: str, folder: Path) -> None:
    """Call a method with two files of input and output in the store, whatever the responses are."""
    sandbox.add_task("infer-1", fields={"inputBosUri": "bos:/bucket/in/", "outputBosUri": "bos:/bucket/out/"})
    for name in ("a", "b"):
        sandbox.put(f"bos:/bucket/in/{name}.jsonl", '{"id": "1", "query": "q"}')
        directory = sandbox.tasks["infer-1"]["outputDir"]
        sandbox.put(f"bos:/bucket/out/{directory}/{name}.jsonl", '{"id": "1", "query": "q", "output": 1}')
    try:
        _METHODS[method](client.data, folder)
    except QfTasksError as error:
        _check(error)
    assert len(sandbox.requests) < _MAX_REQUESTS
    assert sandbox.errors == []


@given(
    method=_methods,
    operation=_operations,
    status=_statuses,
    headers=_headers | _bos_headers,
    content=_contents | _bos_contents,
    skip=st.integers(0, 2),
)
def test_data_with_any_response_returns_or_raises(
    sandbox: Sandbox,
    blocking_client: TaskClient,
    tmp_path: Path,
    *,
    method: str,
    operation: str,
    status: int,
    headers: dict[str, str],
    content: bytes,
    skip: int,
) -> None:
    sandbox.reset()
    fault = Fault.body(content, status=status, headers=headers)
    sandbox.inject(fault, action=operation, times=None, skip=skip)
    _call(blocking_client, sandbox, method, tmp_path)


@given(method=_methods, value=json_values, index=st.integers(0, 30), skip=st.integers(0, 1))
def test_data_with_any_json_inside_a_real_listing_returns_or_raises(
    sandbox: Sandbox,
    blocking_client: TaskClient,
    tmp_path: Path,
    *,
    method: str,
    value: Json,
    index: int,
    skip: int,
) -> None:
    sandbox.reset()
    fault = Fault.transform(lambda body: _replaced(body, index, value))
    sandbox.inject(fault, action="ListObjects", times=None, skip=skip)
    _call(blocking_client, sandbox, method, tmp_path)
