"""`data.results` and `data.download`: whole, or an error; joined with the input; resumed."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path
from traceback import walk_tb
from typing import Any

import pytest

from qf_tasks import (
    InvalidArgumentError,
    NotFoundError,
    QfTasksError,
    Result,
    RunStatus,
    Task,
    TaskNotFoundError,
    TaskStateError,
)
from qf_tasks.data.facades import Data
from qf_tasks.data.jsonl import Line
from qf_tasks.data.results import parse_results
from qf_tasks.sandbox import Fault, Sandbox, ServerBehavior

BREAKS = [Fault.truncated(), Fault.reset_before(), Fault.reset_after(), Fault.status(503), Fault.html(502)]


def output_of(sandbox: Sandbox, task_id: str) -> str:
    return f"bos:/bucket/out/{sandbox.tasks[task_id]['outputDir']}"


def count(sandbox: Sandbox, action: str) -> int:
    return sum(request.action == action for request in sandbox.requests)


def test_results_of_a_task_have_the_text(data: Data, task_with_output: str) -> None:
    results = list(data.results(task_with_output))

    assert [(result.id, result.text, result.outcome) for result in results] == [
        ("2", "two", "succeeded"),
        ("1", "one", "succeeded"),
    ]


def test_results_joined_with_the_input_name_what_is_missing_or_unexpected(
    data: Data, sandbox: Sandbox, task_with_output: str
) -> None:
    lines = [
        {"id": "9", "query": "q9", "output": {"result": "of no record"}},
        {"id": "4", "query": "another", "output": {"result": "of another query"}},
        {"id": "2", "output": {"result": "a second one"}},
        {"id": "3", "output": {"result": "without its query"}},
    ]
    sandbox.put(f"{output_of(sandbox, task_with_output)}/c.jsonl", "\n".join(map(json.dumps, lines)))

    results = list(data.results(task_with_output, missing=True))

    assert [(result.id, result.outcome) for result in results] == [
        ("2", "succeeded"),
        ("1", "succeeded"),
        ("9", "unexpected"),
        ("4", "unexpected"),
        ("2", "unexpected"),
        ("3", "succeeded"),
        ("4", "missing"),
    ]
    assert results[-1].query == "q4"
    assert [result.error for result in results if result.outcome == "unexpected"] == [
        "The input has no record with this id",
        "The record with this id has another prompt",
        "There is another result for this record",
    ]


def test_results_of_an_empty_output_are_missing(
    make_blocking_data: Any, sandbox: Sandbox, task_with_output: str
) -> None:
    for name in "ab":
        sandbox.put(f"{output_of(sandbox, task_with_output)}/{name}.jsonl", "")

    results = list(make_blocking_data().results(task_with_output, missing=True))

    assert [(result.id, result.outcome) for result in results] == [(n, "missing") for n in "1234"]


def test_results_with_unreadable_lines_go_on(data: Data, sandbox: Sandbox, task_with_output: str) -> None:
    uri = f"{output_of(sandbox, task_with_output)}/a.jsonl"
    lines = [b"\xff", b"[]", b'{"id": ""}', b"", '{"id": "2", "output": {"result": "a\u2028b"}}'.encode()]
    sandbox.put(uri, b"\n".join([*lines, b'{"id": "1", "output": NaN}']))

    results = [result for result in data.results(task_with_output) if result.file == uri]

    assert [(result.line, result.outcome, result.text) for result in results] == [
        (1, "unreadable", None),
        (2, "unreadable", None),
        (3, "unreadable", None),
        (5, "succeeded", "a\u2028b"),
        (6, "unreadable", None),
    ]


@pytest.mark.parametrize(
    ("line", "outcome", "text", "error"),
    [
        ({"output": {"choices": [{"message": {"content": "hi"}}]}}, "succeeded", "hi", None),
        ({"output": {"choices": [{"message": {"content": "hi"}}, {}]}}, "succeeded", "hi", None),
        ({"output": {"vector": [1]}}, "succeeded", None, None),
        ({"error": {"code": 336, "message": "bad"}}, "failed", None, "bad [336]"),
        ({"output": {"error_code": 4, "error_msg": "limit"}}, "failed", None, "limit [4]"),
        ({"error": "no"}, "failed", None, "no"),
        ({}, "failed", None, "The result has no output"),
    ],
)
def test_result_of_any_shape_has_an_outcome(
    line: dict[str, Any], outcome: str, text: str | None, error: str | None
) -> None:
    (result,) = parse_results([Line(json.dumps({"id": "1", **line}).encode(), 1)], "file")

    assert (result.outcome, result.text, result.error) == (outcome, text, error)
    assert Result.model_validate_json(result.model_dump_json()) == result


def test_result_has_the_tokens_in_the_names_of_the_service() -> None:
    line = {"id": "1", "output": {"result": "hi", "usage": {"total_tokens": 3}}}

    (result,) = parse_results([Line(json.dumps(line).encode(), 1)], "file")

    assert result.usage == {"total_tokens": 3}


def test_results_and_download_with_a_fault_at_any_request_are_whole_or_raise(
    make_blocking_data: Any, sandbox: Sandbox, task_with_output: str, tmp_path: Path
) -> None:
    whole = b"".join(b'{"id": "%d", "output": {"result": "%s"}}\n' % (n, b"x" * 300) for n in range(1000))
    for name in "ab":
        sandbox.put(f"{output_of(sandbox, task_with_output)}/{name}.jsonl", whole)
    actions = [("ListObjects", 0), ("GetObject", 0), ("GetObject", 1)]
    for index, (retries, fault, (action, skip)) in enumerate(product((0, 2), BREAKS, actions)):
        data, path = make_blocking_data(max_retries=retries), tmp_path / f"{index}.jsonl"
        sandbox.inject(fault, action=action, skip=skip)
        try:
            ids = [result.id for result in data.results(task_with_output)]
        except QfTasksError:
            assert retries == 0
        else:
            assert ids == [str(n) for n in range(1000)] * 2
        sandbox.inject(fault, action=action, skip=skip)
        try:
            data.download(task_with_output, path)
        except QfTasksError:
            assert retries == 0
            assert not path.exists()
            data.download(task_with_output, path)  # goes on where it stopped
        assert path.read_bytes() == whole * 2
        assert len(list(tmp_path.glob(".*.part"))) == 0
    assert sandbox.unused_faults == []


def test_download_after_a_break_asks_for_the_rest_alone(
    make_blocking_data: Any, sandbox: Sandbox, task_with_output: str, tmp_path: Path
) -> None:
    data = make_blocking_data(max_retries=0)
    sandbox.put(f"{output_of(sandbox, task_with_output)}/b.jsonl", b"x" * 1_000_000)
    sandbox.inject(Fault.truncated(), action="GetObject", skip=1)
    with pytest.raises(QfTasksError):
        data.download(task_with_output, tmp_path / "results.jsonl")
    progress: list[tuple[int, int]] = []

    data.download(
        task_with_output, tmp_path / "results.jsonl", on_progress=lambda *done: progress.append(done)
    )

    last = sandbox.requests[-1]
    assert int(last.headers["Range"].removeprefix("bytes=").removesuffix("-")) > 400_000
    assert "If-Match" in last.headers
    assert progress[-1][0] == progress[-1][1]
    assert (tmp_path / "results.jsonl").stat().st_size == progress[-1][1]


def test_download_after_a_break_begins_anew_if_the_object_has_been_replaced_by_one_of_its_size(
    make_blocking_data: Any, sandbox: Sandbox, task_with_output: str, tmp_path: Path
) -> None:
    data, target = make_blocking_data(max_retries=0), tmp_path / "results.jsonl"
    uri = f"{output_of(sandbox, task_with_output)}/b.jsonl"
    sandbox.put(uri, b"x" * 1_000_000)
    sandbox.inject(Fault.truncated(), action="GetObject", skip=1)
    with pytest.raises(QfTasksError):
        data.download(task_with_output, target)
    sandbox.put(uri, b"y" * 1_000_000)

    data.download(task_with_output, target)

    assert target.read_bytes().endswith(b"\n" + b"y" * 1_000_000)


def test_download_of_files_without_a_last_line_break_separates_them_after_a_break_too(
    make_blocking_data: Any, sandbox: Sandbox, task_with_output: str, tmp_path: Path
) -> None:
    data = make_blocking_data(max_retries=0)
    for name in "abc":
        sandbox.put(f"{output_of(sandbox, task_with_output)}/{name}.jsonl", name * 1000)
    for skip in (0, 0, 1):
        sandbox.inject(Fault.truncated(), action="GetObject", skip=skip)
        with pytest.raises(QfTasksError):
            data.download(task_with_output, tmp_path / "results.jsonl")

    data.download(task_with_output, tmp_path / "results.jsonl")

    assert (tmp_path / "results.jsonl").read_text().split("\n") == ["a" * 1000, "b" * 1000, "c" * 1000]


def test_read_of_an_object_that_changes_after_a_break_raises(
    data: Data, sandbox: Sandbox, task_with_output: str, tmp_path: Path
) -> None:
    sandbox.inject(Fault.headers({"ETag": '"other"'}), action="GetObject")

    with pytest.raises(QfTasksError, match="has changed"):
        data.download(task_with_output, tmp_path / "results.jsonl")

    assert not (tmp_path / "results.jsonl").exists()


def test_results_error_has_no_frames_with_signed_headers(
    make_blocking_data: Any, sandbox: Sandbox, task_with_output: str
) -> None:
    sandbox.inject(Fault.reset_before(), action="GetObject")

    with pytest.raises(QfTasksError) as caught:
        list(make_blocking_data(max_retries=0).results(task_with_output))

    frames = [frame for frame, _line in walk_tb(caught.value.__traceback__)][1:]
    assert frames
    assert not any("bce-auth-v1" in repr(frame.f_locals) for frame in frames)


def test_download_to_a_directory_writes_each_file_once(
    data: Data, sandbox: Sandbox, task_with_output: str, tmp_path: Path
) -> None:
    data.download(task_with_output, f"{tmp_path}/out/")
    requests = count(sandbox, "GetObject")

    data.download(task_with_output, tmp_path / "out")

    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.jsonl", "b.jsonl"]
    assert '"one"' in (tmp_path / "out" / "b.jsonl").read_text()
    assert count(sandbox, "GetObject") == requests == 2


@pytest.mark.parametrize("key", ["../evil", "..\\evil", "inner/../../evil", "inner//evil"])
def test_download_of_a_key_that_leads_out_of_the_directory_is_refused(
    make_blocking_data: Any, sandbox: Sandbox, task_with_output: str, tmp_path: Path, key: str
) -> None:
    sandbox.put(f"{output_of(sandbox, task_with_output)}/{key}", "x")
    (tmp_path / "out").mkdir()

    with pytest.raises(QfTasksError, match="cannot be a path"):
        make_blocking_data().download(task_with_output, tmp_path / "out")

    assert not list(tmp_path.rglob("*evil"))


def test_download_to_a_device_is_refused(data: Data, sandbox: Sandbox, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    with pytest.raises(InvalidArgumentError, match="not a device or pipe"):
        data.download("infer-x", pipe)
    assert sandbox.requests == []


def test_download_into_a_missing_directory_is_refused(data: Data, sandbox: Sandbox, tmp_path: Path) -> None:
    with pytest.raises(InvalidArgumentError, match="does not exist"):
        data.download("infer-1", tmp_path / "no" / "results.jsonl")

    assert sandbox.requests == []


def test_results_of_a_task_that_has_ended_since_it_was_described_are_read(
    make_blocking_data: Any, task_with_output: str
) -> None:
    before = Task(task_id=task_with_output, run_status=RunStatus.RUNNING)

    assert len(list(make_blocking_data().results(before))) == 2


def test_results_of_a_task_that_runs_raise(data: Data, sandbox: Sandbox) -> None:
    task_id = sandbox.add_task(run_status="Running")

    with pytest.raises(TaskStateError, match="Running"):
        next(data.results(task_id))


def test_results_of_a_task_without_output_raise_not_found(make_blocking_data: Any, sandbox: Sandbox) -> None:
    with pytest.raises(NotFoundError):
        next(make_blocking_data().results(sandbox.add_task()))


def test_results_of_a_failed_task_without_output_say_how_it_ended(
    make_blocking_data: Any, sandbox: Sandbox
) -> None:
    task_id = sandbox.add_task(run_status="Failed")

    with pytest.raises(NotFoundError, match=f"Task {task_id} is Failed and has no output"):
        next(make_blocking_data().results(task_id))


def task_of_two_files(sandbox: Sandbox, **fields: Any) -> str:
    """Return a task that ended at this moment, whose input has two files, and the first of its output."""
    for name in "ab":
        sandbox.put(f"bos:/bucket/in/{name}.jsonl", '{"id": "1", "query": "q"}\n')
    sandbox.advance(100)
    uris = {"inputBosUri": "bos:/bucket/in/", "outputBosUri": "bos:/bucket/out/"}
    task_id = sandbox.add_task(fields=uris, **fields)
    sandbox.put(f"{output_of(sandbox, task_id)}/a.jsonl", '{"id": "1", "output": {"result": "a"}}\n')
    return task_id


@pytest.mark.parametrize("sandbox", [ServerBehavior(object_list_delay=10)], indirect=True)
def test_results_wait_until_as_many_files_are_listed_as_the_input_has(
    make_blocking_data: Any, sandbox: Sandbox
) -> None:
    task_id = task_of_two_files(sandbox)
    sandbox.advance(9)
    sandbox.put(f"{output_of(sandbox, task_id)}/b.jsonl", '{"id": "1", "output": {"result": "b"}}\n')

    results = list(make_blocking_data().results(task_id))

    assert [result.text for result in results] == ["a", "b"]


@pytest.mark.parametrize("sandbox", [ServerBehavior(object_list_delay=10)], indirect=True)
def test_download_waits_for_a_listing_that_lags_behind(
    make_blocking_data: Any, sandbox: Sandbox, tmp_path: Path
) -> None:
    path = make_blocking_data().download(task_of_two_files(sandbox), tmp_path / "results.jsonl")

    assert '"a"' in path.read_text()


def test_results_of_a_file_that_never_appears_are_those_of_the_others(
    make_blocking_data: Any, sandbox: Sandbox
) -> None:
    started = sandbox.now

    results = list(make_blocking_data().results(task_of_two_files(sandbox)))

    assert [result.text for result in results] == ["a"]
    assert sandbox.now - started < timedelta(seconds=100 + 16)


@pytest.mark.parametrize(
    "fields", [{"run_status": "Stopped"}, {"finish_time": datetime(2026, 1, 1, tzinfo=UTC)}]
)
def test_results_of_a_task_that_was_stopped_or_ended_long_ago_do_not_wait(
    data: Data, sandbox: Sandbox, fields: dict[str, Any]
) -> None:
    results = list(data.results(task_of_two_files(sandbox, **fields)))

    assert [result.text for result in results] == ["a"]
    assert count(sandbox, "ListObjects") == 1


def test_results_of_an_input_that_cannot_be_listed_do_not_depend_on_it(
    data: Data, sandbox: Sandbox, task_with_output: str
) -> None:
    sandbox.inject(Fault.status(403, code="AccessDenied"), action="ListObjects")

    assert len(list(data.results(task_with_output))) == 2


def test_results_of_a_missing_task_raise(data: Data) -> None:
    with pytest.raises(TaskNotFoundError):
        next(data.results("infer-missing"))
