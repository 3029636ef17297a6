"""What each fault does to a response, and which request gets it."""

import http.client
import threading
import time
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace

import pytest

from qf_tasks.sandbox import Fault, Sandbox

from .signed_client import ROUTE, Response, SignedClient

DELETE = "DeleteBatchInferenceTask"


def is_kept(sandbox: Sandbox, task_id: str) -> bool:
    """Return whether the task still exists, and check that the record agrees."""
    kept = task_id in sandbox.tasks
    assert sandbox.requests[-1].applied is not kept
    return kept


def delete_under(
    sandbox: Sandbox, client: SignedClient, fault: Fault, *, is_recorded: bool = True
) -> tuple[Response, bool]:
    """Return the response to a delete with this fault, and whether the task still exists."""
    task_id = sandbox.add_task()
    sandbox.inject(fault)
    response = client.delete(task_id)
    request = sandbox.requests[-1]
    assert request.fault is fault
    assert request.status == response.status
    assert request.answer == (response.content if is_recorded else b"")
    return response, is_kept(sandbox, task_id)


def test_status_returns_error_response_and_has_no_effect(sandbox: Sandbox, client: SignedClient) -> None:
    fault = Fault.status(503, code="Busy", message="later", retry_after=7, headers={"X-More": "1"})
    response, kept = delete_under(sandbox, client, fault)
    assert response.rejection == (503, "Busy")
    assert response.body["message"] == "later"
    assert response.headers["x-bce-request-id"] == response.body["requestId"]
    assert (response.headers["Retry-After"], response.headers["X-More"]) == ("7", "1")
    assert kept


@pytest.mark.parametrize(
    ("status", "code"), [(429, "TooManyRequests"), (500, "InternalServerError"), (599, "Status599")]
)
def test_status_without_code_uses_the_phrase_of_the_status(
    sandbox: Sandbox, client: SignedClient, status: int, code: str
) -> None:
    response, _ = delete_under(sandbox, client, Fault.status(status))
    assert response.rejection == (status, code)
    assert "Retry-After" not in response.headers


def test_status_with_applied_carries_out_the_request(sandbox: Sandbox, client: SignedClient) -> None:
    response, kept = delete_under(sandbox, client, Fault.status(504, applied=True))
    assert response.status == 504
    assert not kept


@pytest.mark.parametrize("status", [0, 100, 600])
def test_status_outside_final_range_raises(status: int) -> None:
    with pytest.raises(ValueError, match=str(status)):
        Fault.status(status)


def test_hidden_error_has_status_200(sandbox: Sandbox, client: SignedClient) -> None:
    response, kept = delete_under(sandbox, client, Fault.hidden_error("InternalError", "inside"))
    assert response.status == 200
    assert response.body == {**response.body, "code": "InternalError", "message": "inside"}
    assert "result" not in response.body
    assert kept


def test_body_has_nothing_of_the_service(sandbox: Sandbox, client: SignedClient) -> None:
    fault = Fault.body(b"\xff\x00", status=201, content_type="x/y", headers={"X-More": "1"})
    response, kept = delete_under(sandbox, client, fault)
    assert (response.status, response.content) == (201, b"\xff\x00")
    assert (response.headers["Content-Type"], response.headers["X-More"]) == ("x/y", "1")
    assert "x-bce-request-id" not in response.headers
    assert kept


def test_html_is_the_error_page_of_a_proxy(sandbox: Sandbox, client: SignedClient) -> None:
    response, kept = delete_under(sandbox, client, Fault.html())
    assert (response.status, response.headers["Content-Type"]) == (502, "text/html")
    assert b"<title>502 Bad Gateway</title>" in response.content
    assert kept
    assert not delete_under(sandbox, client, Fault.html(504, applied=True))[1]


def test_redirect_has_location(sandbox: Sandbox, client: SignedClient) -> None:
    response, kept = delete_under(sandbox, client, Fault.redirect(307, location="http://127.0.0.1:1/"))
    assert (response.status, response.headers["Location"]) == (307, "http://127.0.0.1:1/")
    assert kept


def test_transform_returns_the_value_of_the_function(sandbox: Sandbox, client: SignedClient) -> None:
    response, kept = delete_under(sandbox, client, Fault.transform(lambda body: [body["result"], "\ud800"]))
    assert response.content == b'[true, "\xed\xa0\x80"]'
    assert not kept


def test_headers_are_added_or_replaced(sandbox: Sandbox, client: SignedClient) -> None:
    fault = Fault.headers({"Set-Cookie": "a=b", "content-type": "text/plain", "date": "no date"})
    response, kept = delete_under(sandbox, client, fault)
    assert response.result is True
    assert response.headers["Set-Cookie"] == "a=b"
    assert response.headers.get_all("Content-Type") == ["text/plain"]
    assert response.headers.get_all("Date") == ["no date"]
    assert not kept


@pytest.mark.parametrize(("fault", "applied"), [(Fault.reset_before(), False), (Fault.reset_after(), True)])
def test_reset_resets_the_connection(
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


def test_truncated_sends_half_of_the_body(sandbox: Sandbox, client: SignedClient) -> None:
    task_id = sandbox.add_task()
    sandbox.inject(Fault.truncated())
    with pytest.raises(http.client.IncompleteRead) as caught:
        client.delete(task_id)
    assert caught.value.partial == sandbox.requests[-1].answer
    assert caught.value.expected
    assert not is_kept(sandbox, task_id)


@pytest.mark.parametrize("fault", [Fault.slow(0.05), Fault.slow_body(0.05)])
def test_slow_response_arrives_completely(sandbox: Sandbox, client: SignedClient, fault: Fault) -> None:
    started = time.monotonic()
    response, kept = delete_under(sandbox, client, fault)
    assert time.monotonic() - started >= 0.05
    assert response.result is True
    assert not kept


def read_until_stopped(sandbox: Sandbox, client: SignedClient, fault: Fault) -> bytes:
    """Return what is received of a delayed response when the sandbox is stopped."""
    handled = threading.Event()

    def set_handled(body: object) -> object:
        handled.set()
        return body

    sandbox.inject(replace(fault, function=set_handled))
    query = "Action=DescribeBatchInferenceModel"
    client.connection.request("POST", f"{ROUTE}?{query}", b"{}", client.headers(query))
    line = client.connection.sock
    assert handled.wait(20)
    got = b""
    while fault.body_delay and not got.endswith(sandbox.requests[-1].answer[:100]):
        got += line.recv(1)
    sandbox.stop()
    with suppress(ConnectionResetError):
        while more := line.recv(65536):
            got += more
    return got


def test_slow_delays_headers_and_ends_with_stop(sandbox: Sandbox, client: SignedClient) -> None:
    started = time.monotonic()
    assert read_until_stopped(sandbox, client, Fault.slow(3600)) == b""
    assert time.monotonic() - started < 10


def test_slow_body_sends_headers_and_half_at_once_and_ends_with_stop(
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


def test_inject_with_times_and_skip_counts_requests(sandbox: Sandbox, client: SignedClient) -> None:
    sandbox.inject(Fault.status(503), times=2, skip=1)
    assert statuses(sandbox, client.models, 5) == [200, 503, 503, 200, 200]


def test_inject_without_times_fires_until_reset(sandbox: Sandbox, client: SignedClient) -> None:
    sandbox.inject(Fault.status(503), times=None)
    assert statuses(sandbox, client.models, 3) == [503, 503, 503]
    sandbox.reset()
    assert statuses(sandbox, client.models, 1) == [200]


def test_inject_for_action_and_task_fires_for_these_alone(sandbox: Sandbox, client: SignedClient) -> None:
    first, second = sandbox.add_tasks(2)
    sandbox.inject(Fault.status(503), action=DELETE, task_id=second)
    responses = [client.models(), client.describe(second), client.delete(first), client.delete(second)]
    assert [response.status for response in responses] == [200, 200, 200, 503]


def test_inject_several_faults_fire_in_order(sandbox: Sandbox, client: SignedClient) -> None:
    for status in (500, 502, 503):
        sandbox.inject(Fault.status(status))
    assert statuses(sandbox, client.models, 4) == [500, 502, 503, 200]


def test_inject_is_not_used_up_by_wrong_signature(sandbox: Sandbox, client: SignedClient) -> None:
    sandbox.inject(Fault.status(503))
    wrong = SignedClient(sandbox, secret_key="wrong")
    assert wrong.models().status == 400
    assert client.models().status == 503
    wrong.close()


def test_inject_random_is_reproducible_and_has_its_rate() -> None:
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


def test_inject_comes_before_inject_random(sandbox: Sandbox, client: SignedClient) -> None:
    sandbox.inject_random(1, [Fault.status(500)], seed=0)
    sandbox.inject(Fault.status(503))
    assert statuses(sandbox, client.models, 2) == [503, 500]


def test_faults_are_values() -> None:
    assert Fault.status(503, retry_after=1) == Fault.status(503, retry_after=1) != Fault.status(503)
    assert len({Fault.reset_before(), Fault.reset_before(), Fault.reset_after()}) == 2


def test_requests_are_handled_concurrently(sandbox: Sandbox) -> None:
    sandbox.service_time = 0.2
    assert sandbox.service_time == 0.2

    def ask(_: int) -> int:
        client = SignedClient(sandbox)
        response = client.models()
        client.close()
        return response.status

    started = time.monotonic()
    with ThreadPoolExecutor(16) as pool:
        assert set(pool.map(ask, range(16))) == {200}
    assert time.monotonic() - started < 16 * 0.2


def test_inject_for_unknown_action_raises_and_names_the_actions(sandbox: Sandbox) -> None:
    with pytest.raises(ValueError, match=r"action 'Delete'.*DeleteBatchInferenceTask"):
        sandbox.inject(Fault.status(503), action="Delete")
    assert sandbox.unused_faults == []


def test_inject_for_unknown_task_raises_and_names_some_tasks(sandbox: Sandbox) -> None:
    with pytest.raises(ValueError, match=r"task 'infer-x'.*nothing yet"):
        sandbox.inject(Fault.status(503), task_id="infer-x")
    task_ids = sandbox.add_tasks(8)
    with pytest.raises(ValueError, match=f"{task_ids[0]}, .*, {task_ids[5]} and 2 more$"):
        sandbox.inject(Fault.status(503), task_id="infer-x")


def test_inject_for_deleted_task_is_accepted(sandbox: Sandbox, client: SignedClient) -> None:
    task_id = sandbox.add_task()
    client.delete(task_id)
    sandbox.inject(Fault.status(503), task_id=task_id)
    assert client.describe(task_id).status == 503


def test_unused_faults_lists_what_has_not_fired_completely(sandbox: Sandbox, client: SignedClient) -> None:
    sandbox.inject_random(0, [Fault.status(500)], seed=1)
    sandbox.inject(Fault.status(500))
    sandbox.inject(Fault.status(502), times=None)
    sandbox.inject(Fault.status(503), times=2, action=DELETE)
    sandbox.inject(Fault.status(504), times=None, action=DELETE)

    assert len(sandbox.unused_faults) == 4
    client.models()
    client.models()
    client.models()

    assert [injected.fault.status_code for injected in sandbox.unused_faults] == [503, 504]
    assert str(sandbox.unused_faults[0]).endswith(f"for {DELETE}: fired 0 of 2 times")


def receive(sandbox: Sandbox, client: SignedClient, fault: Fault) -> list[bytes]:
    """Return what is received for a request, read by read, until it is complete or in many pieces."""
    sandbox.inject(fault)
    query = "Action=DescribeBatchInferenceModel"
    client.connection.request("POST", f"{ROUTE}?{query}", b"{}", client.headers(query))
    received: list[bytes] = []
    while chunk := client.connection.sock.recv(65536):
        received.append(chunk)
        if len(received) == 20 or sandbox.requests[-1].answer in b"".join(received):
            break
    return received


def test_informational_sends_a_head_and_then_the_response(sandbox: Sandbox, client: SignedClient) -> None:
    received = receive(sandbox, client, Fault.informational(103, 0.05, headers={"Link": "</a>"}))

    assert received[0] == b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    assert received[1].startswith(b"HTTP/1.1 200 OK\r\n")
    with pytest.raises(ValueError, match="200"):
        Fault.informational(200)


def test_trickle_sends_the_body_byte_by_byte(sandbox: Sandbox, client: SignedClient) -> None:
    head, *body = receive(sandbox, client, Fault.trickle(1e-4))

    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert len(body) > 10


def test_trickle_with_headers_sends_the_head_byte_by_byte(sandbox: Sandbox, client: SignedClient) -> None:
    first, *_ = receive(sandbox, client, Fault.trickle(1e-4, headers=True))

    assert b"HTTP/1.1 200 OK\r\nContent-Type: ".startswith(first)


@pytest.mark.parametrize("gzip", [True, False])
def test_huge_streams_zeros(sandbox: Sandbox, client: SignedClient, gzip: bool) -> None:
    size = 10_000_001
    response, kept = delete_under(sandbox, client, Fault.huge(size, gzip=gzip), is_recorded=False)

    assert response.headers["Content-Encoding"] == ("gzip" if gzip else None)
    content = zlib.decompress(response.content, wbits=31) if gzip else response.content
    assert content == bytes(size)
    assert kept
