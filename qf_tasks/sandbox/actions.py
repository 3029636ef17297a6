"""The six actions: the fields of a request in, the `result` of the response out.

Knows nothing of HTTP or signatures. Where the service is not documented, `ServerBehavior` decides.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .behavior import ServerBehavior
from .http_messages import Rejection
from .store import (
    ACTIVE,
    DONE,
    FINAL,
    QUEUING,
    RUNNING,
    STOPPED,
    STOPPING,
    Position,
    Store,
    StoredTask,
    Transition,
)
from .validation import Body, read_new_task, read_page_request, read_task_id
from .worker import Worker

QUOTA = 20

# Names and version ids are documented; the ids of the models and the tuned model are the sandbox's own.
_COMMON_MODELS = {
    "ERNIE-Speed-8K": "amv-pzqtzdspm77m",
    "ERNIE-Lite-8K": "amv-irrrsmxabb6r",
    "ERNIE-Tiny-8K": "amv-sb5kfqie51z1",
    "DeepSeek-R1-Distill-Qwen-1.5B": "amv-mcwd9r3iuk67",
    "DeepSeek-R1-Distill-Qwen-7B": "amv-8b79ynd4kjy2",
}
_CUSTOM_MODELS = {"sandbox-tuned": "amv-sandboxtuned"}

# Added by create with `ServerBehavior(fill_in_defaults=True)`.
_DEFAULT_PARAMS = {"temperature": 0.8}
_DEFAULT_DESCRIPTION = "batch inference"


@dataclass(frozen=True)
class Durations:
    """How long a task queues, runs and stops, in seconds of the sandbox's clock."""

    queue: float
    run: float
    stop: float


@dataclass(frozen=True)
class Actions:
    """What one account can do at the time `now`; each action returns its `result` or raises `Rejection`."""

    store: Store
    behavior: ServerBehavior
    durations: Durations
    account: str
    now: float
    worker: Worker

    def create(self, body: Body) -> dict[str, str]:
        """Create a task that queues, runs and ends as Done."""
        created = read_new_task(body)
        if self.store.count(self.account, ACTIVE, self.now) >= QUOTA:
            message = f"At most {QUOTA} tasks may be queuing, running or stopping."
            raise Rejection(self.behavior.quota_status, "TaskRunningNumberExceedLimit", message)
        if self.behavior.fill_in_defaults:
            created["inferenceParams"] = _DEFAULT_PARAMS | created["inferenceParams"]
            created["description"] = created["description"] or _DEFAULT_DESCRIPTION
        running_at = self.now + self.durations.queue
        transitions = [
            Transition(self.now, QUEUING),
            Transition(running_at, RUNNING),
            Transition(running_at + self.durations.run, DONE),
        ]
        task = StoredTask(
            account=self.account,
            position=self.store.position(self.now),
            created=created,
            transitions=transitions,
            creator=self.account,
        )
        self.worker.add(task)
        return {"taskId": self.store.add(task)}

    def describe(self, body: Body) -> dict[str, Any]:
        """Return one task."""
        task = self._task(body)
        if self._age(task) < self.behavior.describe_delay:
            raise self._not_found(task.position.task_id)
        return task.described(self.now)

    def list(self, body: Body) -> dict[str, Any]:
        """Return a page of tasks."""
        states, marker, max_keys, reverse = read_page_request(body)
        inclusive = self.behavior.inclusive_marker

        def matches(task: StoredTask) -> bool:
            is_visible = self._age(task) >= self.behavior.list_delay
            return is_visible and (not states or task.run_status(self.now) in states)

        start = self._position_of(marker) if marker else None
        tasks, following = self.store.page(
            self.account, matches, start=start, inclusive=inclusive, reverse=reverse, size=max_keys
        )
        page_info = {"marker": marker, "maxKeys": max_keys, "isTruncated": following is not None}
        if following is not None and self.behavior.next_marker:
            next_marker = following if inclusive else tasks[-1]
            page_info["nextMarker"] = next_marker.position.task_id
        return {"taskList": [task.listed(self.now) for task in tasks], "pageInfo": page_info}

    def stop(self, body: Body) -> bool:
        """Stop a task that queues or runs."""
        task = self._task(body)
        status = task.run_status(self.now)
        if status in (QUEUING, RUNNING):
            stopped_at = self.now + self.durations.stop
            task.reschedule(self.now, Transition(self.now, STOPPING), Transition(stopped_at, STOPPED))
        elif status in FINAL and self.behavior.stop_final != "refused":
            return self.behavior.stop_final == "true"
        elif status != STOPPING:
            raise self._wrong_state("stopped", status)
        return True

    def delete(self, body: Body) -> bool:
        """Delete a task that has ended."""
        task = self._task(body)
        status = task.run_status(self.now)
        if status not in FINAL:
            raise self._wrong_state("deleted", status)
        self.store.delete(task)
        return True

    def models(self, _body: Body) -> dict[str, Any]:
        """Return the models that can run a task."""
        return {
            "commonModelList": [_model(*model) for model in _COMMON_MODELS.items()],
            "customModelList": [_model(*model) for model in _CUSTOM_MODELS.items()],
        }

    def _task(self, body: Body) -> StoredTask:
        task_id = read_task_id(body)
        task = self.store.get(task_id, self.account)
        if task is None:
            raise self._not_found(task_id)
        return task

    def _age(self, task: StoredTask) -> float:
        return max(0.0, self.now - task.position.created_at)  # `add_task` takes times in the future, too

    def _position_of(self, marker: str) -> Position:
        task = self.store.get(marker, self.account)
        if task is not None:
            return task.position
        position = self.store.position_of_deleted(self.account, marker)
        if position is None or self.behavior.stale_marker_refused:
            raise Rejection(400, "InvalidMarker", f"The marker {marker} is invalid.")
        return position

    def _not_found(self, task_id: str) -> Rejection:
        status, code = self.behavior.not_found_status, self.behavior.not_found_code
        return Rejection(status, code, f"The task {task_id} does not exist.")

    def _wrong_state(self, verb: str, run_status: str) -> Rejection:
        status, code = self.behavior.wrong_state_status, self.behavior.wrong_state_code
        return Rejection(status, code, f"A task that is {run_status} cannot be {verb}.")


ACTIONS: dict[str, Callable[[Actions, Body], Any]] = {
    "CreateBatchInferenceTask": Actions.create,
    "DescribeBatchInferenceTask": Actions.describe,
    "DescribeBatchInferenceTasks": Actions.list,
    "StopBatchInferenceTask": Actions.stop,
    "DeleteBatchInferenceTask": Actions.delete,
    "DescribeBatchInferenceModel": Actions.models,
}


def _model(name: str, version_id: str) -> dict[str, Any]:
    return {
        "modelId": version_id.replace("amv-", "am-", 1),
        "modelName": name,
        "modelVersionList": [{"modelVersionId": version_id, "modelVersionName": name}],
    }
