"""Results become values: tasks, pages, ids and models; what cannot be used is a bad response."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from qf_tasks import BadResponseError
from qf_tasks._protocol.decoding import (
    created_task_id,
    split_key,
    supported_models,
    task,
    task_page,
    with_key,
)
from qf_tasks.models import Response


def response(result: object) -> Response:
    return Response({"result": result}, "r-1", 200, {})


@pytest.mark.parametrize("description", ["nightly", "ends in [key: other]", "two\nlines", " spaces "])
@pytest.mark.parametrize("key", ["daily-2025-06-01", "with ] in it", "x" * 128, "每日"])
def test_split_key_returns_what_with_key_joined(description: str, key: str) -> None:
    assert split_key(with_key(description, key)) == (description, key)


@pytest.mark.parametrize("description", [None, ""])
def test_split_key_of_description_that_is_only_a_key_is_empty(description: str | None) -> None:
    assert split_key(with_key(description, "daily")) == ("", "daily")


@pytest.mark.parametrize(
    "description", [None, "", "nightly", "[key: ]", "x[key: y]", "[key: y] x", f"x [key: {'y' * 129}]"]
)
def test_split_key_of_description_without_key_returns_it(description: str | None) -> None:
    assert split_key(description) == (description, None)


def test_task_has_description_and_key_apart_and_both_in_raw() -> None:
    raw = {"taskId": "infer-1", "runStatus": "Done", "description": "nightly [key: daily]"}

    decoded = task(response(raw), "infer-1")

    assert (decoded.description, decoded.idempotency_key) == ("nightly", "daily")
    assert decoded.raw == raw


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2025-06-01T10:00:00Z", datetime(2025, 6, 1, 10, tzinfo=UTC)),
        ("2025-06-01T18:00:00+08:00", datetime(2025, 6, 1, 10, tzinfo=UTC)),
        ("2025-06-01T10:00:00", None),
        ("0001-01-01T00:00:00Z", None),
        ("0001-01-01T00:00:00+23:59", None),
        ("yesterday", None),
        (1717200000, None),
    ],
)
def test_time_of_a_task_is_in_utc_or_unknown(text: object, expected: datetime | None) -> None:
    raw = {"taskId": "infer-1", "runStatus": "Done", "createTime": text}

    assert task(response(raw), "infer-1").create_time == expected


def test_page_has_tasks_marker_and_request_id() -> None:
    listed = [{"taskId": f"infer-{number}", "runStatus": "Done"} for number in (1, 2)]
    page_info = {"nextMarker": "infer-3", "isTruncated": True}

    page = task_page(response({"taskList": listed, "pageInfo": page_info}))

    assert [task.task_id for task in page] == ["infer-1", "infer-2"]
    assert (page.next_marker, page.is_truncated, page.request_id) == ("infer-3", True, "r-1")


def test_id_of_a_create_and_models_are_those_of_the_response() -> None:
    version = {"modelVersionId": "amv-1", "modelVersionName": "one"}
    model = {"modelId": "am-1", "modelName": "ERNIE", "modelVersionList": [version, {}, 1]}

    models = supported_models(response({"commonModelList": [model, {}, "x"], "customModelList": None}))

    assert created_task_id(response({"taskId": "infer-1"})) == "infer-1"
    assert [family.model_id for family in models.common] == ["am-1"]
    assert [version.model_version_id for version in models.common[0].versions] == ["amv-1"]
    assert (models.custom, models.request_id) == ((), "r-1")


@pytest.mark.parametrize("decode", [task_page, supported_models, created_task_id])
@pytest.mark.parametrize("result", [None, True, [], "text", 1])
def test_result_that_is_no_object_is_a_bad_response(
    decode: Callable[[Response], object], result: object
) -> None:
    with pytest.raises(BadResponseError) as caught:
        decode(response(result))

    assert (caught.value.request_id, caught.value.status) == ("r-1", 200)
    assert caught.value.may_have_been_applied == (decode is created_task_id)


@pytest.mark.parametrize(
    "listed", [{}, [{"taskId": "infer-1"}], [{"taskId": "a b", "runStatus": "Done"}, {}]]
)
def test_page_with_a_task_that_is_none_is_a_bad_response(listed: Any) -> None:
    with pytest.raises(BadResponseError):
        task_page(response({"taskList": listed}))
