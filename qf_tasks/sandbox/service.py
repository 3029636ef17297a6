"""The service without its sockets: who asks, what is done, which fault falls on it, what is noted.

Holds the one lock of the sandbox: everything that reads or changes state goes through `lock`.
"""

import threading
import time
import uuid
from collections import deque
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any

from .actions import Actions, Durations
from .behavior import ServerBehavior
from .clock import Clock
from .faults import Fault, FaultOrders
from .signing import verify
from .store import Store
from .wire import Answer, Refusal, Request, error, read_json, success

ROUTE = "/v2/batchinference"


@dataclass(frozen=True, slots=True)
class RecordedRequest:
    """A request as the sandbox saw it, and what it did about it."""

    method: str
    path: str
    query: dict[str, str]
    action: str | None
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    params: Any
    """The body as JSON, or None where it was none."""
    access_key: str | None
    """The key whose signature was good."""
    request_id: str
    status: int | None
    """The status of the answer, None where the connection was cut."""
    answer: bytes
    """The body of the answer, as far as it was sent."""
    connection: int
    """Tells connections apart."""
    applied: bool
    """Whether the service carried the request out."""
    fault: Fault | None
    refused: str | None
    """The code with which the service refused the request."""
    unexpected: bool
    """Whether it was refused for its path, action or signature: the client's own mistake."""


@dataclass(frozen=True)
class Key:
    """What belongs to an access key."""

    secret_key: str
    account: str
    allowed: frozenset[str] | None


class Service:
    """Answers requests under the rules of the service."""

    def __init__(
        self,
        access_key: str,
        key: Key,
        *,
        behavior: ServerBehavior,
        durations: Durations,
        speed: float,
        remember: int,
    ) -> None:
        self.lock: threading.RLock = threading.RLock()
        self.clock_offset: float = 0.0
        self._own_key = (access_key, key)
        self._behavior = behavior
        self._durations = durations
        self._speed = speed
        self._remember = remember
        self.reset()

    def reset(self) -> None:
        """Forget tasks, requests, faults, extra keys and the time."""
        with self.lock:
            self.clock: Clock = Clock(self._speed)
            self.clock_offset = 0.0
            self.store: Store = Store()
            self.faults: FaultOrders = FaultOrders()
            self.requests: deque[RecordedRequest] = deque(maxlen=self._remember)
            self.keys: dict[str, Key] = dict([self._own_key])
            self._actions = Actions(self.store, self._behavior, self._durations)

    def answer(self, request: Request) -> tuple[Answer, Fault | None]:
        """What goes back, and the fault that falls on the way."""
        with self.lock:
            visit = _Visit(request, str(uuid.uuid4()))
            try:
                answer = success(visit.request_id, self._carry_out(visit))
            except Refusal as refusal:
                visit.refusal = refusal
                answer = error(visit.request_id, refusal.status, refusal.code, refusal.message)
                answer.headers.update(refusal.headers)
            date = formatdate(self.clock.seconds() + self.clock_offset, usegmt=True)
            answer.headers["Date"] = date
            if visit.fault is not None:
                answer = visit.fault.alter(answer, visit.request_id)
            self.requests.append(visit.recorded(answer))
            return answer, visit.fault

    def _carry_out(self, visit: "_Visit") -> Any:
        """The result of the action, or None where a fault keeps the request from arriving."""
        self._check_route(visit.request)
        visit.access_key = self._authenticate(visit.request)
        visit.fault = self.faults.take(visit.action, visit.task_id)
        if visit.fault is not None and not visit.fault.applied:
            return None
        key = self.keys[visit.access_key]
        action = self._check_action(visit.action, key.allowed)
        if visit.malformed:
            raise Refusal(400, "MalformedJSON", "The body is not JSON in UTF-8.")
        result = self._actions.run(action, key.account, visit.params, self.clock.seconds())
        visit.applied = True
        return result

    def _check_route(self, request: Request) -> None:
        if request.path != ROUTE:
            status, code = self._behavior.unknown_path_status, self._behavior.unknown_path_code
            raise Refusal(status, code, "There is nothing at this path.", unexpected=True)
        if request.method != "POST":
            text = "Every action is a POST."
            raise Refusal(405, "MethodNotAllowed", text, {"Allow": "POST"}, unexpected=True)

    def _authenticate(self, request: Request) -> str:
        secrets = {name: key.secret_key for name, key in self.keys.items()}
        return verify(request, secrets, time.time() + self.clock_offset, self._behavior)

    def _check_action(self, action: str | None, allowed: Collection[str] | None) -> str:
        if action is None or action not in self._actions:
            status, code = self._behavior.unknown_action_status, self._behavior.unknown_action_code
            raise Refusal(status, code, "There is no such action.", unexpected=True)
        if allowed is not None and action not in allowed:
            raise Refusal(403, "AccessDenied", "Access denied.")
        return action


class _Visit:
    """One request on its way through the service."""

    def __init__(self, request: Request, request_id: str) -> None:
        self.request = request
        self.request_id = request_id
        self.query = dict(request.query)
        self.action = self.query.get("Action")
        self.access_key: str | None = None
        self.fault: Fault | None = None
        self.refusal: Refusal | None = None
        self.applied = False
        self.malformed = False
        self.params = self._read(request.body)

    def _read(self, body: bytes) -> Any:
        try:
            return read_json(body)
        except ValueError:
            self.malformed = True
            return None

    @property
    def task_id(self) -> Any:
        return self.params.get("taskId") if isinstance(self.params, dict) else None

    def recorded(self, answer: Answer) -> RecordedRequest:
        cut = self.fault is not None and self.fault.sends == "nothing"
        return RecordedRequest(
            method=self.request.method,
            path=self.request.path,
            query=self.query,
            action=self.action,
            headers=self.request.headers,
            body=self.request.body,
            params=self.params,
            access_key=self.access_key,
            request_id=self.request_id,
            status=None if cut else answer.status,
            answer=self.fault.sent(answer.body) if self.fault else answer.body,
            connection=self.request.connection,
            applied=self.applied,
            fault=self.fault,
            refused=self.refusal.code if self.refusal else None,
            unexpected=self.refusal is not None and self.refusal.unexpected,
        )
