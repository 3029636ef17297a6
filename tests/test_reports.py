"""Reports and plans as values: counts, JSON, one line each."""

from __future__ import annotations

import copy
import pickle
from datetime import UTC, datetime
from typing import get_args

import pytest

from qf_tasks import (
    Account,
    BulkError,
    BulkOutcome,
    BulkReport,
    PurgePlan,
    QfTasksError,
    RunStatus,
    Task,
)
from qf_tasks.reports import ErrorSummary, Outcome, PurgeCriteria

ACCOUNT = Account("ALTA…9f3c", "qianfan.baidubce.com", "environment")
REASON = ErrorSummary("TaskStateError", "Task infer-failed is Running", "InvalidTaskStatus", "Stop it first.")


def report_of(*names: Outcome) -> BulkReport:
    outcomes = (
        BulkOutcome(f"infer-{name}", name, REASON if name == "failed" else None, "r-1") for name in names
    )
    return BulkReport(tuple(outcomes), ACCOUNT)


FULL = report_of(*get_args(Outcome))


def test_report_counts_every_outcome() -> None:
    assert report_of("deleted", "deleted", "failed").counts == {
        **dict.fromkeys(get_args(Outcome), 0),
        "deleted": 2,
        "failed": 1,
    }


def test_report_remaining_lists_failed_unknown_and_not_tried() -> None:
    assert FULL.remaining == ("infer-failed", "infer-unknown", "infer-not_tried")


@pytest.mark.parametrize("outcome", ["deleted", "already_gone", "stopping", "stopped", "skipped"])
def test_report_with_task_done_is_ok(outcome: Outcome) -> None:
    report = report_of(outcome)

    report.raise_for_failures()
    assert report.ok


@pytest.mark.parametrize("outcome", ["not_found", "failed", "unknown", "not_tried"])
def test_report_with_task_not_done_raises_bulk_error(outcome: Outcome) -> None:
    report = report_of("deleted", outcome)

    assert not report.ok
    with pytest.raises(BulkError, match=f"1 of 2 tasks were not done.*1 {outcome}") as caught:
        report.raise_for_failures()
    assert caught.value.report is report


def test_bulk_error_has_the_first_reason_and_its_hint() -> None:
    with pytest.raises(BulkError, match=r"infer-failed: .* is Running \[InvalidTaskStatus\]") as caught:
        report_of("not_tried", "failed").raise_for_failures()
    assert caught.value.hint == "Stop it first."


@pytest.mark.parametrize("retryable", [True, False])
def test_bulk_error_is_retryable_if_any_failure_is(retryable: bool) -> None:
    busy = ErrorSummary.of(QfTasksError("busy", retryable=retryable))
    outcomes = (*report_of("failed").outcomes, BulkOutcome("infer-busy", "failed", busy))

    with pytest.raises(BulkError) as caught:
        BulkReport(outcomes, ACCOUNT).raise_for_failures()

    assert caught.value.retryable is retryable


def test_bulk_error_pickled_keeps_its_report() -> None:
    with pytest.raises(BulkError) as caught:
        FULL.raise_for_failures()

    assert pickle.loads(pickle.dumps(caught.value)).report == FULL


def test_report_reads_its_own_json_back() -> None:
    assert BulkReport.model_validate_json(FULL.model_dump_json()) == FULL
    assert BulkReport.model_validate(FULL.model_dump(mode="json")) == FULL


def test_report_has_length_and_short_repr() -> None:
    assert (len(FULL), [*FULL]) == (9, [*FULL.outcomes])
    assert repr(report_of("deleted", "deleted", "failed")) == "<BulkReport 2 deleted, 1 failed>"
    assert str(report_of()) == "<BulkReport nothing>"


def test_plan_reads_its_own_json_back_and_has_short_repr() -> None:
    now = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    task = Task("infer-a", RunStatus.DONE, create_time=now, raw={"new": [1]})
    criteria = PurgeCriteria((RunStatus.DONE, RunStatus("New")), "n*", now, "me", 3, stop_first=True)
    plan = PurgePlan(ACCOUNT, "https://host", criteria, (task,), {"other name": 2}, now)

    assert PurgePlan.model_validate_json(plan.model_dump_json()) == plan == copy.deepcopy(plan)
    assert (len(plan), [*plan]) == (1, [task])
    assert str(plan).startswith("<PurgePlan 1 tasks of ALTA…9f3c at")
    assert "2 other name" in str(plan)


def test_report_and_plan_are_shown_as_tables_without_markup_of_others() -> None:
    task = Task("infer-a", RunStatus.DONE, name="<script>")
    plan = PurgePlan(
        ACCOUNT, "https://host", PurgeCriteria(), (task,) * 25, {"other name": 2}, datetime.now(UTC)
    )

    tables = [value._repr_html_() for value in (FULL, plan, task)]

    assert all(table.startswith("<table><caption>") and "<script>" not in table for table in tables)
    assert "<tr><th>failed</th><td>1</td></tr>" in tables[0]
    assert "<tr><th>more</th><td>5</td></tr><tr><th>other name</th><td>2</td></tr>" in tables[1]
    assert "<tr><th>name</th><td>&lt;script&gt;</td></tr>" in tables[2]
