"""The official SDK as a second client of the same account: each reads what the other made."""

from __future__ import annotations

from typing import Any

import pytest

from qf_tasks import TaskClient, TaskNotFoundError
from qf_tasks.sandbox import Sandbox

# The SDK's own signer uses a function that Python 3.12 and later warn about.
pytestmark = pytest.mark.filterwarnings(
    "ignore:datetime.datetime.utcfromtimestamp:DeprecationWarning:baidubce"
)

ROUTE = "/v2/batchinference"
TASK: dict[str, Any] = {
    "name": "nightly",
    "input_bos_uri": "bos:/bucket/in/",
    "output_bos_uri": "bos:/bucket/out/",
    "endpoint": "ernie-x1-turbo-32k",
    "inference_params": {"temperature": 0.2},
    "description": "two clients, one account",
}


@pytest.fixture
def sdk(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return the SDK's class of calls, with its global configuration pointed at the sandbox."""
    import qianfan
    from qianfan.resources import Data

    config = qianfan.get_config()
    monkeypatch.setattr(config, "ACCESS_KEY", sandbox.access_key)
    monkeypatch.setattr(config, "SECRET_KEY", sandbox.secret_key)
    monkeypatch.setattr(config, "CONSOLE_API_BASE_URL", sandbox.url)
    return Data


def raw(action: str, **params: Any) -> Any:
    from qianfan.resources.console.utils import call_action

    body = call_action(ROUTE, action, params).body
    assert body is not None
    return body["result"]


def created_by(sdk: Any, **changed: Any) -> str:
    return str(sdk.create_offline_batch_inference_task(**{**TASK, **changed})["result"]["taskId"])


def test_get_of_a_task_made_by_the_sdk_has_all_of_it(client: TaskClient, sdk: Any) -> None:
    task = client.get(created_by(sdk))
    assert {name: getattr(task, name) for name in TASK} == TASK
    assert task.raw == sdk.get_offline_batch_inference_task(task.task_id)["result"]


def test_get_by_the_sdk_of_a_task_made_here_has_all_of_it(client: TaskClient, sdk: Any) -> None:
    ours, theirs = (
        sdk.get_offline_batch_inference_task(task_id)["result"]
        for task_id in (client.create(**TASK).task_id, created_by(sdk))
    )
    assert {**ours, "taskId": theirs["taskId"]} == theirs


def test_create_by_both_sends_the_same_members(sandbox: Sandbox, client: TaskClient, sdk: Any) -> None:
    client.create(**TASK, completion_window="24h")
    created_by(sdk, completion_window="24h")
    ours, theirs = sandbox.requests
    assert ours.params == theirs.params
    assert (ours.method, ours.path, ours.query) == (theirs.method, theirs.path, theirs.query)


def test_list_by_both_is_the_same(client: TaskClient, sdk: Any) -> None:
    made = [client.create(**TASK).task_id, created_by(sdk), client.create(**TASK).task_id]
    listed = sdk.list_offline_batch_inference_task(max_keys=100, page_reverse=True)["result"]["taskList"]
    assert [task.raw for task in client.list()] == listed
    assert [task["taskId"] for task in listed] == made[::-1]


def test_list_here_goes_on_where_the_sdk_left_off(sandbox: Sandbox, client: TaskClient, sdk: Any) -> None:
    added = sandbox.add_tasks(5)
    first = sdk.list_offline_batch_inference_task(max_keys=2)["result"]["pageInfo"]
    rest = client.pages(newest_first=False, marker=first["nextMarker"])
    assert [task.task_id for page in rest for task in page] == added[2:]


def test_list_of_a_state_by_both_is_the_same(client: TaskClient, sdk: Any) -> None:
    client.stop(created_by(sdk))
    queuing = created_by(sdk)
    listed = sdk.list_offline_batch_inference_task(run_status="Queuing")["result"]["taskList"]
    assert [task.raw for task in client.list(run_status="queuing")] == listed
    assert [task["taskId"] for task in listed] == [queuing]


def test_stop_by_the_sdk_is_waited_for_here(client: TaskClient, sdk: Any) -> None:
    task_id = client.create(**TASK).task_id
    assert sdk.stop_offline_batch_inference_task(task_id)["result"] is True
    assert client.wait(task_id, raise_on_failure=False).run_status == "Stopped"
    assert client.stop(task_id).run_status == "Stopped"


def test_delete_here_is_a_delete_for_the_sdk(client: TaskClient, sdk: Any) -> None:
    from qianfan.errors import RequestError

    task_id = created_by(sdk)
    assert client.delete(task_id, stop_first=True).stopped
    with pytest.raises(RequestError, match="TaskNotFound"):
        sdk.get_offline_batch_inference_task(task_id)


@pytest.mark.usefixtures("sdk")
def test_delete_by_raw_call_action_is_a_delete_here(sandbox: Sandbox, client: TaskClient) -> None:
    task_id = sandbox.add_task()
    assert raw("DeleteBatchInferenceTask", taskId=task_id) is True
    with pytest.raises(TaskNotFoundError):
        client.get(task_id)
    assert client.delete(task_id, missing_ok=True).outcome == "already_gone"


@pytest.mark.usefixtures("sdk")
def test_models_by_both_are_the_same(client: TaskClient) -> None:
    listed = raw("DescribeBatchInferenceModel")
    names = [model["modelName"] for model in listed["commonModelList"]]
    assert [model.model_name for model in client.models().common] == names
    assert client.call("DescribeBatchInferenceModel", {}).result == listed
