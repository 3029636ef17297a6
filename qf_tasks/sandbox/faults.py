"""What may go wrong between a client and the service: small objects, and the orders for them.

A `Fault` says what becomes of an answer and of the line; it knows neither sockets nor tasks.
"""

import hashlib
import http.client
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

from .wire import JSON_TYPE, Answer, error, write_json

_PROXY_PAGE = "<html><head><title>{0}</title></head><body><h1>{0}</h1></body></html>\n"


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One thing that goes wrong. Make it with one of the class methods.

    `applied` tells whether the service carries the request out all the same. Two of them are joined by
    `dataclasses.replace`: `replace(Fault.status(503), delay=2)` is a slow refusal.
    """

    applied: bool
    status_code: int | None = None
    refusal: tuple[str, str] | None = None
    content: bytes | None = None
    function: Callable[[Any], Any] | None = None
    extra_headers: tuple[tuple[str, str], ...] = ()
    delay: float = 0.0
    body_delay: float = 0.0
    sends: Literal["all", "half", "nothing"] = "all"

    @classmethod
    def status(
        cls,
        status: int,
        *,
        code: str | None = None,
        message: str = "ordered of the sandbox",
        retry_after: str | float | None = None,
        headers: Mapping[str, str] | None = None,
        applied: bool = False,
    ) -> Self:
        """An error in the service's shape; `code` is the status in words by default."""
        if not 200 <= status <= 599:
            raise ValueError(f"no final HTTP status: {status}")
        words = http.client.responses.get(status, f"Status{status}").replace(" ", "")
        extra = dict(headers or {})
        if retry_after is not None:
            extra["Retry-After"] = str(retry_after)
        return cls(
            applied=applied,
            status_code=status,
            refusal=(code or words, message),
            extra_headers=tuple(extra.items()),
        )

    @classmethod
    def hidden_error(cls, code: str, message: str, *, applied: bool = False) -> Self:
        """An error that says 200."""
        return cls.status(200, code=code, message=message, applied=applied)

    @classmethod
    def reset_before(cls) -> Self:
        """The connection is reset before the request is carried out."""
        return cls(applied=False, sends="nothing")

    @classmethod
    def reset_after(cls) -> Self:
        """The request is carried out, then the connection is reset without an answer."""
        return cls(applied=True, sends="nothing")

    @classmethod
    def truncated(cls) -> Self:
        """The request is carried out; half of the promised bytes come, then the line is closed."""
        return cls(applied=True, sends="half")

    @classmethod
    def slow(cls, seconds: float) -> Self:
        """The request is carried out; its answer, headers and all, comes after `seconds`."""
        return cls(applied=True, delay=seconds)

    @classmethod
    def slow_body(cls, seconds: float) -> Self:
        """The headers and half of the body come at once, the rest after `seconds`."""
        return cls(applied=True, body_delay=seconds)

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
        """Any bytes from elsewhere: none of the service's headers, so no request id either."""
        extra = {"Content-Type": content_type, **(headers or {})}
        return cls(
            applied=applied,
            status_code=status,
            content=content,
            extra_headers=tuple(extra.items()),
        )

    @classmethod
    def html(cls, status: int = 502, *, applied: bool = False) -> Self:
        """The page of a proxy."""
        page = _PROXY_PAGE.format(f"{status} {http.client.responses.get(status, '')}".strip())
        return cls.body(page.encode(), status=status, content_type="text/html", applied=applied)

    @classmethod
    def redirect(cls, status: int = 302, *, location: str = "/elsewhere") -> Self:
        """A redirection; a client that follows the default one is noted as unexpected."""
        headers = {"Location": location}
        return cls.body(b"", status=status, content_type="text/html", headers=headers)

    @classmethod
    def transform(cls, function: Callable[[Any], Any]) -> Self:
        """The request is carried out; `function` makes another JSON value of the answer's."""
        return cls(applied=True, function=function)

    @classmethod
    def headers(cls, headers: Mapping[str, str]) -> Self:
        """The answer as it is, with more headers."""
        return cls(applied=True, extra_headers=tuple(headers.items()))

    def alter(self, answer: Answer, request_id: str) -> Answer:
        """The answer that goes out in place of `answer`."""
        status = self.status_code or answer.status
        if self.content is not None:
            return Answer(status, dict(self.extra_headers), self.content)
        body = answer.body
        if self.refusal is not None:
            body = error(request_id, status, *self.refusal).body
        if self.function is not None:
            body = write_json(self.function(json.loads(body)))
        replaced = {name.lower() for name, _ in self.extra_headers}
        kept = {name: text for name, text in answer.headers.items() if name.lower() not in replaced}
        return Answer(status, kept | dict(self.extra_headers), body)

    def sent(self, body: bytes) -> bytes:
        """As much of `body` as goes out before the line is cut."""
        kept = {"all": len(body), "half": len(body) // 2, "nothing": 0}
        return body[: kept[self.sends]]


@dataclass(kw_only=True)
class _Order:
    fault: Fault
    action: str | None
    task_id: str | None
    times: int | None
    skip: int

    def falls_on(self, action: str | None, task_id: object) -> bool:
        """Whether this request gets the fault; counts the ones that match."""
        if self.times == 0 or self.action not in (None, action):
            return False
        if self.task_id not in (None, task_id):
            return False
        if self.skip:
            self.skip -= 1
            return False
        if self.times is not None:
            self.times -= 1
        return True


class FaultOrders:
    """Which request gets which fault; the first order that matches counts."""

    def __init__(self) -> None:
        self._orders: list[_Order] = []
        self._random: tuple[float, Sequence[Fault], int] = (0.0, (), 0)
        self._draws = 0

    def add(
        self,
        fault: Fault,
        *,
        action: str | None = None,
        times: int | None = 1,
        skip: int = 0,
        task_id: str | None = None,
    ) -> None:
        """Order `fault` for the next `times` matching requests (None: for all) after `skip`."""
        order = _Order(fault=fault, action=action, task_id=task_id, times=times, skip=skip)
        self._orders.append(order)

    def add_random(self, rate: float, faults: Sequence[Fault], seed: int) -> None:
        """Order one of `faults` for each request with probability `rate`."""
        self._random, self._draws = (rate, tuple(faults), seed), 0

    def take(self, action: str | None, task_id: object) -> Fault | None:
        """The fault of this request, or None."""
        ordered = (order.fault for order in self._orders if order.falls_on(action, task_id))
        return next(ordered, None) or self._draw()

    def _draw(self) -> Fault | None:
        """The n-th request's fate depends on the seed and on n alone."""
        rate, faults, seed = self._random
        self._draws += 1
        drawn = hashlib.sha256(f"{seed}/{self._draws}".encode()).digest()
        if not faults or int.from_bytes(drawn[:8]) >= rate * 2**64:
            return None
        return faults[int.from_bytes(drawn[8:16]) % len(faults)]
