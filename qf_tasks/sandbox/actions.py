"""The six actions: a body in, a result out, under the rules of the service.

Knows nothing of HTTP or signatures. Where the service is not documented, `ServerBehavior` says what happens.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .behavior import ServerBehavior
from .bodies import Body, read_creation, read_page, read_task_id
from .store import ACTIVE, DONE, FINAL, QUEUING, RUNNING, STOPPED, STOPPING, Move, Position, Store, StoredTask
from .wire import Refusal

QUOTA = 20  # amh4suzbi

# Names and version ids as in mluhr9zde; the ids of the models, and the tuned one, are this sandbox's own.
_COMMON_MODELS = {
    "ERNIE-Speed-8K": "amv-pzqtzdspm77m",
    "ERNIE-Lite-8K": "amv-irrrsmxabb6r",
    "ERNIE-Tiny-8K": "amv-sb5kfqie51z1",
    "DeepSeek-R1-Distill-Qwen-1.5B": "amv-mcwd9r3iuk67",
    "DeepSeek-R1-Distill-Qwen-7B": "amv-8b79ynd4kjy2",
}
_CUSTOM_MODELS = {"sandbox-tuned": "amv-sandboxtuned"}


@dataclass(frozen=True)
class Durations:
    """How long a task stays in each passing state, in seconds of the sandbox's clock."""

    queue: float
    run: float
    stop: float


class Actions:
    """What each `Action` of the route does."""

    def __init__(self, store: Store, behavior: ServerBehavior, durations: Durations) -> None:
        self._store = store
        self._behavior = behavior
        self._durations = durations
        self._by_name: dict[str, Callable[[str, Body, float], Any]] = {
            "CreateBatchInferenceTask": self._create,
            "DescribeBatchInferenceTask": self._describe,
            "DescribeBatchInferenceTasks": self._list,
            "StopBatchInferenceTask": self._stop,
            "DeleteBatchInferenceTask": self._delete,
            "DescribeBatchInferenceModel": self._models,
        }

    def __contains__(self, action: object) -> bool:
        return action in self._by_name

    def run(self, action: str, account: str, body: Any, now: float) -> Any:
        """The `result` of the action; raises `Refusal`."""
        if not isinstance(body, dict):
            raise Refusal(400, "InappropriateJSON", "The JSON is not an object.")
        return self._by_name[action](account, body, now)

    def _create(self, account: str, body: Body, now: float) -> dict[str, str]:
        created = read_creation(body)
        if self._store.count(account, ACTIVE, now) >= QUOTA:
            text = f"At most {QUOTA} tasks may be queuing, running or stopping."
            raise Refusal(self._behavior.quota_status, "TaskRunningNumberExceedLimit", text)
        runs_at = now + self._durations.queue
        task = StoredTask(
            account=account,
            position=self._store.position(now),
            created=created,
            moves=[
                Move(now, QUEUING),
                Move(runs_at, RUNNING),
                Move(runs_at + self._durations.run, DONE),
            ],
            creator=account,
        )
        return {"taskId": self._store.add(task)}

    def _describe(self, account: str, body: Body, now: float) -> dict[str, Any]:
        return self._task(account, body).described(now)

    def _list(self, account: str, body: Body, now: float) -> dict[str, Any]:
        states, marker, max_keys, reverse = read_page(body)
        inclusive = self._behavior.inclusive_marker
        tasks, following = self._store.page(
            account,
            start=self._start(account, marker),
            inclusive=inclusive,
            reverse=reverse,
            states=states,
            size=max_keys,
            now=now,
        )
        page_info = {"marker": marker, "maxKeys": max_keys, "isTruncated": following is not None}
        if following is not None and self._behavior.next_marker:
            next_start = following if inclusive else tasks[-1]
            page_info["nextMarker"] = next_start.position.task_id
        return {"taskList": [task.listed(now) for task in tasks], "pageInfo": page_info}

    def _start(self, account: str, marker: str) -> Position | None:
        if not marker:
            return None
        task = self._store.get(marker, account)
        if task is not None:
            return task.position
        position = self._store.deleted(account, marker)
        if position is None or self._behavior.stale_marker_refused:
            raise Refusal(400, "InvalidMarker", f"The marker {marker} is invalid.")
        return position

    def _stop(self, account: str, body: Body, now: float) -> bool:
        task = self._task(account, body)
        status = task.run_status(now)
        if status in (QUEUING, RUNNING):
            task.turn(now, Move(now, STOPPING), Move(now + self._durations.stop, STOPPED))
        elif status in FINAL and self._behavior.stop_final != "refused":
            return self._behavior.stop_final == "true"
        elif status != STOPPING:
            raise self._wrong_state("stopped", status)
        return True

    def _delete(self, account: str, body: Body, now: float) -> bool:
        task = self._task(account, body)
        status = task.run_status(now)
        if status not in FINAL:  # finished, failed and stopped tasks may go (7lzkz53j5)
            raise self._wrong_state("deleted", status)
        self._store.delete(task)
        return True

    def _models(self, _account: str, _body: Body, _now: float) -> dict[str, Any]:
        return {
            "commonModelList": [_model(*names) for names in _COMMON_MODELS.items()],
            "customModelList": [_model(*names) for names in _CUSTOM_MODELS.items()],
        }

    def _task(self, account: str, body: Body) -> StoredTask:
        task_id = read_task_id(body)
        task = self._store.get(task_id, account)
        if task is None:
            status, code = self._behavior.not_found_status, self._behavior.not_found_code
            raise Refusal(status, code, f"The task {task_id} does not exist.")
        return task

    def _wrong_state(self, verb: str, status: str) -> Refusal:
        text = f"A task that is {status} cannot be {verb}."
        return Refusal(self._behavior.wrong_state_status, self._behavior.wrong_state_code, text)


def _model(name: str, version_id: str) -> dict[str, Any]:
    return {
        "modelId": version_id.replace("amv-", "am-", 1),
        "modelName": name,
        "modelVersionList": [{"modelVersionId": version_id, "modelVersionName": name}],
    }
