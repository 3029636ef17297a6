"""Maps what the SDK, sockets and TLS raise to the exceptions of this library.

The exception of a library leads to frames that hold signed headers. What is made from it here keeps no
reference to it, and `without_frames` cuts off what Python adds when it is raised.
"""

from __future__ import annotations

import re
import socket
import ssl
import sys
import zlib
from collections.abc import Iterable
from http.client import HTTPException
from traceback import walk_tb
from typing import Any, TypeVar

from qf_tasks._protocol.error_codes import api_error
from qf_tasks._protocol.redaction import one_line
from qf_tasks.errors import (
    BadResponseError,
    ConfigurationError,
    QfTasksError,
    RequestTimeoutError,
    ServiceUnreachableError,
)

_ErrorT = TypeVar("_ErrorT", bound=BaseException)

_LIBRARIES = sys.stdlib_module_names | {"qf_tasks", "qianfan", "baidubce", "pydantic", "dotenv", "urllib3"}
_RAISED_BY_LIBRARIES_ALONE = {"qf_tasks", "qianfan", "pydantic", "urllib3", "socket", "ssl", "http", "zlib"}


def raised_by_other_code(
    exception: BaseException | None, handled_before: BaseException | None
) -> BaseException | None:
    """Return what other code raised in the middle of a call: a signal handler, say, that limits its time.

    Such an exception must reach the caller unchanged, even if a library has replaced it by one of its own.
    Only a library raises its own classes; for a class of Python, the frames that it passed decide.

    Args:
        handled_before: The exception that the caller was handling when the call began: no part of it.
    """
    while exception is not None and exception is not handled_before:
        if not isinstance(exception, Exception) or _is_of_other_code(exception):
            return exception
        exception = exception.__context__
    return None


def _is_of_other_code(exception: BaseException) -> bool:
    package = _root(type(exception).__module__)
    if package in _RAISED_BY_LIBRARIES_ALONE:
        return False
    frames = (frame for frame, _line in walk_tb(exception.__traceback__))
    return package not in _LIBRARIES or any(
        _root(frame.f_globals.get("__name__") or "") not in _LIBRARIES for frame in frames
    )


def _root(module: str) -> str:
    return module.partition(".")[0]


def without_frames(exception: _ErrorT) -> _ErrorT:
    """Return an exception without its traceback, cause and context: their frames hold signed headers."""
    exception.__context__ = exception.__cause__ = None
    return exception.with_traceback(None)


def connect_error(exception: Exception, *, proxied: bool) -> QfTasksError:
    """Return the error for a connection that was not made; no request has been sent yet."""
    match exception:
        case ssl.SSLCertVerificationError():
            return ServiceUnreachableError(
                f"The certificate was not verified: {_reason(exception)}",
                code="CertificateNotVerified",
                retryable=False,
                hint="Set ca_bundle to the certificates of your network; check the clock of this machine.",
            )
        case ssl.SSLError():
            return _unreachable("TlsBroken", "The TLS connection broke", exception)
        case TimeoutError():
            return RequestTimeoutError("No connection was made in time", code="ConnectTimeout")
        case _ if proxied:
            return _unreachable("ProxyFailed", "The proxy failed", exception)
        case socket.gaierror() | UnicodeError():
            return _unreachable("NameNotResolved", "The host name was not resolved", exception)
        case _:
            return _unreachable("ConnectionFailed", "No connection was made", exception)


def exchange_error(exception: Exception) -> QfTasksError:
    """Return the error for a failure after the connection was made: the request may have been applied."""
    match exception:
        case TimeoutError():
            return RequestTimeoutError("No complete response arrived in time", code="ReadTimeout")
        case ssl.SSLError():
            return _unreachable("TlsBroken", "The TLS connection broke", exception)
        case OSError() | HTTPException():
            return _unreachable("ConnectionBroken", "The connection broke", exception)
        case zlib.error():
            return BadResponseError("The response cannot be decompressed")
        case _:
            return BadResponseError(f"The response cannot be read ({type(exception).__name__})")


def to_error(exception: BaseException, action: str, task_id: str | None) -> QfTasksError | None:
    """Return the error for what a call through the SDK raised, None if it must reach the caller as it is."""
    error = _error_of_sdk(exception) if isinstance(exception, Exception) else None
    if error is not None:
        error.action, error.task_id = action, task_id
    return error


def _error_of_sdk(exception: Exception) -> QfTasksError | None:
    if isinstance(exception, QfTasksError):
        return exception
    match _root(type(exception).__module__):
        case "qianfan":
            return _rejected_by_sdk(exception)
        case "pydantic":
            return _rejected_variables(exception)
    match exception:
        case ImportError():
            return ConfigurationError(
                "The qianfan SDK cannot be imported: it needs Python 3.11 to 3.13 and its own requirements"
            )
        case OSError() | UnicodeDecodeError():
            return ConfigurationError("The qianfan SDK cannot read its .env file as UTF-8")
        case _:
            return BadResponseError(f"The SDK failed ({type(exception).__name__})")


def _rejected_by_sdk(exception: Any) -> QfTasksError:
    from qianfan.errors import APIError, RequestError

    match exception:
        case APIError():
            message, code = one_line(str(exception.error_msg)), str(exception.error_code)
            return api_error(message, code=code, request_id=str(exception.req_id))
        case RequestError(status_code=int(status)):  # without its text, which holds signed headers
            return api_error(f"HTTP {status}", status=status)
        case _:
            return BadResponseError(f"The SDK failed ({type(exception).__name__})")


def _rejected_variables(exception: Any) -> QfTasksError:
    """Return an error that names the variables which the SDK's configuration rejects, without values."""
    from pydantic.v1 import ValidationError

    names: Iterable[str]
    if isinstance(exception, ValidationError):
        names = {f"QIANFAN_{error['loc'][0]}" for error in exception.errors()}
    else:  # a variable that is not JSON: the text has its name alone, in quotes
        names = re.findall(r'"(\w+)"', str(exception))
    return ConfigurationError(
        f"The qianfan SDK does not accept the value of {', '.join(sorted(names))}",
        hint="Correct or unset it, in the environment or in .env.",
    )


def _unreachable(code: str, problem: str, exception: Exception) -> ServiceUnreachableError:
    return ServiceUnreachableError(f"{problem}: {_reason(exception)}", code=code)


def _reason(exception: Exception) -> str:
    if isinstance(exception, HTTPException):  # its text quotes what was received
        return type(exception).__name__
    text = one_line(str(exception), 200)
    return f"{type(exception).__name__}, {text}" if text else type(exception).__name__
