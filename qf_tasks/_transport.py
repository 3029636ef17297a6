"""One signed call through the SDK: the only file that knows `qianfan` and `requests`.

The SDK cannot be told keys, host, time-out or a connection for `call_action`: it looks up two names in its
own module at every call. Both are replaced by functions that consult a context variable. While a call of
ours is under way they offer this client's connection, and the keys never enter the SDK; else they are what
they were. The answer is taken as it comes over the wire; what the SDK makes of it is not used.

Nothing of this is imported before the first call, for the SDK takes most of a second to import.
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

from qf_tasks._failures import of_signal_handler, translated
from qf_tasks._protocol import responses
from qf_tasks._protocol.redaction import redact as scrubbed
from qf_tasks._protocol.responses import RawResponse as Answer
from qf_tasks._protocol.signing import authorization
from qf_tasks.errors import QfTasksError
from qf_tasks.models import Response
from qf_tasks.settings import Settings, is_loopback

if TYPE_CHECKING:
    from types import ModuleType

    import requests
    from qianfan.resources.typing import QfRequest, QfResponse
    from requests.adapters import HTTPAdapter

ROUTE = "/v2/batchinference"
_SIGNATURE_SECONDS = 300  # how long a signature is good for: the SDK's own default
_POOL_SIZE = 64

_logger = logging.getLogger("qf_tasks")


class Transport:
    """Sends actions for one client, signed with its keys, over connections that are its alone."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._netloc = urlsplit(settings.base_url).netloc
        self._adapters: dict[int, HTTPAdapter] = {}
        self._is_closed = False

    def __repr__(self) -> str:
        """Return the host alone."""
        return f"<Transport to {self._netloc}>"

    def send(self, action: str, params: Mapping[str, Any]) -> Response:
        """Return the reply to an action that was sent once.

        Raises:
            ConfigurationError: the SDK cannot be imported, or its own configuration refuses.
            ServiceUnreachableError: there was no answer.
            BadResponseError, ApiError: there was one, but not as asked.
        """
        if self._is_closed:
            raise QfTasksError("This client is closed; make a new one", code="ClientClosed")
        task_id = params.get("taskId")
        answer = self._exchanged(action, dict(params), task_id if isinstance(task_id, str) else None)
        _logger.debug(
            "%s %s: HTTP %d in %.3f s, request id %s",
            action,
            task_id or "",
            answer.status,
            answer.elapsed,
            answer.headers.get("x-bce-request-id"),
        )
        return responses.read(answer, action, task_id if isinstance(task_id, str) else None)

    def close(self) -> None:
        """Close the connections of this process."""
        self._is_closed = True
        if adapter := self._adapters.pop(os.getpid(), None):
            adapter.close()

    def _exchanged(self, action: str, params: dict[str, Any], task_id: str | None) -> Answer:
        """Return what came over the wire.

        What goes wrong is raised outside the `except`: no frame, cause or context of it may lead to a
        request, for its headers are signed.
        """
        exchange = _Exchange(self)
        token = _under_way.set(exchange)
        failure: BaseException | None = None
        returned: object = None
        try:
            returned = _sdk().call_action(ROUTE, action, params)
        except BaseException as error:
            failure = of_signal_handler(error) or translated(error, action, task_id) or error
        finally:
            _under_way.reset(token)
        if failure is not None and not isinstance(failure, QfTasksError):
            raise _bare(failure)
        if failure is not None and exchange.answer is None:
            _logger.debug("%s %s: no answer (%s)", action, task_id or "", failure)
            raise failure
        return exchange.answer or _answer_of_double(returned)

    def post(self, request: QfRequest) -> Answer:
        """Sign a request as the SDK made it, send it, and return the answer."""
        started = time.perf_counter()
        response = self._adapter().send(
            self._prepared(request),
            timeout=self._settings.request_timeout,
            verify=self._verify,
            proxies=self._proxies,
        )
        return Answer(
            status=response.status_code,
            headers={name.lower(): scrubbed(value) for name, value in response.headers.items()},
            content=_unsigned(response.content),
            elapsed=time.perf_counter() - started,
        )

    @property
    def _verify(self) -> bool | str:
        settings = self._settings
        if settings.verify_tls and settings.ca_bundle:
            return str(settings.ca_bundle)
        return settings.verify_tls

    @property
    def _proxies(self) -> dict[str, str]:
        proxy = self._settings.proxy
        if proxy is None or is_loopback(self._settings.base_url):
            return {}
        return dict.fromkeys(("http", "https"), proxy.get_secret_value())

    def _adapter(self) -> HTTPAdapter:
        """Return this process's own connections: a forked child must not share its parent's."""
        process = os.getpid()
        return self._adapters.get(process) or self._adapters.setdefault(process, self._new_adapter())

    def _new_adapter(self) -> HTTPAdapter:
        """Return what keeps connections, and nothing else.

        A session would add cookies, redirects, .netrc and the environment's proxies, and take its time.
        """
        from requests.adapters import HTTPAdapter

        adapter = HTTPAdapter(pool_maxsize=_POOL_SIZE)
        if not self._settings.verify_tls:
            _hush(adapter, self._proxies)
        return adapter

    def _prepared(self, request: QfRequest) -> requests.PreparedRequest:
        """Return a request as the SDK made it, signed, as it goes over the wire."""
        from requests import PreparedRequest
        from requests.utils import default_headers

        prepared = PreparedRequest()
        prepared.method = request.method
        prepared.url = f"{self._settings.base_url}{request.url}?{urlencode(request.query)}"
        prepared.prepare_headers({**default_headers(), **self._signed_headers(request)})
        prepared.prepare_body(None, None, request.json_body)
        return prepared

    def _signed_headers(self, request: QfRequest) -> dict[str, str]:
        """Return the headers that the SDK would send, signed with this client's keys."""
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        headers = {
            "Content-Type": "application/json",
            "Host": self._netloc,
            **request.headers,
            "x-bce-date": now,
        }
        headers["Authorization"] = authorization(
            self._settings.access_key,
            self._settings.secret_key.get_secret_value(),
            method=request.method,
            path=request.url,
            query=request.query,
            headers=headers,
            timestamp=now,
            lifetime=_SIGNATURE_SECONDS,
        )
        return headers


class _Exchange:
    """One call under way: what the SDK takes for its requestor, and the answer that came."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self.answer: Answer | None = None

    def _request_console_api(self, request: QfRequest, *_unused: object) -> QfResponse:
        """Send what the SDK made; it hands the keys and its own limits along, which are not used."""
        from qianfan.resources.typing import QfResponse

        self.answer = self._transport.post(request)
        return QfResponse(code=self.answer.status, headers=self.answer.headers)


_under_way: ContextVar[_Exchange | None] = ContextVar("qf_tasks_exchange", default=None)


class _Seam:
    """Stands in a name that `call_action` looks up: offers ours to a call of ours, else calls the SDK's."""

    def __init__(self, original: Callable[..., object], offer: Callable[[_Exchange], object]) -> None:
        self._original = original
        self._offer = offer

    def __call__(self, *args: object, **kwargs: object) -> object:
        exchange = _under_way.get()
        return self._original(*args, **kwargs) if exchange is None else self._offer(exchange)


_CONSOLE = "qianfan.resources.console.utils"
_OFFERS: dict[str, Callable[[_Exchange], object]] = {
    "_get_console_ak_sk": lambda _exchange: ("", ""),  # the exchange signs; the SDK needs no keys
    "ConsoleAPIRequestor": lambda exchange: exchange,
}
_seam_lock = threading.Lock()


def _sdk() -> ModuleType:
    """Return the SDK's module with both names replaced, imported at the first call."""
    console = sys.modules.get(_CONSOLE)
    if console is None or not _has_seams(console):
        with _seam_lock:
            logging.getLogger("qianfan").addFilter(_is_of_other_code)
            console = _imported(_CONSOLE)
            for name, offer in _OFFERS.items():
                original = getattr(console, name)
                if not isinstance(original, _Seam):
                    setattr(console, name, _Seam(original, offer))
    return console


def _has_seams(console: ModuleType) -> bool:
    return all(isinstance(getattr(console, name, None), _Seam) for name in _OFFERS)


def _imported(module: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except Exception as error:  # on an interpreter that it was not made for, it raises more than ImportError
        raise ImportError(module) from error


def _is_of_other_code(_record: logging.LogRecord) -> bool:
    """Drop what the SDK logs of a call of ours: signed headers, perhaps, and an import notice."""
    return _under_way.get() is None


def _hush(adapter: HTTPAdapter, proxies: Mapping[str, str]) -> None:
    """Keep an adapter from a warning at every request that TLS is not verified: the settings say so."""
    from urllib3.connectionpool import HTTPSConnectionPool

    class Unwarned(HTTPSConnectionPool):
        def _validate_conn(self, conn: Any) -> None:
            if conn.is_closed:
                conn.connect()

    for manager in [adapter.poolmanager, *map(adapter.proxy_manager_for, set(proxies.values()))]:
        manager.pool_classes_by_scheme = {**manager.pool_classes_by_scheme, "https": Unwarned}


def _bare(error: BaseException) -> BaseException:
    """Return an interrupt without the frames that it passed: their locals hold signed headers."""
    error.__context__ = error.__cause__ = None
    return error.with_traceback(None)


def _unsigned(content: bytes) -> bytes:
    """Return the bytes of an answer without a signed header that somebody echoed into them."""
    if b"bce-auth-v1" not in content:
        return content
    return scrubbed(content.decode("latin-1")).encode("latin-1")  # byte by byte, whatever the encoding


def _answer_of_double(returned: object) -> Answer:
    """Return the answer of a `call_action` that never reached the wire: a test double's."""
    body = getattr(returned, "body", None)
    return Answer(200, {}, json.dumps(body, default=str).encode())
