"""The rules of the six actions."""

import pytest

from qf_tasks.sandbox import Sandbox, ServerBehavior

from .signed_client import CREATION, SignedClient

ACTIVE = ["Queuing", "Running", "Stopping"]
FINAL = ["Done", "Stopped", "Failed", "Expired"]


def test_create_returns_task_id_in_documented_format(client: SignedClient) -> None:
    task_id = client.create().result["taskId"]
    prefix, _, rest = task_id.partition("-")
    assert prefix == "infer"
    assert len(rest) == 12
    assert rest.isalnum()


def test_create_stores_all_fields(sandbox: Sandbox, client: SignedClient) -> None:
    task_id = client.create(description="说明", inferenceParams={"temperature": 0.2, "n": [1]}).result[
        "taskId"
    ]
    task = sandbox.tasks[task_id]
    assert task == client.describe(task_id).result
    assert {name: task[name] for name in CREATION} == CREATION
    assert task["description"] == "说明"
    assert task["inferenceParams"] == {"temperature": 0.2, "n": [1]}
    assert task["runStatus"] == "Queuing"
    assert task["dataFormat"] == "default"
    assert "modelId" not in task


@pytest.mark.parametrize(
    "body",
    [
        {"name": "ab"},
        {"name": "名" * 20},
        {"description": ""},
        {"description": "x" * 500},
        {"endpoint": None, "modelId": "amv-pzqtzdspm77m"},
        {"endpoint": "", "modelId": "amv-pzqtzdspm77m"},
        {"inputBosUri": "bos:/bucket", "outputBosUri": "bos:/bucket/a folder/名"},
        {"completion_window": "24h"},
        {"dataFormat": "src_tgt"},
        {"dataFormat": "role"},
        {"inferenceParams": None},
        {"descrption": "a member that nobody knows"},
    ],
    ids=str,
)
def test_create_with_valid_fields_is_accepted(client: SignedClient, body: dict[str, object]) -> None:
    assert client.create(**body).status == 200


@pytest.mark.parametrize(
    ("body", "name"),
    [
        ({"name": "a"}, "name"),
        ({"name": "x" * 21}, "name"),
        ({"name": None}, "name"),
        ({"name": 12}, "name"),
        ({"description": "x" * 501}, "description"),
        ({"description": []}, "description"),
        ({"endpoint": None}, "endpoint"),
        ({"endpoint": ""}, "endpoint"),
        ({"endpoint": 1}, "endpoint"),
        ({"modelId": "amv-pzqtzdspm77m"}, "modelId"),
        ({"endpoint": None, "modelId": "am-pzqtzdspm77m"}, "modelId"),
        ({"inputBosUri": None}, "inputBosUri"),
        ({"outputBosUri": ""}, "outputBosUri"),
        ({"outputBosUri": True}, "outputBosUri"),
        ({"inferenceParams": []}, "inferenceParams"),
        ({"completion_window": "48h"}, "completion_window"),
        ({"completion_window": 24}, "completion_window"),
        ({"dataFormat": "csv"}, "dataFormat"),
    ],
    ids=str,
)
def test_create_with_invalid_field_is_rejected_by_name(
    sandbox: Sandbox, client: SignedClient, body: dict[str, object], name: str
) -> None:
    response = client.create(**body)
    assert response.rejection == (400, "InappropriateJSON")
    assert response.body["message"].endswith(f"param[{name}] invalid.")
    assert sandbox.tasks == {}


@pytest.mark.parametrize(
    "uri", ["bos://bucket/in/", "/bucket/in/", "bucket", "bos:/", "s3:/bucket/", "bos:/a b"]
)
def test_create_with_invalid_bos_uri_is_rejected(client: SignedClient, uri: str) -> None:
    for name in ("inputBosUri", "outputBosUri"):
        assert client.create(**{name: uri}).rejection == (400, "InvalidBosUri")


def test_create_above_quota_is_rejected(sandbox: Sandbox, client: SignedClient) -> None:
    sandbox.add_tasks(5, run_status="Done")
    for status in ACTIVE:
        sandbox.add_tasks(6, run_status=status)
    assert client.create().status == 200
    last = client.create().result["taskId"]
    assert client.create().rejection == (400, "TaskRunningNumberExceedLimit")
    sandbox.set_status(last, "Failed")
    assert client.create().status == 200


def test_describe_unknown_task_is_rejected(client: SignedClient) -> None:
    assert client.describe("infer-000000000000").rejection == (404, "TaskNotFound")


@pytest.mark.parametrize("task_id", [None, "", 7, ["infer-000000000000"]])
def test_action_with_invalid_task_id_is_rejected_by_name(client: SignedClient, task_id: object) -> None:
    for action in ("Describe", "Stop", "Delete"):
        response = client.call(f"{action}BatchInferenceTask", taskId=task_id)
        assert response.rejection == (400, "InappropriateJSON")
        assert response.body["message"].endswith("param[taskId] invalid.")


@pytest.mark.parametrize("status", FINAL)
def test_delete_ended_task_removes_it(sandbox: Sandbox, client: SignedClient, status: str) -> None:
    kept, gone = sandbox.add_tasks(2, run_status=status)
    assert client.delete(gone).result is True
    assert list(sandbox.tasks) == [kept]
    assert client.delete(gone).rejection == (404, "TaskNotFound")


@pytest.mark.parametrize("status", [*ACTIVE, "Pausing"])
def test_delete_task_in_other_state_is_rejected(sandbox: Sandbox, client: SignedClient, status: str) -> None:
    task_id = sandbox.add_task(run_status=status)
    assert client.delete(task_id).rejection == (400, "InvalidTaskStatus")
    assert task_id in sandbox.tasks


@pytest.mark.parametrize("status", ["Queuing", "Running"])
def test_stop_active_task_goes_through_stopping(sandbox: Sandbox, client: SignedClient, status: str) -> None:
    task_id = sandbox.add_task(run_status=status, ends_after=3)
    assert client.stop(task_id).result is True
    assert sandbox.tasks[task_id]["runStatus"] == "Stopping"
    sandbox.advance(5)
    assert sandbox.tasks[task_id]["runStatus"] == "Stopped"


def test_stop_stopping_task_returns_true_and_changes_nothing(sandbox: Sandbox, client: SignedClient) -> None:
    task_id = sandbox.add_task(run_status="Running")
    client.stop(task_id)
    sandbox.advance(4)
    assert client.stop(task_id).result is True
    sandbox.advance(1)
    assert sandbox.tasks[task_id]["runStatus"] == "Stopped"


@pytest.mark.parametrize("status", [*FINAL, "Pausing"])
def test_stop_task_in_other_state_is_rejected(sandbox: Sandbox, client: SignedClient, status: str) -> None:
    task_id = sandbox.add_task(run_status=status)
    assert client.stop(task_id).rejection == (400, "InvalidTaskStatus")


def test_models_returns_both_lists_with_versions(client: SignedClient) -> None:
    result = client.models().result
    assert set(result) == {"commonModelList", "customModelList"}
    for model in result["commonModelList"] + result["customModelList"]:
        assert model["modelId"].startswith("am-")
        (version,) = model["modelVersionList"]
        assert version["modelVersionId"].startswith("amv-")
        assert client.create(endpoint=None, modelId=version["modelVersionId"]).status == 200


def test_every_response_has_the_documented_envelope(sandbox: Sandbox, client: SignedClient) -> None:
    for response in (client.models(), client.describe("infer-000000000000")):
        assert response.headers["Content-Type"] == "application/json; charset=utf-8"
        assert response.headers["x-bce-request-id"] == response.body["requestId"]
    assert client.models().body.keys() == {"requestId", "result"}
    assert client.describe("x").body.keys() == {"requestId", "code", "message"}
    assert len({request.request_id for request in sandbox.requests}) == 4


@pytest.mark.parametrize(
    "content", [b"", b"{", b"nope", b'{"taskId": "\xff"}', b'{"x": NaN}', b'{"x": 1e999}']
)
def test_action_with_body_that_is_not_json_is_rejected(client: SignedClient, content: bytes) -> None:
    assert client.post("DescribeBatchInferenceModel", content).rejection == (400, "MalformedJSON")


@pytest.mark.parametrize("content", [b"[]", b"null", b'"x"', b"1"])
def test_action_with_body_that_is_not_an_object_is_rejected(client: SignedClient, content: bytes) -> None:
    assert client.post("DescribeBatchInferenceModel", content).rejection == (400, "InappropriateJSON")


@pytest.mark.parametrize("action", ["", "describeBatchInferenceTask", "DropBatchInferenceTask"])
def test_unknown_action_is_rejected_and_recorded_as_unexpected(
    sandbox: Sandbox, client: SignedClient, action: str
) -> None:
    assert client.call(action).rejection == (400, "InvalidAction")
    assert [request.action for request in sandbox.unexpected] == [action]


def test_unknown_path_or_method_is_rejected_and_recorded_as_unexpected(
    sandbox: Sandbox, client: SignedClient
) -> None:
    assert client.send(b"", {}, target="/v2/batches").rejection == (404, "InvalidURI")
    assert client.send(b"", {}, target="/v2/batchinference", method="GET").rejection == (
        405,
        "MethodNotAllowed",
    )
    assert [request.path for request in sandbox.unexpected] == ["/v2/batches", "/v2/batchinference"]


@pytest.mark.parametrize(("choice", "expected"), [("true", True), ("false", False)])
def test_stop_ended_task_returns_what_behavior_says(choice: str, expected: bool) -> None:
    behavior = ServerBehavior(stop_final="true" if choice == "true" else "false")
    with Sandbox(frozen=True, behavior=behavior) as sandbox:
        client = SignedClient(sandbox)
        assert client.stop(sandbox.add_task()).result is expected
        client.close()


def test_rejections_have_the_status_and_code_of_behavior() -> None:
    behavior = ServerBehavior(
        not_found_status=400,
        not_found_code="NoSuchTask",
        wrong_state_status=409,
        wrong_state_code="Conflict",
        quota_status=403,
        unknown_action_status=404,
        unknown_path_code="Nowhere",
        unsigned_status=401,
    )
    with Sandbox(frozen=True, behavior=behavior) as sandbox:
        client = SignedClient(sandbox)
        running = sandbox.add_tasks(20, run_status="Running")[0]
        assert client.describe("x").rejection == (400, "NoSuchTask")
        assert client.delete(running).rejection == (409, "Conflict")
        assert client.create().rejection == (403, "TaskRunningNumberExceedLimit")
        assert client.call("Nothing").rejection == (404, "InvalidAction")
        assert client.send(b"", {}, target="/").rejection == (404, "Nowhere")
        assert client.send(b"", {}, target="/v2/batchinference").rejection == (401, "AccessDenied")
        client.close()


def test_create_with_fill_in_defaults_adds_parameters_and_description(
    sandbox: Sandbox, client: SignedClient
) -> None:
    sandbox.behavior = ServerBehavior(fill_in_defaults=True)

    plain = client.create().result["taskId"]
    explicit = client.create(description="own", inferenceParams={"temperature": 0.1, "n": 2}).result["taskId"]

    task = client.describe(plain).result
    assert task["inferenceParams"] == {"temperature": 0.8}
    assert (task["dataFormat"], task["description"]) == ("default", "batch inference")
    assert sandbox.tasks[explicit]["inferenceParams"] == {"temperature": 0.1, "n": 2}
    assert sandbox.tasks[explicit]["description"] == "own"


def test_new_task_is_listed_and_described_after_the_delays_of_behavior(
    sandbox: Sandbox, client: SignedClient
) -> None:
    sandbox.behavior = ServerBehavior(list_delay=10, describe_delay=20)
    task_id = client.create().result["taskId"]

    def visible() -> tuple[bool, bool]:
        return bool(client.list().result["taskList"]), client.describe(task_id).status == 200

    assert visible() == (False, False)
    assert client.describe(task_id).rejection == (404, "TaskNotFound")
    sandbox.advance(10)
    assert visible() == (True, False)
    sandbox.advance(10)
    assert visible() == (True, True)


def test_signed_request_with_reject_all_is_rejected_without_effect(
    sandbox: Sandbox, client: SignedClient
) -> None:
    task_id = sandbox.add_task()
    sandbox.behavior = ServerBehavior(reject_all=(403, "Arrears", "The account is in arrears."))

    assert client.delete(task_id).rejection == (403, "Arrears")

    assert task_id in sandbox.tasks
    assert sandbox.unexpected == []
    sandbox.behavior = ServerBehavior()
    assert client.delete(task_id).status == 200
