"""What differs between Airflow 2.10 and 3.3. Types are checked against Airflow 3."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from airflow import __version__
from airflow.triggers.base import BaseTrigger

_VERSION = tuple(int(number) for number in __version__.split(".")[:2])
IS_AIRFLOW_3 = _VERSION >= (3, 0)

# Airflow 3.3 calls `BaseTrigger.on_kill` when a user ends a deferred task, and only then.
HAS_TRIGGER_ON_KILL = hasattr(BaseTrigger, "on_kill")

if TYPE_CHECKING or IS_AIRFLOW_3:
    from airflow.sdk import BaseHook, BaseOperator, BaseOperatorLink, BaseSensorOperator, Context
else:
    from airflow.hooks.base import BaseHook
    from airflow.models import BaseOperator, BaseOperatorLink
    from airflow.sensors.base import BaseSensorOperator
    from airflow.utils.context import Context

if TYPE_CHECKING or _VERSION >= (3, 2):
    from airflow.sdk.configuration import conf
    from airflow.sdk.exceptions import AirflowException, AirflowTaskTimeout
else:
    from airflow.configuration import conf
    from airflow.exceptions import AirflowException, AirflowTaskTimeout

if TYPE_CHECKING:
    from airflow.sdk import Connection


async def get_connection(conn_id: str) -> Connection:
    """Return a connection without blocking the event loop."""
    if IS_AIRFLOW_3:
        return await BaseHook.aget_connection(conn_id)
    return await asyncio.to_thread(BaseHook.get_connection, conn_id)


async def task_instance_state(task_instance: Any) -> str | None:
    """Return the present state of a task instance, None if it was cleared; for Airflow before 3.3."""
    if IS_AIRFLOW_3:
        return await _state_from_supervisor(task_instance)
    return await asyncio.to_thread(_state_from_database, task_instance)


async def _state_from_supervisor(task_instance: Any) -> str | None:
    from airflow.sdk.execution_time.comms import GetTaskStates, TaskStatesResult
    from airflow.sdk.execution_time.task_runner import SUPERVISOR_COMMS

    question = GetTaskStates(
        dag_id=task_instance.dag_id,
        task_ids=[task_instance.task_id],
        run_ids=[task_instance.run_id],
        map_index=task_instance.map_index,
    )
    answer = await SUPERVISOR_COMMS.asend(question)
    states = answer.task_states if isinstance(answer, TaskStatesResult) else {}
    # The name has the map index at its end where the task is mapped.
    return next(iter(states.get(task_instance.run_id, {}).values()), None)


def _state_from_database(task_instance: Any) -> str | None:
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.session import create_session

    with create_session() as session:
        found = (
            session.query(TaskInstance.state)
            .filter_by(
                dag_id=task_instance.dag_id,
                task_id=task_instance.task_id,
                run_id=task_instance.run_id,
                map_index=task_instance.map_index,
            )
            .one_or_none()
        )
        return found.state if found else None


__all__ = [
    "HAS_TRIGGER_ON_KILL",
    "IS_AIRFLOW_3",
    "AirflowException",
    "AirflowTaskTimeout",
    "BaseHook",
    "BaseOperator",
    "BaseOperatorLink",
    "BaseSensorOperator",
    "BaseTrigger",
    "Context",
    "conf",
    "get_connection",
    "task_instance_state",
]
