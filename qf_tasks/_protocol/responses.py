"""Reads the response of the service to any action: a `Response`, or the exception that it means.

This file is given status, headers and body; it does not know how they arrived.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any, NamedTuple

from qf_tasks._protocol.actions import CONFIRMED_ACTIONS
from qf_tasks._protocol.error_codes import api_error
from qf_tasks._protocol.redaction import one_line
from qf_tasks.errors import ApiError, BadResponseError, ErrorDetails, QfTasksError
from qf_tasks.models import Response

_SUCCESS_CODES = (None, "", 0, "0")
_NOT_JSON = object()


class RawResponse(NamedTuple):
    """A response as it was received: `headers` with names in lower case, `elapsed` in seconds."""

    status: int
    headers: dict[str, str]
    content: bytes
    elapsed: float = 0.0


def read(raw: RawResponse, action: str, task_id: str | None = None) -> Response:
    """Return the response of the service to an action.

    Raises:
        ApiError: The service rejected the request: by status, inside a 200, or by `"result": false`.
        BadResponseError: It is not a response of the service.
    """
    body = _parse_json(raw.content)
    fields = body if isinstance(body, dict) else {}
    request_id = _request_id(raw, fields)
    details = ErrorDetails(status=raw.status, request_id=request_id, action=action, task_id=task_id)
    if rejection := _rejection(raw, fields):
        details["code"], message = rejection
        details["retry_after"] = _retry_after(raw)
        raise api_error(message, **details)
    if not 200 <= raw.status < 300:
        raise _unexplained_status(raw, body, details)
    if not isinstance(body, dict):
        raise _bad_response("The response is not a JSON object", raw, details)
    if "result" not in body:
        raise _bad_response("The response has no result", raw, details)
    if action in CONFIRMED_ACTIONS and body["result"] is not True:
        raise _not_confirmed(raw, body["result"], details)
    return Response(
        body=body, request_id=request_id, status=raw.status, headers=raw.headers, elapsed=raw.elapsed
    )


def service_time(headers: Mapping[str, str]) -> datetime | None:
    """Return the service's own time, from the `date` header of a response."""
    return _http_date(headers.get("date", ""))


def excerpt(content: bytes) -> str:
    """Return the beginning of a body for a message: one printable line without signed headers."""
    return one_line(content[:1000].decode(errors="replace"), 120) or "(empty)"


def _parse_json(content: bytes) -> object:
    """Return a body that can be written as JSON again, or `_NOT_JSON`."""
    try:
        text = content.decode("utf-8-sig")
        body: object = _JSON.decode(text)
        if "\\u" in text:  # perhaps half a surrogate pair, which can be neither printed nor written
            json.dumps(body, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        return _NOT_JSON
    return body


def _reject_constant(constant: str) -> None:
    raise ValueError(constant)  # NaN and Infinity, which Python would accept


def _finite(number: str) -> float:
    value = float(number)
    if math.isinf(value):
        raise ValueError(number)
    return value


_JSON = json.JSONDecoder(parse_constant=_reject_constant, parse_float=_finite)


def _rejection(raw: RawResponse, fields: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return code and message if the response is a rejection in one of the service's own shapes.

    The platform writes `code` and `message`, older routes `error_code` and `error_msg`, model routes an
    `error` object, and gateways two headers: `.github/docs/service.md#errors`.
    """
    shapes = [(fields, "code", "message"), (fields, "error_code", "error_msg")]
    inner = fields.get("error")
    if isinstance(inner, dict):
        shapes.append((inner, "code", "message"))
    for shape, code, message in shapes:
        if shape.get(code) not in _SUCCESS_CODES and isinstance(shape.get(message), str):
            return one_line(str(shape[code])), one_line(shape[message])
    headers = raw.headers
    if raw.status >= 300 and ("x-bce-error-code" in headers or "x-bce-error-message" in headers):
        message = headers.get("x-bce-error-message") or _status_line(raw.status)
        return one_line(headers.get("x-bce-error-code", "")), one_line(message)
    return None


def _unexplained_status(raw: RawResponse, body: object, details: ErrorDetails) -> QfTasksError:
    """Return the exception for a bad status without code and message: the service's, or another server's."""
    could_be_the_service = not raw.content.strip() or isinstance(body, dict)
    if raw.status == 429 or raw.status >= 500 or (raw.status in (401, 403) and could_be_the_service):
        details["retry_after"] = _retry_after(raw)
        return api_error(f"{_status_line(raw.status)}, without an error code", **details)
    return _bad_response(_status_line(raw.status), raw, details)


def _not_confirmed(raw: RawResponse, result: object, details: ErrorDetails) -> QfTasksError:
    if result is False:
        return ApiError('The service did not do it: "result" is false', **details)
    return _bad_response('"result" is neither true nor false', raw, details)


def _bad_response(problem: str, raw: RawResponse, details: ErrorDetails) -> BadResponseError:
    return BadResponseError(f"{problem}: {excerpt(raw.content)}", **details)


def _request_id(raw: RawResponse, fields: Mapping[str, Any]) -> str | None:
    candidates = (raw.headers.get("x-bce-request-id"), fields.get("requestId"), fields.get("log_id"))
    return next((one_line(value) for value in candidates if isinstance(value, str) and value.strip()), None)


def _retry_after(raw: RawResponse) -> float | None:
    """Return the seconds that `Retry-After` asks for, None if it makes no sense."""
    value = raw.headers.get("retry-after", "").strip()
    if re.fullmatch(r"\d{1,9}(\.\d{1,9})?", value):
        return float(value)
    until = _http_date(value)
    if until is None:
        return None
    return max(0.0, (until - (service_time(raw.headers) or datetime.now(UTC))).total_seconds())


def _http_date(value: str) -> datetime | None:
    try:
        date = parsedate_to_datetime(value)
        return date if date.tzinfo else date.replace(tzinfo=UTC)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def _status_line(status: int) -> str:
    try:
        return f"HTTP {status} {HTTPStatus(status).phrase}"
    except ValueError:
        return f"HTTP {status}"
