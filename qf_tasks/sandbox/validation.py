"""Checks the body of a request by the documented rules, field by field.

A field that breaks its rule is rejected by name. Unknown fields are ignored, as documented, and `null` counts
as a field that was not sent, which is a choice.
"""

import math
import re
from typing import Any, NamedTuple, TypeVar

from .http_messages import Rejection, invalid_parameter

Body = dict[str, Any]
_T = TypeVar("_T")

_BOS_URI = re.compile(r"bos:/[^/\s]+(/.*)?", re.DOTALL)
_DATA_FORMATS = ("default", "src_tgt", "role")
_DEFAULT_PAGE_SIZE, _MAX_PAGE_SIZE = 10, 100


class PageRequest(NamedTuple):
    """The fields of a list request."""

    run_status: frozenset[str]
    marker: str
    max_keys: int
    page_reverse: bool


def read_task_id(body: Body) -> str:
    """Return the required `taskId`."""
    return _required_text(body, "taskId")


def read_new_task(body: Body) -> Body:
    """Return the fields of a create request that the service stores."""
    window = _text(body, "completion_window")
    if window not in (None, "24h"):
        raise invalid_parameter("completion_window")
    data_format = _text(body, "dataFormat") or "default"
    if data_format not in _DATA_FORMATS:
        raise invalid_parameter("dataFormat")
    return {
        "name": _required_text(body, "name", min_length=2, max_length=20),
        "description": _text(body, "description", max_length=500) or "",
        **_model(body),
        "inferenceParams": _value(body, "inferenceParams", dict) or {},
        "inputBosUri": _bos_uri(body, "inputBosUri"),
        "outputBosUri": _bos_uri(body, "outputBosUri"),
        "dataFormat": data_format,
    }


def read_page_request(body: Body) -> PageRequest:
    """Return the page that is asked for; `maxKeys` above 100 means 100.

    Choices: `runStatus` as a string is rejected, an unknown state matches no task, and a page has at least
    one key.
    """
    states = _value(body, "runStatus", list) or []
    if not all(isinstance(state, str) for state in states):
        raise invalid_parameter("runStatus")
    max_keys = _value(body, "maxKeys", int)
    if max_keys is None:
        max_keys = _DEFAULT_PAGE_SIZE
    if max_keys < 1:
        raise invalid_parameter("maxKeys")
    return PageRequest(
        frozenset(states),
        _text(body, "marker") or "",
        min(max_keys, _MAX_PAGE_SIZE),
        _value(body, "pageReverse", bool) or False,
    )


def _model(body: Body) -> Body:
    """Exactly one of `endpoint` and `modelId`; whether such a model exists is not checked."""
    endpoint, model_id = _text(body, "endpoint"), _text(body, "modelId")
    if endpoint and not model_id:
        return {"endpoint": endpoint}
    if model_id and not endpoint and model_id.startswith("amv-"):  # the id of a version, not of a model
        return {"modelId": model_id}
    raise invalid_parameter("modelId" if model_id else "endpoint")


def _bos_uri(body: Body, name: str) -> str:
    uri = _required_text(body, name)
    if not _BOS_URI.fullmatch(uri):
        message = f"param[{name}] invalid: a BOS URI has the form bos:/bucket/folder/"
        raise Rejection(400, "InvalidBosUri", message)
    return uri


def _required_text(body: Body, name: str, *, min_length: int = 1, max_length: float = math.inf) -> str:
    text = _text(body, name, max_length=max_length)
    if text is None or len(text) < min_length:
        raise invalid_parameter(name)
    return text


def _text(body: Body, name: str, *, max_length: float = math.inf) -> str | None:
    text = _value(body, name, str)
    if text is not None and len(text) > max_length:
        raise invalid_parameter(name)
    return text


def _value(body: Body, name: str, kind: type[_T]) -> _T | None:
    value = body.get(name)
    if value is None or type(value) is kind:  # not isinstance: `true` is an int in Python
        return value
    raise invalid_parameter(name)
