"""`Sandbox`: the service on this machine, and everything that a test can do with it."""

import re
import secrets
import ssl
from collections.abc import Collection, Mapping, Sequence
from copy import deepcopy
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from .actions import Durations
from .behavior import ServerBehavior
from .clock import to_datetime, to_seconds
from .faults import Fault, InjectedFault
from .objects import StoredObject
from .server import Server
from .service import Key, RecordedRequest, Service
from .store import DONE, StoredTask, Transition
from .worker import Answer, Failures, WorkOptions, repeat_question

if TYPE_CHECKING:
    from qf_tasks import AsyncTaskClient, TaskClient

_ENDPOINT = "ernie-x1-turbo-32k"
_OBJECT_URI = re.compile(r"bos:/(?P<bucket>[^/]+)/(?P<key>.+)", re.DOTALL)


class Sandbox:
    """A local server that behaves like the service: it checks signatures and keeps tasks and objects.

    A `with` statement starts and stops it. Its clock starts at the present. A task that is created is
    Queuing, Running, then Done on that clock. On the same port it is an object storage (BOS): if the input of
    a task is there, the task reads its records and writes one file of results for each of its files.

    Args:
        port: The port on 127.0.0.1; by default any free one.
        access_key: By default random, like `secret_key`.
        secret_key: The secret key of `access_key`.
        account: The account that the keys belong to.
        ssl_context: The certificate, for HTTPS.
        behavior: Decides what is not documented of the service.
        queue_seconds: How long a task queues, in seconds of the sandbox's clock.
        run_seconds: How long a task runs, in seconds of the sandbox's clock.
        stop_seconds: How long stopping a task takes, in seconds of the sandbox's clock.
        speed: How fast the clock runs; 60 is a minute per second.
        frozen: Whether the clock is stopped until `advance()`.
        service_time: Real seconds that each request takes.
        remember: How many of the last requests are kept in `requests`.
        directory: Keeps the content of objects, as `<bucket>/<key>`; what it contains at the start is
            stored, too. By default objects are kept in memory.
        answer: Returns the answer to a record, or None if the record fails. By default the answer repeats
            the question. If it raises, the task becomes Failed, with the error as its reason.
        fail_records: The share of the records of each task that fail (at least one), or their ids.
        fail_files: The share of the input files that have no output file (at least one), or their names
            relative to the input directory.
        seed: Decides which records fail, and the order of the results.
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
        directory: str | Path | None = None,
        answer: Answer = repeat_question,
        fail_records: Failures = 0.0,
        fail_files: Failures = 0.0,
        seed: int = 0,
    ) -> None:
        self.access_key: str = access_key or secrets.token_hex(16)
        self.secret_key: str = secret_key or secrets.token_hex(16)
        self.account = account
        key = Key(self.secret_key, account, None)
        self._new_service = partial(
            Service,
            {self.access_key: key},
            behavior=behavior or ServerBehavior(),
            durations=Durations(queue_seconds, run_seconds, stop_seconds),
            speed=0.0 if frozen else speed,
            service_time=service_time,
            remember=remember,
            directory=None if directory is None else Path(directory),
            account=account,
            work=WorkOptions(answer=answer, fail_records=fail_records, fail_files=fail_files, seed=seed),
        )
        self._service = self._new_service()
        self._server = Server(self._service, port, ssl_context)

    def __repr__(self) -> str:
        count = len(self.tasks)
        where = self.url if self._server.is_running else "not started"
        return f"<Sandbox {where}, {count} task{'' if count == 1 else 's'}>"

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> Self:
        """Start the server and return the sandbox; after `stop`, the port is the same again.

        Raises:
            OSError: The port is in use.
        """
        self._server.start()
        return self

    def stop(self) -> None:
        """Reset all connections and stop the server; tasks and requests can still be read."""
        self._server.stop()

    def reset(self) -> None:
        """Go back to the initial state, without tasks, objects, requests and faults, on the same port.

        Objects in a `directory` stay.
        """
        self._service = self._server.service = self._new_service()

    # How clients reach it

    @property
    def port(self) -> int:
        """The port; raises `RuntimeError` if it is not known before the first start."""
        return self._server.port

    @property
    def url(self) -> str:
        """The base URL for a client."""
        return self._server.url

    def env(self) -> dict[str, str]:
        """The environment variables that make a client of any language use the sandbox."""
        return {
            "QIANFAN_ACCESS_KEY": self.access_key,
            "QIANFAN_SECRET_KEY": self.secret_key,
            "QIANFAN_CONSOLE_API_BASE_URL": self.url,
            "QF_TASKS_BOS_ENDPOINT": self.url,
        }

    # The only link to the client library: users get a client in one line, and the two still meet over HTTP.

    def client(self, **settings: Any) -> "TaskClient":
        """Return a `TaskClient` of the sandbox.

        Args:
            **settings: Other settings of the client, such as `max_retries=0`.
        """
        from qf_tasks import Settings, TaskClient

        return TaskClient(Settings(**self._credentials(), **settings))

    def async_client(self, **settings: Any) -> "AsyncTaskClient":
        """Return an `AsyncTaskClient` of the sandbox; as `client`."""
        from qf_tasks import AsyncTaskClient, Settings

        return AsyncTaskClient(Settings(**self._credentials(), **settings))

    def _credentials(self) -> dict[str, Any]:
        return {
            "access_key": self.access_key,
            "secret_key": self.secret_key,
            "base_url": self.url,
            "bos_endpoint": self.url,
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

        Args:
            access_key: The access key.
            secret_key: Its secret key.
            account: The account whose tasks it can use; by default that of the sandbox's own keys.
            allowed: The actions and the operations of the object storage that the key may use, by default
                all; others get `AccessDenied`.
        """
        permitted = None if allowed is None else frozenset(allowed)
        with self._service.lock:
            self._service.keys[access_key] = Key(secret_key, account or self.account, permitted)

    def revoke_key(self, access_key: str) -> None:
        """Stop accepting a key; raises `KeyError` if it is unknown."""
        with self._service.lock:
            del self._service.keys[access_key]

    # Tasks

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
        error_reason: str = "the sandbox made this task fail",
        fields: Mapping[str, Any] | None = None,
    ) -> str:
        """Add a task without a request and return its id; the quota does not apply.

        Args:
            task_id: By default a new one.
            run_status: The state, which may be one that the service does not have.
            name: By default a numbered one.
            description: The description.
            endpoint: The endpoint, unless `model_id` is given.
            model_id: The id of a model version.
            account: By default the account of the sandbox's own keys.
            creator: By default the account.
            create_time: By default the present of the sandbox, like `finish_time`.
            finish_time: When the task got into its state.
            ends_after: Seconds of the sandbox's clock after which the state changes to `ends_as`; by
                default it never changes.
            ends_as: The state after `ends_after`.
            progress: By default as it follows from the state.
            error_code: Shown if the task is Failed, like `error_reason`.
            error_reason: Why the task failed.
            fields: Other fields of the response, which replace those of the service.

        Raises:
            ValueError: The id is in use, or a time has no time zone.
        """
        with self._service.lock:
            now, store = self._service.clock.seconds(), self._service.store
            account = account or self.account
            position = store.position(to_seconds(create_time) if create_time else now, task_id)
            transitions = [Transition(to_seconds(finish_time) if finish_time else now, run_status)]
            if ends_after is not None:
                transitions.append(Transition(now + ends_after, ends_as))
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
                transitions=transitions,
                creator=creator or account,
                progress=progress,
                error_code=error_code,
                error_reason=error_reason,
                overrides=dict(fields or {}),
            )
            return store.add(task)

    def add_tasks(self, count: int, **task: Any) -> list[str]:
        """Add `count` tasks as by `add_task(**task)` and return their ids."""
        return [self.add_task(**task) for _ in range(count)]

    def set_status(self, task_id: str, run_status: str) -> None:
        """Put a task into a state, where it stays; raises `KeyError` for an unknown id."""
        with self._service.lock:
            self._service.catch_up()
            task = self._service.store.get(task_id)
            if task is None:
                raise KeyError(task_id)
            now = self._service.clock.seconds()
            task.reschedule(now, Transition(now, run_status))

    @property
    def tasks(self) -> dict[str, dict[str, Any]]:
        """The tasks of the sandbox's own account, oldest first, as the service describes them, by id."""
        return self.tasks_of(self.account)

    def tasks_of(self, account: str) -> dict[str, dict[str, Any]]:
        """The tasks of any account, as `tasks`."""
        with self._service.lock:
            self._service.catch_up()
            now = self._service.clock.seconds()
            tasks = self._service.store.tasks_of(account)
            return {task.position.task_id: deepcopy(task.described(now)) for task in tasks}

    # Objects

    def put(self, uri: str, data: bytes | str) -> None:
        """Store an object without a request; its bucket is created if necessary.

        Args:
            uri: Its address, such as "bos:/bucket/folder/name.jsonl".
            data: Its content; text is encoded as UTF-8.

        Raises:
            ValueError: This is not the URI of an object.
        """
        name, key = _bucket_and_key(uri)
        with self._service.lock:
            self._service.catch_up()
            objects, now = self._service.objects, self._service.clock.seconds()
            content = objects.content(data.encode() if isinstance(data, str) else data)
            bucket = objects.bucket(name) or objects.create(name, self.account, now)
            objects.put(bucket, key, StoredObject(content=content, modified=now, etag=content.md5))

    def get(self, uri: str) -> bytes:
        """Return the content of an object; raises `KeyError` if there is no such object."""
        name, key = _bucket_and_key(uri)
        with self._service.lock:
            self._service.catch_up()
            bucket = self._service.objects.bucket(name)
            if bucket is None or key not in bucket.objects:
                raise KeyError(uri)
            return bytes(bucket.objects[key].content)

    @property
    def objects(self) -> dict[str, int]:
        """The size of each object in bytes, by its URI, in order."""
        with self._service.lock:
            self._service.catch_up()
            return {
                f"bos:/{bucket.name}/{key}": len(bucket.objects[key].content)
                for bucket in self._service.objects.buckets()
                for key in bucket.sorted_keys
            }

    def set_answers(
        self,
        answer: Answer = repeat_question,
        *,
        fail_records: Failures = 0.0,
        fail_files: Failures = 0.0,
        seed: int = 0,
    ) -> None:
        """Decide how tasks that end from now on answer their records; as the arguments of the class."""
        options = WorkOptions(answer=answer, fail_records=fail_records, fail_files=fail_files, seed=seed)
        with self._service.lock:
            self._service.catch_up()
            self._service.worker.options = options

    # Time

    @property
    def now(self) -> datetime:
        """The time on the sandbox's clock."""
        return to_datetime(self._service.clock.seconds())

    def advance(self, seconds: float) -> None:
        """Move the clock forward."""
        with self._service.lock:
            self._service.catch_up()
            self._service.clock.advance(seconds)

    @property
    def clock_offset(self) -> float:
        """Seconds by which the server's clock is wrong, in the check of signatures and the `Date` header."""
        return self._service.clock_offset

    @clock_offset.setter
    def clock_offset(self, seconds: float) -> None:
        self._service.clock_offset = seconds

    @property
    def service_time(self) -> float:
        """Real seconds that each request takes."""
        return self._service.service_time

    @service_time.setter
    def service_time(self, seconds: float) -> None:
        self._service.service_time = seconds

    # Behavior and faults

    @property
    def behavior(self) -> ServerBehavior:
        """What is not documented of the service; can be replaced while the sandbox runs."""
        return self._service.behavior

    @behavior.setter
    def behavior(self, behavior: ServerBehavior) -> None:
        self._service.behavior = behavior

    def inject(
        self,
        fault: Fault,
        *,
        action: str | None = None,
        times: int | None = 1,
        skip: int = 0,
        task_id: str | None = None,
    ) -> None:
        """Inject a fault into the next requests with a valid signature.

        If several injected faults match a request, it gets the first of them.

        Args:
            fault: What goes wrong.
            action: Only for requests of this action, such as "DeleteBatchInferenceTask", or of this operation
                of the object storage, such as "PutObject", "GetObject" or "ListObjects".
            times: How many requests get the fault; None for all.
            skip: How many matching requests get no fault before that.
            task_id: Only for requests that name this task.

        Raises:
            ValueError: The service has no such action, or the sandbox no such task.
        """
        self._service.inject(
            InjectedFault(fault=fault, action=action, times=times, skip=skip, task_id=task_id)
        )

    def inject_random(self, rate: float, faults: Sequence[Fault], seed: int) -> None:
        """Inject one of `faults` into each request with probability `rate`, the same ones for a seed."""
        with self._service.lock:
            self._service.faults.inject_random(rate, faults, seed)

    @property
    def unused_faults(self) -> list[InjectedFault]:
        """The injected faults that did not fire `times` times, or never if `times` is None."""
        with self._service.lock:
            return self._service.faults.unused()

    # What it received

    @property
    def requests(self) -> list[RecordedRequest]:
        """The requests so far, at most the last `remember` of them."""
        with self._service.lock:
            return list(self._service.requests)

    @property
    def unexpected(self) -> list[RecordedRequest]:
        """The requests that were rejected for their path, action or signature: mistakes of the client."""
        return [request for request in self.requests if request.unexpected]

    @property
    def connections(self) -> int:
        """How many TCP connections were accepted since the sandbox was made."""
        return self._server.connections

    @property
    def errors(self) -> list[Exception]:
        """Bugs of the sandbox itself, whose response was a 500; normally empty."""
        return list(self._service.errors)


def _bucket_and_key(uri: str) -> tuple[str, str]:
    match = _OBJECT_URI.fullmatch(uri)
    if match is None:
        raise ValueError(f"not an object URI: {uri!r}; expected bos:/bucket/key")
    return match["bucket"], match["key"]
