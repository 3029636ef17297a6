"""What the bodies of requests must look like: the documented rules, member by member.

A member that breaks its rule is refused by name. Members that no rule names are ignored (Bjz3uz3qj), and
`null` stands for a member that was not sent, which is a choice.
"""

import math
import re
from typing import Any, NamedTuple, NoReturn, TypeVar

from .wire import Refusal, inappropriate

Body = dict[str, Any]
_T = TypeVar("_T")

_BOS_URI = re.compile(r"bos:/[^/\s]+(/.*)?", re.DOTALL)
_DATA_FORMATS = ("default", "src_tgt", "role")
_DEFAULT_PAGE, _LARGEST_PAGE = 10, 100


class PageRequest(NamedTuple):
    """The four members of a list request (blvje5ica)."""

    run_status: frozenset[str]
    marker: str
    max_keys: int
    page_reverse: bool


def read_task_id(body: Body) -> str:
    """The `taskId`, which three actions need."""
    return _text(body, "taskId", shortest=1) or _missing("taskId")


def read_creation(body: Body) -> Body:
    """The members of a new task that the service keeps (amh4suzbi, Tmo1ftuwg)."""
    window = _text(body, "completion_window")
    if window not in (None, "24h"):
        raise inappropriate("completion_window")
    data_format = _text(body, "dataFormat") or "default"
    if data_format not in _DATA_FORMATS:
        raise inappropriate("dataFormat")
    return {
        "name": _text(body, "name", shortest=2, longest=20) or _missing("name"),
        "description": _text(body, "description", longest=500) or "",
        **_model(body),
        "inferenceParams": _object(body, "inferenceParams"),
        "inputBosUri": _bos_uri(body, "inputBosUri"),
        "outputBosUri": _bos_uri(body, "outputBosUri"),
        "dataFormat": data_format,
    }


def read_page(body: Body) -> PageRequest:
    """The page that is asked for; more than 100 keys are 100.

    Two choices: `runStatus` as a plain string is refused, and a state that nobody knows matches nothing.
    """
    states = _value(body, "runStatus", list) or []
    if not all(isinstance(state, str) for state in states):
        raise inappropriate("runStatus")
    max_keys = _value(body, "maxKeys", int)
    if max_keys is None:
        max_keys = _DEFAULT_PAGE
    if max_keys < 1:  # a choice: nothing is documented of such a page
        raise inappropriate("maxKeys")
    return PageRequest(
        frozenset(states),
        _text(body, "marker") or "",
        min(max_keys, _LARGEST_PAGE),
        _value(body, "pageReverse", bool) or False,
    )


def _model(body: Body) -> Body:
    """Exactly one of the two ways to name a model; whether it exists is not looked at."""
    endpoint, model_id = _text(body, "endpoint"), _text(body, "modelId")
    if endpoint and not model_id:
        return {"endpoint": endpoint}
    if model_id and not endpoint and model_id.startswith("amv-"):  # a version, not a model
        return {"modelId": model_id}
    raise inappropriate("modelId" if model_id else "endpoint")


def _bos_uri(body: Body, name: str) -> str:
    uri = _text(body, name, shortest=1) or _missing(name)
    if not _BOS_URI.fullmatch(uri):
        text = f"param[{name}] invalid: a BOS URI has the form bos:/bucket/folder/"
        raise Refusal(400, "InvalidBosUri", text)
    return uri


def _text(body: Body, name: str, *, shortest: int = 0, longest: float = math.inf) -> str | None:
    text = _value(body, name, str)
    if text is not None and not shortest <= len(text) <= longest:
        raise inappropriate(name)
    return text


def _object(body: Body, name: str) -> Body:
    return _value(body, name, dict) or {}


def _value(body: Body, name: str, kind: type[_T]) -> _T | None:
    value = body.get(name)
    if value is None or type(value) is kind:  # not isinstance: true is no number
        return value
    raise inappropriate(name)


def _missing(name: str) -> NoReturn:
    raise inappropriate(name)
