"""Keys, accounts, permissions and clock skew."""

import time

import pytest

from qf_tasks.sandbox import Sandbox

from .signed_client import ROUTE, SignedClient


def test_tasks_of_another_account_are_not_found(sandbox: Sandbox, client: SignedClient) -> None:
    sandbox.add_key("other-key", "other-secret", account="other")
    other = SignedClient(sandbox, "other-key", "other-secret")
    mine, theirs = sandbox.add_task(), sandbox.add_task(account="other")
    for response in (other.describe(mine), other.stop(mine), other.delete(mine), client.delete(theirs)):
        assert response.rejection == (404, "TaskNotFound")
    assert [task["taskId"] for task in other.list().result["taskList"]] == [theirs]
    assert other.list(marker=mine).rejection == (400, "InvalidMarker")
    assert list(sandbox.tasks) == [mine]
    assert list(sandbox.tasks_of("other")) == [theirs]
    assert sandbox.tasks_of("other")[theirs]["creator"] == "other"
    other.close()


def test_quota_counts_each_account_separately(sandbox: Sandbox, client: SignedClient) -> None:
    sandbox.add_tasks(20, run_status="Running", account="other")
    assert client.create().status == 200


def test_two_keys_of_one_account_share_its_tasks(sandbox: Sandbox) -> None:
    sandbox.add_key("second-key", "second-secret")
    second = SignedClient(sandbox, "second-key", "second-secret")
    assert second.delete(sandbox.add_task()).result is True
    second.close()


def test_key_with_allowed_actions_is_denied_others(sandbox: Sandbox) -> None:
    sandbox.add_key("reader", "secret", allowed={"DescribeBatchInferenceTask"})
    reader = SignedClient(sandbox, "reader", "secret")
    task_id = sandbox.add_task()
    assert reader.describe(task_id).status == 200
    assert reader.delete(task_id).rejection == (403, "AccessDenied")
    assert task_id in sandbox.tasks
    assert sandbox.unexpected == []
    reader.close()


def test_revoked_key_is_rejected(sandbox: Sandbox, client: SignedClient) -> None:
    assert client.models().status == 200
    sandbox.revoke_key(sandbox.access_key)
    assert client.models().rejection == (403, "InvalidAccessKeyId")


def test_wrong_signature_has_no_effect_and_is_recorded_as_unexpected(sandbox: Sandbox) -> None:
    task_id = sandbox.add_task()
    wrong = SignedClient(sandbox, secret_key="not the secret")
    response = wrong.delete(task_id)
    assert response.rejection == (400, "SignatureDoesNotMatch")
    assert response.headers["X-Bce-Error-Message"].startswith("SignatureDoesNotMatch, cause:")
    (request,) = sandbox.unexpected
    assert (request.access_key, request.applied, request.refused) == (None, False, "SignatureDoesNotMatch")
    assert task_id in sandbox.tasks
    wrong.close()


@pytest.mark.parametrize("offset", [3600.0, -3600.0])
def test_clock_offset_expires_requests_and_changes_date_header(
    sandbox: Sandbox, client: SignedClient, offset: float
) -> None:
    before = client.models().headers["Date"]
    sandbox.clock_offset = offset
    response = client.models()
    assert response.rejection == (400, "RequestExpired")
    assert response.headers["Date"] != before


def test_request_signed_by_the_servers_clock_is_accepted(sandbox: Sandbox, client: SignedClient) -> None:
    sandbox.clock_offset = 7200.0
    query = "Action=DescribeBatchInferenceModel"
    headers = client.headers(query, now=time.time() + 7200)
    assert client.send(b"{}", headers, target=f"{ROUTE}?{query}").status == 200


def test_advance_does_not_expire_signatures(sandbox: Sandbox, client: SignedClient) -> None:
    sandbox.advance(10 * 86_400)
    assert client.models().status == 200


def test_each_sandbox_has_its_own_keys() -> None:
    first, second = Sandbox(frozen=True), Sandbox(frozen=True)
    assert len({first.access_key, second.access_key, first.secret_key, second.secret_key}) == 4
    assert len(bytes.fromhex(first.access_key)) == 16


def test_given_keys_and_account_are_used() -> None:
    with Sandbox(frozen=True, access_key="ak", secret_key="sk", account="mine") as sandbox:
        client = SignedClient(sandbox, "ak", "sk")
        task_id = client.create().result["taskId"]
        assert sandbox.tasks[task_id]["creator"] == "mine"
        assert sandbox.tasks == sandbox.tasks_of("mine")
        client.close()
