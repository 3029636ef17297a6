"""The table from what `requests` and the SDK raise to the errors of this library.

Classes are looked up by name along their bases, so that neither has to be imported here. What the table
makes holds no reference to the exception that it was made from: there, signed headers are never far.
"""

from __future__ import annotations

import re
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from traceback import walk_tb
from types import CodeType, FunctionType, MethodType
from typing import Any

from qf_tasks._protocol.error_codes import api_error
from qf_tasks._protocol.redaction import one_line as safe_line
from qf_tasks.errors import (
    BadResponseError,
    ConfigurationError,
    ErrorDetails,
    InvalidArgumentError,
    QfTasksError,
    RequestTimeoutError,
    ServiceUnreachableError,
)

Rule = Callable[[Any, ErrorDetails], QfTasksError]

_LIBRARIES = sys.stdlib_module_names | {"qianfan", "requests", "urllib3", "pydantic", "idna"}


def translated(error: BaseException, action: str, task_id: str | None) -> QfTasksError | None:
    """Return our error for one of a library's; None for what is not theirs, such as Ctrl-C."""
    package = type(error).__module__.partition(".")[0]
    if not isinstance(error, Exception) or package not in _LIBRARIES:
        return None
    facts = ErrorDetails(action=action, task_id=task_id)
    return rule_for(type(error))(error, facts)


def of_signal_handler(error: BaseException) -> BaseException | None:
    """Return what a handler of signals has raised, though a library made another error of it.

    That is how callers put a limit to the time of anything: it must end the call, and not be repeated.
    """
    handlers = map(signal.getsignal, signal.valid_signals())
    codes = {handler.__code__ for handler in handlers if isinstance(handler, FunctionType | MethodType)}
    return next((cause for cause in _causes(error, with_context=True) if codes & _codes_of(cause)), None)


def _codes_of(error: BaseException) -> set[CodeType]:
    """Return the code of all functions that an exception has passed."""
    return {frame.f_code for frame, _line in walk_tb(error.__traceback__)}


def rule_for(kind: type[BaseException]) -> Rule:
    """Return the rule for a class of exceptions: its own, or that of the nearest base."""
    names = (f"{base.__module__}.{base.__qualname__}" for base in kind.__mro__)
    return next((RULES[name] for name in names if name in RULES), _sdk_failed)


def _unreachable(code: str, what: str) -> Rule:
    def rule(error: BaseException, facts: ErrorDetails) -> QfTasksError:
        facts["code"] = code
        return ServiceUnreachableError(f"{what}: {_reason(error)}", **facts)

    return rule


def _timed_out(code: str, what: str) -> Rule:
    def rule(_error: BaseException, facts: ErrorDetails) -> QfTasksError:
        facts["code"] = code
        return RequestTimeoutError(f"{what} within request_timeout", **facts)

    return rule


def _misconfigured(what: str) -> Rule:
    # Without the text of the exception: it may hold the password of a proxy, or a header.
    def rule(_error: BaseException, facts: ErrorDetails) -> QfTasksError:
        return ConfigurationError(what, **facts)

    return rule


_CERTIFICATE_READERS = ("X509", "PEM", "ASN1")  # the parts of OpenSSL that read a bundle, before it connects


def _tls(error: BaseException, facts: ErrorDetails) -> QfTasksError:
    """Tell a refused certificate, before anything was sent, from a line that broke at any time."""
    if any(type(cause).__name__ == "SSLCertVerificationError" for cause in _causes(error)):
        return _unreachable("CertificateNotVerified", "The certificate was not verified")(error, facts)
    if any(getattr(cause, "library", None) in _CERTIFICATE_READERS for cause in _causes(error)):
        return _misconfigured("ca_bundle holds no certificates that can be read")(error, facts)
    return _unreachable("TlsBroken", "The TLS connection broke")(error, facts)


def _connection(error: BaseException, facts: ErrorDetails) -> QfTasksError:
    names = {type(cause).__name__ for cause in _causes(error)}
    for name, rule in (
        ("NameResolutionError", _unreachable("NameNotResolved", "The host name was not resolved")),
        ("NewConnectionError", _unreachable("ConnectionFailed", "No connection was made")),
        ("ReadTimeoutError", _timed_out("ReadTimeout", "The answer did not arrive")),
    ):
        if name in names:
            return rule(error, facts)
    return _unreachable("ConnectionBroken", "The connection broke")(error, facts)


def _sdk_failed(error: BaseException, facts: ErrorDetails) -> QfTasksError:
    what = f"The SDK could not read the answer ({type(error).__name__})"
    facts["may_have_been_applied"] = True
    return BadResponseError(what, **facts)


def _sdk_said_no(error: Any, facts: ErrorDetails) -> QfTasksError:
    facts["code"], facts["request_id"] = str(error.error_code), str(error.req_id)
    return api_error(safe_line(str(error.error_msg)), **facts)


def _sdk_saw_status(error: Any, facts: ErrorDetails) -> QfTasksError:
    # Its text holds the request's headers, signed as they are: only the status can be used.
    facts["status"] = error.status_code
    if error.status_code is None:
        return _sdk_failed(error, facts)
    return api_error(f"HTTP {error.status_code}", **facts)


def _sdk_refused_to_start(error: Any, facts: ErrorDetails) -> QfTasksError:
    """Name the variables that the SDK's own configuration does not take; never their values."""
    return _refused_variables({f"QIANFAN_{item['loc'][0]}" for item in error.errors()}, facts)


def _sdk_refused_json(error: BaseException, facts: ErrorDetails) -> QfTasksError:
    """Do the same where it wanted JSON; its text has nothing but the name, in quotes."""
    return _refused_variables(re.findall(r'"(\w+)"', str(error)), facts)


def _refused_variables(names: Iterable[str], facts: ErrorDetails) -> QfTasksError:
    facts["hint"] = "Correct or unset it, in the environment or in .env."
    return ConfigurationError(
        f"The qianfan SDK does not accept the value of {', '.join(sorted(names))}", **facts
    )


_REQUESTS: dict[str, Rule] = {
    "ConnectTimeout": _timed_out("ConnectTimeout", "No connection was made"),
    "Timeout": _timed_out("ReadTimeout", "The answer did not arrive"),
    "SSLError": _tls,
    "ProxyError": _unreachable("ProxyFailed", "The proxy failed"),
    "ConnectionError": _connection,
    "ChunkedEncodingError": _unreachable("ConnectionBroken", "The connection broke"),
    "ContentDecodingError": _sdk_failed,
    "StreamConsumedError": _sdk_failed,
    "JSONDecodeError": _sdk_failed,
    "InvalidJSONError": lambda _error, facts: InvalidArgumentError("params must hold JSON values", **facts),
    "InvalidProxyURL": _misconfigured("proxy is no valid URL"),
    "InvalidURL": _misconfigured("base_url or proxy is no valid URL"),
    "InvalidSchema": _misconfigured("base_url or proxy has a scheme that is not supported"),
    "MissingSchema": _misconfigured("base_url or proxy has no scheme"),
    "URLRequired": _misconfigured("base_url is missing"),
    "InvalidHeader": _sdk_failed,  # of the answer: what a request carries was checked with the settings
    "RequestException": _unreachable("ConnectionBroken", "The request failed"),
}
_SDK: dict[str, Rule] = {
    "APIError": _sdk_said_no,
    "RequestError": _sdk_saw_status,
    "RequestTimeoutError": _timed_out("ReadTimeout", "The answer did not arrive"),
    "QianfanError": _sdk_failed,
    "ValidationError": _sdk_failed,
    "QianfanRequestError": _sdk_failed,
    "FileSizeOverflow": _sdk_failed,
}
RULES: dict[str, Rule] = {
    **{f"requests.exceptions.{name}": rule for name, rule in _REQUESTS.items()},
    **{f"qianfan.errors.{name}": rule for name, rule in _SDK.items()},
    "pydantic.v1.error_wrappers.ValidationError": _sdk_refused_to_start,
    "pydantic.v1.env_settings.SettingsError": _sdk_refused_json,
    "builtins.ImportError": _misconfigured(
        "The qianfan SDK cannot be imported: it needs Python 3.11 to 3.13, and its own requirements installed"
    ),
    "builtins.UnicodeDecodeError": _misconfigured("The qianfan SDK cannot read its .env file as UTF-8"),
    # What breaks on the wire comes wrapped by requests; what does not is one of the two files read here.
    "builtins.OSError": _misconfigured("A file cannot be read: ca_bundle, or the .env that the SDK reads"),
}


def _causes(error: BaseException, *, with_context: bool = False) -> Iterator[BaseException]:
    """Yield an exception and all that it wraps: urllib3 hands the real one on as argument or reason."""
    pending: list[object] = [error]
    seen: set[int] = set()
    while pending:
        cause = pending.pop(0)
        if isinstance(cause, BaseException) and id(cause) not in seen:
            seen.add(id(cause))
            yield cause
            pending += [*cause.args, getattr(cause, "reason", None), cause.__cause__]
            if with_context:
                pending.append(cause.__context__)


def _reason(error: BaseException) -> str:
    """Return the words of the innermost cause, which name host or errno and nothing of the request."""
    *_, last = _causes(error)
    return safe_line(f"{type(last).__name__}, {last}" if str(last) else type(last).__name__, 200)
