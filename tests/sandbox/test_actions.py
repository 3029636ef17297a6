"""The rules of the six actions, as a client meets them."""

import pytest

from qf_tasks.sandbox import Sandbox, ServerBehavior

from .signed_client import CREATION, SignedClient

ACTIVE = ["Queuing", "Running", "Stopping"]
FINAL = ["Done", "Stopped", "Failed", "Expired"]


def test_create_gives_an_id_of_the_services_form(client: SignedClient) -> None:
    task_id = client.create().result["taskId"]
    prefix, _, rest = task_id.partition("-")
    assert prefix == "infer"
    assert len(rest) == 12
    assert rest.isalnum()


def test_create_keeps_what_was_sent(sandbox: Sandbox, client: SignedClient) -> None:
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
def test_create_within_the_rules_makes_a_task(client: SignedClient, body: dict[str, object]) -> None:
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
def test_create_against_a_rule_is_refused_by_name(
    sandbox: Sandbox, client: SignedClient, body: dict[str, object], name: str
) -> None:
    reply = client.create(**body)
    assert reply.refusal == (400, "InappropriateJSON")
    assert reply.body["message"].endswith(f"param[{name}] invalid.")
    assert sandbox.tasks == {}


@pytest.mark.parametrize(
    "uri", ["bos://bucket/in/", "/bucket/in/", "bucket", "bos:/", "s3:/bucket/", "bos:/a b"]
)
@pytest.mark.parametrize("name", ["inputBosUri", "outputBosUri"])
def test_create_with_a_bad_bos_uri_is_refused(client: SignedClient, name: str, uri: str) -> None:
    assert client.create(**{name: uri}).refusal == (400, "InvalidBosUri")


def test_create_beyond_the_quota_is_refused(sandbox: Sandbox, client: SignedClient) -> None:
    sandbox.add_tasks(5, run_status="Done")
    for status in ACTIVE:
        sandbox.add_tasks(6, run_status=status)
    assert client.create().status == 200
    last = client.create().result["taskId"]
    assert client.create().refusal == (400, "TaskRunningNumberExceedLimit")
    sandbox.set_status(last, "Failed")
    assert client.create().status == 200


def test_describe_an_unknown_task_is_refused(client: SignedClient) -> None:
    assert client.describe("infer-000000000000").refusal == (404, "TaskNotFound")


@pytest.mark.parametrize("action", ["Describe", "Stop", "Delete"])
@pytest.mark.parametrize("task_id", [None, "", 7, ["infer-000000000000"]])
def test_a_task_id_of_a_wrong_kind_is_refused_by_name(
    client: SignedClient, action: str, task_id: object
) -> None:
    reply = client.call(f"{action}BatchInferenceTask", taskId=task_id)
    assert reply.refusal == (400, "InappropriateJSON")
    assert reply.body["message"].endswith("param[taskId] invalid.")


@pytest.mark.parametrize("status", FINAL)
def test_delete_a_final_task_removes_it(sandbox: Sandbox, client: SignedClient, status: str) -> None:
    kept, gone = sandbox.add_tasks(2, run_status=status)
    assert client.delete(gone).result is True
    assert list(sandbox.tasks) == [kept]
    assert client.delete(gone).refusal == (404, "TaskNotFound")


@pytest.mark.parametrize("status", [*ACTIVE, "Pausing"])
def test_delete_any_other_task_is_refused(sandbox: Sandbox, client: SignedClient, status: str) -> None:
    task_id = sandbox.add_task(run_status=status)
    assert client.delete(task_id).refusal == (400, "InvalidTaskStatus")
    assert task_id in sandbox.tasks


@pytest.mark.parametrize("status", ["Queuing", "Running"])
def test_stop_a_task_that_is_under_way_stops_it_in_two_steps(
    sandbox: Sandbox, client: SignedClient, status: str
) -> None:
    task_id = sandbox.add_task(run_status=status, ends_after=3)
    assert client.stop(task_id).result is True
    assert sandbox.tasks[task_id]["runStatus"] == "Stopping"
    sandbox.advance(5)
    assert sandbox.tasks[task_id]["runStatus"] == "Stopped"


def test_stop_a_stopping_task_is_true_and_changes_nothing(sandbox: Sandbox, client: SignedClient) -> None:
    task_id = sandbox.add_task(run_status="Running")
    client.stop(task_id)
    sandbox.advance(4)
    assert client.stop(task_id).result is True
    sandbox.advance(1)
    assert sandbox.tasks[task_id]["runStatus"] == "Stopped"


@pytest.mark.parametrize("status", [*FINAL, "Pausing"])
def test_stop_any_other_task_is_refused(sandbox: Sandbox, client: SignedClient, status: str) -> None:
    task_id = sandbox.add_task(run_status=status)
    assert client.stop(task_id).refusal == (400, "InvalidTaskStatus")


def test_models_gives_both_lists_with_their_versions(client: SignedClient) -> None:
    result = client.models().result
    assert set(result) == {"commonModelList", "customModelList"}
    for model in result["commonModelList"] + result["customModelList"]:
        assert model["modelId"].startswith("am-")
        (version,) = model["modelVersionList"]
        assert version["modelVersionId"].startswith("amv-")
        assert client.create(endpoint=None, modelId=version["modelVersionId"]).status == 200


def test_every_answer_has_the_envelope_of_the_service(sandbox: Sandbox, client: SignedClient) -> None:
    for reply in (client.models(), client.describe("infer-000000000000")):
        assert reply.headers["Content-Type"] == "application/json; charset=utf-8"
        assert reply.headers["x-bce-request-id"] == reply.body["requestId"]
    assert client.models().body.keys() == {"requestId", "result"}
    assert client.describe("x").body.keys() == {"requestId", "code", "message"}
    assert len({request.request_id for request in sandbox.requests}) == 4


@pytest.mark.parametrize(
    "content", [b"", b"{", b"nope", b'{"taskId": "\xff"}', b'{"x": NaN}', b'{"x": 1e999}']
)
def test_a_body_that_is_no_json_is_malformed(client: SignedClient, content: bytes) -> None:
    assert client.post("DescribeBatchInferenceModel", content).refusal == (400, "MalformedJSON")


@pytest.mark.parametrize("content", [b"[]", b"null", b'"x"', b"1"])
def test_a_body_that_is_no_object_is_inappropriate(client: SignedClient, content: bytes) -> None:
    assert client.post("DescribeBatchInferenceModel", content).refusal == (400, "InappropriateJSON")


@pytest.mark.parametrize("action", ["", "describeBatchInferenceTask", "DropBatchInferenceTask"])
def test_an_unknown_action_is_refused_and_noted(sandbox: Sandbox, client: SignedClient, action: str) -> None:
    assert client.call(action).refusal == (400, "InvalidAction")
    assert [request.action for request in sandbox.unexpected] == [action]


def test_another_path_or_method_is_refused_and_noted(sandbox: Sandbox, client: SignedClient) -> None:
    assert client.send(b"", {}, target="/v2/batches").refusal == (404, "InvalidURI")
    assert client.send(b"", {}, target="/v2/batchinference", method="GET").refusal == (
        405,
        "MethodNotAllowed",
    )
    assert [request.path for request in sandbox.unexpected] == ["/v2/batches", "/v2/batchinference"]


@pytest.mark.parametrize(("choice", "expected"), [("true", True), ("false", False)])
def test_stop_a_final_task_answers_as_chosen(choice: str, expected: bool) -> None:
    behavior = ServerBehavior(stop_final="true" if choice == "true" else "false")
    with Sandbox(frozen=True, behavior=behavior) as sandbox:
        client = SignedClient(sandbox)
        assert client.stop(sandbox.add_task()).result is expected
        client.close()


def test_refusals_are_as_chosen() -> None:
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
        assert client.describe("x").refusal == (400, "NoSuchTask")
        assert client.delete(running).refusal == (409, "Conflict")
        assert client.create().refusal == (403, "TaskRunningNumberExceedLimit")
        assert client.call("Nothing").refusal == (404, "InvalidAction")
        assert client.send(b"", {}, target="/").refusal == (404, "Nowhere")
        assert client.send(b"", {}, target="/v2/batchinference").refusal == (401, "AccessDenied")
        client.close()
