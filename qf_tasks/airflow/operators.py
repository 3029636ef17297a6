"""Operators: run batch inference once for each run of an Airflow task, read results, delete tasks."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from qf_tasks._operations import arguments
from qf_tasks._operations.create import create_request
from qf_tasks._operations.purge import purge_request
from qf_tasks.airflow._compat import (
    IS_AIRFLOW_3,
    AirflowException,
    AirflowTaskTimeout,
    BaseOperator,
    BaseOperatorLink,
    Context,
    conf,
)
from qf_tasks.airflow._work import JobWork, TaskWork, Work, result_of, several
from qf_tasks.airflow.hooks import QianfanHook, airflow_errors
from qf_tasks.airflow.triggers import Event, timeout_message
from qf_tasks.durations import Duration, seconds
from qf_tasks.errors import InvalidArgumentError, WaitTimeoutError

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors import OperatorLineage

    from qf_tasks import Result, TaskClient

OnTimeout = Literal["leave", "stop"]

# The address of a single task's page is not documented.
_CONSOLE_URL = "https://console.bce.baidu.com/qianfan/"

# Valid values in place of templates and of results of earlier tasks, so that other arguments can be checked.
_PLACEHOLDERS = {
    "name": "placeholder",
    "endpoint": "placeholder",
    "model_id": "placeholder",
    "input_bos_uri": "bos:/placeholder/in/",
    "output_bos_uri": "bos:/placeholder/out/",
}


class QianfanConsoleLink(BaseOperatorLink):
    """A link from an Airflow task to the console of Qianfan."""

    name = "Qianfan console"

    def get_link(self, operator: BaseOperator, *, ti_key: Any) -> str:  # noqa: ARG002
        """Return the address."""
        return _CONSOLE_URL


class QianfanBatchInferenceOperator(BaseOperator):
    """Runs batch inference once, on data in BOS or on a set of records, and waits until it has ended.

    With `input_bos_uri` and `output_bos_uri` it creates one batch inference task. With `records` and
    `bos_uri` it submits a job: the records are uploaded, and run as one task or as many as needed.

    However often the Airflow task is tried, it runs batch inference once: a retry finds what an earlier try
    has created, even if its worker was killed, and waits for it. If that did not succeed, a retry creates
    another task or, for a job, submits the records without a result again. After a clear, everything runs
    again. When a user marks or clears the Airflow task while it runs, batch inference is stopped.

    Returns a dict: `task_id`, `run_status`, `output_uri`, `input_token_usage` and `output_token_usage` of a
    task; `bos_uri`, `state`, `records`, `shards` and `token_usage` of a job.

    :param input_bos_uri: The directory of the input, `bos:/bucket/folder/`. (templated)
    :param output_bos_uri: The directory for the output. (templated)
    :param records: A file or directory of JSON Lines, a directory of them in BOS, the records themselves
        (`prepare.output`), or a function that is called with the context and returns one of these; see
        `TaskClient.submit`. (a path is templated)
    :param bos_uri: The directory of the job, a different one for each run of the DAG and each map index:
        `bos:/bucket/jobs/{{ run_id }}/`. After a clear, a directory beside it is used. (templated)
    :param endpoint: A preset service, such as `ernie-x1-turbo-32k`; exclusive with `model_id`. (templated)
    :param model_id: A model version, `amv-…`; exclusive with `endpoint`. (templated)
    :param name: 2 to 20 characters; default the beginning of `<dag_id>.<task_id>`, of a job the name of its
        directory. (templated)
    :param inference_params: Sampling parameters, such as `{"temperature": 0.2}`. (templated)
    :param description: Default of a task: DAG, task, run and map index. (templated)
    :param data_format: `default`, `src_tgt` or `role`; default the service's.
    :param quota_timeout: How long to wait for a free slot if the account has too many active tasks, a
        duration: seconds, a `timedelta`, or text with a unit such as `2h`; default not at all. A job always
        waits for slots.
    :param timeout: How long to wait for the end, a duration; an `execution_timeout` of the Airflow task that
        is shorter counts instead; default 25 hours.
    :param on_timeout: `leave` lets batch inference run after a timeout, so that a retry waits for it again;
        `stop` stops it. Default `leave`.
    :param poll_interval: The longest pause between polls, a duration; default 30 s.
    :param deferrable: Wait in the triggerer, which takes no worker slot; default the setting
        `default_deferrable` of Airflow.
    :param qianfan_conn_id: The connection; default `qianfan_default`. (templated)
    """

    template_fields: Sequence[str] = (
        "input_bos_uri",
        "output_bos_uri",
        "records",
        "bos_uri",
        "endpoint",
        "model_id",
        "name",
        "inference_params",
        "description",
        "qianfan_conn_id",
    )
    template_fields_renderers: ClassVar[dict[str, str]] = {"inference_params": "json"}
    operator_extra_links: Sequence[BaseOperatorLink] = (QianfanConsoleLink(),)
    ui_color = "#e6f0ff"

    def __init__(
        self,
        *,
        input_bos_uri: str | None = None,
        output_bos_uri: str | None = None,
        records: object = None,
        bos_uri: str | None = None,
        endpoint: str | None = None,
        model_id: str | None = None,
        name: str | None = None,
        inference_params: Mapping[str, Any] | None = None,
        description: str | None = None,
        data_format: Literal["default", "src_tgt", "role"] | None = None,
        quota_timeout: Duration | None = None,
        timeout: Duration = "25h",
        on_timeout: OnTimeout = "leave",
        poll_interval: Duration = 30.0,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        qianfan_conn_id: str = QianfanHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.input_bos_uri = input_bos_uri
        self.output_bos_uri = output_bos_uri
        # Only a path is a template: braces in the text of records are not meant for Jinja.
        is_template = isinstance(records, str) or hasattr(records, "resolve")
        self.records: object = records if is_template else None
        self._plain_records = None if is_template else records
        self.bos_uri = bos_uri
        self.endpoint = endpoint
        self.model_id = model_id
        self.name = name
        self.inference_params = inference_params
        self.description = description
        self.data_format = data_format
        self.quota_timeout = quota_timeout
        self.timeout = timeout
        self.on_timeout = on_timeout
        self.poll_interval = poll_interval
        self.deferrable = deferrable
        self.qianfan_conn_id = qianfan_conn_id
        self._work: Work | None = None
        self._check_arguments()

    def _check_arguments(self) -> None:
        """Reject what is known to be wrong when the DAG is parsed."""
        if self.on_timeout not in ("leave", "stop"):
            raise InvalidArgumentError(f"on_timeout must be 'leave' or 'stop', not {self.on_timeout!r}")
        seconds(self.timeout, "timeout")
        seconds(self.poll_interval, "poll_interval", minimum=0.1)
        fields = {**self._task_fields, "name": self.name or _PLACEHOLDERS["name"]}
        if self.bos_uri is not None or self._has_records:
            self._check_job_arguments()
            fields |= {name: _PLACEHOLDERS[name] for name in ("input_bos_uri", "output_bos_uri")}
        elif None in (self.input_bos_uri, self.output_bos_uri):
            raise InvalidArgumentError(
                "Give either input_bos_uri and output_bos_uri, or records and bos_uri",
                hint="The first two create one batch inference task, the others a job.",
            )
        for name, value in fields.items():
            if is_rendered_later(value):
                fields[name] = _PLACEHOLDERS.get(name)
        create_request(**fields)

    def _check_job_arguments(self) -> None:
        if self.bos_uri is None or not self._has_records:
            raise InvalidArgumentError("records and bos_uri must be given together")
        for name in ("input_bos_uri", "output_bos_uri", "quota_timeout"):
            if getattr(self, name) is not None:
                raise InvalidArgumentError(f"{name} cannot be combined with records and bos_uri")
        if not is_rendered_later(self.bos_uri):
            arguments.bos_directory(self.bos_uri, "bos_uri")

    @property
    def _has_records(self) -> bool:
        return self.records is not None or self._plain_records is not None

    @property
    def _fields(self) -> dict[str, Any]:
        """The arguments that a task and a job have in common."""
        return {
            "endpoint": self.endpoint,
            "model_id": self.model_id,
            "name": self.name,
            "inference_params": self.inference_params,
            "description": self.description,
            "data_format": self.data_format,
        }

    @property
    def _task_fields(self) -> dict[str, Any]:
        return {
            **self._fields,
            "input_bos_uri": self.input_bos_uri,
            "output_bos_uri": self.output_bos_uri,
            "quota_timeout": self.quota_timeout,
        }

    @cached_property
    def hook(self) -> QianfanHook:
        """The hook of the connection."""
        return QianfanHook(self.qianfan_conn_id)

    def execute(self, context: Context) -> dict[str, Any]:
        """Start the work, or find that of an earlier try, and wait until it has ended."""
        with airflow_errors(), self.hook.get_conn() as client:
            work = self._work = self._work_of(context)
            try:
                work.stop_cleared(client)
                work.start(client)
                context["ti"].xcom_push(key=work.xcom_key, value=work.identity)
                if IS_AIRFLOW_3:  # which asks for links at the end of the task only
                    context["ti"].xcom_push(key=QianfanConsoleLink().xcom_key, value=_CONSOLE_URL)
                return self._result(self._wait(client, work, self._end_time(context)))
            except WaitTimeoutError as error:
                self._after_timeout()
                message = timeout_message(f"{work.label} {work.identity}", self.on_timeout == "stop")
                raise AirflowException(message) from error
            except AirflowTaskTimeout:
                self._after_timeout()
                raise

    def _work_of(self, context: Context) -> Work:
        if self.bos_uri is not None:
            records = self.records if self._plain_records is None else self._plain_records
            return JobWork(context, records, self.bos_uri, self._fields)
        return TaskWork(context, self._task_fields)

    def _wait(self, client: TaskClient, work: Work, end_time: float) -> Event:
        poll_interval = seconds(self.poll_interval, "poll_interval")
        if not self.deferrable:
            return work.wait(client, max(0.0, end_time - time.time()), poll_interval)
        event = work.outcome(client)  # a retry may find that it has ended
        if event is None:
            trigger = work.trigger(
                qianfan_conn_id=self.qianfan_conn_id,
                poll_interval=poll_interval,
                end_time=end_time,
                stop_on_kill=True,
                stop_on_timeout=self.on_timeout == "stop",
            )
            self.defer(trigger=trigger, method_name="execute_complete")
        return event

    def _end_time(self, context: Context) -> float:
        end_time = time.time() + seconds(self.timeout, "timeout")
        started = context["ti"].start_date
        if self.execution_timeout and started:  # Airflow 3 does not count it while the task is deferred
            end_time = min(end_time, (started + self.execution_timeout).timestamp())
        return end_time

    def execute_complete(self, context: Context, event: Mapping[str, Any]) -> dict[str, Any]:  # noqa: ARG002
        """Return the result when the trigger has fired, or fail."""
        return self._result(event)

    def _result(self, event: Mapping[str, Any]) -> dict[str, Any]:
        result = result_of(event)
        self.log.info("Ended: %s", result)
        return result

    def on_kill(self) -> None:
        """Stop the work: the Airflow task was marked or cleared, or its worker is shutting down."""
        if self._work:
            # Another client than that of `execute`, which this may have interrupted at any statement.
            with airflow_errors(), self.hook.get_conn() as client:
                self._work.stop(client)

    def _after_timeout(self) -> None:
        if self.on_timeout == "stop":
            self.on_kill()
        self._work = None  # Airflow calls `on_kill` after its own timeout, when nothing is left to stop

    def get_openlineage_facets_on_start(self) -> OperatorLineage[Any, Any]:
        """Return the directories of input and output; called by the OpenLineage provider, if it is there."""
        from airflow.providers.common.compat.openlineage.facet import Dataset
        from airflow.providers.openlineage.extractors import OperatorLineage

        def datasets(uri: object) -> list[Dataset]:
            return [Dataset(*dataset_name(uri))] if isinstance(uri, str) and uri.startswith("bos:") else []

        return OperatorLineage(
            inputs=datasets(self.records if self.bos_uri else self.input_bos_uri),
            outputs=datasets(self.bos_uri or self.output_bos_uri),
        )


class QianfanDeleteTasksOperator(BaseOperator):
    """Deletes tasks. This cannot be undone.

    Returns a dict of outcomes by id. A failure of one task does not stop the others, but fails the Airflow
    task at the end.

    :param tasks: The id of a task, or several. (templated)
    :param stop_first: Stop queuing and running tasks and wait until they have ended; default False.
    :param missing_ok: Treat a missing task as deleted; default True, because a task that an earlier try has
        deleted is missing in a retry.
    :param qianfan_conn_id: The connection; default `qianfan_default`. (templated)
    """

    template_fields: Sequence[str] = ("tasks", "qianfan_conn_id")

    def __init__(
        self,
        *,
        tasks: str | Iterable[str],
        stop_first: bool = False,
        missing_ok: bool = True,
        qianfan_conn_id: str = QianfanHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.tasks = tasks
        self.stop_first = stop_first
        self.missing_ok = missing_ok
        self.qianfan_conn_id = qianfan_conn_id

    def execute(self, context: Context) -> dict[str, str]:  # noqa: ARG002
        """Delete the tasks."""
        with airflow_errors(), QianfanHook(self.qianfan_conn_id).get_conn() as client:
            report = client.delete_many(
                several(self.tasks), stop_first=self.stop_first, missing_ok=self.missing_ok
            )
            for outcome in report:
                self.log.info("Task %s: %s %s", outcome.task_id, outcome.outcome, outcome.error or "")
            report.raise_for_failures()
        return {outcome.task_id: outcome.outcome for outcome in report}


class QianfanJobResultsOperator(BaseOperator):
    """Downloads the results of a job that has ended, or passes them to a function.

    Returns a dict: the number of records by outcome (`succeeded`, `failed`, …), and `path`; or what the
    function returns.

    :param bos_uri: The directory of the job, as `QianfanBatchInferenceOperator` returns it. (templated)
    :param path: A file to write, one JSON object per line, in the order of the records; it appears only
        when it is complete. Exclusive with `python_callable`. (templated)
    :param python_callable: A function that is called with an iterator over the results.
    :param qianfan_conn_id: The connection; default `qianfan_default`. (templated)
    """

    template_fields: Sequence[str] = ("bos_uri", "path", "qianfan_conn_id")

    def __init__(
        self,
        *,
        bos_uri: str,
        path: str | None = None,
        python_callable: Callable[[Iterator[Result]], Any] | None = None,
        qianfan_conn_id: str = QianfanHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.bos_uri = bos_uri
        self.path = path
        self.python_callable = python_callable
        self.qianfan_conn_id = qianfan_conn_id
        if (path is None) == (python_callable is None):
            raise InvalidArgumentError("Exactly one of path and python_callable must be given")

    def execute(self, context: Context) -> Any:  # noqa: ARG002
        """Read the results from the object storage."""
        with airflow_errors(), QianfanHook(self.qianfan_conn_id).get_conn() as client:
            job = client.job(self.bos_uri)
            status = job.status()
            if not status.is_final:
                raise AirflowException(
                    f"Job {self.bos_uri} is {status.state}; its results are complete when it has ended"
                )
            results = job.results(ordered=True)
            if self.python_callable:
                return self.python_callable(results)
            outcomes = write_results(results, Path(str(self.path)))
            self.log.info("Wrote %s: %s", self.path, outcomes)
            return {"path": self.path, **outcomes}


class QianfanPurgeOperator(BaseOperator):
    """Deletes the tasks that match all criteria. This cannot be undone.

    The plan is written to the log first, each task with name, state and age. At least one of `run_status`,
    `name`, `older_than` and `creator` is required.

    Returns a dict: `planned` and, unless `dry_run` is set, the number of tasks with each outcome.

    :param run_status: One or several states; default all that have ended. (templated)
    :param name: A pattern for the whole name (`*`, `?`, `[…]`), case-sensitive. (templated)
    :param older_than: The least time since a task was created and ended: a `timedelta` or text with a unit,
        such as `30d`. (templated)
    :param creator: The whole name of who created it. (templated)
    :param keep_newest: Keep this many of the newest that match by state, name and creator; default 0.
    :param stop_first: Select tasks that have not ended too, and stop them first; default False.
    :param max_tasks: Fail, and delete nothing, if more match; default 1000.
    :param dry_run: Only write the plan to the log; default False.
    :param qianfan_conn_id: The connection; default `qianfan_default`. (templated)
    """

    template_fields: Sequence[str] = ("run_status", "name", "older_than", "creator", "qianfan_conn_id")

    def __init__(
        self,
        *,
        run_status: str | Iterable[str] | None = None,
        name: str | None = None,
        older_than: timedelta | str | None = None,
        creator: str | None = None,
        keep_newest: int = 0,
        stop_first: bool = False,
        max_tasks: int = 1000,
        dry_run: bool = False,
        qianfan_conn_id: str = QianfanHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.run_status = run_status
        self.name = name
        self.older_than = older_than
        self.creator = creator
        self.keep_newest = keep_newest
        self.stop_first = stop_first
        self.max_tasks = max_tasks
        self.is_dry_run = dry_run  # `dry_run` is a method of every operator
        self.qianfan_conn_id = qianfan_conn_id
        if not any(map(is_rendered_later, self._criteria.values())):
            purge_request(**self._criteria)

    @property
    def _criteria(self) -> dict[str, Any]:
        return {
            "run_status": self.run_status,
            "name": self.name,
            "older_than": self.older_than,
            "creator": self.creator,
            "keep_newest": self.keep_newest,
            "stop_first": self.stop_first,
            "max_tasks": self.max_tasks,
        }

    def execute(self, context: Context) -> dict[str, int]:  # noqa: ARG002
        """Write the plan to the log, and delete its tasks."""
        with airflow_errors(), QianfanHook(self.qianfan_conn_id).get_conn() as client:
            plan = client.plan_purge(**self._criteria)
            self.log.info("%r", plan)
            for task in plan:
                self.log.info("%r, created %s", task, task.create_time)
            if self.is_dry_run:
                return {"planned": len(plan)}
            report = client.purge(plan)
            for outcome in report:
                self.log.info("Task %s: %s %s", outcome.task_id, outcome.outcome, outcome.error or "")
            report.raise_for_failures()
        return {"planned": len(plan), **{name: count for name, count in report.counts.items() if count}}


def write_results(results: Iterable[Result], path: Path) -> dict[str, int]:
    """Write results as JSON Lines, and return their number by outcome; the file appears when complete."""
    outcomes = Counter[str]()
    with NamedTemporaryFile("w", encoding="utf-8", dir=path.parent, prefix=path.name, delete=False) as file:
        try:
            for result in results:
                file.write(f"{result.model_dump_json()}\n")
                outcomes[result.outcome] += 1
            file.close()
            Path(file.name).replace(path)
        except BaseException:
            Path(file.name).unlink()
            raise
    return dict(outcomes)


def is_rendered_later(value: object) -> bool:
    """Return whether an argument is a template, or the result of another task."""
    if isinstance(value, str):
        return "{{" in value or "{%" in value
    if isinstance(value, Mapping):
        return any(map(is_rendered_later, value.values()))
    return hasattr(value, "resolve")


def dataset_name(uri: str) -> tuple[str, str]:
    """Return namespace and name by which OpenLineage knows a directory in BOS."""
    bucket, _, path = uri.removeprefix("bos:/").partition("/")
    return f"bos://{bucket}", path
