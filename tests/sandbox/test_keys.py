"""Who may do what: keys, accounts, permissions, and clocks that differ."""

import time

import pytest

from qf_tasks.sandbox import Sandbox

from .signed_client import ROUTE, SignedClient


def test_two_accounts_do_not_see_each_other(sandbox: Sandbox, client: SignedClient) -> None:
    sandbox.add_key("other-key", "other-secret", account="other")
    other = SignedClient(sandbox, "other-key", "other-secret")
    mine, theirs = sandbox.add_task(), sandbox.add_task(account="other")
    for reply in (other.describe(mine), other.stop(mine), other.delete(mine), client.delete(theirs)):
        assert reply.refusal == (404, "TaskNotFound")
    assert [task["taskId"] for task in other.list().result["taskList"]] == [theirs]
    assert other.list(marker=mine).refusal == (400, "InvalidMarker")
    assert list(sandbox.tasks) == [mine]
    assert list(sandbox.tasks_of("other")) == [theirs]
    assert sandbox.tasks_of("other")[theirs]["creator"] == "other"
    other.close()


def test_the_quota_is_counted_per_account(sandbox: Sandbox, client: SignedClient) -> None:
    sandbox.add_tasks(20, run_status="Running", account="other")
    assert client.create().status == 200


def test_two_keys_of_one_account_share_its_tasks(sandbox: Sandbox) -> None:
    sandbox.add_key("second-key", "second-secret")
    second = SignedClient(sandbox, "second-key", "second-secret")
    assert second.delete(sandbox.add_task()).result is True
    second.close()


def test_a_key_may_do_only_what_it_is_allowed(sandbox: Sandbox) -> None:
    sandbox.add_key("reader", "secret", allowed={"DescribeBatchInferenceTask"})
    reader = SignedClient(sandbox, "reader", "secret")
    task_id = sandbox.add_task()
    assert reader.describe(task_id).status == 200
    assert reader.delete(task_id).refusal == (403, "AccessDenied")
    assert task_id in sandbox.tasks
    assert sandbox.unexpected == []
    reader.close()


def test_a_revoked_key_is_unknown(sandbox: Sandbox, client: SignedClient) -> None:
    assert client.models().status == 200
    sandbox.revoke_key(sandbox.access_key)
    assert client.models().refusal == (403, "InvalidAccessKeyId")


def test_a_refused_signature_does_nothing_and_is_noted(sandbox: Sandbox) -> None:
    task_id = sandbox.add_task()
    wrong = SignedClient(sandbox, secret_key="not the secret")
    reply = wrong.delete(task_id)
    assert reply.refusal == (400, "SignatureDoesNotMatch")
    assert reply.headers["X-Bce-Error-Message"].startswith("SignatureDoesNotMatch, cause:")
    (request,) = sandbox.unexpected
    assert (request.access_key, request.applied, request.refused) == (None, False, "SignatureDoesNotMatch")
    assert task_id in sandbox.tasks
    wrong.close()


@pytest.mark.parametrize("offset", [3600.0, -3600.0])
def test_a_server_clock_that_is_off_refuses_and_says_its_time(
    sandbox: Sandbox, client: SignedClient, offset: float
) -> None:
    before = client.models().headers["Date"]
    sandbox.clock_offset = offset
    reply = client.models()
    assert reply.refusal == (400, "RequestExpired")
    assert reply.headers["Date"] != before


def test_a_client_that_follows_the_servers_clock_is_accepted(sandbox: Sandbox, client: SignedClient) -> None:
    sandbox.clock_offset = 7200.0
    query = "Action=DescribeBatchInferenceModel"
    headers = client.headers(query, now=time.time() + 7200)
    assert client.send(b"{}", headers, target=f"{ROUTE}?{query}").status == 200


def test_the_turned_clock_does_not_make_signatures_old(sandbox: Sandbox, client: SignedClient) -> None:
    sandbox.advance(10 * 86_400)
    assert client.models().status == 200


def test_every_sandbox_has_keys_of_its_own() -> None:
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
