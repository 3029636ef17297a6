"""The tree of errors: each with its text, fields and hint, whole after pickle, copy and another process."""

from __future__ import annotations

import copy
import multiprocessing
import pickle
import traceback
from concurrent.futures import ProcessPoolExecutor
from typing import Any, get_type_hints

import pytest
import qianfan.errors
import requests.exceptions

import qf_tasks
from qf_tasks import (
    ApiError,
    BulkError,
    BulkInterrupted,
    OutcomeUnknownError,
    QfTasksError,
    RunStatus,
    Task,
    TaskError,
    TaskFailedError,
    WaitTimeoutError,
)
from qf_tasks._protocol.error_codes import api_error
from qf_tasks._failures import RULES, rule_for, translated
from qf_tasks.errors import ErrorDetails

_TASK = Task("infer-1", RunStatus.FAILED, name="nightly", raw={"taskId": "infer-1"}, request_id="r-0")
_FACTS: ErrorDetails = {
    "code": "SomeCode",
    "status": 418,
    "request_id": "r-1",
    "action": "DeleteBatchInferenceTask",
    "task_id": "infer-1",
    "retryable": True,
    "may_have_been_applied": True,
    "retry_after": 2.5,
    "attempts": 3,
    "hint": "Do this. 请这样做。",
}
# What the errors with fields of their own are made with; a report is any value here.
_OF_MANY = {"task": _TASK, "tasks": {"infer-1": _TASK}}
_OWN_FIELDS: dict[type[BaseException], dict[str, Any]] = {
    OutcomeUnknownError: {"candidates": (_TASK,)},
    TaskError: _OF_MANY,
    TaskFailedError: {**_OF_MANY, "failed": {"infer-1": _TASK}},
    WaitTimeoutError: {**_OF_MANY, "done": {"infer-1": _TASK}, "pending": ("infer-2",)},
    BulkError: {"report": ("the", "report")},
}


def _tree(root: type[QfTasksError]) -> list[type[QfTasksError]]:
    found = [below for child in root.__subclasses__() for below in _tree(child)]
    return [root, *found]


_TREE = [kind for kind in _tree(QfTasksError) if kind.__module__.startswith("qf_tasks.")]
every_class = pytest.mark.parametrize("kind", _TREE, ids=lambda kind: kind.__name__)


def _made(kind: type[QfTasksError]) -> QfTasksError:
    return kind("It went wrong", **_OWN_FIELDS.get(kind, {}), **_FACTS)


def _is_equal(one: BaseException, other: BaseException) -> bool:
    return (type(one), str(one), one.args, vars(one)) == (type(other), str(other), other.args, vars(other))


def _raise(kind: type[QfTasksError]) -> None:
    raise _made(kind)


@every_class
def test_class_of_the_tree_is_a_public_name(kind: type[QfTasksError]) -> None:
    assert getattr(qf_tasks, kind.__name__) is kind


@every_class
def test_error_has_every_field_that_it_was_given(kind: type[QfTasksError]) -> None:
    error = _made(kind)
    given = {**_FACTS, **_OWN_FIELDS.get(kind, {})}
    assert {name: getattr(error, name) for name in given} == given


@every_class
def test_error_without_facts_has_none_of_them(kind: type[QfTasksError]) -> None:
    error = kind("It went wrong", **_OWN_FIELDS.get(kind, {}))
    unset = ("code", "status", "request_id", "action", "task_id", "retry_after", "attempts")
    assert [getattr(error, name) for name in unset] == [None] * len(unset)
    assert error.may_have_been_applied is (kind is OutcomeUnknownError)


@every_class
def test_text_is_message_then_code_and_request_id(kind: type[QfTasksError]) -> None:
    own = _OWN_FIELDS.get(kind, {})
    assert str(_made(kind)) == "It went wrong [SomeCode, request id r-1]"
    assert str(kind("It went wrong", **own, code="SomeCode")) == "It went wrong [SomeCode]"
    assert str(kind("It went wrong", **own, request_id="r-1")) == "It went wrong [request id r-1]"
    assert str(kind("It went wrong", **own)) == "It went wrong"


@every_class
def test_pickle_keeps_class_fields_and_text(kind: type[QfTasksError]) -> None:
    error = _made(kind)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        assert _is_equal(pickle.loads(pickle.dumps(error, protocol)), error)


@every_class
def test_copy_keeps_class_fields_and_text(kind: type[QfTasksError]) -> None:
    error = _made(kind)
    assert _is_equal(copy.copy(error), error)
    assert _is_equal(copy.deepcopy(error), error)


@every_class
def test_traceback_shows_the_hint_once_in_each_copy(kind: type[QfTasksError]) -> None:
    for error in (_made(kind), copy.copy(_made(kind)), pickle.loads(pickle.dumps(_made(kind)))):
        assert "".join(traceback.format_exception(error)).count("请这样做。") == 1


def test_error_raised_in_another_process_arrives_whole() -> None:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        raised = [pool.submit(_raise, kind).exception() for kind in _TREE]
    assert all(
        error is not None and vars(error).keys() >= vars(_made(kind)).keys() and type(error) is kind
        for kind, error in zip(_TREE, raised, strict=True)
    )
    assert [str(error) for error in raised] == [str(_made(kind)) for kind in _TREE]


def test_interrupt_of_a_bulk_run_survives_pickle_with_its_report() -> None:
    report: Any = ("the", "report")
    error = BulkInterrupted("Interrupted after 3 of 9", report)
    read: BulkInterrupted = pickle.loads(pickle.dumps(error))
    assert (str(read), read.report) == ("Interrupted after 3 of 9", report)
    assert isinstance(read, KeyboardInterrupt)


@pytest.mark.parametrize(
    ("kind", "base"),
    [
        (qf_tasks.InvalidArgumentError, ValueError),
        (qf_tasks.RequestTimeoutError, TimeoutError),
        (qf_tasks.WaitTimeoutError, TimeoutError),
    ],
)
def test_error_can_be_caught_as_the_builtin_that_it_is(kind: type, base: type) -> None:
    assert issubclass(kind, base)


def test_transient_errors_are_retryable_and_no_others() -> None:
    transient = {kind.__name__ for kind in _TREE if kind("x", **_OWN_FIELDS.get(kind, {})).retryable}
    assert transient == {
        "ServiceUnreachableError",
        "RequestTimeoutError",
        "QuotaExceededError",
        "RateLimitError",
        "ServerError",
        "WaitTimeoutError",
    }


@pytest.mark.parametrize(
    ("kind", "word"),
    [
        (qf_tasks.AuthenticationError, "认证"),
        (qf_tasks.PermissionDeniedError, "权限"),
        (qf_tasks.QuotaExceededError, "配额"),
        (qf_tasks.TaskStateError, "状态"),
    ],
)
def test_hint_on_keys_permission_quota_and_state_is_bilingual(kind: type[QfTasksError], word: str) -> None:
    hint = kind("x").hint or ""
    assert word in hint
    assert hint[0].isascii()


_FOREIGN = [
    kind
    for module in (qianfan.errors, requests.exceptions)
    for kind in vars(module).values()
    if isinstance(kind, type) and issubclass(kind, Exception) and kind.__module__ == module.__name__
    if not issubclass(kind, Warning)  # shown, not raised
]


@pytest.mark.parametrize("kind", _FOREIGN, ids=lambda kind: f"{kind.__module__}.{kind.__name__}")
def test_exception_of_the_sdk_and_of_requests_has_a_rule(kind: type[Exception]) -> None:
    assert rule_for(kind) in RULES.values(), f"{kind.__name__} needs a row in _failures.RULES"
    ours = [name for base in kind.__mro__ if (name := f"{base.__module__}.{base.__qualname__}") in RULES]
    assert ours[0].startswith(("qianfan.", "requests.")), f"{kind.__name__} falls to {ours[0]}"


@pytest.mark.parametrize("kind", _FOREIGN, ids=lambda kind: f"{kind.__module__}.{kind.__name__}")
def test_exception_of_the_sdk_and_of_requests_becomes_ours_without_its_text(kind: type[Exception]) -> None:
    error = kind.__new__(kind)
    error.args = ("Authorization: bce-auth-v1/AK/2025-01-01T00:00:00Z/300/host/0123",)
    vars(error).update(error_code=17, error_msg="x", req_id="r-9", status_code=None)
    ours = translated(error, "DeleteBatchInferenceTask", "infer-1")
    assert isinstance(ours, QfTasksError)
    assert (ours.action, ours.task_id) == ("DeleteBatchInferenceTask", "infer-1")
    assert "bce-auth-v1" not in str(ours)
    assert ours.__cause__ is None


def test_exception_without_a_rule_becomes_bad_response() -> None:
    error = translated(ZeroDivisionError("bce-auth-v1/AK"), "StopBatchInferenceTask", None)
    assert isinstance(error, qf_tasks.BadResponseError)
    assert str(error) == "The SDK could not read the answer (ZeroDivisionError)"
    assert error.may_have_been_applied


def test_facts_are_all_attributes_of_an_error() -> None:
    assert set(get_type_hints(ErrorDetails)) <= set(vars(QfTasksError("x")))


@pytest.mark.parametrize(
    ("code", "status", "expected"),
    [
        ("InvalidAccessKeyId", 403, "AuthenticationError"),
        ("SignatureDoesNotMatch", 400, "AuthenticationError"),
        ("RequestExpired", 400, "AuthenticationError"),
        ("InvalidHTTPAuthHeader", 400, "AuthenticationError"),
        ("Unheard", 401, "AuthenticationError"),
        ("AccessDenied", 403, "PermissionDeniedError"),
        ("OptInRequired", 403, "PermissionDeniedError"),
        ("Unheard", 403, "PermissionDeniedError"),
        ("InappropriateJSON", 400, "InvalidRequestError"),
        ("MalformedJSON", 400, "InvalidRequestError"),
        ("InvalidMarker", 400, "InvalidRequestError"),
        ("InvalidBosUri", 400, "InvalidRequestError"),
        ("InvalidVersion", 404, "InvalidRequestError"),
        ("InvalidURI", 404, "InvalidRequestError"),
        ("Unheard", 400, "InvalidRequestError"),
        ("TaskRunningNumberExceedLimit", 400, "QuotaExceededError"),
        ("Unheard", 429, "RateLimitError"),
        ("18", 200, "RateLimitError"),
        ("InternalError", 500, "ServerError"),
        ("Unheard", 503, "ServerError"),
        ("Unheard", 404, "TaskNotFoundError"),
        ("TaskNotExist", 400, "TaskNotFoundError"),
        ("NoSuchTask", 200, "TaskNotFoundError"),
        ("Unheard", 412, "ApiError"),
        ("Unheard", 499, "ApiError"),
        ("Unheard", 200, "ApiError"),
    ],
)
def test_code_and_status_choose_the_class(code: str, status: int, expected: str) -> None:
    error = api_error("It went wrong", code=code, status=status, task_id="infer-1")
    assert type(error).__name__ == expected
    assert isinstance(error, ApiError)


def test_not_found_needs_a_task_id() -> None:
    assert type(api_error("gone", code="TaskNotFound", status=404)) is ApiError


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("NotFound, cause: Could not find credential.", "InvalidAccessKeyId"),
        (
            "SignatureDoesNotMatch, cause: Fail to authn user: Signature does not match",
            "SignatureDoesNotMatch",
        ),
    ],
)
def test_words_of_the_gateway_stand_for_a_code(said: str, code: str) -> None:
    error = api_error(said, code="AccessDenied", status=403)
    assert (type(error), error.code) == (qf_tasks.AuthenticationError, code)
    assert "认证" in (error.hint or "")
