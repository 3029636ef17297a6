"""Tasks, states and results as values: what a state allows, JSON, repr, and unexpected fields."""

from __future__ import annotations

import copy
import inspect
import json
import pickle
from datetime import UTC, datetime
from typing import Any

import pytest

from qf_tasks import (
    Account,
    CreatedTask,
    DeleteResult,
    ModelFamily,
    ModelVersion,
    Response,
    RunStatus,
    StopResult,
    SupportedModels,
    Task,
    TaskClient,
    TaskPage,
    models,
)
from qf_tasks.models import Model
from qf_tasks.sandbox import Fault, Sandbox
from tests.clients import Kind

_STATES = {  # final, success, can be stopped, can be deleted
    "Queuing": (False, False, True, False),
    "Running": (False, False, True, False),
    "Done": (True, True, False, True),
    "Stopping": (False, False, False, False),
    "Stopped": (True, False, False, True),
    "Failed": (True, False, False, True),
    "Expired": (True, False, False, True),
    "Paused": (False, False, False, False),  # an undocumented state
}


def _rules(status: RunStatus) -> tuple[bool, bool, bool, bool]:
    return status.is_final, status.is_success, status.can_stop, status.can_delete


@pytest.mark.parametrize("state", _STATES)
def test_run_status_is_a_string_with_rules(state: str) -> None:
    status = RunStatus(state)
    assert (status, str(status), f"{status}", hash(status)) == (state, state, state, hash(state))
    assert json.dumps({status: status}) == json.dumps({state: state})
    for copied in (status, pickle.loads(pickle.dumps(status)), copy.deepcopy(status)):
        assert type(copied) is RunStatus
        assert _rules(copied) == _STATES[state]
    task = Task("infer-1", status)
    assert (task.is_final, task.is_success) == _STATES[state][:2]


def test_run_status_known_lists_the_seven_documented_states() -> None:
    assert [str(status) for status in RunStatus.KNOWN] == [*_STATES][:-1]
    assert all(getattr(RunStatus, state.upper()) == state for state in [*_STATES][:-1])


_TASK = Task(
    "infer-1",
    RunStatus("Paused"),
    name="夜间 1",
    inference_params={"temperature": 0.2, "stop": ["a", None], "deep": {"er": True}},
    output_bos_uri="bos:/b/out/",
    output_dir="66f0",
    output_uri="bos:/b/out/66f0",
    progress=10,
    error_code=3,
    create_time=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    finish_time=datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC),
    data_format="src_tgt",
    raw={"taskId": "infer-1", "progress": "10", "new": [1, None, {"x": 1.5}]},
    request_id="r-1",
)
_FAMILY = ModelFamily("am-1", "ERNIE", (ModelVersion("amv-1", "v1"), ModelVersion("amv-2")))
_SAMPLES: list[Model] = [
    _TASK,
    Task("infer-2", RunStatus.DONE),
    TaskPage((_TASK,), "infer-2", is_truncated=True, request_id="r-1"),
    TaskPage((), None, is_truncated=False),
    _FAMILY,
    ModelVersion("amv-1"),
    SupportedModels((_FAMILY,), (), "r-1"),
    DeleteResult("infer-1", "r-1", "already_gone", stopped=True, attempts=2),
    StopResult("infer-1", None, RunStatus.STOPPING),
    CreatedTask("infer-1", "r-1", "nightly", reused=True),
    Response({"result": [1, {"a": None}]}, "r-1", 200, {"date": "x"}, attempts=2, elapsed=0.25),
    Account("AKID…wxyz", "127.0.0.1:8080", "environment"),
]
every_sample = pytest.mark.parametrize("model", _SAMPLES, ids=lambda model: type(model).__name__)


def test_samples_cover_every_model() -> None:
    public = {kind for _, kind in inspect.getmembers(models, inspect.isclass) if issubclass(kind, Model)}
    assert public - {Model} <= {type(sample) for sample in _SAMPLES}


@every_sample
def test_model_keeps_every_field_through_json_and_pickle(model: Model) -> None:
    dumped, plain = model.model_dump(), model.model_dump(mode="json")
    assert json.loads(json.dumps(plain)) == plain
    assert model.model_validate(plain) == model.model_validate(dumped) == model
    assert model.model_validate_json(model.model_dump_json(indent=2)).model_dump() == dumped
    assert pickle.loads(pickle.dumps(model)).model_dump() == dumped
    assert copy.deepcopy(model) == model


@every_sample
def test_model_is_an_immutable_value_of_one_short_line(model: Model) -> None:
    for text in (repr(model), str(model)):
        assert len(text.splitlines()) == 1
        assert len(text) < 160
    with pytest.raises(AttributeError):
        setattr(model, next(iter(model.model_dump())), "other")
    assert not hasattr(model, "__dict__")  # a listing holds thousands


def test_result_made_by_hand_has_defaults() -> None:
    plain = DeleteResult("infer-1", None, "deleted", stopped=False, attempts=1)
    assert DeleteResult("infer-1", None) == plain
    assert CreatedTask("infer-1", None, "nightly") == CreatedTask("infer-1", None, "nightly", reused=False)
    assert Response({}, None, 200, {}) == Response({}, None, 200, {}, attempts=1, elapsed=0.0)


@pytest.mark.parametrize(
    ("model", "text"),
    [
        (_TASK, "<Task infer-1 '夜间 1' Paused>"),
        (TaskPage((_TASK,), None, is_truncated=False), "<TaskPage 1 tasks, next None>"),
        (SupportedModels((), (_FAMILY,)), "<SupportedModels 0 common, 1 custom>"),
        (Response({"result": "x" * 9000}, "r-1", 200, {}), "<Response 200, request id r-1>"),
        (_FAMILY, "<ModelFamily am-1 'ERNIE', 2 versions>"),
    ],
)
def test_repr_has_the_identifying_fields(model: Model, text: str) -> None:
    assert repr(model) == text


def test_model_of_another_request_is_equal() -> None:
    one, two = Task("infer-1", RunStatus.DONE, request_id="a"), Task("infer-1", RunStatus.DONE)
    assert one == two
    assert len({one, two}) == 1
    assert one != Task("infer-1", RunStatus.FAILED)
    pages = [TaskPage((task,), None, is_truncated=False, request_id=task.request_id) for task in (one, two)]
    assert pages[0] == pages[1]
    assert SupportedModels((), (), "a") == SupportedModels((), (), "b")


@pytest.fixture
def kind() -> Kind:
    """Return one kind of client: below the operations, both run the same code."""
    return "blocking"


def test_page_and_supported_models_have_a_length_and_can_be_iterated() -> None:
    page, models = TaskPage((_TASK,), None, is_truncated=False), SupportedModels((), (_FAMILY,))
    assert (len(page), [*page]) == (1, [_TASK])
    assert (len(models), [*models]) == (1, [_FAMILY])


# Fields of another type than documented: what the service sent, and the field that is None.

_UNEXPECTED: list[tuple[str, object, str]] = [
    ("inputTokenUsage", "120", "input_token_usage"),
    ("outputTokenUsage", 4.5, "output_token_usage"),
    ("progress", True, "progress"),
    ("errorCode", "E7", "error_code"),
    ("inferenceParams", "", "inference_params"),
    ("inferenceParams", [], "inference_params"),
    ("dataFormat", "parquet", "data_format"),
    ("dataFormat", ["default"], "data_format"),
    ("name", 7, "name"),
    ("creator", {"id": 1}, "creator"),
    ("createTime", "yesterday", "create_time"),
    ("createTime", "0001-01-01T00:00:00Z", "create_time"),
    ("finishTime", "9999-12-31T23:59:59-12:00", "finish_time"),
    ("createTime", "2026-01-02T03:04:05", "create_time"),
    ("createTime", 1767322800, "create_time"),
    ("finishTime", "", "finish_time"),
    *[
        (wire, None, name)
        for wire, name in [("name", "name"), ("endpoint", "endpoint"), ("createTime", "create_time")]
    ],
]


@pytest.mark.parametrize(("wire", "sent", "name"), _UNEXPECTED)
def test_get_with_field_of_another_type_returns_none_and_keeps_raw(
    sandbox: Sandbox, client: TaskClient, wire: str, sent: object, name: str
) -> None:
    task = client.get(sandbox.add_task("infer-1", fields={wire: sent}))
    assert getattr(task, name) is None
    assert task.raw[wire] == sent
    assert type(task.raw[wire]) is type(sent)
    assert Task.model_validate_json(task.model_dump_json()) == task


def test_get_reads_every_documented_field(sandbox: Sandbox, client: TaskClient) -> None:
    sent: dict[str, Any] = {
        "taskId": "infer-1",
        "name": "nightly-01",
        "description": "demo",
        "endpoint": "ernie-x1-turbo-32k",
        "modelId": "amv-1",
        "inferenceParams": {"temperature": 0.2},
        "runStatus": "Failed",
        "errorCode": 7,
        "errorReason": "input is empty",
        "inputBosUri": "bos:/b/in/",
        "outputBosUri": "bos:/b/out/",
        "outputDir": "66f0c1d2",
        "inputTokenUsage": 120,
        "outputTokenUsage": 480,
        "progress": 10,
        "dataFormat": "role",
        "creator": "somebody",
        "createTime": "2025-06-01T02:00:00Z",
        "finishTime": "2025-06-01T10:05:00+08:00",
        "searchCounts": 0,
    }
    sandbox.inject(
        Fault.transform(lambda body: {**body, "result": sent}), action="DescribeBatchInferenceTask"
    )
    task = client.get(sandbox.add_task("infer-1"))
    assert task == Task(
        task_id="infer-1",
        run_status=RunStatus.FAILED,
        name="nightly-01",
        description="demo",
        endpoint="ernie-x1-turbo-32k",
        model_id="amv-1",
        inference_params={"temperature": 0.2},
        input_bos_uri="bos:/b/in/",
        output_bos_uri="bos:/b/out/",
        output_dir="66f0c1d2",
        output_uri="bos:/b/out/66f0c1d2",
        input_token_usage=120,
        output_token_usage=480,
        progress=10,
        error_code=7,
        error_reason="input is empty",
        creator="somebody",
        create_time=datetime(2025, 6, 1, 2, tzinfo=UTC),
        finish_time=datetime(2025, 6, 1, 2, 5, tzinfo=UTC),
        data_format="role",
        raw=sent,
    )
    assert task.request_id == sandbox.requests[-1].request_id


def test_get_of_undocumented_state_keeps_it(sandbox: Sandbox, client: TaskClient) -> None:
    task = client.get(sandbox.add_task(run_status="Paused"))
    assert task.run_status == "Paused"
    assert not task.is_final


def test_models_returns_families_with_versions(client: TaskClient) -> None:
    found = client.models()
    tiny = next(family for family in found.common if family.model_name == "ERNIE-Tiny-8K")
    assert tiny.versions == (ModelVersion("amv-sb5kfqie51z1", "ERNIE-Tiny-8K"),)
    assert [family.model_name for family in found.custom] == ["sandbox-tuned"]
