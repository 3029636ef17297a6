"""What a create sends, what it rejects before any request, and waiting for a free slot."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

import pytest

from qf_tasks import (
    AuthenticationError,
    InvalidArgumentError,
    InvalidRequestError,
    QuotaExceededError,
    TaskClient,
)
from qf_tasks.sandbox import Fault, Sandbox, ServerBehavior
from tests.clients import SandboxTime
from tests.conftest import MakeClient

CREATE = "CreateBatchInferenceTask"
TASK: dict[str, Any] = {
    "name": "nightly-01",
    "input_bos_uri": "bos:/bucket/in/",
    "output_bos_uri": "bos:/bucket/out/",
    "endpoint": "ernie-x1-turbo-32k",
}
WITHOUT_MODEL = {name: value for name, value in TASK.items() if name != "endpoint"}
SLOTS = 20


def cyclic() -> dict[str, Any]:
    inner: dict[str, Any] = {}
    inner["self"] = inner
    return inner


def fill_slots(sandbox: Sandbox, *, ends_after: float) -> None:
    sandbox.add_tasks(SLOTS, run_status="Running", ends_after=ends_after)


# The request.


def test_create_with_required_arguments_sends_only_those(sandbox: Sandbox, client: TaskClient) -> None:
    created = client.create(**TASK)

    [request] = sandbox.requests
    assert request.params == {
        "name": "nightly-01",
        "endpoint": "ernie-x1-turbo-32k",
        "inputBosUri": "bos:/bucket/in/",
        "outputBosUri": "bos:/bucket/out/",
    }
    assert list(sandbox.tasks) == [created.task_id]
    assert (created.name, created.reused, created.request_id) == ("nightly-01", False, request.request_id)


def test_create_with_all_arguments_sends_them_in_the_names_of_the_service(
    sandbox: Sandbox, client: TaskClient
) -> None:
    client.create(
        **WITHOUT_MODEL,
        model_id="amv-sb5kfqie51z1",
        inference_params=MappingProxyType({"temperature": 0.2, "stop": ("a", "b")}),
        description="every night",
        data_format="role",
        completion_window="24h",
        extra={"notifyUrl": "https://example.com", "afsConfig": None},
        idempotency_key="nightly 2025-06-01",
        reuse_within="1d",
        quota_timeout="2h",
    )

    assert sandbox.requests[-1].params == {
        "name": "nightly-01",
        "description": "every night [key: nightly 2025-06-01]",
        "modelId": "amv-sb5kfqie51z1",
        "inferenceParams": {"temperature": 0.2, "stop": ["a", "b"]},
        "inputBosUri": "bos:/bucket/in/",
        "outputBosUri": "bos:/bucket/out/",
        "dataFormat": "role",
        "completion_window": "24h",
        "notifyUrl": "https://example.com",
        "afsConfig": None,
    }


def test_create_with_key_returns_description_and_key_apart(client: TaskClient) -> None:
    described = client.create(**TASK, description="every night", idempotency_key="a")
    undescribed = client.create(**TASK, idempotency_key="b")

    first, second = client.get(described), client.get(undescribed)
    assert (first.description, first.idempotency_key) == ("every night", "a")
    assert (second.description, second.idempotency_key) == ("", "b")


def test_create_with_model_version_sends_its_id(sandbox: Sandbox, client: TaskClient) -> None:
    version = client.models().custom[0].versions[0]

    client.create(**WITHOUT_MODEL, model_id=version)

    assert sandbox.requests[-1].params["modelId"] == version.model_version_id


@pytest.mark.parametrize(
    "undocumented",
    [
        {"name": "名称" * 10},  # the unit of the length
        {"name": "a b/ü", "description": "é" * 500},  # the characters
        {"endpoint": "https://aip.baidubce.com/rpc/2.0/ai_custom/v1/wenxinworkshop/chat/x"},
        {"endpoint": "a-model-nobody-knows"},
        {"input_bos_uri": "bos:/bucket", "output_bos_uri": "bos:/other", "description": ""},
        {"output_bos_uri": "bos:/bucket/in-2/"},  # beside the input, not inside it
        {"inference_params": {"deep": [[{"a": None}], True, 1e300]}},
        {"idempotency_key": "k" * 128, "description": "d" * (500 - 128 - len(" [key: ]"))},
    ],
)
def test_create_against_no_documented_rule_is_left_to_the_service(
    sandbox: Sandbox, blocking_client: TaskClient, undocumented: dict[str, Any]
) -> None:
    created = blocking_client.create(**{**TASK, **undocumented})

    assert list(sandbox.tasks) == [created.task_id]


# What is rejected before any request.


@pytest.mark.parametrize(
    ("changed", "rule"),
    [
        ({"name": ""}, "name must not be empty"),
        ({"name": "a"}, "name must have 2 to 20 characters, not 1"),
        ({"name": "a" * 21}, "name must have 2 to 20 characters, not 21"),
        ({"name": None}, "name must be text, not None"),
        ({"name": "ab\ud800"}, "name is not a JSON value"),
        ({"description": "a" * 501}, "description must have 0 to 500 characters, not 501"),
        (
            {"description": "a" * 490, "idempotency_key": "daily"},
            "description with idempotency_key must have 0",
        ),
        ({"description": 5}, "description must be text, not int"),
        ({"description": "\udfff"}, "description is not a JSON value"),
        ({"endpoint": None}, "Exactly one of endpoint and model_id"),
        ({"model_id": "amv-1"}, "Exactly one of endpoint and model_id"),
        ({"endpoint": " "}, "endpoint must not be empty"),
        ({"endpoint": None, "model_id": ""}, "model_id must not be empty"),
        ({"endpoint": 4}, "endpoint must be text, not int"),
        ({"data_format": "Role"}, "data_format must be 'default', 'src_tgt' or 'role', not 'Role'"),
        ({"completion_window": "48h"}, "Only 24h is supported as completion_window, not '48h'"),
        ({"input_bos_uri": None}, "input_bos_uri must be text, not None"),
        ({"output_bos_uri": ""}, "output_bos_uri must not be empty"),
        ({"input_bos_uri": "bos:/b/in/x.jsonl"}, "input_bos_uri must be a directory, not the file"),
        ({"output_bos_uri": "bos:/bucket/in"}, "output_bos_uri must not be input_bos_uri or inside it"),
        ({"output_bos_uri": "bos:/bucket/in/out/"}, "output_bos_uri must not be input_bos_uri or inside it"),
        ({"inference_params": ["temperature"]}, "inference_params must be a dict, not list"),
        ({"extra": "a=b"}, "extra must be a dict, not str"),
        ({"extra": {"endpoint": "b", "name": "c"}}, "extra must not repeat .* own argument: endpoint, name"),
        ({"idempotency_key": ""}, "idempotency_key must not be empty"),
        ({"idempotency_key": "k" * 129}, "idempotency_key must have 1 to 128 characters, not 129"),
        ({"idempotency_key": 7}, "idempotency_key must be text, not int"),
        ({"idempotency_key": "a]b"}, "idempotency_key must be printable, without brackets"),
        ({"idempotency_key": "[a"}, "idempotency_key must be printable, without brackets"),
        ({"idempotency_key": "a\nb"}, "idempotency_key must be printable, without brackets"),
        ({"idempotency_key": "a "}, "idempotency_key must be .* without .* spaces at its ends"),
        ({"reuse_within": "1d"}, "reuse_within needs an idempotency_key"),
        (
            {"idempotency_key": "k", "reuse_within": 24},
            "reuse_within must have a unit, not the bare number 24",
        ),
        ({"quota_timeout": "30"}, "quota_timeout must be a duration, not '30'"),
    ],
)
def test_create_against_a_rule_is_rejected_with_the_name_of_the_argument(
    sandbox: Sandbox, blocking_client: TaskClient, changed: dict[str, Any], rule: str
) -> None:
    with pytest.raises(InvalidArgumentError, match=f"^{rule}"):
        blocking_client.create(**{**TASK, **changed})

    assert sandbox.requests == []


@pytest.mark.parametrize(
    ("changed", "hint"),
    [
        ({"input_bos_uri": "bos://b/x"}, "Pass 'bos:/b/x'."),
        ({"output_bos_uri": "bos:b/x/"}, "Pass 'bos:/b/x/'."),
        ({"input_bos_uri": "BOS:///b/x"}, "Pass 'bos:/b/x'."),
        ({"input_bos_uri": " bos:/b/x "}, "Pass 'bos:/b/x'."),
        ({"input_bos_uri": "s3://b/x"}, None),
        ({"output_bos_uri": "/b/x"}, None),
        ({"input_bos_uri": "bos:/"}, None),
        ({"input_bos_uri": "bos:/b/in/x.JSONL"}, "Pass the directory of the file: 'bos:/b/in/'."),
        ({"data_format": "src-tgt"}, "Did you mean 'src_tgt'?"),
        ({"idempotency_key": "k", "reuse_within": 24}, "Pass '24d' for days or '24s' for seconds."),
    ],
)
def test_create_with_rejected_argument_suggests_the_likely_value(
    blocking_client: TaskClient, changed: dict[str, Any], hint: str | None
) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        blocking_client.create(**{**TASK, **changed})

    assert caught.value.hint == hint


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ({"top": float("nan")}, r"\['top'\] is not a JSON value: float"),
        ({"a": {"b": [1, {2}]}}, r"\['a'\]\['b'\]\[1\] is not a JSON value but set"),
        ({"a": ["\ud800"]}, r"\['a'\]\[0\] is not a JSON value: str"),
        ({"\ud800": 1}, r"is not a JSON value: str"),
        ({1: "a"}, r" has a key that is not text: int"),
        (cyclic(), r" is nested too deeply, or contains itself"),
    ],
)
def test_create_with_parameters_that_are_not_json_is_rejected_with_their_path(
    sandbox: Sandbox, blocking_client: TaskClient, value: Any, path: str
) -> None:
    for argument in ("inference_params", "extra"):
        with pytest.raises(InvalidArgumentError, match=f"{argument}.*{path}"):
            blocking_client.create(**{**TASK, argument: value})

    assert sandbox.requests == []


# What the service rejects.


def test_create_rejected_by_the_service_creates_nothing(sandbox: Sandbox, client: TaskClient) -> None:
    sandbox.inject(Fault.status(400, code="InvalidBosUri"), action=CREATE)

    with pytest.raises(InvalidRequestError, match="InvalidBosUri") as caught:
        client.create(**TASK)

    assert (caught.value.attempts, caught.value.may_have_been_applied) == (1, False)
    assert "bos:/bucket/folder/" in str(caught.value.hint)
    assert sandbox.tasks == {}


def test_create_with_model_id_instead_of_version_id_says_so(client: TaskClient) -> None:
    with pytest.raises(InvalidRequestError, match=r"param\[modelId\] invalid") as caught:
        client.create(**WITHOUT_MODEL, model_id="am-sb5kfqie51z1")

    assert "amv-" in str(caught.value.hint)


def test_create_with_model_id_and_wrong_keys_says_only_that_the_keys_are_wrong(
    make_client: MakeClient,
) -> None:
    with pytest.raises(AuthenticationError) as caught:
        make_client(secret_key="f" * 32).create(**WITHOUT_MODEL, model_id="am-sb5kfqie51z1")

    assert "amv-" not in str(caught.value.hint)


# Waiting for a slot.


@pytest.mark.parametrize("sandbox", [ServerBehavior(quota_status=code) for code in (400, 429)], indirect=True)
def test_create_without_a_free_slot_is_rejected_and_creates_nothing(
    sandbox: Sandbox, client: TaskClient, sandbox_time: SandboxTime
) -> None:
    fill_slots(sandbox, ends_after=300)

    with pytest.raises(QuotaExceededError, match="nothing was created") as caught:
        client.create(**TASK)

    error = caught.value
    assert (error.code, error.attempts, error.retryable) == ("TaskRunningNumberExceedLimit", 1, True)
    assert "quota_timeout" in str(error.hint)
    assert sandbox_time.sleeps == []
    assert len(sandbox.tasks) == SLOTS


def test_create_waits_for_a_free_slot(
    sandbox: Sandbox, client: TaskClient, sandbox_time: SandboxTime
) -> None:
    fill_slots(sandbox, ends_after=300)

    created = client.create(**TASK, quota_timeout="1h")

    assert sandbox.tasks[created.task_id]["runStatus"] == "Queuing"
    assert 300 <= sum(sandbox_time.sleeps) <= 330
    assert max(sandbox_time.sleeps) <= 30


def test_create_whose_slot_does_not_become_free_says_how_long_it_waited(
    sandbox: Sandbox, client: TaskClient, sandbox_time: SandboxTime
) -> None:
    fill_slots(sandbox, ends_after=300)

    with pytest.raises(
        QuotaExceededError, match="no slot became free in 100 s; nothing was created"
    ) as caught:
        client.create(**TASK, quota_timeout=100)

    assert "quota_timeout" not in str(caught.value.hint)
    assert sum(sandbox_time.sleeps) == pytest.approx(100, abs=0.01)
    assert len(sandbox.tasks) == SLOTS
