"""Decodes the results of the actions into values: the only file that knows the service's field names.

Decoding is tolerant, since much of the service is undocumented: a field of another type than documented is
None, and stays in `raw` as it was sent. A result that cannot be used at all is a `BadResponseError`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Unpack

from qf_tasks._protocol.actions import CREATE, GET, LIST, MODELS
from qf_tasks._protocol.responses import excerpt
from qf_tasks.errors import BadResponseError, ErrorDetails
from qf_tasks.models import (
    DataFormat,
    ModelFamily,
    ModelVersion,
    Response,
    RunStatus,
    SupportedModels,
    Task,
    TaskPage,
)

_DATA_FORMATS: dict[str | None, DataFormat] = {"default": "default", "src_tgt": "src_tgt", "role": "role"}
_KEY_SUFFIX = re.compile(r"(.*)(?:^| )\[key: (.{1,128})\]", re.DOTALL)


def with_key(description: str | None, key: str) -> str:
    """Return a description that ends in an idempotency key."""
    return f"{description} [key: {key}]" if description else f"[key: {key}]"


def split_key(description: str | None) -> tuple[str | None, str | None]:
    """Return a description as the caller gave it, and the idempotency key that `with_key` added to it."""
    match = _KEY_SUFFIX.fullmatch(description) if description else None
    return (match[1], match[2]) if match else (description, None)


def task(response: Response, task_id: str) -> Task:
    """Return the task that a response describes.

    Raises:
        BadResponseError: It is another task than `task_id`, or has no id or state.
    """
    decoded = _task(response.result, response.request_id)
    if decoded is None or decoded.task_id != task_id:
        raise _bad_result(
            response,
            "The response does not describe the task that was asked for",
            action=GET,
            task_id=task_id,
        )
    return decoded


def task_page(response: Response) -> TaskPage:
    """Return the page of tasks that a response holds.

    Raises:
        BadResponseError: It holds no list of tasks, or one of them has no id or state.
    """
    result = response.result
    if not isinstance(result, dict) or not isinstance(result.get("taskList"), list):
        raise _bad_result(response, "The response holds no list of tasks", action=LIST)
    decoded = [_task(raw, response.request_id) for raw in result["taskList"]]
    tasks = tuple(task for task in decoded if task is not None)
    if len(tasks) < len(decoded):
        raise _bad_result(response, "A listed task has no id or state", action=LIST)
    page_info = result.get("pageInfo")
    page_info = page_info if isinstance(page_info, dict) else {}
    return TaskPage(
        tasks=tasks,
        next_marker=_text(page_info, "nextMarker") or None,
        is_truncated=page_info.get("isTruncated") is True,
        request_id=response.request_id,
    )


def created_task_id(response: Response) -> str:
    """Return the id of the task that a create made.

    Raises:
        BadResponseError: There is none, so that the task may exist under an unknown id.
    """
    result = response.result
    if task_id := _identifier(result, "taskId") if isinstance(result, dict) else None:
        return task_id
    raise _bad_result(
        response, "The response to the create has no task id", action=CREATE, may_have_been_applied=True
    )


def supported_models(response: Response) -> SupportedModels:
    """Return the models that a response lists.

    Raises:
        BadResponseError: It holds no lists of models.
    """
    result = response.result
    if not isinstance(result, dict):
        raise _bad_result(response, "The response holds no models", action=MODELS)
    return SupportedModels(
        common=_families(result.get("commonModelList")),
        custom=_families(result.get("customModelList")),
        request_id=response.request_id,
    )


def _task(raw: object, request_id: str | None) -> Task | None:
    """Return the task that an object describes, None if it has no id or state."""
    if not isinstance(raw, dict):
        return None
    task_id, run_status = _identifier(raw, "taskId"), _identifier(raw, "runStatus")
    if not task_id or not run_status:
        return None
    description, idempotency_key = split_key(_text(raw, "description"))
    params = raw.get("inferenceParams")
    output_bos_uri, output_dir = _text(raw, "outputBosUri"), _text(raw, "outputDir")
    return Task(
        task_id=task_id,
        run_status=RunStatus(run_status),
        name=_text(raw, "name"),
        description=description,
        endpoint=_text(raw, "endpoint"),
        model_id=_text(raw, "modelId"),
        inference_params=params if isinstance(params, dict) else None,
        input_bos_uri=_text(raw, "inputBosUri"),
        output_bos_uri=output_bos_uri,
        output_dir=output_dir,
        output_uri=f"{output_bos_uri.rstrip('/')}/{output_dir}" if output_bos_uri and output_dir else None,
        input_token_usage=_integer(raw, "inputTokenUsage"),
        output_token_usage=_integer(raw, "outputTokenUsage"),
        progress=_integer(raw, "progress"),
        error_code=_integer(raw, "errorCode"),
        error_reason=_text(raw, "errorReason"),
        creator=_text(raw, "creator"),
        create_time=_time(raw, "createTime"),
        finish_time=_time(raw, "finishTime"),
        data_format=_DATA_FORMATS.get(_text(raw, "dataFormat")),
        idempotency_key=idempotency_key,
        raw=raw,
        request_id=request_id,
    )


def _families(models: object) -> tuple[ModelFamily, ...]:
    return tuple(
        ModelFamily(model_id, _text(raw, "modelName"), _versions(raw.get("modelVersionList")))
        for model_id, raw in _with_id(models, "modelId")
    )


def _versions(versions: object) -> tuple[ModelVersion, ...]:
    return tuple(
        ModelVersion(version_id, _text(raw, "modelVersionName"))
        for version_id, raw in _with_id(versions, "modelVersionId")
    )


def _with_id(objects: object, name: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for raw in objects if isinstance(objects, list) else ():
        if isinstance(raw, dict) and (identifier := _text(raw, name)):
            yield identifier, raw


def _text(raw: Mapping[str, Any], name: str) -> str | None:
    value = raw.get(name)
    return value if isinstance(value, str) else None


def _identifier(raw: Mapping[str, Any], name: str) -> str | None:
    """Return a text that can be sent back and printed as it is, None if it has white space in it."""
    text = _text(raw, name)
    return text if text and text.isprintable() and " " not in text else None


def _integer(raw: Mapping[str, Any], name: str) -> int | None:
    value = raw.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _time(raw: Mapping[str, Any], name: str) -> datetime | None:
    try:
        time = datetime.fromisoformat(_text(raw, name) or "")
        is_known = time.tzinfo is not None and time.year > 1  # some languages write "no time" as year 1
        return time.astimezone(UTC) if is_known else None
    except (ValueError, OverflowError):
        return None


def _bad_result(response: Response, problem: str, **details: Unpack[ErrorDetails]) -> BadResponseError:
    details["status"], details["request_id"] = response.status, response.request_id
    details["attempts"] = response.attempts
    return BadResponseError(
        f"{problem}: {excerpt(json.dumps(response.body, ensure_ascii=False).encode())}", **details
    )
