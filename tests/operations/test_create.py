"""What a create sends, and what it refuses before anything is sent."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

import pytest

from qf_tasks import AuthenticationError, InvalidArgumentError, InvalidRequestError, TaskClient
from qf_tasks.sandbox import Fault, Sandbox

from .conftest import MakeClient

CREATE = "CreateBatchInferenceTask"
TASK: dict[str, Any] = {
    "name": "nightly-01",
    "input_bos_uri": "bos:/bucket/in/",
    "output_bos_uri": "bos:/bucket/out/",
    "endpoint": "ernie-x1-turbo-32k",
}


def cyclic() -> dict[str, Any]:
    inner: dict[str, Any] = {}
    inner["self"] = inner
    return inner


def test_create_with_the_least_sends_only_that(sandbox: Sandbox, client: TaskClient) -> None:
    created = client.create(**TASK)
    assert sandbox.requests[-1].params == {
        "name": "nightly-01",
        "endpoint": "ernie-x1-turbo-32k",
        "inputBosUri": "bos:/bucket/in/",
        "outputBosUri": "bos:/bucket/out/",
    }
    assert list(sandbox.tasks) == [created.task_id]
    assert (created.name, created.reused) == ("nightly-01", False)
    assert created.request_id == sandbox.requests[-1].request_id


def test_create_with_everything_sends_it_in_the_names_of_the_service(
    sandbox: Sandbox, client: TaskClient
) -> None:
    del (model := dict(TASK))["endpoint"]
    client.create(
        **model,
        model_id="amv-sb5kfqie51z1",
        inference_params=MappingProxyType({"temperature": 0.2, "stop": ("a", "b")}),
        description="",
        data_format="role",
        completion_window="24h",
        extra={"notifyUrl": "https://example.com", "afsConfig": None},
    )
    assert sandbox.requests[-1].params == {
        "name": "nightly-01",
        "description": "",
        "modelId": "amv-sb5kfqie51z1",
        "inferenceParams": {"temperature": 0.2, "stop": ["a", "b"]},
        "inputBosUri": "bos:/bucket/in/",
        "outputBosUri": "bos:/bucket/out/",
        "dataFormat": "role",
        "completion_window": "24h",
        "notifyUrl": "https://example.com",
        "afsConfig": None,
    }


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"name": ""}, "name must not be empty"),
        ({"name": "a"}, "name must have 2 to 20 characters, not 1"),
        ({"name": "a" * 21}, "name must have 2 to 20 characters, not 21"),
        ({"name": None}, "name must be a text, not None"),
        ({"name": 12}, "name must be a text, not int"),
        ({"name": "ab\ud800"}, "name is no JSON value"),
        ({"description": "a" * 501}, "description must have 0 to 500 characters, not 501"),
        ({"description": 5}, "description must be a text, not int"),
        ({"description": "\udfff"}, "description is no JSON value"),
        ({"endpoint": None}, "Exactly one of endpoint and model_id"),
        ({"model_id": "amv-1"}, "Exactly one of endpoint and model_id"),
        ({"endpoint": " "}, "endpoint must not be empty"),
        ({"endpoint": None, "model_id": ""}, "model_id must not be empty"),
        ({"endpoint": 4}, "endpoint must be a text, not int"),
        ({"data_format": "Role"}, "data_format must be 'default' or 'src_tgt' or 'role', not 'Role'"),
        ({"data_format": 1}, "data_format must be"),
        ({"completion_window": "48h"}, "completion_window must be '24h', not '48h'"),
        ({"input_bos_uri": None}, "input_bos_uri must be a text, not None"),
        ({"output_bos_uri": ""}, "output_bos_uri must not be empty"),
        ({"inference_params": ["temperature"]}, "inference_params must be a dict, not list"),
        ({"extra": "a=b"}, "extra must be a dict, not str"),
        ({"extra": {"name": "other"}}, "extra must not repeat what has its own argument: name"),
        ({"extra": {"endpoint": "b", "name": "c"}}, "own argument: endpoint, name"),
    ],
)
def test_create_against_a_documented_rule_is_refused_by_name(
    sandbox: Sandbox, client: TaskClient, changed: dict[str, Any], named: str
) -> None:
    with pytest.raises(InvalidArgumentError, match=named):
        client.create(**{**TASK, **changed})
    assert sandbox.requests == []


@pytest.mark.parametrize("argument", ["input_bos_uri", "output_bos_uri"])
@pytest.mark.parametrize(
    ("uri", "meant"),
    [
        ("bos://b/x", "bos:/b/x"),
        ("bos:b/x/", "bos:/b/x/"),
        ("BOS:///b/x", "bos:/b/x"),
        (" bos:/b/x ", "bos:/b/x"),
        ("s3://b/x", None),
        ("/b/x", None),
        ("b/x", None),
        ("bos:/", None),
        ("bos://", None),
    ],
)
def test_create_with_another_kind_of_uri_is_refused_with_the_one_meant(
    client: TaskClient, argument: str, uri: str, meant: str | None
) -> None:
    with pytest.raises(InvalidArgumentError, match=f"{argument} must be bos:/bucket/folder/") as caught:
        client.create(**{**TASK, argument: uri})
    assert caught.value.hint == (f"Pass {meant!r}." if meant else None)


def test_create_with_a_mistyped_format_is_told_the_nearest(client: TaskClient) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        client.create(**TASK, data_format="src-tgt")
    assert caught.value.hint == "Did you mean 'src_tgt'?"


@pytest.mark.parametrize("argument", ["inference_params", "extra"])
@pytest.mark.parametrize(
    ("value", "path"),
    [
        ({"top": float("nan")}, r"\['top'\] is no JSON value: float"),
        ({"top": float("inf")}, r"\['top'\] is no JSON value: float"),
        ({"a": {"b": [1, {2}]}}, r"\['a'\]\['b'\]\[1\] is no JSON value but set"),
        ({"a": b"bytes"}, r"\['a'\] is no JSON value but bytes"),
        ({"a": ["\ud800"]}, r"\['a'\]\[0\] is no JSON value: str"),
        ({"\ud800": 1}, r"is no JSON value: str"),
        ({1: "a"}, r" has a key that is no text: int"),
        ({"a": object()}, r"\['a'\] is no JSON value but object"),
        (cyclic(), r" is nested too deeply, or holds itself"),
    ],
)
def test_create_with_what_is_no_json_is_refused_by_its_path(
    sandbox: Sandbox, client: TaskClient, argument: str, value: object, path: str
) -> None:
    with pytest.raises(InvalidArgumentError, match=f"{argument}.*{path}"):
        client.create(**{**TASK, argument: value})
    assert sandbox.requests == []


@pytest.mark.parametrize(
    "inferred",
    [
        {"name": "名称" * 10},  # the unit of the length is not documented
        {"name": "a b/ü"},  # nor are its characters
        {"description": "é" * 500},
        {"endpoint": "https://aip.baidubce.com/rpc/2.0/ai_custom/v1/wenxinworkshop/chat/x"},
        {"endpoint": "a-model-nobody-knows"},
        {"input_bos_uri": "bos:/bucket"},
        {"inference_params": {}},
        {"inference_params": {"deep": [[{"a": None}], True, 1e300]}},
    ],
)
def test_create_against_no_documented_rule_is_left_to_the_service(
    sandbox: Sandbox, client: TaskClient, inferred: dict[str, Any]
) -> None:
    created = client.create(**{**TASK, **inferred})
    assert list(sandbox.tasks) == [created.task_id]


def test_create_with_id_of_a_model_is_told_that_a_version_is_meant(client: TaskClient) -> None:
    del (model := dict(TASK))["endpoint"]
    with pytest.raises(InvalidRequestError, match=r"param\[modelId\] invalid") as caught:
        client.create(**model, model_id="am-sb5kfqie51z1")
    assert "amv-" in str(caught.value.hint)


def test_create_with_id_of_a_model_and_refused_keys_is_told_about_the_keys(make_client: MakeClient) -> None:
    del (model := dict(TASK))["endpoint"]
    with pytest.raises(AuthenticationError) as caught:
        make_client(secret_key="f" * 32).create(**model, model_id="am-sb5kfqie51z1")
    assert "amv-" not in str(caught.value.hint)


def test_create_with_a_version_from_models_is_taken(client: TaskClient) -> None:
    del (model := dict(TASK))["endpoint"]
    version = client.models().custom[0].versions[0]
    created = client.create(**model, model_id=version.model_version_id)
    assert client.get(created).model_id == version.model_version_id


def test_create_refused_by_the_service_leaves_nothing(sandbox: Sandbox, client: TaskClient) -> None:
    sandbox.inject(Fault.status(400, code="InvalidBosUri"), action=CREATE)
    with pytest.raises(InvalidRequestError, match="InvalidBosUri") as caught:
        client.create(**TASK)
    assert (caught.value.attempts, caught.value.may_have_been_applied) == (1, False)
    assert "bos:/bucket/folder/" in str(caught.value.hint)
    assert sandbox.tasks == {}
