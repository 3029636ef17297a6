"""What hypothesis makes the examples of: JSON with the names of the service, and any Python value."""

from __future__ import annotations

import sys
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from qf_tasks import RunStatus, Task

Json = Any

_SERVICE_TEXTS = st.sampled_from(
    [
        *(
            "taskId",
            "runStatus",
            "taskList",
            "pageInfo",
            "nextMarker",
            "isTruncated",
            "createTime",
            "dataFormat",
        ),
        *("commonModelList", "modelId", "modelVersionList", "modelVersionId", "inferenceParams", "errorCode"),
        *("result", "code", "message", "error", "error_code", "error_msg", "requestId", "log_id"),
        *("infer-1", "Done", "Running", "AccessDenied", "InvalidMarker", "2026-01-01T00:00:00Z"),
        *("9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+23:59", "bce-auth-v1/a/b/1/c/d"),
    ]
)
_any_text = st.text(st.characters(), max_size=12)  # lone surrogates too
_scalars = st.none() | st.booleans() | st.integers() | st.floats() | _any_text | _SERVICE_TEXTS


def _members(inner: st.SearchStrategy[Json]) -> st.SearchStrategy[Json]:
    names = _SERVICE_TEXTS | _any_text
    return st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=5)


json_values: st.SearchStrategy[Json] = st.recursive(_scalars, _members, max_leaves=15)


class _Text(str):
    """A subclass of `str`."""


def _endless() -> list[Any]:
    endless: list[Any] = []
    endless.append(endless)
    return endless


# Made for each example, since some can be iterated once only.
_oddities: list[Callable[[], object]] = [
    lambda: 10**400,
    lambda: -(10**5000),
    lambda: sys.maxsize + 1,
    lambda: float("1e308"),
    lambda: Decimal("NaN"),
    lambda: bytearray(b"infer-1"),
    lambda: memoryview(b"infer-1"),
    lambda: iter(["infer-1", None]),
    lambda: (text for text in ("infer-1", "infer-2")),
    lambda: range(3),
    lambda: Path("infer-1"),
    lambda: RunStatus("Pondering"),
    lambda: Task(task_id="", run_status=RunStatus.DONE),
    lambda: Task(task_id="infer-1", run_status=RunStatus("\ud800")),
    lambda: _Text("infer-1"),
    lambda: {"infer-1": _endless()},
    lambda: {1: 2, None: float("nan")},
    lambda: {"deep": nested(2000)},
    object,
    lambda: ValueError("infer-1"),
    lambda: ...,
    lambda: "x" * 100_000,
    lambda: "30" * 400 + "d",
]


def nested(levels: int) -> list[Any]:
    """Return lists inside each other, so many levels deep."""
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


any_value: st.SearchStrategy[Any] = st.one_of(
    json_values,
    st.binary(max_size=9),
    st.complex_numbers(),
    st.decimals(),
    st.fractions(),
    st.datetimes(timezones=st.none() | st.timezones()),
    st.timedeltas(),
    st.dates(),
    st.uuids(),
    st.sets(st.integers() | _any_text, max_size=3),
    st.tuples(_any_text, st.integers()),
    st.sampled_from(_oddities).map(lambda make: make()),
)
