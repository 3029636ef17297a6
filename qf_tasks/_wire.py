"""The service's objects, read as values of this library: the only place with its names for their fields.

Reading is tolerant, since much of the service is documented nowhere: a field of another type than
documented is None, and stays in `raw` as it was sent. What cannot be used at all gives None.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from qf_tasks.models import DataFormat, ModelFamily, ModelVersion, RunStatus, SupportedModels, Task, TaskPage

_DATA_FORMATS: dict[str | None, DataFormat] = {"default": "default", "src_tgt": "src_tgt", "role": "role"}


def task(raw: object, request_id: str | None) -> Task | None:
    """Return the task that an object describes (mluhsekbp), None where it has no id or state."""
    if not isinstance(raw, dict):
        return None
    task_id, run_status = _word(raw, "taskId"), _word(raw, "runStatus")
    if not task_id or not run_status:
        return None
    params = raw.get("inferenceParams")
    output_bos_uri, output_dir = _text(raw, "outputBosUri"), _text(raw, "outputDir")
    return Task(
        task_id=task_id,
        run_status=RunStatus(run_status),
        name=_text(raw, "name"),
        description=_text(raw, "description"),
        endpoint=_text(raw, "endpoint"),
        model_id=_text(raw, "modelId"),
        inference_params=params if isinstance(params, dict) else None,
        input_bos_uri=_text(raw, "inputBosUri"),
        output_bos_uri=output_bos_uri,
        output_dir=output_dir,
        output_uri=f"{output_bos_uri.rstrip('/')}/{output_dir}" if output_bos_uri and output_dir else None,
        input_token_usage=_count(raw, "inputTokenUsage"),
        output_token_usage=_count(raw, "outputTokenUsage"),
        progress=_count(raw, "progress"),
        error_code=_count(raw, "errorCode"),
        error_reason=_text(raw, "errorReason"),
        creator=_text(raw, "creator"),
        create_time=_time(raw, "createTime"),
        finish_time=_time(raw, "finishTime"),
        data_format=_DATA_FORMATS.get(_text(raw, "dataFormat")),
        raw=raw,
        request_id=request_id,
    )


def created_task_id(result: object) -> str | None:
    """Return the id of the answer to a create (mluhr9zde)."""
    return _word(result, "taskId") if isinstance(result, dict) else None


def page(result: object, request_id: str | None) -> TaskPage | None:
    """Return the page of a listing (blvje5ica), None where it is none, or a task on it is none."""
    if not isinstance(result, dict) or not isinstance(result.get("taskList"), list):
        return None
    read = [task(raw, request_id) for raw in result["taskList"]]
    tasks = tuple(found for found in read if found is not None)
    if len(tasks) < len(read):
        return None
    about = result.get("pageInfo")
    about = about if isinstance(about, dict) else {}
    return TaskPage(
        tasks=tasks,
        next_marker=_text(about, "nextMarker") or None,
        is_truncated=about.get("isTruncated") is True,
        request_id=request_id,
    )


def supported_models(result: object, request_id: str | None) -> SupportedModels | None:
    """Return the models that batch inference takes (5mo1fxxjr)."""
    if not isinstance(result, dict):
        return None
    return SupportedModels(
        common=_families(result.get("commonModelList")),
        custom=_families(result.get("customModelList")),
        request_id=request_id,
    )


def _families(listed: object) -> tuple[ModelFamily, ...]:
    return tuple(
        ModelFamily(model_id, _text(raw, "modelName"), _versions(raw.get("modelVersionList")))
        for model_id, raw in _with_id(listed, "modelId")
    )


def _versions(listed: object) -> tuple[ModelVersion, ...]:
    return tuple(
        ModelVersion(version_id, _text(raw, "modelVersionName"))
        for version_id, raw in _with_id(listed, "modelVersionId")
    )


def _with_id(listed: object, name: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for raw in listed if isinstance(listed, list) else ():
        if isinstance(raw, dict) and (found := _text(raw, name)):
            yield found, raw


def _text(raw: Mapping[str, Any], name: str) -> str | None:
    value = raw.get(name)
    return value if isinstance(value, str) else None


def _word(raw: Mapping[str, Any], name: str) -> str | None:
    """Return a text that can be passed on and printed as it is; one with white space in it is no word."""
    text = _text(raw, name)
    return text if text and text.isprintable() and " " not in text else None


def _count(raw: Mapping[str, Any], name: str) -> int | None:
    value = raw.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _time(raw: Mapping[str, Any], name: str) -> datetime | None:
    try:
        time = datetime.fromisoformat(_text(raw, name) or "")
        is_point = time.tzinfo is not None and time.year > 1  # in year 1 lies the zero of some languages
        return time.astimezone(UTC) if is_point else None
    except (ValueError, OverflowError):
        return None
