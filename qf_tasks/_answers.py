"""What an answer of the service means: a reply, a typed value, or the error that it is.

It is given status, headers and bytes, and does not know how they came.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any, NamedTuple, Unpack

from qf_tasks import _wire
from qf_tasks._codes import api_error, safe_line
from qf_tasks.errors import ApiError, BadResponseError, ErrorDetails, QfTasksError
from qf_tasks.models import Response, SupportedModels, Task, TaskPage

# These two answer `"result": true` (Tmo1fqp46 and the page of the delete); nothing else is a success.
_CONFIRMED = frozenset({"StopBatchInferenceTask", "DeleteBatchInferenceTask"})
_NO_ERROR = (None, "", 0, "0")
_UNREADABLE = object()


class Answer(NamedTuple):
    """What came over the wire; header names are in lower case."""

    status: int
    headers: dict[str, str]
    content: bytes
    elapsed: float = 0.0


def read(answer: Answer, action: str, task_id: str | None = None) -> Response:
    """Return the reply that an answer holds.

    Raises:
        ApiError: the service said no, by status, inside a 200, or by `"result": false`.
        BadResponseError: it is no answer of the service.
    """
    body = _parsed(answer.content)
    fields = body if isinstance(body, dict) else {}
    request_id = _request_id(answer, fields)
    facts = ErrorDetails(status=answer.status, request_id=request_id, action=action, task_id=task_id)
    if refusal := _refusal(answer, fields):
        facts["code"], message = refusal
        facts["retry_after"] = _retry_after(answer)
        raise api_error(message, **facts)
    if not 200 <= answer.status < 300:
        raise _unshaped(answer, body, facts)
    if not isinstance(body, dict):
        raise _unreadable("The answer is no JSON object", answer, facts)
    if "result" not in body:
        raise _unreadable("The answer has no result", answer, facts)
    if action in _CONFIRMED and body["result"] is not True:
        raise _unconfirmed(body["result"], answer, facts)
    return Response(
        body=body,
        request_id=request_id,
        status=answer.status,
        headers=answer.headers,
        elapsed=answer.elapsed,
    )


def task(reply: Response, task_id: str) -> Task:
    """Return the task that a reply describes.

    Raises:
        BadResponseError: it is not the one that was asked for, or has no id or state.
    """
    described = _wire.task(reply.result, reply.request_id)
    if described is None or described.task_id != task_id:
        raise _misshapen("The answer does not describe the task that was asked for", reply, task_id=task_id)
    return described


def created_task_id(reply: Response) -> str:
    """Return the id that the service gave to a new task.

    Raises:
        BadResponseError: there is none.
    """
    if task_id := _wire.created_task_id(reply.result):
        return task_id
    raise _misshapen("The answer to the create has no task id", reply, may_have_been_applied=True)


def page(reply: Response) -> TaskPage:
    """Return the page of tasks that a reply holds.

    Raises:
        BadResponseError: it holds no list of tasks, or one of them has no id or state.
    """
    found = _wire.page(reply.result, reply.request_id)
    if found is None:  # an empty page is one too, although it is false
        raise _misshapen("The answer holds no list of tasks", reply)
    return found


def supported_models(reply: Response) -> SupportedModels:
    """Return the models that a reply lists.

    Raises:
        BadResponseError: it is no such list.
    """
    if found := _wire.supported_models(reply.result, reply.request_id):
        return found
    raise _misshapen("The answer holds no models", reply)


def date_of(headers: Mapping[str, str]) -> datetime | None:
    """Return the service's own time, from the `Date` of an answer."""
    return _http_date(headers.get("date", ""))


def _parsed(content: bytes) -> object:
    try:
        text = content.decode("utf-8-sig")
        body: object = json.loads(text, parse_constant=_not_json, parse_float=_finite)
        if "\\u" in text:
            _without_surrogates(body)
    except (ValueError, RecursionError):
        return _UNREADABLE
    return body


def _not_json(constant: str) -> None:
    raise ValueError(constant)  # NaN and Infinity, which Python would read


def _finite(number: str) -> float:
    value = float(number)
    if math.isinf(value):
        raise ValueError(number)  # too large for a float; it could not be written as JSON again
    return value


def _without_surrogates(body: object) -> None:
    """Refuse half a surrogate pair: such a text can be neither printed nor written."""
    json.dumps(body, ensure_ascii=False).encode()


def _refusal(answer: Answer, fields: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return code and message where the service's own shape says no.

    The platform writes `code` and `message` (Pmh4sv5qa), older routes `error_code` and `error_msg`, model
    routes an `error` object; gateways leave it to two headers (all four known to the SDK).
    """
    inner = fields.get("error")
    shapes = [(fields, "code", "message"), (fields, "error_code", "error_msg")]
    if isinstance(inner, dict):
        shapes.append((inner, "code", "message"))
    for shape, code, message in shapes:
        if shape.get(code) not in _NO_ERROR and isinstance(shape.get(message), str):
            return safe_line(str(shape[code])), safe_line(shape[message])
    headers = answer.headers
    if answer.status >= 300 and ("x-bce-error-code" in headers or "x-bce-error-message" in headers):
        message = headers.get("x-bce-error-message") or _status_line(answer.status)
        return safe_line(headers.get("x-bce-error-code", "")), safe_line(message)
    return None


def _unshaped(answer: Answer, body: object, facts: ErrorDetails) -> QfTasksError:
    """Return the error for a bad status without a word of the service: what it is, or a stranger's."""
    is_plain = not answer.content.strip() or isinstance(body, dict)
    if answer.status == 429 or answer.status >= 500 or (answer.status in (401, 403) and is_plain):
        facts["retry_after"] = _retry_after(answer)
        return api_error(f"{_status_line(answer.status)}, without a word of the service", **facts)
    return _unreadable(_status_line(answer.status), answer, facts)


def _unconfirmed(result: object, answer: Answer, facts: ErrorDetails) -> QfTasksError:
    if result is False:
        return ApiError('The service did not do it: "result" is false', **facts)
    return _unreadable('"result" is neither true nor false', answer, facts)


def _unreadable(what: str, answer: Answer, facts: ErrorDetails) -> BadResponseError:
    return BadResponseError(f"{what}: {_excerpt(answer.content)}", **facts)


def _misshapen(what: str, reply: Response, **facts: Unpack[ErrorDetails]) -> BadResponseError:
    facts["status"], facts["request_id"], facts["attempts"] = reply.status, reply.request_id, reply.attempts
    excerpt = _excerpt(json.dumps(reply.body, ensure_ascii=False).encode())
    return BadResponseError(f"{what}: {excerpt}", **facts)


def _request_id(answer: Answer, fields: Mapping[str, Any]) -> str | None:
    candidates = (answer.headers.get("x-bce-request-id"), fields.get("requestId"), fields.get("log_id"))
    return next((safe_line(found) for found in candidates if isinstance(found, str) and found.strip()), None)


def _retry_after(answer: Answer) -> float | None:
    """Return the seconds that `Retry-After` asks for, None where it makes no sense."""
    value = answer.headers.get("retry-after", "").strip()
    if re.fullmatch(r"\d{1,9}(\.\d{1,9})?", value):
        return float(value)
    when = _http_date(value)
    if when is None:
        return None
    seconds = (when - (date_of(answer.headers) or datetime.now(UTC))).total_seconds()
    return max(0.0, seconds) if math.isfinite(seconds) else None


def _http_date(value: str) -> datetime | None:
    try:
        when = parsedate_to_datetime(value)
        return when if when.tzinfo else when.replace(tzinfo=UTC)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def _status_line(status: int) -> str:
    try:
        return f"HTTP {status} {HTTPStatus(status).phrase}"
    except ValueError:
        return f"HTTP {status}"


def _excerpt(content: bytes) -> str:
    return safe_line(content[:1000].decode(errors="replace"), 120) or "(nothing)"
