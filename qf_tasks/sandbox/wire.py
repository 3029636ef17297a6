"""What crosses the wire: requests, answers, refusals and their JSON.

Knows the service's envelope and nothing of its actions, its state or of aiohttp.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn
from urllib.parse import parse_qsl

JSON_TYPE = "application/json; charset=utf-8"

# A choice: no documented body needs more than a few levels. Without a limit, JSON that could just be
# read could be too deep to be written back.
_DEEPEST = 64


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it came, before anything was believed."""

    method: str
    path: str
    raw_query: str
    headers: Mapping[str, str]
    body: bytes
    connection: int = 0

    @property
    def query(self) -> list[tuple[str, str]]:
        """The decoded query, in order, with its empty values."""
        return parse_qsl(self.raw_query, keep_blank_values=True)


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer of the service, before a fault is laid over it."""

    status: int
    headers: dict[str, str]
    body: bytes


@dataclass(eq=False)
class Refusal(Exception):
    """The service says no, in its own shape."""

    status: int
    code: str
    message: str
    headers: Mapping[str, str] = field(default_factory=dict)
    unexpected: bool = False


def inappropriate(name: str) -> Refusal:
    """The refusal of one member of the body, in the form that the SDK's mock server shows."""
    text = f"The JSON is well-formed but not appropriate for this action. param[{name}] invalid."
    return Refusal(400, "InappropriateJSON", text)


def read_json(body: bytes) -> Any:
    """What the body says; raises `ValueError` where it is not plain JSON in UTF-8.

    NaN, infinities and lone surrogates are Python's, not JSON's, and no answer could repeat them.
    """
    try:
        value = json.loads(body.decode(), parse_constant=_refuse, parse_float=_finite)
        json.dumps(value, ensure_ascii=False).encode()
        if _depth(value) > _DEEPEST:
            raise ValueError("too deep")
    except RecursionError:
        raise ValueError("too deep") from None
    return value


def _refuse(text: str) -> NoReturn:
    raise ValueError(text)


def _finite(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else _refuse(text)


def _depth(value: Any) -> int:
    if isinstance(value, dict):
        value = list(value.values())
    return 1 + max(map(_depth, value), default=0) if isinstance(value, list) else 0


def write_json(value: Any) -> bytes:
    """The bytes of an answer; a fault may put anything in it that Python can write."""
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")


def success(request_id: str, result: Any) -> Answer:
    """The envelope of a success."""
    return _answer(200, request_id, {"requestId": request_id, "result": result})


def error(request_id: str, status: int, code: str, message: str) -> Answer:
    """The envelope of an error."""
    document = {"requestId": request_id, "code": code, "message": message}
    return _answer(status, request_id, document)


def _answer(status: int, request_id: str, document: Any) -> Answer:
    headers = {"Content-Type": JSON_TYPE, "x-bce-request-id": request_id}
    return Answer(status, headers, write_json(document))
