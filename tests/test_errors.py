"""The tree of errors: text, fields and hint of each, and that pickle and copy keep them."""

from __future__ import annotations

import copy
import multiprocessing
import pickle
import traceback
from concurrent.futures import ProcessPoolExecutor
from typing import Any, get_type_hints

import pytest

import qf_tasks
from qf_tasks import (
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
from qf_tasks.errors import ErrorDetails

_TASK = Task("infer-1", RunStatus.FAILED, name="nightly", raw={"taskId": "infer-1"}, request_id="r-0")
_DETAILS: ErrorDetails = {
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


def _make(kind: type[QfTasksError]) -> QfTasksError:
    return kind("It went wrong", **_OWN_FIELDS.get(kind, {}), **_DETAILS)


def _is_equal(one: BaseException, other: BaseException) -> bool:
    return (type(one), str(one), one.args, vars(one)) == (type(other), str(other), other.args, vars(other))


def _raise(kind: type[QfTasksError]) -> None:
    raise _make(kind)


def test_every_class_of_the_tree_is_a_public_name() -> None:
    for kind in _TREE:
        assert getattr(qf_tasks, kind.__name__) is kind


def test_error_has_every_field_it_was_given() -> None:
    for kind in _TREE:
        error = _make(kind)
        given = {**_DETAILS, **_OWN_FIELDS.get(kind, {})}
        assert {name: getattr(error, name) for name in given} == given


def test_error_without_details_has_none() -> None:
    for kind in _TREE:
        error = kind("It went wrong", **_OWN_FIELDS.get(kind, {}))
        unset = ("code", "status", "request_id", "action", "task_id", "retry_after", "attempts")
        assert [getattr(error, name) for name in unset] == [None] * len(unset)
        assert error.may_have_been_applied is (kind is OutcomeUnknownError)


def test_text_is_message_then_code_and_request_id() -> None:
    for kind in _TREE:
        own = _OWN_FIELDS.get(kind, {})
        assert str(_make(kind)) == "It went wrong [SomeCode, request id r-1]"
        assert str(kind("It went wrong", **own, code="SomeCode")) == "It went wrong [SomeCode]"
        assert str(kind("It went wrong", **own, request_id="r-1")) == "It went wrong [request id r-1]"
        assert str(kind("It went wrong", **own)) == "It went wrong"


def test_pickle_keeps_class_fields_and_text() -> None:
    for kind in _TREE:
        error = _make(kind)
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
            assert _is_equal(pickle.loads(pickle.dumps(error, protocol)), error)


def test_copy_keeps_class_fields_and_text() -> None:
    for kind in _TREE:
        error = _make(kind)
        assert _is_equal(copy.copy(error), error)
        assert _is_equal(copy.deepcopy(error), error)


def test_traceback_shows_the_hint_once_in_each_copy() -> None:
    for kind in _TREE:
        for error in (_make(kind), copy.copy(_make(kind)), pickle.loads(pickle.dumps(_make(kind)))):
            assert "".join(traceback.format_exception(error)).count("请这样做。") == 1


def test_error_raised_in_another_process_keeps_everything() -> None:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        raised = [pool.submit(_raise, kind).exception() for kind in _TREE]
    assert all(
        error is not None and vars(error).keys() >= vars(_make(kind)).keys() and type(error) is kind
        for kind, error in zip(_TREE, raised, strict=True)
    )
    assert [str(error) for error in raised] == [str(_make(kind)) for kind in _TREE]


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
    ("kind", "term"),
    [
        (qf_tasks.AuthenticationError, "认证"),
        (qf_tasks.PermissionDeniedError, "权限"),
        (qf_tasks.QuotaExceededError, "配额"),
        (qf_tasks.TaskStateError, "状态"),
    ],
)
def test_hint_on_keys_permission_quota_and_state_is_bilingual(kind: type[QfTasksError], term: str) -> None:
    hint = kind("x").hint or ""
    assert term in hint
    assert hint[0].isascii()


def test_details_are_all_attributes_of_an_error() -> None:
    assert set(get_type_hints(ErrorDetails)) <= set(vars(QfTasksError("x")))
