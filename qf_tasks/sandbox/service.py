"""Handles a request without sockets: who sent it, which fault it gets, what is done, what is recorded.

Holds the one lock of the sandbox: whatever reads or changes its state holds `lock`.
"""

import threading
import time
import uuid
from collections import deque
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from email.utils import formatdate
from pathlib import Path
from typing import Any

from .actions import ACTIONS, Actions, Durations
from .behavior import ServerBehavior
from .bos_protocol import OPERATIONS, Address, ObjectOperations, address_of, operation_of
from .clock import Clock
from .faults import NO_FAULT, Fault, FaultInjector, InjectedFault
from .http_messages import Rejection, Request, Response, error, parse_json, success
from .objects import ObjectStore
from .signing import verify
from .store import Store
from .worker import Worker, WorkOptions

ROUTE = "/v2/batchinference"

_NAMES_IN_MESSAGE = 6  # all actions, and some of the tasks


@dataclass(kw_only=True)
class RecordedRequest:
    """A request that the sandbox received, and what it did with it."""

    request_id: str
    method: str
    path: str
    query: dict[str, str]
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    """The body; empty for one that becomes an object or a part."""
    connection: int
    """The number of the TCP connection."""
    action: str | None
    """The action of the service, or the operation on an object or bucket, such as "PutObject"."""
    params: Any
    """The body as JSON, or None if it is not JSON."""
    access_key: str | None = None
    """The access key, if the signature was valid."""
    applied: bool = False
    """Whether the service carried out the request."""
    fault: Fault | None = None
    refused: str | None = None
    """The error code with which the service rejected the request."""
    unexpected: bool = False
    """Whether it was rejected for its path, action or signature: a mistake of the client."""
    status: int | None = None
    """The status of the response, or None if the connection was reset."""
    answer: bytes = b""
    """The body of the response, as far as it was sent; empty for `Fault.huge` and the content of objects."""


@dataclass(frozen=True)
class Key:
    """What belongs to an access key."""

    secret_key: str = field(repr=False)
    account: str
    allowed: frozenset[str] | None


class Service:
    """Responds to requests by the rules of the service."""

    def __init__(
        self,
        keys: Mapping[str, Key],
        *,
        behavior: ServerBehavior,
        durations: Durations,
        speed: float,
        service_time: float,
        remember: int,
        directory: Path | None,
        account: str,
        work: WorkOptions,
    ) -> None:
        self.lock: AbstractContextManager[object] = threading.RLock()
        self.keys: dict[str, Key] = dict(keys)
        self.behavior = behavior
        self.service_time = service_time
        self.clock: Clock = Clock(speed)
        self.clock_offset: float = 0.0
        self.store: Store = Store()
        self.objects: ObjectStore = ObjectStore(directory, account, self.clock.seconds())
        self.worker: Worker = Worker(self.objects, work)
        self.faults: FaultInjector = FaultInjector()
        self.requests: deque[RecordedRequest] = deque(maxlen=remember)
        self.errors: list[Exception] = []
        self._durations = durations

    def respond(self, request: Request) -> tuple[Response, Fault | None]:
        """Return the response and the fault with which it is sent."""
        address = address_of(request)
        record = _new_record(request, address)
        with self.lock:
            self.catch_up()
            try:
                response = self._handle(request, record, address)
            except Rejection as rejection:
                record.refused, record.unexpected = rejection.code, rejection.unexpected
                response = error(record.request_id, rejection.status, rejection.code, rejection.message)
                response.headers.update(rejection.headers)
            if address:
                response.headers.update({"Server": "BceBos", "x-bce-debug-id": record.request_id})
            server_time = self.clock.seconds() + self.clock_offset
            response.headers["Date"] = formatdate(server_time, usegmt=True)
            fault = record.fault or NO_FAULT
            response = fault.apply_to(response, record.request_id)
            record.status = None if fault.sends == "nothing" else response.status
            if isinstance(response.body, bytes):
                record.answer = fault.sent_part(response.body)
            self.requests.append(record)
        return response, record.fault

    def resets_upload(self, request: Request) -> bool:
        """Return whether a fault resets the connection while the body is received, and record that."""
        record = _new_record(request, address_of(request))
        with self.lock:
            try:
                record.access_key = self._verify(request)
            except Rejection:
                return False  # as the response will say
            record.fault = self.faults.resets_upload(record.action)
            if record.fault is not None:
                self.requests.append(record)
        return record.fault is not None

    def catch_up(self) -> None:
        """Let the worker do what is due."""
        self.worker.catch_up(self.clock.seconds(), self.behavior)

    def inject(self, injected: InjectedFault) -> None:
        """Add a fault; raises `ValueError` if no request could get it."""
        with self.lock:
            _check_known("action", injected.action, [*ACTIONS, *OPERATIONS])
            _check_known("task", injected.task_id, self.store.ids())
            self.faults.inject(injected)

    def _handle(self, request: Request, record: RecordedRequest, address: Address | None) -> Response:
        """Authenticate the request, choose its fault, and carry it out unless the fault prevents that."""
        if address is None or record.action is None:
            self._check_route(request)
        record.access_key = self._verify(request)
        if self.behavior.reject_all is not None:
            raise Rejection(*self.behavior.reject_all)
        task_id = record.params.get("taskId") if isinstance(record.params, dict) else None
        record.fault = self.faults.next_fault(record.action, task_id)
        if record.fault is not None and not record.fault.applied:
            return success(record.request_id, None)
        key = self.keys[record.access_key]
        if address is None:
            response = success(record.request_id, self._run_action(record, key))
        else:
            response = self._run_operation(request, record, address, key)
        record.applied = True
        return response

    def _verify(self, request: Request) -> str:
        """Return the access key that signed the request."""
        secrets = {name: key.secret_key for name, key in self.keys.items()}
        return verify(request, secrets, time.time() + self.clock_offset, self.behavior)

    def _check_route(self, request: Request) -> None:
        if request.path != ROUTE:
            status, code = self.behavior.unknown_path_status, self.behavior.unknown_path_code
            is_probe = (request.method, request.path) == (
                "HEAD",
                "/",
            )  # whether there is a server, as doctor asks
            raise Rejection(status, code, "This path does not exist.", unexpected=not is_probe)
        if request.method != "POST":
            message = "Every action is a POST request."
            raise Rejection(405, "MethodNotAllowed", message, {"Allow": "POST"}, unexpected=True)

    def _run_action(self, record: RecordedRequest, key: Key) -> Any:
        if record.action not in ACTIONS:
            status, code = self.behavior.unknown_action_status, self.behavior.unknown_action_code
            raise Rejection(status, code, "This action does not exist.", unexpected=True)
        _check_allowed(key, record.action)
        if record.params is None and record.body.strip() != b"null":
            raise Rejection(400, "MalformedJSON", "The body is not JSON in UTF-8.")
        if not isinstance(record.params, dict):
            raise Rejection(400, "InappropriateJSON", "The JSON is not an object.")
        now = self.clock.seconds()
        actions = Actions(self.store, self.behavior, self._durations, key.account, now, self.worker)
        return ACTIONS[record.action](actions, record.params)

    def _run_operation(
        self, request: Request, record: RecordedRequest, address: Address, key: Key
    ) -> Response:
        assert record.action  # noqa: S101 - else the route was rejected
        _check_allowed(key, record.action)
        operations = ObjectOperations(
            store=self.objects,
            behavior=self.behavior,
            account=key.account,
            now=self.clock.seconds(),
            request=request,
            request_id=record.request_id,
            address=address,
        )
        return OPERATIONS[record.action](operations)


def _check_allowed(key: Key, action: str) -> None:
    if key.allowed is not None and action not in key.allowed:
        raise Rejection(403, "AccessDenied", "Access denied.")


def _check_known(kind: str, name: str | None, known: list[str]) -> None:
    if name is not None and name not in known:
        more = f" and {len(known) - _NAMES_IN_MESSAGE} more" if len(known) > _NAMES_IN_MESSAGE else ""
        names = ", ".join(known[:_NAMES_IN_MESSAGE]) or "nothing yet"
        raise ValueError(
            f"the sandbox has no {kind} {name!r}, so the fault could not fire; it has {names}{more}"
        )


def _new_record(request: Request, address: Address | None) -> RecordedRequest:
    query = dict(request.query)
    try:
        params = parse_json(request.body)
    except ValueError:
        params = None
    return RecordedRequest(
        request_id=str(uuid.uuid4()),
        method=request.method,
        path=request.path,
        query=query,
        headers=request.headers,
        body=request.body,
        connection=request.connection,
        action=operation_of(request, address) if address else query.get("Action"),
        params=params,
    )
