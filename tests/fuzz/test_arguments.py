"""Whatever is passed to a public method, it is accepted, or rejected before any request."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qf_tasks import InvalidArgumentError, QfTasksError, RunStatus, Settings, TaskClient
from qf_tasks.doctor import diagnose
from qf_tasks.sandbox import Sandbox
from qf_tasks.settings import inspect_sources
from tests.conftest import MakeClient

from .operations import CREATION, TASKS, plan_of
from .values import any_value

pytestmark = pytest.mark.fuzz

# No absolute paths: a journal stays inside the working directory of the test.
_odd = any_value.filter(lambda value: not (isinstance(value, str) and value.startswith("/")))
_durations = st.sampled_from([None, 0, 30.0, "1m", timedelta(minutes=1)])
_ages = st.sampled_from(["1d", timedelta(hours=1), datetime(2026, 1, 1, tzinfo=UTC)])
_valid: dict[str, st.SearchStrategy[Any]] = {
    **{name: st.just(value) for name, value in CREATION.items()},
    "action": st.just("DescribeBatchInferenceTask"),
    "params": st.just({"taskId": "infer-1"}),
    "task": st.sampled_from(TASKS),
    "tasks": st.just(TASKS),
    "run_status": st.sampled_from([None, "done", ["Running", RunStatus.DONE]]),
    "name": st.sampled_from(["nightly", "n*"]),
    "older_than": st.none() | _ages,
    "newer_than": st.none() | _ages,
    "idempotency_key": st.just("daily"),
    "reuse_within": _ages,
    "records": st.just([{"query": "你好"}]),
    "bos_uri": st.just("bos:/bucket/job/"),
    "max_records_per_task": st.sampled_from([None, 1]),
    "shard_retries": st.sampled_from([0, 1]),
    "marker": st.sampled_from([None, "infer-1"]),
    "page_size": st.sampled_from([1, 100]),
    "limit": st.sampled_from([None, 1]),
    "poll_interval": st.sampled_from([0.1, 30.0, "1m"]),
    "plan": st.none(),
    "creator": st.sampled_from([None, "sandbox"]),
    "keep_newest": st.sampled_from([0, 1]),
    "max_tasks": st.sampled_from([2, 1000]),
    "journal": st.sampled_from([None, "journal.jsonl"]),
    "max_workers": st.sampled_from([1, 4]),
    **dict.fromkeys(("timeout", "stop_timeout", "quota_timeout"), _durations),
    **dict.fromkeys(("stop_first", "missing_ok", "newest_first", "raise_on_failure"), st.booleans()),
    **dict.fromkeys(("on_change", "on_progress"), st.just(lambda *_: None)),
}
_METHODS = [
    name for name, _ in inspect.getmembers(TaskClient, inspect.isfunction) if not name.startswith("_")
]
_METHODS.remove("close")
_NO_SERVER = "http://127.0.0.1:1"


def _arguments(data: st.DataObject, method: str) -> dict[str, Any]:
    """Draw arguments of a method: at most two are any value, the others are valid or left out."""
    names = [*inspect.signature(getattr(TaskClient, method)).parameters][1:]
    odd = data.draw(st.sets(st.sampled_from(names), max_size=2)) if names else set[str]()
    required = {"task", "tasks", "plan", "action", "params", "idempotency_key", "records", "bos_uri"} | {
        *CREATION,
        *odd,
    }
    used = [name for name in names if name in required or data.draw(st.booleans(), name)]
    return {name: data.draw(_odd if name in odd else _valid.get(name, st.none()), name) for name in used}


@pytest.mark.parametrize("method", _METHODS)
@given(data=st.data())
def test_method_with_any_arguments_accepts_or_rejects_them_before_a_request(
    sandbox: Sandbox, make_client: MakeClient, method: str, data: st.DataObject
) -> None:
    sandbox.reset()
    for task_id in TASKS:
        sandbox.add_task(task_id, run_status="Running", ends_after=60)
    with make_client(max_retries=0) as client:
        arguments = _arguments(data, method)
        if "plan" in arguments and data.draw(st.booleans(), "a plan"):
            arguments["plan"] = plan_of(client)
        try:
            result = getattr(client, method)(**arguments)
        except InvalidArgumentError:  # `submit` reads what is there before it reads records
            assert {request.method for request in sandbox.requests} <= {"GET"}
        except QfTasksError:
            assert sandbox.requests
        else:
            _read(result)
    assert sandbox.errors == []


@pytest.mark.parametrize(
    ("method", "arguments"),
    [
        ("delete", {"task": "infer-1", "stop_timeout": 10**400}),
        ("list", {"limit": 10**400}),
        ("list", {"limit": -(10**5000)}),
        ("create", {**CREATION, "data_format": 10**5000}),
        ("wait", {"task": "infer-1", "on_change": b"not a function"}),
        ("delete_many", {"tasks": TASKS, "on_progress": b"not a function"}),
        ("stop_many", {"tasks": TASKS, "on_progress": b"not a function"}),
    ],
)
def test_method_with_arguments_that_fuzzing_found_is_rejected_before_a_request(
    sandbox: Sandbox, client: TaskClient, method: str, arguments: dict[str, Any]
) -> None:
    with pytest.raises(InvalidArgumentError):
        getattr(client, method)(**arguments)
    assert sandbox.requests == []


def _read(result: object) -> None:
    """Read an iterator; a request may fail then, but an argument must have been rejected at the call."""
    if isinstance(result, Iterator):
        try:
            list(islice(result, 10))
        except InvalidArgumentError as late:
            raise AssertionError("an argument was not rejected at the call") from late
        except QfTasksError:
            return


_keywords = st.dictionaries(
    st.sampled_from([*inspect.signature(TaskClient).parameters]), any_value, min_size=1, max_size=3
)
_fields = st.dictionaries(st.sampled_from([*Settings.model_fields]), any_value, max_size=3)


@given(keywords=_keywords)
def test_client_of_any_keywords_is_made_or_rejects_them(keywords: dict[str, Any]) -> None:
    try:
        TaskClient(**keywords).close()
    except QfTasksError:
        return


@given(keywords=_fields)
def test_diagnosis_with_any_keywords_reports_or_rejects_them(keywords: dict[str, Any]) -> None:
    given = {"access_key": "ak", "secret_key": "sk", **keywords, "base_url": _NO_SERVER, "max_retries": 0}
    for report in (inspect_sources, diagnose):
        try:
            assert report(**given)
        except InvalidArgumentError:
            continue


@given(fields=_fields)
def test_settings_of_any_values_are_made_or_reject_them(sandbox: Sandbox, fields: dict[str, Any]) -> None:
    pair = {"access_key": sandbox.access_key, "secret_key": sandbox.secret_key}
    given: dict[str, Any] = {**pair, "base_url": sandbox.url, **fields}
    try:
        settings = Settings(**given)
    except QfTasksError:
        return
    assert repr(settings)
    assert settings.account


@given(name=any_value)
def test_origin_of_any_name_is_rejected(name: Any) -> None:
    settings = Settings(access_key="access-key", secret_key="secret-key")
    with pytest.raises(InvalidArgumentError):
        settings.origin(name)


_limits = st.fixed_dictionaries(
    {},
    optional={
        "request_timeout": any_value,
        "max_retries": any_value,
        "max_retry_wait": any_value,
        "retry_budget": any_value,
        "ca_bundle": st.just(Path(__file__)),
    },
)


@given(limits=_limits)
def test_call_with_any_limits_that_settings_accept_succeeds(
    sandbox: Sandbox, make_client: MakeClient, limits: dict[str, Any]
) -> None:
    sandbox.reset()
    try:
        client = make_client(**limits)
    except QfTasksError:
        return
    with client:
        if client._settings.request_timeout > 1:
            assert client.models().common
