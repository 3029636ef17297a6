"""Every exception of the libraries below becomes one of this library, without secrets."""

from __future__ import annotations

import http.client
import socket
import ssl
import zlib
from collections.abc import Callable
from types import ModuleType

import pytest
import qianfan.errors
import urllib3.exceptions

from qf_tasks import ConfigurationError, QfTasksError, RequestTimeoutError
from qf_tasks._transport.exception_mapping import (
    connect_error,
    exchange_error,
    raised_by_other_code,
    to_error,
)

ECHO = "Authorization: bce-auth-v1/AK/2025-01-01T00:00:00Z/300/host/0123456789abcdef"


def exceptions_of(*modules: ModuleType) -> list[Exception]:
    """Return one exception of each class that these modules define, with a signed header as its text."""
    classes = {
        value
        for module in modules
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Exception) and not issubclass(value, Warning)
    }
    exceptions = []
    for kind in sorted(classes, key=lambda kind: kind.__name__):
        exception = kind.__new__(kind)
        exception.args = (ECHO,)
        vars(exception).update(error_code=17, error_msg=ECHO, req_id="r-9", status_code=None, line=ECHO)
        exceptions.append(exception)
    return exceptions


OF_THE_WIRE = exceptions_of(ssl, socket, http.client, zlib, urllib3.exceptions)
MAPPINGS: list[Callable[[Exception], QfTasksError | None]] = [
    exchange_error,
    lambda exception: connect_error(exception, proxied=False),
    lambda exception: connect_error(exception, proxied=True),
]


@pytest.mark.parametrize("mapping", MAPPINGS, ids=["exchange", "connect", "proxy"])
def test_every_exception_of_the_wire_becomes_ours_without_a_secret(
    mapping: Callable[[Exception], QfTasksError | None],
) -> None:
    errors = [mapping(exception) for exception in OF_THE_WIRE]

    assert len(errors) > 30
    assert [error for error in errors if error is None or "bce-auth-v1" in str(error)] == []
    assert {error.__cause__ for error in errors if error} == {None}


def test_every_exception_of_the_sdk_becomes_ours_without_a_secret() -> None:
    errors = [
        to_error(exception, "DeleteBatchInferenceTask", "infer-1")
        for exception in exceptions_of(qianfan.errors)
    ]

    assert len(errors) > 5
    assert [error for error in errors if error is None or "bce-auth-v1" in str(error)] == []
    assert {(error.action, error.task_id) for error in errors if error} == {
        ("DeleteBatchInferenceTask", "infer-1")
    }


@pytest.mark.parametrize("exception", [KeyboardInterrupt(), SystemExit(1), GeneratorExit()], ids=repr)
def test_interrupt_has_no_error(exception: BaseException) -> None:
    assert to_error(exception, "DeleteBatchInferenceTask", None) is None


@pytest.mark.parametrize(
    ("exception", "expected"),
    [
        (ImportError("qianfan"), ConfigurationError),
        (PermissionError(13, "no", ".env"), ConfigurationError),
        (TimeoutError(), RequestTimeoutError),
    ],
    ids=repr,
)
def test_exception_of_python_becomes_ours(exception: Exception, expected: type[QfTasksError]) -> None:
    is_timeout = isinstance(exception, TimeoutError)
    error = exchange_error(exception) if is_timeout else to_error(exception, "StopBatchInferenceTask", None)
    assert type(error) is expected


def test_exception_of_python_is_of_other_code_if_it_passed_its_frames() -> None:
    with pytest.raises(OSError, match="here") as caught:
        raise OSError("here")

    assert raised_by_other_code(caught.value, None) is caught.value
    assert raised_by_other_code(caught.value, caught.value) is None
    assert raised_by_other_code(OSError("nowhere"), None) is None


def replace_exception() -> None:
    try:
        raise ValueError("of a handler")
    except ValueError:
        raise http.client.IncompleteRead(b"") from None


def test_exception_of_other_code_is_found_behind_the_one_that_replaced_it() -> None:
    with pytest.raises(http.client.HTTPException) as caught:
        replace_exception()

    assert str(raised_by_other_code(caught.value, None)) == "of a handler"
