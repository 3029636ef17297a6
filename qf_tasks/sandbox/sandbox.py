"""`Sandbox`: the service on one's own machine, and everything a test may do to it."""

import secrets
import ssl
from collections.abc import Collection, Mapping, Sequence
from copy import deepcopy
from datetime import datetime
from types import TracebackType
from typing import Any, Self

from .actions import Durations
from .behavior import ServerBehavior
from .clock import as_datetime, as_seconds
from .faults import Fault
from .server import Server
from .service import Key, RecordedRequest, Service
from .store import DONE, Move, StoredTask

_ENDPOINT = "ernie-x1-turbo-32k"


class Sandbox:
    """A local server that stands in for the service: it checks signatures and keeps state.

    It listens on 127.0.0.1, on a free port unless `port` names one; a `with` statement starts and
    stops it. `access_key` and `secret_key` are made up freshly unless given; they belong to
    `account`.

    Its clock starts at the present and stands still, unless turned by `advance` or told to run at
    `speed` (60: a minute each second). A task that is created queues for `queue_seconds` of it,
    runs for `run_seconds` and is done; one that is stopped takes `stop_seconds`. `service_time` is
    in real seconds, for each request. What nobody has documented is decided by `behavior`. The last
    `remember` requests are kept.
    """

    def __init__(
        self,
        *,
        port: int = 0,
        access_key: str | None = None,
        secret_key: str | None = None,
        account: str = "sandbox",
        ssl_context: ssl.SSLContext | None = None,
        behavior: ServerBehavior | None = None,
        queue_seconds: float = 10.0,
        run_seconds: float = 60.0,
        stop_seconds: float = 5.0,
        speed: float = 1.0,
        frozen: bool = False,
        service_time: float = 0.0,
        remember: int = 10_000,
    ) -> None:
        self.access_key: str = access_key or secrets.token_hex(16)
        self.secret_key: str = secret_key or secrets.token_hex(16)
        self.account = account
        self._service = Service(
            self.access_key,
            Key(self.secret_key, account, None),
            behavior=behavior or ServerBehavior(),
            durations=Durations(queue_seconds, run_seconds, stop_seconds),
            speed=0.0 if frozen else speed,
            remember=remember,
        )
        self._server = Server(self._service, port, ssl_context, service_time)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> Self:
        """Itself, listening; a second start after `stop` takes the same port.

        Raises:
            OSError: the port is taken.
        """
        self._server.start()
        return self

    def stop(self) -> None:
        """Cut every connection, whatever is under way; what was kept can still be read."""
        self._server.stop()

    # How a client finds it.

    @property
    def port(self) -> int:
        """The port; raises `RuntimeError` before the first start if none was named."""
        return self._server.port

    @property
    def url(self) -> str:
        """The base URL for a client."""
        return self._server.url

    def env(self) -> dict[str, str]:
        """The environment variables that point a client of any language here."""
        return {
            "QIANFAN_ACCESS_KEY": self.access_key,
            "QIANFAN_SECRET_KEY": self.secret_key,
            "QIANFAN_CONSOLE_API_BASE_URL": self.url,
        }

    def add_key(
        self,
        access_key: str,
        secret_key: str,
        *,
        account: str | None = None,
        allowed: Collection[str] | None = None,
    ) -> None:
        """Accept another pair of keys.

        Each account has its own tasks; several keys may share one, by default that of the first
        pair. `allowed` names the actions that the key may use, by default all; any other is
        answered `AccessDenied`.
        """
        permitted = None if allowed is None else frozenset(allowed)
        with self._service.lock:
            self._service.keys[access_key] = Key(secret_key, account or self.account, permitted)

    def revoke_key(self, access_key: str) -> None:
        """Know this key no more; raises `KeyError` where it was not known."""
        with self._service.lock:
            del self._service.keys[access_key]

    # What it keeps.

    def add_task(
        self,
        task_id: str | None = None,
        *,
        run_status: str = DONE,
        name: str | None = None,
        description: str = "",
        endpoint: str | None = None,
        model_id: str | None = None,
        account: str | None = None,
        creator: str | None = None,
        create_time: datetime | None = None,
        finish_time: datetime | None = None,
        ends_after: float | None = None,
        ends_as: str = DONE,
        progress: int | None = None,
        error_code: int = 1,
        error_reason: str = "the sandbox was told to let this task fail",
        fields: Mapping[str, Any] | None = None,
    ) -> str:
        """The id of a task that is put in without a request; the quota does not count here.

        It stays in `run_status`, which may be a word that the service does not know, unless it
        `ends_after` so many seconds of the sandbox's clock, as `ends_as`. Both times are the
        sandbox's present by default. `fields` lie over the service's object as they are.

        Raises:
            ValueError: the id is taken, or a time has no time zone.
        """
        with self._service.lock:
            now, store = self._service.clock.seconds(), self._service.store
            account = account or self.account
            position = store.position(as_seconds(create_time, now), task_id)
            moves = [Move(as_seconds(finish_time, now), run_status)]
            if ends_after is not None:
                moves.append(Move(now + ends_after, ends_as))
            model = {"modelId": model_id} if model_id else {"endpoint": endpoint or _ENDPOINT}
            created = {
                "name": name or f"task-{position.number}",
                "description": description,
                **model,
                "inferenceParams": {},
                "inputBosUri": "bos:/sandbox/in/",
                "outputBosUri": "bos:/sandbox/out/",
                "dataFormat": "default",
            }
            task = StoredTask(
                account=account,
                position=position,
                created=created,
                moves=moves,
                creator=creator or account,
                progress=progress,
                error_code=error_code,
                error_reason=error_reason,
                overrides=dict(fields or {}),
            )
            return store.add(task)

    def add_tasks(self, count: int, **task: Any) -> list[str]:
        """The ids of `count` tasks, each put in as by `add_task(**task)`."""
        return [self.add_task(**task) for _ in range(count)]

    def set_status(self, task_id: str, run_status: str) -> None:
        """Put a task into a state, where it stays; raises `KeyError` for an unknown id."""
        with self._service.lock:
            task = self._service.store.get(task_id)
            if task is None:
                raise KeyError(task_id)
            now = self._service.clock.seconds()
            task.turn(now, Move(now, run_status))

    @property
    def tasks(self) -> dict[str, dict[str, Any]]:
        """The default account's tasks, oldest first: what the service would answer, by id."""
        return self.tasks_of(self.account)

    def tasks_of(self, account: str) -> dict[str, dict[str, Any]]:
        """The same of any account."""
        with self._service.lock:
            now = self._service.clock.seconds()
            tasks = self._service.store.of(account)
            return {task.position.task_id: deepcopy(task.described(now)) for task in tasks}

    def reset(self) -> None:
        """Forget tasks, requests, faults, extra keys and turned clocks; keep port and connections."""
        self._service.reset()
        self._server.errors.clear()

    # Its time.

    @property
    def now(self) -> datetime:
        """The sandbox's present."""
        return as_datetime(self._service.clock.seconds())

    def advance(self, seconds: float) -> None:
        """Turn the clock on."""
        with self._service.lock:
            self._service.clock.advance(seconds)

    @property
    def clock_offset(self) -> float:
        """Seconds by which the server's clock is off, for signatures and the `Date` header."""
        return self._service.clock_offset

    @clock_offset.setter
    def clock_offset(self, seconds: float) -> None:
        self._service.clock_offset = seconds

    @property
    def service_time(self) -> float:
        """Real seconds that each request takes."""
        return self._server.service_time

    @service_time.setter
    def service_time(self, seconds: float) -> None:
        self._server.service_time = seconds

    # What goes wrong.

    def inject(
        self,
        fault: Fault,
        *,
        action: str | None = None,
        times: int | None = 1,
        skip: int = 0,
        task_id: str | None = None,
    ) -> None:
        """Let `fault` fall on the next `times` requests with a good signature (None: on all).

        Only requests of `action` and for `task_id` count, where these are given; the first `skip`
        of them pass. Of several orders the first that matches falls.
        """
        with self._service.lock:
            self._service.faults.add(fault, action=action, times=times, skip=skip, task_id=task_id)

    def inject_random(self, rate: float, faults: Sequence[Fault], seed: int) -> None:
        """Let one of `faults` fall on each request with probability `rate`, the same for a seed."""
        with self._service.lock:
            self._service.faults.add_random(rate, faults, seed)

    # What it saw.

    @property
    def requests(self) -> list[RecordedRequest]:
        """The requests so far, or the last of them: as many as it was told to remember."""
        with self._service.lock:
            return list(self._service.requests)

    @property
    def unexpected(self) -> list[RecordedRequest]:
        """The requests refused for their path, action or signature: mistakes of the client."""
        return [request for request in self.requests if request.unexpected]

    @property
    def connections(self) -> int:
        """How many TCP connections were accepted since it was made."""
        return self._server.connections

    @property
    def errors(self) -> list[Exception]:
        """What went wrong in the sandbox itself and was answered 500; empty, or it has a bug."""
        return list(self._server.errors)
