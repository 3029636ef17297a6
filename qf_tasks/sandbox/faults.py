"""Faults between client and service: small values, and which request gets which.

A `Fault` says what happens to a response and its connection; it knows neither sockets nor tasks.
"""

import http.client
import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, Self, TypeVar

from .content import Content
from .http_messages import JSON_TYPE, Response, dump_json, error, head_of

Body = TypeVar("Body", bytes, Content)

_PROXY_PAGE = "<html><head><title>{0}</title></head><body><h1>{0}</h1></body></html>\n"


@dataclass(frozen=True, kw_only=True, repr=False)
class Fault:
    """One thing that goes wrong. Make it with one of the class methods.

    `applied` says whether the service carries out the request all the same. `dataclasses.replace` combines
    two faults: `replace(Fault.status(503), delay=2)` is a slow error.
    """

    applied: bool
    status_code: int | None = None
    error: tuple[str, str] | None = None
    content: bytes | None = None
    function: Callable[[Any], Any] | None = None
    extra_headers: tuple[tuple[str, str], ...] = ()
    informational_head: bytes = b""
    delay: float = 0.0
    body_delay: float = 0.0
    seconds_per_byte: float = 0.0
    trickles_headers: bool = False
    zeros: int = 0
    zeros_are_compressed: bool = False
    sends: Literal["all", "half", "nothing"] = "all"
    resets: bool = False
    resets_upload: bool = False
    changes_byte: bool = False

    def __repr__(self) -> str:
        values = ((field, getattr(self, field.name)) for field in fields(self))
        given = (f"{field.name}={value!r}" for field, value in values if value != field.default)
        return f"Fault({', '.join(given)})"

    @classmethod
    def status(
        cls,
        status: int,
        *,
        code: str | None = None,
        message: str = "injected by the sandbox",
        retry_after: str | float | None = None,
        headers: Mapping[str, str] | None = None,
        applied: bool = False,
    ) -> Self:
        """An error response of the service.

        Args:
            status: The HTTP status, 200 to 599.
            code: By default the phrase of the status, such as "ServiceUnavailable".
            message: The message of the error.
            retry_after: The header `Retry-After`: seconds or a date.
            headers: Other headers.
            applied: Whether the request is carried out all the same.
        """
        if not 200 <= status <= 599:
            raise ValueError(f"not the status of a final response: {status}; use 200 to 599")
        phrase = http.client.responses.get(status, f"Status{status}").replace(" ", "")
        extra = dict(headers or {})
        if retry_after is not None:
            extra["Retry-After"] = str(retry_after)
        return cls(
            applied=applied,
            status_code=status,
            error=(code or phrase, message),
            extra_headers=tuple(extra.items()),
        )

    @classmethod
    def hidden_error(cls, code: str, message: str, *, applied: bool = False) -> Self:
        """An error response with the status 200."""
        return cls.status(200, code=code, message=message, applied=applied)

    @classmethod
    def reset_before(cls) -> Self:
        """The connection is reset, when the request has been received, before it is carried out."""
        return cls(applied=False, sends="nothing")

    @classmethod
    def reset_after(cls) -> Self:
        """The request is carried out, then the connection is reset without a response."""
        return cls(applied=True, sends="nothing")

    @classmethod
    def truncated(cls) -> Self:
        """The request is carried out; the connection is closed after half of the response's body."""
        return cls(applied=True, sends="half")

    @classmethod
    def reset_during(cls) -> Self:
        """The request is carried out; the connection is reset after half of the response's body."""
        return cls(applied=True, sends="half", resets=True)

    @classmethod
    def reset_upload(cls) -> Self:
        """The connection is reset when half of an object or part has been received, which is not stored."""
        return cls(applied=False, sends="nothing", resets_upload=True)

    @classmethod
    def corrupt(cls) -> Self:
        """The request is carried out; a byte in the middle of the response's body is another one."""
        return cls(applied=True, changes_byte=True)

    @classmethod
    def slow(cls, seconds: float) -> Self:
        """The request is carried out; the response, headers included, comes after `seconds`."""
        return cls(applied=True, delay=seconds)

    @classmethod
    def slow_body(cls, seconds: float) -> Self:
        """The headers and half of the body come at once, the rest after `seconds`."""
        return cls(applied=True, body_delay=seconds)

    @classmethod
    def trickle(cls, seconds_per_byte: float, *, headers: bool = False) -> Self:
        """The response comes byte by byte: its body alone, or with `headers` all of it."""
        return cls(applied=True, seconds_per_byte=seconds_per_byte, trickles_headers=headers)

    @classmethod
    def informational(
        cls, status: int = 103, delay: float = 0.05, *, headers: Mapping[str, str] | None = None
    ) -> Self:
        """A response with a 1xx status comes first, the real one after `delay` seconds."""
        if not 100 <= status <= 199:
            raise ValueError(f"not an informational status: {status}; use 100 to 199")
        return cls(applied=True, informational_head=head_of(status, headers or {}), delay=delay)

    @classmethod
    def huge(cls, size: int, *, gzip: bool = True, applied: bool = False) -> Self:
        """A body of `size` zero bytes, compressed or not, which is streamed and never held in memory."""
        headers = {"Content-Encoding": "gzip"} if gzip else {}
        return replace(cls.body(b"", headers=headers, applied=applied), zeros=size, zeros_are_compressed=gzip)

    @classmethod
    def body(
        cls,
        content: bytes,
        *,
        status: int = 200,
        content_type: str = JSON_TYPE,
        headers: Mapping[str, str] | None = None,
        applied: bool = False,
    ) -> Self:
        """A response that is not the service's: any bytes, and no request id."""
        extra = {"Content-Type": content_type, **(headers or {})}
        return cls(applied=applied, status_code=status, content=content, extra_headers=tuple(extra.items()))

    @classmethod
    def html(cls, status: int = 502, *, applied: bool = False) -> Self:
        """The error page of a proxy."""
        page = _PROXY_PAGE.format(f"{status} {http.client.responses.get(status, '')}".strip())
        return cls.body(page.encode(), status=status, content_type="text/html", applied=applied)

    @classmethod
    def redirect(cls, status: int = 302, *, location: str = "/elsewhere") -> Self:
        """A redirect; a client that follows it to the default location makes an unexpected request."""
        headers = {"Location": location}
        return cls.body(b"", status=status, content_type="text/html", headers=headers)

    @classmethod
    def transform(cls, function: Callable[[Any], Any]) -> Self:
        """The request is carried out; `function` turns the JSON value of the response into another."""
        return cls(applied=True, function=function)

    @classmethod
    def headers(cls, headers: Mapping[str, str]) -> Self:
        """The normal response with other headers added or replaced."""
        return cls(applied=True, extra_headers=tuple(headers.items()))

    def apply_to(self, response: Response, request_id: str) -> Response:
        """Return the response that is sent in place of `response`."""
        status = self.status_code or response.status
        if self.content is not None:
            return Response(status, dict(self.extra_headers), self.content)
        headers, body = response.headers, response.body
        if self.error is not None:
            rejected = error(request_id, status, *self.error)
            headers, body = headers | rejected.headers, rejected.body
        if self.function is not None:
            body = dump_json(self.function(json.loads(bytes(body))))
        if self.changes_byte:
            body = _with_changed_byte(bytes(body))
        replaced = {name.lower() for name, _ in self.extra_headers}
        kept = {name: text for name, text in headers.items() if name.lower() not in replaced}
        return Response(status, kept | dict(self.extra_headers), body)

    def sent_part(self, body: Body) -> Body:
        """Return the part of `body` that is sent before the connection is closed."""
        length = {"all": len(body), "half": len(body) // 2, "nothing": 0}
        return body[: length[self.sends]]


NO_FAULT = Fault(applied=True)


def _with_changed_byte(body: bytes) -> bytes:
    middle = len(body) // 2
    return body[:middle] + bytes(byte ^ 1 for byte in body[middle : middle + 1]) + body[middle + 1 :]


@dataclass(kw_only=True)
class InjectedFault:
    """A fault and the requests that get it: `times` requests (None: all) that match, after `skip` of them."""

    fault: Fault
    action: str | None = None
    task_id: str | None = None
    times: int | None = 1
    skip: int = 0
    fired: int = 0

    def __str__(self) -> str:
        conditions = (f" for {name}" for name in (self.action, self.task_id) if name)
        expected = "" if self.times is None else f" of {self.times}"
        return f"{self.fault!r}{''.join(conditions)}: fired {self.fired}{expected} times"

    def fires(self, action: str | None, task_id: object) -> bool:
        """Whether this request gets the fault; counts the requests that match."""
        if (
            self.fired == self.times
            or self.action not in (None, action)
            or self.task_id not in (None, task_id)
        ):
            return False
        if self.skip:
            self.skip -= 1
            return False
        self.fired += 1
        return True

    def is_unused(self) -> bool:
        """Whether fewer requests than expected got the fault."""
        return self.fired < (1 if self.times is None else self.times)


class FaultInjector:
    """Decides which request gets which fault; the first injected fault that matches counts."""

    def __init__(self) -> None:
        self._injected: list[InjectedFault] = []
        self._rate, self._faults = 0.0, tuple[Fault, ...]()
        self._random = random.Random(0)  # noqa: S311 - not for cryptography

    def inject(self, injected: InjectedFault) -> None:
        """Add a fault."""
        self._injected.append(injected)

    def inject_random(self, rate: float, faults: Sequence[Fault], seed: int) -> None:
        """Give each request one of `faults` with probability `rate`."""
        self._rate, self._faults = rate, tuple(faults)
        self._random = random.Random(seed)  # noqa: S311 - reproducible, not for cryptography

    def resets_upload(self, action: str | None) -> Fault | None:
        """Return the fault of an upload that is being received, or None."""
        for injected in self._injected:
            if injected.fault.resets_upload and injected.fires(action, None):
                return injected.fault
        return None

    def next_fault(self, action: str | None, task_id: object) -> Fault | None:
        """Return the fault of this request, which has been received, or None."""
        for injected in self._injected:
            if not injected.fault.resets_upload and injected.fires(action, task_id):
                return injected.fault
        if self._random.random() < self._rate:
            return self._random.choice(self._faults)
        return None

    def unused(self) -> list[InjectedFault]:
        """Return the injected faults that have not fired as often as expected."""
        return [injected for injected in self._injected if injected.is_unused()]
