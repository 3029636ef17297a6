"""The official Python SDK, unchanged, as a client of the sandbox."""

from typing import Any

import pytest

from qf_tasks.sandbox import Sandbox

from .signed_client import CREATION, ROUTE

# baidubce uses a function that Python 3.12 deprecated.
pytestmark = pytest.mark.filterwarnings(
    "ignore:datetime.datetime.utcfromtimestamp:DeprecationWarning:baidubce"
)


@pytest.fixture(autouse=True)
def sdk_points_here(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    import qianfan

    config = qianfan.get_config()
    monkeypatch.setattr(config, "ACCESS_KEY", sandbox.access_key)
    monkeypatch.setattr(config, "SECRET_KEY", sandbox.secret_key)
    monkeypatch.setattr(config, "CONSOLE_API_BASE_URL", sandbox.url)
    monkeypatch.setattr(config, "SSL_VERIFICATION_ENABLED", True)


def call(action: str, **params: Any) -> Any:
    from qianfan.resources.console.utils import call_action

    body = call_action(ROUTE, action, params).body
    assert body is not None
    return body["result"]


def create() -> str:
    from qianfan.resources import Data

    response = Data.create_offline_batch_inference_task(
        name=CREATION["name"],
        input_bos_uri=CREATION["inputBosUri"],
        output_bos_uri=CREATION["outputBosUri"],
        endpoint=CREATION["endpoint"],
        inference_params={"temperature": 0.5},
        completion_window="24h",
        descrption="misspelt in the SDK's own examples",
    )
    return str(response["result"]["taskId"])


def test_sdk_creates_and_gets_task(sandbox: Sandbox) -> None:
    from qianfan.resources import Data

    task_id = create()
    described = Data.get_offline_batch_inference_task(task_id)
    assert described["result"] == sandbox.tasks[task_id]
    assert described["result"]["inferenceParams"] == {"temperature": 0.5}


def test_sdk_lists_tasks(sandbox: Sandbox) -> None:
    from qianfan.resources import Data

    tasks = [*sandbox.add_tasks(12), create()]
    first = Data.list_offline_batch_inference_task(max_keys=12, page_reverse=True)["result"]
    assert [task["taskId"] for task in first["taskList"]] == tasks[:0:-1]
    marker = first["pageInfo"]["nextMarker"]
    rest = Data.list_offline_batch_inference_task(marker=marker, page_reverse=True)["result"]
    assert [task["taskId"] for task in rest["taskList"]] == tasks[:1]
    queuing = Data.list_offline_batch_inference_task(run_status="Queuing")["result"]
    assert [task["taskId"] for task in queuing["taskList"]] == tasks[-1:]


def test_sdk_stops_and_deletes_task(sandbox: Sandbox) -> None:
    from qianfan.resources import Data

    task_id = create()
    assert Data.stop_offline_batch_inference_task(task_id)["result"] is True
    sandbox.advance(5)
    assert call("DeleteBatchInferenceTask", taskId=task_id) is True
    assert sandbox.tasks == {}


def test_sdk_gets_models() -> None:
    result = call("DescribeBatchInferenceModel")
    assert {model["modelName"] for model in result["commonModelList"]} > {"ERNIE-Tiny-8K"}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ACCESS_KEY", "Could not find credential"),
        ("SECRET_KEY", "Fail to authn user: Signature does not match"),
    ],
)
def test_sdk_recognizes_rejection_of_wrong_keys(
    monkeypatch: pytest.MonkeyPatch, name: str, message: str
) -> None:
    import qianfan
    from qianfan.errors import RequestError

    monkeypatch.setattr(qianfan.get_config(), name, "wrong")
    with pytest.raises(RequestError, match=message):
        call("DescribeBatchInferenceModel")
