"""Requests, responses and rejections, and the JSON envelope of the service.

Knows nothing of actions, of state, or of aiohttp.
"""

import http.client
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn
from urllib.parse import parse_qsl

from .content import Content

JSON_TYPE = "application/json; charset=utf-8"

# A choice: no documented body needs more than a few levels. Without a limit, JSON that is just shallow
# enough to be parsed could be too deep to be serialized in a response.
_MAX_DEPTH = 64


@dataclass(frozen=True, slots=True)
class Request:
    """A request as received, not yet authenticated."""

    method: str
    path: str
    raw_query: str
    headers: Mapping[str, str]
    body: bytes
    connection: int = 0
    upload: Content | None = None
    """The body, if it is that of an object; `body` is empty then."""

    @property
    def query(self) -> list[tuple[str, str]]:
        """The decoded query parameters in order, those without a value included."""
        return parse_qsl(self.raw_query, keep_blank_values=True)


@dataclass(frozen=True, slots=True)
class Response:
    """A response of the service, before a fault changes it."""

    status: int
    headers: dict[str, str]
    body: bytes | Content


@dataclass(eq=False)
class Rejection(Exception):
    """The service rejects the request with this error response."""

    status: int
    code: str
    message: str
    headers: Mapping[str, str] = field(default_factory=dict)
    unexpected: bool = False


def invalid_parameter(name: str) -> Rejection:
    """Return the rejection of one field of the body, with the message that the SDK's mock server has."""
    message = f"The JSON is well-formed but not appropriate for this action. param[{name}] invalid."
    return Rejection(400, "InappropriateJSON", message)


def parse_json(body: bytes) -> Any:
    """Return the JSON value of a body.

    Raises:
        ValueError: The body is not UTF-8 or not JSON. NaN, infinities and lone surrogates, which Python
            reads, are not JSON either, and a response could not repeat them.
    """
    try:
        value = json.loads(body.decode(), parse_constant=_reject_number, parse_float=_finite)
        json.dumps(value, ensure_ascii=False).encode()
        if _depth(value) > _MAX_DEPTH:
            raise ValueError("nested too deeply")
    except RecursionError:
        raise ValueError("nested too deeply") from None
    return value


def _reject_number(text: str) -> NoReturn:
    raise ValueError(f"not a JSON number: {text}")


def _finite(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else _reject_number(text)


def _depth(value: Any) -> int:
    if isinstance(value, dict):
        value = list(value.values())
    return 1 + max(map(_depth, value), default=0) if isinstance(value, list) else 0


def dump_json(value: Any) -> bytes:
    """Serialize the body of a response; a fault may put lone surrogates into it."""
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")


def success(request_id: str, result: Any) -> Response:
    """Return a successful response to an action."""
    return json_response(request_id, {"requestId": request_id, "result": result})


def error(request_id: str, status: int, code: str, message: str) -> Response:
    """Return an error response."""
    return json_response(request_id, {"requestId": request_id, "code": code, "message": message}, status)


def head_of(status: int, headers: Mapping[str, str]) -> bytes:
    """Return the head of a response as it is sent."""
    status_line = f"HTTP/1.1 {status} {http.client.responses.get(status, '')}"
    return "\r\n".join([status_line, *(f"{name}: {text}" for name, text in headers.items()), "", ""]).encode()


def json_response(request_id: str, document: Any, status: int = 200) -> Response:
    """Return a response with a JSON body."""
    headers = {"Content-Type": JSON_TYPE, "x-bce-request-id": request_id}
    return Response(status, headers, dump_json(document))
