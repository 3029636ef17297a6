"""Triggers: wait in the triggerer, with one client and one poll for each connection and process."""

from __future__ import annotations

import asyncio
import time
from abc import abstractmethod
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import TriggerEvent

from qf_tasks.airflow._compat import HAS_TRIGGER_ON_KILL, BaseTrigger, task_instance_state
from qf_tasks.airflow.hooks import QianfanHook, message_of
from qf_tasks.errors import QfTasksError, WaitTimeoutError

if TYPE_CHECKING:
    from qf_tasks import AsyncTaskClient
    from qf_tasks.jobs.models import JobStatus
    from qf_tasks.models import Task

Event = dict[str, Any]

_LOOKUP_TIMEOUT = 10.0  # seconds: a triggerer that shuts down may no longer respond


class QianfanTrigger(BaseTrigger):
    """Waits for work of an account; what it waits for, and how that is stopped, is up to subclasses.

    A trigger holds the id of a connection, never keys. It can move to another process, so the end of the wait
    is given as wall-clock time.

    :param qianfan_conn_id: The connection.
    :param poll_interval: Seconds between polls.
    :param end_time: When to stop waiting, as by `time.time()`; None waits without a limit.
    :param stop_on_kill: Stop the work when a user marks or clears the task while it is deferred.
    :param stop_on_timeout: Stop the work at `end_time`.
    """

    def __init__(
        self,
        *,
        qianfan_conn_id: str,
        poll_interval: float = 30.0,
        end_time: float | None = None,
        stop_on_kill: bool = False,
        stop_on_timeout: bool = False,
    ) -> None:
        super().__init__()
        self.qianfan_conn_id = qianfan_conn_id
        self.poll_interval = poll_interval
        self.end_time = end_time
        self.stop_on_kill = stop_on_kill
        self.stop_on_timeout = stop_on_timeout

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class and the arguments, which are JSON values."""
        return f"{type(self).__module__}.{type(self).__qualname__}", {
            "qianfan_conn_id": self.qianfan_conn_id,
            "poll_interval": self.poll_interval,
            "end_time": self.end_time,
            "stop_on_kill": self.stop_on_kill,
            "stop_on_timeout": self.stop_on_timeout,
        }

    @property
    @abstractmethod
    def subject(self) -> str:
        """What is waited for, as messages name it."""

    @abstractmethod
    async def wait(self, client: AsyncTaskClient, timeout: float | None) -> Event:
        """Return the event of success when the work has ended.

        :param client: The client that all triggers of the connection share.
        :param timeout: Seconds to wait; None without a limit.
        """

    @abstractmethod
    async def stop(self, client: AsyncTaskClient) -> None:
        """Stop the work."""

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Yield one event: `status` is `ended`, `timeout` or `error`; the last two have a `message`."""
        try:
            yield TriggerEvent(await self._event())
        except asyncio.CancelledError:
            if not HAS_TRIGGER_ON_KILL and await self._is_to_be_stopped():
                await self._stop()
            raise

    async def on_kill(self) -> None:
        """Stop the work: a user has marked or cleared the task (Airflow 3.3)."""
        if self.stop_on_kill:
            await self._stop()

    async def _event(self) -> Event:
        timeout = None if self.end_time is None else max(0.0, self.end_time - time.time())
        try:
            async with _shared_client(self.qianfan_conn_id) as client:
                return await self.wait(client, timeout)
        except WaitTimeoutError:
            is_stopped = self.stop_on_timeout and await self._stop()
            return {"status": "timeout", "message": timeout_message(self.subject, is_stopped)}
        except QfTasksError as error:
            return {"status": "error", "message": message_of(error)}

    async def _stop(self) -> bool:
        """Stop the work; log a failure, and return whether there was none."""
        try:
            async with _shared_client(self.qianfan_conn_id) as client:
                await self.stop(client)
        except QfTasksError as error:
            self.log.error("%s was not stopped: %s", self.subject, message_of(error))
            return False
        return True

    async def _is_to_be_stopped(self) -> bool:
        """Return whether a user or a timeout has cancelled this: Airflow before 3.3 does not say.

        A triggerer that restarts, or passes the trigger on, leaves the task deferred.
        """
        if self.end_time is not None and time.time() >= self.end_time:
            return self.stop_on_timeout
        if not self.stop_on_kill:
            return False
        try:
            async with asyncio.timeout(_LOOKUP_TIMEOUT):
                return await task_instance_state(self.task_instance) != "deferred"
        except Exception:
            self.log.exception("Whether the task is still deferred is unknown; nothing is stopped")
            return False


class QianfanTaskTrigger(QianfanTrigger):
    """Fires when all of some tasks have ended, well or not.

    :param task_ids: The ids of the tasks.
    :param kwargs: As for `QianfanTrigger`.
    """

    def __init__(self, *, task_ids: list[str], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.task_ids = task_ids

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class and the arguments, which are JSON values."""
        path, kwargs = super().serialize()
        return path, {"task_ids": self.task_ids, **kwargs}

    @property
    def subject(self) -> str:
        """The ids of the tasks."""
        return f"Task {', '.join(self.task_ids)}"

    async def wait(self, client: AsyncTaskClient, timeout: float | None) -> Event:
        """Return an event with all tasks."""
        tasks = await client.wait_all(
            self.task_ids, timeout=timeout, poll_interval=self.poll_interval, raise_on_failure=False
        )
        return tasks_event(tasks.values())

    async def stop(self, client: AsyncTaskClient) -> None:
        """Stop those tasks that have not ended."""
        report = await client.stop_many(self.task_ids)
        report.raise_for_failures()


class QianfanJobTrigger(QianfanTrigger):
    """Runs a job, and fires when all its tasks have ended, well or not.

    :param bos_uri: The directory of the job.
    :param kwargs: As for `QianfanTrigger`.
    """

    def __init__(self, *, bos_uri: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.bos_uri = bos_uri

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class and the arguments, which are JSON values."""
        path, kwargs = super().serialize()
        return path, {"bos_uri": self.bos_uri, **kwargs}

    @property
    def subject(self) -> str:
        """The directory of the job."""
        return f"Job {self.bos_uri}"

    async def wait(self, client: AsyncTaskClient, timeout: float | None) -> Event:
        """Create tasks as slots become free; return an event with the status of the job."""
        job = await client.job(self.bos_uri)
        status = await job.run(timeout=timeout, poll_interval=self.poll_interval, raise_on_failure=False)
        return job_event(status)

    async def stop(self, client: AsyncTaskClient) -> None:
        """Stop its tasks, and have it submit no more."""
        job = await client.job(self.bos_uri)
        await job.stop()


def tasks_event(tasks: Iterable[Task]) -> Event:
    """Return the event of tasks that have ended."""
    return {"status": "ended", "tasks": [task.model_dump(mode="json") for task in tasks]}


def job_event(status: JobStatus) -> Event:
    """Return the event of a job that has ended; its tasks, perhaps hundreds, are left out."""
    return {"status": "ended", "job": {**status.model_dump(mode="json"), "tasks": []}}


@dataclass
class _SharedClient:
    """A client that is being made or exists, and how many triggers use it."""

    made: asyncio.Task[AsyncTaskClient]
    users: int = 0


_clients: dict[tuple[asyncio.AbstractEventLoop, str], _SharedClient] = {}


@asynccontextmanager
async def _shared_client(conn_id: str) -> AsyncIterator[AsyncTaskClient]:
    """Yield the client that all triggers of a connection in this event loop use: it polls once for all."""
    key = (asyncio.get_running_loop(), conn_id)
    shared = _clients.get(key)
    if shared is None:
        shared = _clients[key] = _SharedClient(asyncio.create_task(QianfanHook(conn_id).get_async_conn()))
    shared.users += 1
    try:
        yield await asyncio.shield(shared.made)
    finally:
        shared.users -= 1
        if not shared.users:
            del _clients[key]
            await _close(shared.made)


async def _close(made: asyncio.Task[AsyncTaskClient]) -> None:
    if not made.done():
        made.cancel()
    elif not made.cancelled() and made.exception() is None:
        await made.result().close()


def timeout_message(subject: str, is_stopped: bool) -> str:
    """Return the message of a wait that has timed out."""
    outcome = (
        "it was stopped" if is_stopped else "it keeps running, and a retry of this task waits for it again"
    )
    return f"{subject} has not ended in time; {outcome}"
