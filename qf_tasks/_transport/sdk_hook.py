"""Sends one action through the SDK's `call_action`: the only file that imports `qianfan`.

The SDK accepts no keys, host, timeout or connection for `call_action`, but it looks up two names in its own
module at every call. Both are replaced, once, by functions that consult a context variable: during a call of
this library they lead to the client's transport, otherwise to the originals. The keys never enter the SDK. It
is imported at the first call, which takes most of a second.
"""

from __future__ import annotations

import importlib
import json
import logging
import sys
import threading
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from importlib.abc import MetaPathFinder
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from qf_tasks._protocol.actions import ROUTE
from qf_tasks._protocol.redaction import redact, redact_bytes
from qf_tasks._protocol.responses import RawResponse, read
from qf_tasks._protocol.signing import authorization, query_string
from qf_tasks._transport.exception_mapping import raised_by_other_code, to_error, without_frames
from qf_tasks.errors import InvalidArgumentError, QfTasksError
from qf_tasks.models import Response
from qf_tasks.settings import Settings

if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec
    from types import ModuleType

    from qianfan.resources.typing import QfRequest

SIGNATURE_SECONDS = 300  # how long a signature is valid: the SDK's own default

_JSON = json.JSONEncoder(allow_nan=False)

_logger = logging.getLogger("qf_tasks")


class Transport:
    """Sends actions for one client, signed with its keys, over connections that belong to it alone."""

    def __init__(self, settings: Settings) -> None:
        from qf_tasks._transport.sender import Sender  # with urllib3, for those who make a client

        self._settings = settings
        self._host = urlsplit(settings.base_url).netloc
        self._sender = Sender(settings)
        self._last_signed: tuple[object, dict[str, str]] = (None, {})
        self._is_closed = False

    def __repr__(self) -> str:
        """Return the host alone."""
        return f"<Transport to {self._host}>"

    def call(self, action: str, params: Mapping[str, Any], *, timeout: float | None = None) -> Response:
        """Send an action once and return the response.

        Args:
            timeout: Seconds for this attempt, if they are fewer than `request_timeout`.

        Raises:
            ConfigurationError: The SDK cannot be imported, or rejects its own configuration.
            ServiceUnreachableError: There was no complete response.
            BadResponseError, ApiError: There was one, but it is not a success.
        """
        if self._is_closed:
            raise QfTasksError("This client is closed; make a new one", code="ClientClosed")
        task_id = params.get("taskId")
        task_id = task_id if isinstance(task_id, str) else None
        handled_before = sys.exception()
        failure: BaseException | None = None
        returned: object = None
        token = _current.set(_Call(self, timeout))
        try:
            returned = _hooked_sdk().call_action(ROUTE, action, dict(params))
        except BaseException as exception:
            failure = (
                raised_by_other_code(exception, handled_before)
                or to_error(exception, action, task_id)
                or exception
            )
        finally:
            _current.reset(token)
        if failure is not None:
            if isinstance(failure, QfTasksError):
                _logger.debug("%s %s: no response (%s)", action, task_id or "", failure)
            raise without_frames(failure)
        raw = returned if isinstance(returned, RawResponse) else _response_of_double(returned)
        _logger.debug(
            "%s %s: HTTP %d in %.3f s, request id %s",
            action,
            task_id or "",
            raw.status,
            raw.elapsed,
            raw.headers.get("x-bce-request-id"),
        )
        return read(raw, action, task_id)

    def close(self) -> None:
        """Close the connections of this process."""
        self._is_closed = True
        self._sender.close()

    def send(self, request: QfRequest, timeout: float | None) -> RawResponse:
        """Sign a request that the SDK made, send it, and return the response without its signature."""
        settings = self._settings
        headers = self._signed_headers(request)
        raw = self._sender.request(
            request.method,
            f"{settings.base_url}{request.url}?{query_string(request.query)}",
            headers,
            _body(request.json_body),
            timeout=settings.request_timeout if timeout is None else min(timeout, settings.request_timeout),
        )
        secrets = [headers["Authorization"].rpartition("/")[2]]
        redacted = {name: redact(value, secrets) for name, value in raw.headers.items()}
        return raw._replace(headers=redacted, content=redact_bytes(raw.content, secrets))

    def _signed_headers(self, request: QfRequest) -> dict[str, str]:
        """Return the headers that the SDK would send, signed with the keys of this client.

        The body is not signed, so the requests of one second that differ in nothing else share their headers.
        """
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        parts = (now, request.method, request.url, request.query, request.headers)
        signed_parts, headers = self._last_signed
        if signed_parts != parts:
            headers = self._sign(request, now)
            self._last_signed = parts, headers
        return headers

    def _sign(self, request: QfRequest, now: str) -> dict[str, str]:
        signed = {
            "Content-Type": "application/json",
            "Host": self._host,
            **request.headers,
            "x-bce-date": now,
        }
        return {
            **signed,
            "Accept-Encoding": "gzip",
            "User-Agent": "qf-tasks",
            "Authorization": authorization(
                self._settings.access_key,
                self._settings.secret_key.get_secret_value(),
                method=request.method,
                path=request.url,
                query=request.query,
                headers=signed,
                timestamp=now,
                lifetime=SIGNATURE_SECONDS,
            ),
        }


class _Call:
    """One call in progress: what the SDK uses as its requestor."""

    def __init__(self, transport: Transport, timeout: float | None) -> None:
        self._transport = transport
        self._timeout = timeout

    def _request_console_api(self, request: QfRequest, *_keys_and_retries: object) -> RawResponse:
        """Send the request; what this returns, `call_action` returns.

        Meanwhile calls of other code in this thread, from a signal handler or a log handler, go to the SDK.
        """
        token = _current.set(None)
        try:
            return self._transport.send(request, self._timeout)
        finally:
            _current.reset(token)


_current: ContextVar[_Call | None] = ContextVar("qf_tasks_call", default=None)


class _Dispatcher:
    """Replaces a name of the SDK: leads to this library during its own calls, otherwise to the original."""

    def __init__(self, original: Callable[..., object], replacement: Callable[[_Call], object]) -> None:
        self._original = original
        self._replacement = replacement

    def __call__(self, *args: object, **kwargs: object) -> object:
        call = _current.get()
        return self._original(*args, **kwargs) if call is None else self._replacement(call)


_CONSOLE = "qianfan.resources.console.utils"
_REPLACEMENTS: dict[str, Callable[[_Call], object]] = {
    "_get_console_ak_sk": lambda _call: ("", ""),
    "ConsoleAPIRequestor": lambda call: call,
}
_hook_lock = threading.Lock()


def _hooked_sdk() -> ModuleType:
    """Return the SDK's module with both names replaced, imported at the first call."""
    console = sys.modules.get(_CONSOLE)
    if console is None or not _is_hooked(console):
        with _hook_lock:
            logging.getLogger("qianfan").addFilter(_is_of_other_code)
            console = _import_sdk()
            for name, replacement in _REPLACEMENTS.items():
                original = getattr(console, name)
                if not isinstance(original, _Dispatcher):
                    setattr(console, name, _Dispatcher(original, replacement))
    return console


def _is_hooked(console: ModuleType) -> bool:
    return all(isinstance(getattr(console, name, None), _Dispatcher) for name in _REPLACEMENTS)


def _is_of_other_code(_record: logging.LogRecord) -> bool:
    """Drop what the SDK logs about a call of this library: a notice at its import, perhaps signed headers."""
    return _current.get() is None


def _import_sdk() -> ModuleType:
    """Import the SDK; a failure or an interrupt leaves nothing of it behind for the next attempt."""
    logger = logging.getLogger("qianfan")
    modules, finders, handlers = set(sys.modules), list(sys.meta_path), list(logger.handlers)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of its source, which Python compiles if the installer did not
            console = importlib.import_module(_CONSOLE)
    except BaseException as exception:
        for name in set(sys.modules) - modules:
            if name.partition(".")[0] == "qianfan":
                sys.modules.pop(name, None)
        logger.handlers[:] = handlers
        sys.meta_path[:] = [finder for finder in sys.meta_path if finder in finders or not _is_of_sdk(finder)]
        if not isinstance(exception, Exception) or raised_by_other_code(exception, None):
            raise
        raise ImportError(_CONSOLE) from exception  # on a Python that it was not made for, it raises anything
    sys.meta_path[:] = [
        _PyarrowForSdk(finder) if _is_of_sdk(finder) and finder not in finders else finder
        for finder in sys.meta_path
    ]
    return console


def _is_of_sdk(finder: object) -> bool:
    return type(finder).__module__.partition(".")[0] == "qianfan"


class _PyarrowForSdk(MetaPathFinder):
    """Offers the SDK's substitute for a missing pyarrow to the SDK alone: pandas and others cannot use it."""

    def __init__(self, finder: Any) -> None:
        self._finder = finder

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not fullname.startswith("pyarrow") or not _is_imported_by_sdk():
            return None
        spec: ModuleSpec | None = self._finder.find_spec(fullname, path, target)
        return spec


def _is_imported_by_sdk() -> bool:
    frame = sys._getframe(2)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("importlib"):
        frame = frame.f_back
    return str(frame.f_globals.get("__name__")).startswith("qianfan.")


def _body(params: Mapping[str, Any]) -> bytes:
    try:
        return _JSON.encode(params).encode()
    except (TypeError, ValueError, RecursionError):
        raise InvalidArgumentError("params must hold JSON values") from None


def _response_of_double(returned: object) -> RawResponse:
    """Return the response of a `call_action` that a test has replaced."""
    body = getattr(returned, "body", None)
    return RawResponse(200, {}, json.dumps(body, default=str).encode())
