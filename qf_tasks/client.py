"""The client: every verb of the service, with its arguments checked before a request leaves.

Signatures and documentation; what a verb does stands in the room that it calls.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, NoReturn, Self

from pydantic import SecretStr

from qf_tasks import _arguments, _creating, _ending, _listing, _requesting, _waiting
from qf_tasks._arguments import Age, RunStatusLike, Seconds, TaskLike
from qf_tasks._clock import Clock
from qf_tasks._many import ManyTasks
from qf_tasks._protocol import decoding
from qf_tasks._retry import Retrier
from qf_tasks._transport import Transport
from qf_tasks.errors import InvalidArgumentError
from qf_tasks.models import (
    CreatedTask,
    DeleteResult,
    ModelVersion,
    Response,
    StopResult,
    SupportedModels,
    Task,
    TaskPage,
)
from qf_tasks.settings import Account, Settings

_logger = logging.getLogger("qf_tasks")


class TaskClient(ManyTasks):
    """Batch inference tasks (批量推理任务) of one account.

    Keys come from keywords, a profile, the environment or a settings file, in the order that
    `Settings.load` documents. They are read when the client is made; the network is used at the first call.
    One client serves any number of threads, keeps its connections, and is a context manager.

    Args:
        settings: settings made before; then no other argument may be given.
        access_key, secret_key: the IAM pair; both or none.
        base_url: scheme and host of the service; https, or http on the loopback interface.
        profile: a profile of the settings file.
        config_file, env_file: a settings file (TOML, YAML, JSON) or a `.env` to read.
        request_timeout: seconds for one attempt to connect, and for each wait for its answer; default 60.
        max_retries: how often a call is repeated at most where that is safe; default 3.

    Raises:
        ConfigurationError: keys are missing or half a pair, or a source cannot be read.
        InvalidArgumentError: an argument is of the wrong kind.
    """

    _clock: ClassVar[Clock] = Clock()

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        access_key: str | None = None,
        secret_key: str | SecretStr | None = None,
        base_url: str | None = None,
        profile: str | None = None,
        config_file: str | Path | None = None,
        env_file: str | Path | None = None,
        request_timeout: Seconds | None = None,
        max_retries: int | None = None,
    ) -> None:
        named: dict[str, Any] = {
            "access_key": access_key,
            "secret_key": secret_key if isinstance(secret_key, SecretStr | None) else SecretStr(secret_key),
            "base_url": base_url,
            "profile": profile,
            "config_file": config_file,
            "env_file": env_file,
            "request_timeout": request_timeout,
            "max_retries": max_retries,
        }
        del secret_key  # the frame of an error is to show no key
        self._settings = _settings_of(settings, named)
        self._transport = Transport(self._settings)
        self._retrier = Retrier(self._settings, self._transport.send, clock=self._clock)
        self._claims = _creating.Claims(self._clock)

    @property
    def account(self) -> Account:
        """Whose tasks these are: the masked access key, the host, and where the pair of keys came from."""
        return self._settings.account

    def delete(
        self,
        task: TaskLike,
        *,
        stop_first: bool = False,
        stop_timeout: Seconds | None = 300.0,
        missing_ok: bool = False,
    ) -> DeleteResult:
        """Delete a task, irrevocably, and return what became of it.

        Done, Failed, Stopped and Expired tasks can be deleted (7lzkz53j5; Expired is inferred). Their output
        in BOS is not known to be removed. A request whose answer was lost is repeated; where the task is then
        gone, the outcome is `"already_gone"`.

        Args:
            task: the id, or a task that has it.
            stop_first: stop a queuing or running task, and wait until it has ended; default False.
            stop_timeout: seconds to wait for that; None is no limit; default 300.
            missing_ok: take a task that is not there for deleted; default False.

        Raises:
            TaskStateError: its state forbids it, or is one that is not known and `stop_first` was asked for.
            TaskNotFoundError: this account has no such task.
            WaitTimeoutError: it was told to stop, but had not in time; it was not deleted.
            QfTasksError: see the tree in `qf_tasks.errors`.
        """
        task_id = _arguments.task_id(task)
        timeout = _arguments.seconds_or_none(stop_timeout, "stop_timeout")
        result = _ending.delete(
            self, task_id, stop_first=stop_first, stop_timeout=timeout, missing_ok=missing_ok
        )
        if result.outcome == "deleted" or result.attempts > 1:  # else it was gone before
            self._tell(result.outcome, task_id, result.request_id)
        return result

    def get(self, task: TaskLike) -> Task:
        """Return a task as it is now (mluhsekbp).

        Raises:
            TaskNotFoundError: this account has no such task.
            QfTasksError: see the tree in `qf_tasks.errors`.
        """
        task_id = _arguments.task_id(task)
        return decoding.task(self.call("DescribeBatchInferenceTask", {"taskId": task_id}), task_id)

    def list(
        self,
        *,
        run_status: RunStatusLike = None,
        name: str | None = None,
        older_than: Age | None = None,
        newest_first: bool = True,
        limit: int | None = None,
        page_size: int = 100,
    ) -> Iterator[Task]:
        """Return an iterator over the account's tasks, which fetches a page when it gets there.

        Tasks may be deleted while it runs. That `newest_first` follows creation is inferred.

        Args:
            run_status: one or several states, in any case; default all.
            name: a pattern for the whole name (`*`, `?`, `[…]`), case and all.
            older_than: seconds, a `timedelta`, `"30d"`, or an aware `datetime`: the later of the task's
                create and finish time is before it. A task without a time is never old.
            limit: how many tasks at most; default all.
            page_size: tasks per request, 1 to 100; default 100, which is the service's limit (blvje5ica).

        Raises:
            InvalidArgumentError: at the call.
            BadResponseError: while iterating, where the service's paging does not advance.
            InvalidRequestError: while iterating, where all tasks of the last page were deleted meanwhile and
                the service does not go on from there: collect first.
            QfTasksError: see the tree in `qf_tasks.errors`.
        """
        statuses = _arguments.run_statuses(run_status)
        return _listing.tasks(
            self.pages(run_status=statuses or None, newest_first=newest_first, page_size=page_size),
            run_statuses=statuses,
            name=_arguments.text_or_none(name, "name"),
            older_than=_arguments.older_than(older_than),
            limit=None if limit is None else _arguments.whole_number(limit, "limit", least=1),
        )

    def pages(
        self,
        *,
        run_status: RunStatusLike = None,
        newest_first: bool = True,
        page_size: int = 100,
        marker: str | None = None,
    ) -> Iterator[TaskPage]:
        """Return an iterator over pages of tasks, each fetched when it is asked for.

        Args:
            run_status: one or several states, in any case; default all. The service does the filtering.
            page_size: tasks per request, 1 to 100; default 100.
            marker: where to go on: the `next_marker` of an earlier page; default the beginning.

        Raises:
            InvalidArgumentError: at the call.
            QfTasksError: while iterating, as with `list`.
        """
        query = _listing.Query(
            _arguments.run_statuses(run_status),
            bool(newest_first),
            _arguments.whole_number(page_size, "page_size", least=1, most=100),
        )
        return _listing.pages(self.call, query, _arguments.text_or_none(marker, "marker"))

    def create(
        self,
        *,
        name: str,
        input_bos_uri: str,
        output_bos_uri: str,
        endpoint: str | None = None,
        model_id: str | ModelVersion | None = None,
        inference_params: Mapping[str, Any] | None = None,
        description: str | None = None,
        data_format: str | None = None,
        completion_window: str | None = None,
        extra: Mapping[str, Any] | None = None,
        adopt_within: Seconds | None = None,
        quota_timeout: Seconds | None = None,
    ) -> CreatedTask:
        """Create a task, once, and return its id.

        A create that may have arrived is never sent again: it is looked for, and taken where exactly one task
        equals it.

        Args:
            name: 2 to 20 characters (amh4suzbi).
            input_bos_uri, output_bos_uri: directories, `bos:/bucket/folder/` with one slash (Tmo1ftuwg).
            endpoint: a preset service, such as `"ernie-x1-turbo-32k"`; or else
            model_id: a model *version* (`amv-…`) or one that `models()` lists; exactly one of the two.
            inference_params: sampling parameters of the model, such as `{"temperature": 0.2}`.
            description: up to 500 characters.
            data_format: `"default"`, `"src_tgt"` or `"role"` (Tmo1ftuwg); the service's default is the first.
            completion_window: the longest time to run; the only value is `"24h"` (Tmo1ftuwg).
            extra: further members of the request, in the service's own names.
            adopt_within: seconds to look back for an equal task before creating one, for a program that is
                itself repeated; a task that failed or was stopped is not taken. Default: do not look.
            quota_timeout: seconds to wait while the account's 20 places are taken; default: do not wait.

        Raises:
            QuotaExceededError: the places are taken.
            OutcomeUnknownError: it may or may not have happened; `candidates` are the tasks that could be it.
            QfTasksError: see the tree in `qf_tasks.errors`.
        """
        body = _requesting.create_body(
            name=name,
            input_bos_uri=input_bos_uri,
            output_bos_uri=output_bos_uri,
            endpoint=endpoint,
            model_id=model_id,
            inference_params=inference_params,
            description=description,
            data_format=data_format,
            completion_window=completion_window,
            extra=extra,
        )
        created = _creating.create(
            self,
            body,
            self._claims,
            self._clock,
            adopt_within=_arguments.seconds_or_none(adopt_within, "adopt_within"),
            quota_timeout=_arguments.seconds_or_none(quota_timeout, "quota_timeout"),
        )
        self._tell("reused" if created.reused else "created", created.task_id, created.request_id)
        return created

    def stop(self, task: TaskLike) -> StopResult:
        """Tell a task to stop, and return the state that is known of it then.

        Stopping takes time, and a stopped task cannot be restarted (7lzkz53j5). A task that has ended already
        is no error: the result carries its state.

        Raises:
            TaskNotFoundError: this account has no such task.
            QfTasksError: see the tree in `qf_tasks.errors`.
        """
        task_id = _arguments.task_id(task)
        result = _ending.stop(self, task_id)
        if not result.run_status.is_final:
            self._tell("told to stop", task_id, result.request_id)
        return result

    def models(self) -> SupportedModels:
        """Return the models that batch inference takes (5mo1fxxjr).

        Raises:
            QfTasksError: see the tree in `qf_tasks.errors`.
        """
        return decoding.supported_models(self.call("DescribeBatchInferenceModel", {}))

    def wait(
        self,
        task: TaskLike,
        *,
        timeout: Seconds | None = 90_000.0,
        poll_interval: Seconds = 30.0,
        on_change: Callable[[Task], None] | None = None,
        raise_on_failure: bool = True,
    ) -> Task:
        """Return a task when it has ended.

        A service out of reach for a while does not end the wait, nor does a single "not found" after a good
        look, such as the one that a `Task` came from. Ctrl-C ends the wait and leaves the task alone.

        Args:
            timeout: seconds; None is no limit; default 90,000 (25 hours).
            poll_interval: the longest pause between looks in seconds, at least 0.1, the first is 1; default
                30.
            on_change: called with the task at the first look, and when its state or progress has changed.
            raise_on_failure: raise where it ends as Failed, Expired or Stopped; default True.

        Raises:
            TaskFailedError: it ended otherwise than as Done.
            WaitTimeoutError: the limit passed; the task goes on.
            TaskNotFoundError: this account has no such task.
            QfTasksError: see the tree in `qf_tasks.errors`.
        """
        task_id = _arguments.task_id(task)
        known = task if isinstance(task, Task) else None
        ended = self._watch(timeout, poll_interval, on_change, known).one(task_id)
        if raise_on_failure and not ended.is_success:
            raise _waiting.failure_of(ended)
        return ended

    def wait_all(
        self,
        tasks: Iterable[TaskLike],
        *,
        timeout: Seconds | None = 90_000.0,
        poll_interval: Seconds = 30.0,
        on_change: Callable[[Task], None] | None = None,
        raise_on_failure: bool = True,
    ) -> dict[str, Task]:
        """Return all tasks by id when every one has ended; no tasks are an empty result.

        A look lists the active tasks once, instead of asking for each. The arguments are those of `wait`.

        Raises:
            TaskFailedError: some ended otherwise than as Done; `.failed` has these, `.tasks` all.
            WaitTimeoutError: the limit passed; `.done` and `.pending` part them.
            TaskNotFoundError: this account has no such task, at the first look.
            QfTasksError: see the tree in `qf_tasks.errors`.
        """
        task_ids = _arguments.task_ids(tasks)
        ended = {task.task_id: task for task in self._watch(timeout, poll_interval, on_change).each(task_ids)}
        results = {task_id: ended[task_id] for task_id in task_ids}
        failed = {task_id: task for task_id, task in results.items() if not task.is_success}
        if failed and raise_on_failure:
            raise _waiting.failure_of_many(results, failed)
        return results

    def as_completed(
        self,
        tasks: Iterable[TaskLike],
        *,
        timeout: Seconds | None = 90_000.0,
        poll_interval: Seconds = 30.0,
    ) -> Iterator[Task]:
        """Return an iterator over tasks in the order in which they end, failed ones too.

        The arguments are those of `wait`, and checked at the call; `timeout` counts from the first look.

        Raises:
            WaitTimeoutError: the limit passed; `.done` and `.pending` part them.
            TaskNotFoundError: this account has no such task, at the first look.
            QfTasksError: see the tree in `qf_tasks.errors`.
        """
        task_ids = _arguments.task_ids(tasks)
        return self._watch(timeout, poll_interval).each(task_ids)

    def call(self, action: str, params: Mapping[str, Any]) -> Response:
        """Return the reply to any action of the route, normalised like those of the other methods.

        Args:
            action: the service's name of it, such as `"DescribeBatchInferenceTask"`.
            params: the request's JSON object, in the service's own names.

        Raises:
            InvalidArgumentError: `params` holds what is no JSON value.
            QfTasksError: see the tree in `qf_tasks.errors`.
        """
        name = _arguments.text(action, "action")
        return self._retrier.call(name, _arguments.json_object(params, "params"))

    def close(self) -> None:
        """Close the connections; a call after that says so."""
        self._transport.close()

    def __enter__(self) -> Self:
        """Return the client itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the connections."""
        self.close()

    def __copy__(self) -> Self:
        """Return the client itself: connections and keys are not copied."""
        return self

    def __deepcopy__(self, memo: dict[int, object]) -> Self:
        """Return the client itself: connections and keys are not copied."""
        return self

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled: the keys would go along in clear."""
        raise TypeError("A TaskClient cannot be pickled: make one in each process")

    def __repr__(self) -> str:
        """Return one short line with the account."""
        return f"<TaskClient {self.account}>" if hasattr(self, "_settings") else "<TaskClient refused>"

    def _watch(
        self,
        timeout: Seconds | None,
        poll_interval: Seconds,
        on_change: Callable[[Task], None] | None = None,
        known: Task | None = None,
    ) -> _waiting.Watch:
        return _waiting.Watch(
            self,
            self._clock,
            self._claims.age,
            timeout=_arguments.seconds_or_none(timeout, "timeout"),
            poll_interval=_arguments.seconds(poll_interval, "poll_interval", least=0.1),
            on_change=_arguments.callback(on_change, "on_change"),
            known=known,
        )

    def _tell(self, what: str, task_id: str, request_id: str | None) -> None:
        _logger.info("Task %s %s (request id %s, %s)", task_id, what, request_id, self.account)


def _settings_of(settings: Settings | None, named: Mapping[str, Any]) -> Settings:
    if settings is None:
        return Settings.load(**named)
    if not isinstance(settings, Settings):
        raise InvalidArgumentError(f"settings must be Settings, not {type(settings).__name__}")
    if beside := [name for name, value in named.items() if value is not None]:
        raise InvalidArgumentError(f"Give either settings or keywords, not both: {', '.join(beside)}")
    return settings
