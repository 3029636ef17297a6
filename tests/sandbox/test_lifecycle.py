"""States that move by the sandbox's clock, and what a test may put in by hand."""

import math
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

import pytest

from qf_tasks.sandbox import Sandbox

from .signed_client import SignedClient


def wire_time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def test_created_task_queues_runs_and_gets_done(sandbox: Sandbox, client: SignedClient) -> None:
    task_id = client.create().result["taskId"]
    seen = []
    for _ in range(9):
        task = sandbox.tasks[task_id]
        seen.append((task["runStatus"], task["progress"], "finishTime" in task))
        sandbox.advance(10)
    assert seen == [
        ("Queuing", 0, False),
        ("Running", 0, False),
        ("Running", 16, False),
        ("Running", 33, False),
        ("Running", 50, False),
        ("Running", 66, False),
        ("Running", 83, False),
        ("Done", 100, True),
        ("Done", 100, True),
    ]


def test_durations_are_as_given() -> None:
    with Sandbox(frozen=True, queue_seconds=0, run_seconds=math.inf, stop_seconds=0) as sandbox:
        client = SignedClient(sandbox)
        task_id = client.create().result["taskId"]
        assert sandbox.tasks[task_id]["runStatus"] == "Running"
        sandbox.advance(1e6)
        assert sandbox.tasks[task_id]["runStatus"] == "Running"
        client.stop(task_id)
        assert sandbox.tasks[task_id]["runStatus"] == "Stopped"
        client.close()


def test_each_state_has_its_documented_fields(sandbox: Sandbox) -> None:
    def members(status: str) -> set[str]:
        task_id = sandbox.add_task(run_status=status)
        return sandbox.tasks[task_id].keys() & {
            "outputDir",
            "inputTokenUsage",
            "outputTokenUsage",
            "errorCode",
            "errorReason",
            "finishTime",
        }

    assert members("Queuing") == set()
    assert members("Running") == {"outputDir"}
    assert members("Done") == {"outputDir", "inputTokenUsage", "outputTokenUsage", "finishTime"}
    assert members("Failed") == {"outputDir", "errorCode", "errorReason", "finishTime"}
    assert members("Stopped") == {"outputDir", "finishTime"}


def test_output_dir_is_unique_and_has_24_hex_characters(sandbox: Sandbox) -> None:
    folders = [sandbox.tasks[task_id]["outputDir"] for task_id in sandbox.add_tasks(2)]
    assert all(len(bytes.fromhex(folder)) == 12 for folder in folders)
    assert folders[0] != folders[1]


def test_times_come_from_the_clock(sandbox: Sandbox, client: SignedClient) -> None:
    start = sandbox.now
    task_id = client.create().result["taskId"]
    sandbox.advance(86_400)
    task = client.describe(task_id).result
    assert task["createTime"] == wire_time(start)
    assert task["finishTime"] == wire_time(start + timedelta(seconds=70))
    assert parsedate_to_datetime(client.models().headers["Date"]) == sandbox.now.replace(microsecond=0)


def test_clock_runs_by_default_and_stands_still_if_frozen() -> None:
    still, running = Sandbox(frozen=True), Sandbox(speed=1e9)
    assert still.now == still.now
    assert running.now < running.now


@pytest.mark.parametrize("seconds", [-1, math.nan, math.inf, 1e15])
def test_advance_with_invalid_seconds_raises_and_changes_nothing(seconds: float) -> None:
    sandbox = Sandbox(frozen=True)
    before = sandbox.now
    with pytest.raises((ValueError, OverflowError)):
        sandbox.advance(seconds)
    assert sandbox.now == before


def test_stop_keeps_progress(sandbox: Sandbox, client: SignedClient) -> None:
    task_id = client.create().result["taskId"]
    sandbox.advance(40)
    client.stop(task_id)
    sandbox.advance(1000)
    assert (sandbox.tasks[task_id]["runStatus"], sandbox.tasks[task_id]["progress"]) == ("Stopped", 50)


def test_add_task_with_ends_after_ends_by_the_clock(sandbox: Sandbox) -> None:
    task_id = sandbox.add_task(run_status="Running", ends_after=8, ends_as="Failed", error_reason="why")
    sandbox.advance(4)
    assert (sandbox.tasks[task_id]["runStatus"], sandbox.tasks[task_id]["progress"]) == ("Running", 50)
    sandbox.advance(4)
    task = sandbox.tasks[task_id]
    assert (task["runStatus"], task["progress"], task["errorReason"]) == ("Failed", 100, "why")


def test_add_task_shows_given_fields(sandbox: Sandbox) -> None:
    made = datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC)
    task_id = sandbox.add_task(
        "infer-000000000001",
        name="nightly",
        description="d",
        model_id="amv-x",
        creator="li",
        create_time=made,
        finish_time=made + timedelta(hours=1),
        progress=7,
        fields={"dataFormat": 5, "unknown": [None]},
    )
    assert task_id == "infer-000000000001"
    task = sandbox.tasks[task_id]
    expected = {
        "name": "nightly",
        "description": "d",
        "modelId": "amv-x",
        "creator": "li",
        "createTime": "2025-01-02T03:04:05Z",
        "finishTime": "2025-01-02T04:04:05Z",
        "progress": 7,
        "dataFormat": 5,
        "unknown": [None],
    }
    assert {name: task[name] for name in expected} == expected
    assert "endpoint" not in task


def test_add_task_with_existing_id_or_naive_time_raises(sandbox: Sandbox) -> None:
    task_id = sandbox.add_task()
    with pytest.raises(ValueError, match=task_id):
        sandbox.add_task(task_id)
    with pytest.raises(ValueError, match="time zone"):
        sandbox.add_task(create_time=datetime(2025, 1, 1))
    assert list(sandbox.tasks) == [task_id]


def test_set_status_is_not_changed_by_the_clock(sandbox: Sandbox, client: SignedClient) -> None:
    task_id = client.create().result["taskId"]
    sandbox.set_status(task_id, "Pausing")
    sandbox.advance(1000)
    assert client.describe(task_id).result["runStatus"] == "Pausing"


def test_set_status_done_completes_progress(sandbox: Sandbox) -> None:
    task_id = sandbox.add_task(run_status="Running", ends_after=100)
    sandbox.advance(30)
    sandbox.set_status(task_id, "Failed")
    assert sandbox.tasks[task_id]["progress"] == 30
    sandbox.set_status(task_id, "Done")
    assert sandbox.tasks[task_id]["progress"] == 100


def test_set_status_of_unknown_task_raises_key_error(sandbox: Sandbox) -> None:
    with pytest.raises(KeyError, match="infer-000000000000"):
        sandbox.set_status("infer-000000000000", "Done")


def test_tasks_are_copies(sandbox: Sandbox) -> None:
    task_id = sandbox.add_task(name="kept")
    sandbox.tasks[task_id]["name"] = "changed"
    sandbox.tasks[task_id]["inferenceParams"]["changed"] = True
    assert sandbox.tasks[task_id]["name"] == "kept"
    assert sandbox.tasks[task_id]["inferenceParams"] == {}
