"""Each fault as it looks on the wire, and which request gets it."""

import http.client
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace

import pytest

from qf_tasks.sandbox import Fault, Sandbox

from .signed_client import ROUTE, Reply, SignedClient

DELETE = "DeleteBatchInferenceTask"


def is_kept(sandbox: Sandbox, task_id: str) -> bool:
    """Whether the task is still there, after checking that the record says the same."""
    kept = task_id in sandbox.tasks
    assert sandbox.requests[-1].applied is not kept
    return kept


def ordered(sandbox: Sandbox, client: SignedClient, fault: Fault) -> tuple[Reply, bool]:
    """The answer to a delete under `fault`, and whether the task is still there."""
    task_id = sandbox.add_task()
    sandbox.inject(fault)
    reply = client.delete(task_id)
    request = sandbox.requests[-1]
    assert request.fault is fault
    assert (request.status, request.answer) == (reply.status, reply.content)
    return reply, is_kept(sandbox, task_id)


def test_status_answers_in_the_services_shape_and_does_nothing(
    sandbox: Sandbox, client: SignedClient
) -> None:
    fault = Fault.status(503, code="Busy", message="later", retry_after=7, headers={"X-More": "1"})
    reply, kept = ordered(sandbox, client, fault)
    assert reply.refusal == (503, "Busy")
    assert reply.body["message"] == "later"
    assert reply.headers["x-bce-request-id"] == reply.body["requestId"]
    assert (reply.headers["Retry-After"], reply.headers["X-More"]) == ("7", "1")
    assert kept


@pytest.mark.parametrize(
    ("status", "code"), [(429, "TooManyRequests"), (500, "InternalServerError"), (599, "Status599")]
)
def test_status_without_a_code_names_the_status(
    sandbox: Sandbox, client: SignedClient, status: int, code: str
) -> None:
    reply, _ = ordered(sandbox, client, Fault.status(status))
    assert reply.refusal == (status, code)
    assert "Retry-After" not in reply.headers


def test_status_after_the_request_was_applied_removes_the_task(
    sandbox: Sandbox, client: SignedClient
) -> None:
    reply, kept = ordered(sandbox, client, Fault.status(504, applied=True))
    assert reply.status == 504
    assert not kept


@pytest.mark.parametrize("status", [0, 100, 600])
def test_status_that_is_no_final_answer_is_refused(status: int) -> None:
    with pytest.raises(ValueError, match=str(status)):
        Fault.status(status)


def test_hidden_error_says_200(sandbox: Sandbox, client: SignedClient) -> None:
    reply, kept = ordered(sandbox, client, Fault.hidden_error("InternalError", "inside"))
    assert reply.status == 200
    assert reply.body == {**reply.body, "code": "InternalError", "message": "inside"}
    assert "result" not in reply.body
    assert kept


def test_body_is_foreign_in_every_part(sandbox: Sandbox, client: SignedClient) -> None:
    fault = Fault.body(b"\xff\x00", status=201, content_type="x/y", headers={"X-More": "1"})
    reply, kept = ordered(sandbox, client, fault)
    assert (reply.status, reply.content) == (201, b"\xff\x00")
    assert (reply.headers["Content-Type"], reply.headers["X-More"]) == ("x/y", "1")
    assert "x-bce-request-id" not in reply.headers
    assert kept


def test_html_is_the_page_of_a_proxy(sandbox: Sandbox, client: SignedClient) -> None:
    reply, kept = ordered(sandbox, client, Fault.html())
    assert (reply.status, reply.headers["Content-Type"]) == (502, "text/html")
    assert b"<title>502 Bad Gateway</title>" in reply.content
    assert kept
    assert not ordered(sandbox, client, Fault.html(504, applied=True))[1]


def test_redirect_names_a_place(sandbox: Sandbox, client: SignedClient) -> None:
    reply, kept = ordered(sandbox, client, Fault.redirect(307, location="http://127.0.0.1:1/"))
    assert (reply.status, reply.headers["Location"]) == (307, "http://127.0.0.1:1/")
    assert kept


def test_changed_gives_what_the_function_makes_of_the_answer(sandbox: Sandbox, client: SignedClient) -> None:
    reply, kept = ordered(sandbox, client, Fault.transform(lambda answer: [answer["result"], "\ud800"]))
    assert reply.content == b'[true, "\xed\xa0\x80"]'
    assert not kept


def test_headers_are_added_to_or_replace_those_of_the_answer(sandbox: Sandbox, client: SignedClient) -> None:
    fault = Fault.headers({"Set-Cookie": "a=b", "content-type": "text/plain", "date": "no date"})
    reply, kept = ordered(sandbox, client, fault)
    assert reply.result is True
    assert reply.headers["Set-Cookie"] == "a=b"
    assert reply.headers.get_all("Content-Type") == ["text/plain"]
    assert reply.headers.get_all("Date") == ["no date"]
    assert not kept


@pytest.mark.parametrize(("fault", "applied"), [(Fault.reset_before(), False), (Fault.reset_after(), True)])
def test_cut_resets_the_connection(
    sandbox: Sandbox, client: SignedClient, fault: Fault, applied: bool
) -> None:
    task_id = sandbox.add_task()
    sandbox.inject(fault)
    with pytest.raises(ConnectionResetError) as caught:
        client.delete(task_id)
    assert type(caught.value) is ConnectionResetError  # and not a connection that was merely closed
    request = sandbox.requests[-1]
    assert (request.status, request.answer, request.applied) == (None, b"", applied)
    assert is_kept(sandbox, task_id) is not applied


def test_truncated_promises_more_than_it_sends(sandbox: Sandbox, client: SignedClient) -> None:
    task_id = sandbox.add_task()
    sandbox.inject(Fault.truncated())
    with pytest.raises(http.client.IncompleteRead) as caught:
        client.delete(task_id)
    assert caught.value.partial == sandbox.requests[-1].answer
    assert caught.value.expected
    assert not is_kept(sandbox, task_id)


@pytest.mark.parametrize("fault", [Fault.slow(0.05), Fault.slow_body(0.05)])
def test_slow_gives_the_whole_answer_in_the_end(sandbox: Sandbox, client: SignedClient, fault: Fault) -> None:
    started = time.monotonic()
    reply, kept = ordered(sandbox, client, fault)
    assert time.monotonic() - started >= 0.05
    assert reply.result is True
    assert not kept


def read_until_stopped(sandbox: Sandbox, client: SignedClient, fault: Fault) -> bytes:
    """What comes of an answer that waits, when the sandbox is stopped meanwhile."""
    under_way = threading.Event()

    def note(answer: object) -> object:
        under_way.set()
        return answer

    sandbox.inject(replace(fault, function=note))
    query = "Action=DescribeBatchInferenceModel"
    client.connection.request("POST", f"{ROUTE}?{query}", b"{}", client.headers(query))
    line = client.connection.sock
    assert under_way.wait(20)
    got = b""
    while fault.body_delay and not got.endswith(sandbox.requests[-1].answer[:100]):
        got += line.recv(1)
    sandbox.stop()
    with suppress(ConnectionResetError):
        while more := line.recv(65536):
            got += more
    return got


def test_slow_holds_back_headers_and_is_cut_short_by_stop(sandbox: Sandbox, client: SignedClient) -> None:
    started = time.monotonic()
    assert read_until_stopped(sandbox, client, Fault.slow(3600)) == b""
    assert time.monotonic() - started < 10


def test_slow_body_sends_headers_and_half_at_once_and_is_cut_short_by_stop(
    sandbox: Sandbox, client: SignedClient
) -> None:
    started = time.monotonic()
    head, _, body = read_until_stopped(sandbox, client, Fault.slow_body(3600)).partition(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    assert len(body) == length // 2
    assert time.monotonic() - started < 10


def statuses(sandbox: Sandbox, act: Callable[[], object], times: int) -> list[int | None]:
    for _ in range(times):
        act()
    return [request.status for request in sandbox.requests[-times:]]


def test_order_falls_on_the_next_times_requests_after_skip(sandbox: Sandbox, client: SignedClient) -> None:
    sandbox.inject(Fault.status(503), times=2, skip=1)
    assert statuses(sandbox, client.models, 5) == [200, 503, 503, 200, 200]


def test_order_without_times_falls_always_until_reset(sandbox: Sandbox, client: SignedClient) -> None:
    sandbox.inject(Fault.status(503), times=None)
    assert statuses(sandbox, client.models, 3) == [503, 503, 503]
    sandbox.reset()
    assert statuses(sandbox, client.models, 1) == [200]


def test_order_for_an_action_and_a_task_falls_on_these_alone(sandbox: Sandbox, client: SignedClient) -> None:
    first, second = sandbox.add_tasks(2)
    sandbox.inject(Fault.status(503), action=DELETE, task_id=second)
    replies = [client.models(), client.describe(second), client.delete(first), client.delete(second)]
    assert [reply.status for reply in replies] == [200, 200, 200, 503]


def test_several_orders_fall_one_after_the_other(sandbox: Sandbox, client: SignedClient) -> None:
    for status in (500, 502, 503):
        sandbox.inject(Fault.status(status))
    assert statuses(sandbox, client.models, 4) == [500, 502, 503, 200]


def test_a_refused_signature_uses_up_no_order(sandbox: Sandbox, client: SignedClient) -> None:
    sandbox.inject(Fault.status(503))
    wrong = SignedClient(sandbox, secret_key="wrong")
    assert wrong.models().status == 400
    assert client.models().status == 503
    wrong.close()


def test_random_orders_fall_at_their_rate_and_alike_for_a_seed() -> None:
    def falls(seed: int) -> list[int | None]:
        with Sandbox(frozen=True) as sandbox:
            client = SignedClient(sandbox)
            sandbox.inject_random(0.25, [Fault.status(500), Fault.status(503)], seed)
            seen = statuses(sandbox, client.models, 200)
            client.close()
            return seen

    first = falls(1)
    assert first == falls(1) != falls(2)
    assert 25 <= 200 - first.count(200) <= 75
    assert {500, 503} < set(first)


def test_an_ordered_fault_comes_before_a_random_one(sandbox: Sandbox, client: SignedClient) -> None:
    sandbox.inject_random(1, [Fault.status(500)], seed=0)
    sandbox.inject(Fault.status(503))
    assert statuses(sandbox, client.models, 2) == [503, 500]


def test_faults_are_values() -> None:
    assert Fault.status(503, retry_after=1) == Fault.status(503, retry_after=1) != Fault.status(503)
    assert len({Fault.reset_before(), Fault.reset_before(), Fault.reset_after()}) == 2


def test_requests_are_served_side_by_side(sandbox: Sandbox) -> None:
    sandbox.service_time = 0.2
    assert sandbox.service_time == 0.2

    def ask(_: int) -> int:
        client = SignedClient(sandbox)
        reply = client.models()
        client.close()
        return reply.status

    started = time.monotonic()
    with ThreadPoolExecutor(16) as pool:
        assert set(pool.map(ask, range(16))) == {200}
    assert time.monotonic() - started < 16 * 0.2
