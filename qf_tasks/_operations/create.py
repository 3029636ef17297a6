"""Creates a task once, although the service has no token that would make a repeated create harmless.

With an idempotency key, tasks are searched for that key before every attempt and after a lost response.
Without one, a create that may have been applied is never sent again: the task is searched for by everything
that was sent.
"""

from __future__ import annotations

import difflib
import json
import logging
import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from qf_tasks._operations import arguments, listing
from qf_tasks._operations.api import Api
from qf_tasks._operations.arguments import Age
from qf_tasks._operations.lifecycle import log_change
from qf_tasks._operations.retry import poll_delays
from qf_tasks._protocol import decoding
from qf_tasks._protocol.actions import CREATE, LIST
from qf_tasks.durations import Duration
from qf_tasks.errors import (
    BadResponseError,
    InvalidArgumentError,
    InvalidRequestError,
    OutcomeUnknownError,
    QfTasksError,
    QuotaExceededError,
    TaskNotFoundError,
)
from qf_tasks.models import CreatedTask, ModelVersion, RunStatus, Task, TaskPage

_logger = logging.getLogger("qf_tasks")

# Limits of the service: .github/docs/service.md#create. The unit of the lengths is undocumented; characters
# reject the least.
_NAME_LENGTH = (2, 20)
_DESCRIPTION_LENGTH = (0, 500)
_KEY_LENGTH = (1, 128)
_DATA_FORMATS = ("default", "src_tgt", "role")
_REUSE_WITHIN = timedelta(days=7)

_SEARCH_DELAYS = (0.0, 1.0, 2.0, 4.0)  # seconds before each search: the create may still be in progress
_CLOCK_MARGIN = 1.0  # seconds: the times of the service have no fractions
_MAX_SEARCHED = 10_000  # tasks: a longer search is given up
_MAX_QUOTA_DELAY = 30.0  # seconds between two attempts while all slots are taken
_MODEL_HINT = "model_id takes a version id (amv-…), not a model id (am-…): see client.models()."
_SAME_KEY_HINT = (
    "Create it again with the same idempotency_key in a minute: if the task exists, it is returned. "
    "请稍后使用相同的 idempotency_key 重试。"
)
_NO_KEY_HINT = (
    "Check with list(name={name!r}) before creating it again. A create that has an idempotency_key from the "
    "start can be repeated safely. 结果未知，请先查询任务列表，勿直接重试。"
)
_STILL_FULL_HINT = "Stop a task, or wait longer. 运行中的任务数已达配额上限，请等待或停止任务。"

_DIRECTORIES = ("inputBosUri", "outputBosUri")
_ALTERNATIVES = {"endpoint": "modelId", "modelId": "endpoint"}  # a task has one of them
_ALWAYS_RETURNED = ("name", "endpoint", "modelId", *_DIRECTORIES)
_DEFAULTS: dict[str, tuple[object, ...]] = {
    "description": (None, ""),
    "inferenceParams": (None, {}),
    "dataFormat": (None, "", "default"),
}


@dataclass(frozen=True, slots=True)
class CreateRequest:
    """A task to be created.

    Attributes:
        body: what is sent, in the names of the service.
        idempotency_key: identifies the intention; part of the description in `body`.
        reuse_within: how far back a task with the same key is searched for.
        quota_timeout: seconds to wait for a free slot.
    """

    body: Mapping[str, Any]
    idempotency_key: str | None = None
    reuse_within: timedelta | datetime = _REUSE_WITHIN
    quota_timeout: float = 0.0

    @property
    def name(self) -> str:
        """The name of the task."""
        return str(self.body["name"])

    @property
    def lock_key(self) -> str:
        """What equal creates have in common: they must not run at the same time in one client."""
        if self.idempotency_key is not None:
            return f"create {self.idempotency_key}"
        return "\n".join(str(self.body[field]).rstrip("/") for field in ("name", *_DIRECTORIES))


def create_request(
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
    idempotency_key: str | None = None,
    reuse_within: Age | None = None,
    quota_timeout: Duration | None = None,
) -> CreateRequest:
    """Return the request for the arguments of `create`, checked against the documented rules.

    A rule that is only inferred is left to the service.

    Raises:
        InvalidArgumentError: An argument breaks a rule.
    """
    if (endpoint is None) == (model_id is None):
        raise InvalidArgumentError(
            "Exactly one of endpoint and model_id must be given",
            hint="endpoint names a preset service ('ernie-x1-turbo-32k'), model_id a version ('amv-…').",
        )
    key = _key(idempotency_key)
    if key is None and reuse_within is not None:
        raise InvalidArgumentError(
            "reuse_within needs an idempotency_key, by which the task to reuse is found",
            hint="Pass idempotency_key='daily-2025-06-01', or whatever identifies the task.",
        )
    if description is not None:
        arguments.text(description, "description", may_be_blank=True)
    described = "description"
    if key is not None:
        description, described = decoding.with_key(description, key), "description with idempotency_key"
    if isinstance(model_id, ModelVersion):
        model_id = model_id.model_version_id
    fields = {
        "name": _limited(name, "name", _NAME_LENGTH),
        "description": None if description is None else _limited(description, described, _DESCRIPTION_LENGTH),
        "endpoint": arguments.text_or_none(endpoint, "endpoint"),
        "modelId": arguments.text_or_none(model_id, "model_id"),
        "inferenceParams": _object_or_none(inference_params, "inference_params"),
        "inputBosUri": arguments.bos_directory(input_bos_uri, "input_bos_uri"),
        "outputBosUri": arguments.bos_directory(output_bos_uri, "output_bos_uri"),
        "dataFormat": None if data_format is None else _data_format(data_format),
        "completion_window": None if completion_window is None else _completion_window(completion_window),
    }
    _check_output(str(fields["inputBosUri"]), str(fields["outputBosUri"]))
    body = {field: value for field, value in fields.items() if value is not None}
    return CreateRequest(
        body={**body, **_extra(extra, fields)},
        idempotency_key=key,
        reuse_within=_REUSE_WITHIN if reuse_within is None else arguments.age(reuse_within, "reuse_within"),
        quota_timeout=arguments.duration_or_none(quota_timeout, "quota_timeout") or 0.0,
    )


async def create(api: Api, request: CreateRequest) -> CreatedTask:
    """Create a task, waiting for a free slot if asked to; or return the one that the key has created."""
    runtime = api.runtime
    started = runtime.now()
    delays = poll_delays(_MAX_QUOTA_DELAY)
    while True:
        try:
            async with runtime.lock(request.lock_key):
                created = await _Creation(api, request).run()
                api.created.add(created.task_id, runtime.now())
            break
        except QuotaExceededError as rejection:  # definitely not created, so it may be sent again
            remaining = request.quota_timeout - (runtime.now() - started)
            if remaining <= 0:
                raise _without_slot(rejection, request.quota_timeout) from None
            try:
                await runtime.sleep(min(next(delays), remaining))
            except BaseException as interrupt:  # Ctrl-C or a cancellation
                interrupt.add_note(f"{request.name!r} was not created; it was waiting for a free slot.")
                raise
    log_change(api, "reused" if created.reused else "created", created.task_id, created.request_id)
    return created


def _without_slot(rejection: QuotaExceededError, waited: float) -> QuotaExceededError:
    """Return the rejection of the last attempt, which says that nothing was created."""
    outcome = f"no slot became free in {waited:g} s; nothing was created" if waited else "nothing was created"
    rejection.message = f"{rejection.message.rstrip('.')}; {outcome}"
    rejection.args = (rejection.message,)
    if waited:
        rejection.set_hint(_STILL_FULL_HINT)
    return rejection


class _AlreadyCreated(Exception):
    """A search before an attempt found the task of the idempotency key."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.task = task


class _Creation:
    """One create with its retries, and the searches for the task that it or an earlier one made."""

    def __init__(self, api: Api, request: CreateRequest) -> None:
        self._api = api
        self._request = request
        self._body = request.body
        self._attempted_at = 0.0

    async def run(self) -> CreatedTask:
        try:
            response = await self._api.call(CREATE, self._body, self._before_attempt)
        except _AlreadyCreated as found:
            return self._reused(found.task)
        except QfTasksError as failure:
            if failure.action == CREATE and failure.may_have_been_applied:
                return self._reused(await self._find_created(failure))
            is_model_id = str(self._body.get("modelId")).startswith("am-")
            if failure.action == CREATE and isinstance(failure, InvalidRequestError) and is_model_id:
                failure.set_hint(_MODEL_HINT)
            raise
        try:
            return CreatedTask(decoding.created_task_id(response), response.request_id, self._request.name)
        except BadResponseError as failure:
            return self._reused(await self._find_created(failure))

    def _reused(self, task: Task) -> CreatedTask:
        return CreatedTask(task.task_id, task.request_id, self._request.name, reused=True)

    async def _before_attempt(self) -> None:
        """Search for the task of the key: since the last attempt, another program may have created it.

        Raises:
            OutcomeUnknownError: A task that may have the key cannot be read.
            InvalidArgumentError: A task with the key was created with other fields.
        """
        key = self._request.idempotency_key
        if key is not None:
            tasks, unreadable = await self._find_by_key(key)
            if tasks:
                raise self._conflict_with(tasks[0]) or _AlreadyCreated(tasks[0])
            if unreadable:
                raise OutcomeUnknownError(
                    f"Task {unreadable[0].task_id} may be the one to reuse, but cannot be read",
                    candidates=unreadable,
                    action=CREATE,
                    task_id=unreadable[0].task_id,
                    may_have_been_applied=False,
                    retryable=True,
                    hint=_SAME_KEY_HINT,
                )
        self._attempted_at = self._api.runtime.now()

    def _conflict_with(self, task: Task) -> InvalidArgumentError | None:
        """Return the error for a task with the key that was created with other fields."""
        different = [field for field, sent in self._body.items() if not _contains(field, task.raw, sent)]
        if not different:
            return None
        return InvalidArgumentError(
            f"idempotency_key {self._request.idempotency_key!r} belongs to task {task.task_id}, which was"
            f" created with another {', '.join(different)}",
            task_id=task.task_id,
            hint="Use another key for another task. 该 idempotency_key 已用于参数不同的任务。",
        )

    async def _find_created(self, failure: QfTasksError) -> Task:
        """Return the one task that a create made whose response was lost.

        Raises:
            OutcomeUnknownError: There is none, there are several, the only one with the key was created with
                other fields, or the search itself failed.
        """
        key = self._request.idempotency_key
        matches: list[Task] = []
        others: list[Task] = []
        try:
            for delay in _SEARCH_DELAYS:
                await self._api.runtime.sleep(delay)
                matches, others = await (self._find_by_key(key) if key else self._find_by_fields())
                if len(matches) > 1 or (matches and (key or not others)):
                    break
        except QfTasksError as unsearched:
            problem = f"searching for it failed ({unsearched})"
            raise self._unknown(failure, problem, matches + others) from failure
        except BaseException:  # Ctrl-C or a cancellation, which must not hide that a task may exist
            _logger.warning(
                "Creating %r may or may not have succeeded; the search for it was interrupted",
                self._request.name,
            )
            raise
        if key and matches:
            if conflict := self._conflict_with(matches[0]):
                raise self._unknown(failure, conflict.message, matches, is_conflict=True) from failure
            return matches[0]
        match candidates := matches + others:
            case []:
                problem = "no matching task is listed yet"
            case [task] if matches:
                return task
            case [task]:
                problem = f"task {task.task_id} could be the one it created"
            case _:
                problem = f"{len(candidates)} tasks could be the one it created"
        raise self._unknown(failure, problem, candidates) from failure

    def _unknown(
        self, failure: QfTasksError, problem: str, candidates: list[Task], *, is_conflict: bool = False
    ) -> OutcomeUnknownError:
        can_repeat = self._request.idempotency_key is not None and not is_conflict
        return OutcomeUnknownError(
            f"Creating {self._request.name!r} may or may not have succeeded ({failure}); {problem}",
            candidates=candidates,
            action=CREATE,
            code=failure.code,
            status=failure.status,
            request_id=failure.request_id,
            attempts=failure.attempts,
            retryable=can_repeat,
            hint=_SAME_KEY_HINT if can_repeat else _NO_KEY_HINT.format(name=self._request.name),
        )

    async def _find_by_key(self, key: str) -> tuple[list[Task], list[Task]]:
        """Return the tasks with a key that did not fail, oldest first, and those that cannot be read."""
        found: list[Task] = []
        unreadable: list[Task] = []
        async for listed, _ in self._recent_tasks():
            if _has_failed(listed) or not self._may_have_key(listed, key):
                continue
            task = await self._get(listed)
            if task is None:
                unreadable.append(listed)
            elif task.idempotency_key == key and not _has_failed(task):
                found.append(task)
        if len(found) > 1:
            _logger.warning("%d tasks have the idempotency key %r; the oldest is reused", len(found), key)
        found.sort(key=lambda task: task.create_time or datetime.max.replace(tzinfo=UTC))
        return found, unreadable

    def _may_have_key(self, listed: Task, key: str) -> bool:
        """Return whether a listed task has the key; a listing without descriptions is tolerated."""
        if listed.raw.get("description") is None:
            return listed.name in (None, self._request.name)
        return listed.idempotency_key == key

    async def _find_by_fields(self) -> tuple[list[Task], list[Task]]:
        """Return the tasks that equal what was sent, and others that may still be the created task.

        The others are near matches (the service may have filled in defaults), tasks that are listed but
        cannot be read yet, and equal ones whose time makes no sense.
        """
        matches: list[Task] = []
        others: list[Task] = []
        async for listed, age in self._recent_tasks():
            if listed.task_id in self._api.created or not self._is_near(listed.raw):
                continue
            task = await self._get(listed)
            if task is None:
                others.append(listed)
            elif self._is_equal(task.raw) and age is not None and age >= -_CLOCK_MARGIN:
                matches.append(task)
            elif self._is_near(task.raw):
                others.append(task)
        return matches, others

    async def _get(self, listed: Task) -> Task | None:
        """Return a listed task with all its fields, None if the service does not find it."""
        try:
            return await listing.get(self._api, listed.task_id)
        except TaskNotFoundError:
            return None

    async def _recent_tasks(self) -> AsyncGenerator[tuple[Task, float | None], None]:
        """Yield the tasks that may be meant, newest first, with their age in seconds or None."""
        searched = 0
        async with aclosing(listing.dated_pages(self._api, listing.Query())) as pages:
            async for page, service_now in pages:
                max_age = self._max_age(service_now)
                ages = [_age(task, service_now) for task in page]
                for task, age in zip(page, ages, strict=True):
                    if age is None or age <= max_age:
                        yield task, age
                if _is_newest_first(page) and all(age is not None and age > max_age for age in ages):
                    return
                searched += len(page)
                if page.is_truncated and searched >= _MAX_SEARCHED:
                    raise self._too_many()

    def _max_age(self, service_now: datetime) -> float:
        """Return the seconds to search back: with a key as asked for, without one to the last attempt."""
        if self._request.idempotency_key is None:
            return self._api.runtime.now() - self._attempted_at + _CLOCK_MARGIN
        within = self._request.reuse_within
        if isinstance(within, datetime):
            within = service_now - within
        return within.total_seconds() + _CLOCK_MARGIN

    def _too_many(self) -> OutcomeUnknownError:
        has_key = self._request.idempotency_key is not None
        return OutcomeUnknownError(
            f"The account has more than {_MAX_SEARCHED:,} tasks to search",
            action=LIST,
            may_have_been_applied=False,
            hint="Shorten reuse_within, or delete old tasks." if has_key else None,
        )

    def _is_equal(self, raw: Mapping[str, Any]) -> bool:
        """Return whether a task has every field that was sent, and defaults in all others.

        Fields that the service never returns (`completion_window`, unknown ones) are not compared.
        """
        return (
            all(_equals(field, raw[field], sent) for field, sent in self._body.items() if field in raw)
            and all(field in raw for field in _ALWAYS_RETURNED if field in self._body)
            and all(
                raw.get(field) in defaults for field, defaults in _DEFAULTS.items() if field not in self._body
            )
        )

    def _is_near(self, raw: Mapping[str, Any]) -> bool:
        """Return whether a task does not contradict what was sent; a listing may return fewer fields."""
        return all(_contains(field, raw, sent) for field, sent in self._body.items())


def _age(task: Task, now: datetime) -> float | None:
    return None if task.create_time is None else (now - task.create_time).total_seconds()


def _is_newest_first(page: TaskPage) -> bool:
    """Return whether the times of a page descend, so that only older tasks follow.

    That `pageReverse` orders tasks like this is inferred. An empty page, or equal times, prove nothing.
    """
    times = [task.create_time for task in page if task.create_time]
    return len(times) == len(page) > 0 and times == sorted(times, reverse=True) and times[0] > times[-1]


def _has_failed(task: Task) -> bool:
    return task.run_status == RunStatus.STOPPING or (task.is_final and not task.is_success)


def _equals(field: str, returned: object, sent: object) -> bool:
    if field in _DIRECTORIES:  # with and without a slash at the end is the same
        return str(returned).rstrip("/") == str(sent).rstrip("/")
    return returned == sent


def _contains(field: str, raw: Mapping[str, Any], sent: object) -> bool:
    """Return whether a field is as it was sent, has defaults filled in, or is not returned at all."""
    returned = raw.get(field)
    if returned is None:
        return raw.get(_ALTERNATIVES.get(field, "")) is None
    if _equals(field, returned, sent):
        return True
    if field == "description" and not sent:
        return True
    if isinstance(returned, dict) and isinstance(sent, dict):
        return all(name in returned and returned[name] == value for name, value in sent.items())
    return False


def _key(value: object) -> str | None:
    """Return an idempotency key as it can be written at the end of a description."""
    if value is None:
        return None
    key = _limited(value, "idempotency_key", _KEY_LENGTH)
    if not key.isprintable() or key != key.strip() or "[" in key or "]" in key:
        raise InvalidArgumentError(
            f"idempotency_key must be printable, without brackets or spaces at its ends, not {key[:80]!r}"
        )
    return key


def _limited(value: object, argument: str, limits: tuple[int, int]) -> str:
    minimum, maximum = limits
    text = arguments.text(value, argument, may_be_blank=minimum == 0)
    if not minimum <= len(text) <= maximum:
        raise InvalidArgumentError(f"{argument} must have {minimum} to {maximum} characters, not {len(text)}")
    return text


def _data_format(value: object) -> str:
    text = arguments.text(value, "data_format")
    if text in _DATA_FORMATS:
        return text
    near = difflib.get_close_matches(text[:80], _DATA_FORMATS, n=1)
    raise InvalidArgumentError(
        f"data_format must be 'default', 'src_tgt' or 'role', not {text[:80]!r}",
        hint=f"Did you mean {near[0]!r}?" if near else None,
    )


def _completion_window(value: object) -> str:
    text = arguments.text(value, "completion_window")
    if text != "24h":
        raise InvalidArgumentError(f"Only 24h is supported as completion_window, not {text[:80]!r}")
    return text


def _object_or_none(value: object, argument: str) -> dict[str, Any] | None:
    """Return a JSON object as the service will return it: a tuple is a list then."""
    if value is None:
        return None
    decoded: dict[str, Any] = json.loads(json.dumps(arguments.json_object(value, argument)))
    return decoded


def _extra(extra: object, fields: Mapping[str, object]) -> dict[str, Any]:
    more = _object_or_none(extra, "extra") or {}
    if repeated := sorted(set(more) & set(fields)):
        raise InvalidArgumentError(
            f"extra must not repeat fields that have their own argument: {', '.join(repeated)}"
        )
    return more


def _check_output(input_uri: str, output_uri: str) -> None:
    """Reject an output directory that is the input directory or inside it: results would become input."""
    below = re.compile(re.escape(input_uri.rstrip("/")) + r"(/|$)")
    if below.match(output_uri):
        raise InvalidArgumentError(
            f"output_bos_uri must not be input_bos_uri or inside it: {output_uri!r} is in {input_uri!r}",
            hint="Use two directories, such as bos:/my-bucket/in/ and bos:/my-bucket/out/.",
        )
