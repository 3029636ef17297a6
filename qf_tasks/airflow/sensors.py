"""The sensor: waits for tasks that something else has created."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

from qf_tasks.airflow._compat import BaseSensorOperator, Context, conf
from qf_tasks.airflow._work import check_event, check_success, several
from qf_tasks.airflow.hooks import QianfanHook, airflow_errors
from qf_tasks.airflow.triggers import QianfanTaskTrigger
from qf_tasks.models import Task


class QianfanTaskSensor(BaseSensorOperator):
    """Waits until all of some tasks have ended; fails if one of them did not end as Done.

    It never stops a task.

    :param tasks: The id of a task, or several. (templated)
    :param deferrable: Wait in the triggerer; default the setting `default_deferrable` of Airflow. Polls are
        then `poke_interval` apart at most, and 30 s if that is not given.
    :param qianfan_conn_id: The connection; default `qianfan_default`. (templated)
    """

    template_fields: Sequence[str] = ("tasks", "qianfan_conn_id")
    ui_color = "#e6f0ff"

    def __init__(
        self,
        *,
        tasks: str | Iterable[str],
        poke_interval: float = 30.0,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        qianfan_conn_id: str = QianfanHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(poke_interval=poke_interval, **kwargs)
        self.tasks = tasks
        self.deferrable = deferrable
        self.qianfan_conn_id = qianfan_conn_id

    @cached_property
    def hook(self) -> QianfanHook:
        """The hook of the connection."""
        return QianfanHook(self.qianfan_conn_id)

    def execute(self, context: Context) -> None:
        """Wait in the worker, or in the triggerer if some task has not ended yet."""
        if not self.deferrable:
            super().execute(context)
        elif not self.poke(context):
            trigger = QianfanTaskTrigger(
                task_ids=several(self.tasks),
                qianfan_conn_id=self.qianfan_conn_id,
                poll_interval=self.poke_interval,
                end_time=time.time() + self.timeout,
            )
            self.defer(trigger=trigger, method_name="execute_complete")

    def poke(self, context: Context) -> bool:  # noqa: ARG002
        """Return whether all have ended; the first that has not decides."""
        with airflow_errors(), self.hook.get_conn() as client:
            ended = []
            for task_id in several(self.tasks):
                task = client.get(task_id)
                if not task.is_final:
                    self.log.info("Task %s is %s", task_id, task.run_status)
                    return False
                ended.append(task)
        check_success(ended)
        return True

    def execute_complete(self, context: Context, event: Mapping[str, Any]) -> None:  # noqa: ARG002
        """Return when the trigger has fired, or fail."""
        check_event(event)
        check_success([Task.model_validate(task) for task in event["tasks"]])
