"""A secret key or a signed header appears in no text, field, log, pickle or frame, whatever fails."""

from __future__ import annotations

import hmac
import http.client
import json
import logging
import pickle
import traceback
from collections.abc import Callable, Iterator
from urllib.parse import quote

import pytest
from baidubce.auth import bce_v1_signer

from qf_tasks import QfTasksError, TaskClient
from qf_tasks._protocol.decoding import task
from qf_tasks._transport import sender
from qf_tasks.sandbox import Fault, Sandbox
from tests.clients import Kind
from tests.conftest import MakeClient

from .conftest import MakeTransport, StartServer
from .raw_server import Exchange, response

CANARY = "canary0secret0key0of0these0tests"
_FORBIDDEN = (CANARY, "bce-auth-v1/")
_ECHO = "Authorization: bce-auth-v1/AK/2025-01-01T00:00:00Z/300/host/0123456789abcdef"
_LOGGERS = (
    "qf_tasks",
    "qianfan",
    "baidubce",
    *bce_v1_signer._logger.name.split(),
    "baidubce.utils",
    "urllib3",
)


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(frozen=True, secret_key=CANARY) as running:
        running.add_task("infer-1")
        yield running


@pytest.fixture(params=["blocking", "asyncio"])
def kind(request: pytest.FixtureRequest) -> Kind:
    """Return either kind of client: their errors have different frames."""
    kind: Kind = request.param
    return kind


@pytest.fixture
def client(make_client: MakeClient) -> TaskClient:
    return make_client(max_retries=0, request_timeout=0.1)


@pytest.fixture(autouse=True)
def nothing_is_printed_or_logged(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> Iterator[None]:
    """Check every record of every level, and both streams, after each test."""
    caplog.set_level(1)
    for name in _LOGGERS:
        caplog.set_level(1, name)
    yield
    records = "".join(repr(vars(record)) + record.getMessage() for record in caplog.get_records("call"))
    out, err = capfd.readouterr()
    assert_clean(records, caplog.text, out, err)


def assert_clean(*texts: str) -> None:
    for text in texts:
        for secret in _FORBIDDEN:
            at = text.find(secret)
            assert at < 0, f"{secret} in …{text[max(0, at - 300) : at + 20]}…"


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an exception with its causes and contexts, suppressed ones too."""
    if error is not None:
        yield error
        yield from chain(error.__cause__)
        yield from chain(error.__context__)


def seen_of(error: BaseException) -> Iterator[str]:
    """Yield all that can be seen of an exception: texts, fields, and the locals of every frame."""
    for each in chain(error):
        yield from (repr(each), str(each), repr(each.args), repr(vars(each)))
        yield "".join(traceback.TracebackException.from_exception(each, capture_locals=True).format())
        for frame, _ in traceback.walk_tb(each.__traceback__):
            for value in frame.f_locals.values():
                yield from (repr(value), str(value))
                if isinstance(value, BaseException):
                    yield repr([*chain(value)])
    if isinstance(error, QfTasksError):
        yield pickle.dumps(error).decode("latin-1")


_FAULTS: dict[str, Fault] = {
    **{f"status {status}": Fault.status(status) for status in (400, 401, 403, 404, 412, 429, 500, 503)},
    "echo as message": Fault.status(400, message=_ECHO),
    "echo as code": Fault.status(403, code=_ECHO),
    "echo in headers": Fault.body(b"", status=403, headers={"X-Bce-Error-Message": _ECHO}),
    "echo as request id": Fault.body(b"{}", headers={"X-Bce-Request-Id": _ECHO}),
    "echo as body": Fault.body(_ECHO.encode()),
    "echo in JSON": Fault.body(b'{"result": {"taskId": "x", "name": "%s"}}' % _ECHO.encode()),
    "rejection in a 200": Fault.hidden_error("InternalError", _ECHO),
    "HTML": Fault.html(502),
    "redirect": Fault.redirect(location=f"/{_ECHO}"),
    "reset before": Fault.reset_before(),
    "reset after": Fault.reset_after(),
    "truncated": Fault.truncated(),
    "wrong encoding": Fault.headers({"Content-Encoding": "gzip"}),
    "false result": Fault.body(b'{"result": false}'),
    "list": Fault.body(b"[]"),
    "slow": Fault.slow(5),
    "slow body": Fault.slow_body(5),
}


def create(client: TaskClient) -> object:
    return client.create(
        name="nightly", endpoint="e", input_bos_uri="bos:/bucket/in/", output_bos_uri="bos:/bucket/out/"
    )


_CALLS: dict[str, Callable[[TaskClient], object]] = {
    "DescribeBatchInferenceTask": lambda client: client.get("infer-1"),
    "DescribeBatchInferenceTasks": lambda client: list(client.list()),
    "CreateBatchInferenceTask": create,
    "DeleteBatchInferenceTask": lambda client: client.delete("infer-1"),
}


@pytest.mark.parametrize("fault", _FAULTS)
def test_failure_of_a_call_shows_no_secret(sandbox: Sandbox, client: TaskClient, fault: str) -> None:
    for action, call in _CALLS.items():
        sandbox.inject(_FAULTS[fault], action=action)
        try:
            value = call(client)
        except QfTasksError as error:
            assert_clean(*seen_of(error))
        else:
            assert_clean(repr(value), str(value))
    assert sandbox.unused_faults == []


@pytest.mark.parametrize(
    "settings",
    [
        {"access_key": "unknown-key"},
        {"secret_key": f"{CANARY}-mistyped"},
        {"base_url": "http://127.0.0.1:9"},
        {"base_url": "https://service.invalid", "proxy": f"http://user:{CANARY}@127.0.0.1:9"},
        {"base_url": "https://127.0.0.1:9"},
    ],
    ids=str,
)
def test_call_that_is_not_accepted_shows_no_secret(make_client: MakeClient, settings: dict[str, str]) -> None:
    client = make_client(max_retries=0, **settings)
    with pytest.raises(QfTasksError) as caught:
        client.delete("infer-1")
    del settings
    assert_clean(*seen_of(caught.value), repr(client), str(client))


def test_call_that_succeeds_shows_no_secret(sandbox: Sandbox, client: TaskClient) -> None:
    result = client.delete("infer-1")
    received = client.call("DescribeBatchInferenceModel", {})
    assert_clean(repr(result), received.model_dump_json(), repr(client), repr(client.account))
    assert all(request.access_key for request in sandbox.requests)


# Where a call can be interrupted; each of these is given keys or signed headers.
_FUNCTIONS: dict[str, tuple[object, str]] = {
    "signing": (hmac, "digest"),
    "sending": (sender._Socket, "sendall"),
    "response": (http.client.HTTPResponse, "begin"),
    "reading": (http.client.HTTPResponse, "read"),
}


class SoftTimeLimit(Exception):
    """What a signal handler of other code may raise."""


@pytest.mark.parametrize("exception", [KeyboardInterrupt, SystemExit, SoftTimeLimit, RuntimeError, OSError])
@pytest.mark.parametrize("function", _FUNCTIONS)
def test_call_interrupted_anywhere_shows_no_secret(
    blocking_client: TaskClient,
    monkeypatch: pytest.MonkeyPatch,
    function: str,
    exception: type[BaseException],
) -> None:
    def interrupt(*_args: object, **_kwargs: object) -> None:
        try:
            raise ValueError(CANARY + _ECHO)
        except ValueError:
            raise exception from None

    blocking_client.models()
    owner, name = _FUNCTIONS[function]
    monkeypatch.setattr(owner, name, interrupt)
    with pytest.raises(exception) as caught:
        blocking_client.delete("infer-1")
    assert_clean(*seen_of(caught.value))


_SPELLINGS: dict[str, Callable[[str], str]] = {
    "JSON": lambda header: header.replace("/", r"\/"),
    "unicode": lambda header: header.replace("/", r"\u002f"),
    "JSON in JSON": lambda header: header.replace("/", r"\\/"),
    "percent": lambda header: quote(header, safe=""),
    "percent twice": lambda header: quote(quote(header, safe=""), safe=""),
    "HTML": lambda header: header.replace("/", "&#x2F;"),
    "upper case": str.upper,
    "signature alone": lambda header: header.rpartition("/")[2],
}


@pytest.mark.parametrize("spelling", _SPELLINGS)
def test_echo_of_the_signature_is_removed_in_every_spelling(
    start_server: StartServer, make_transport: MakeTransport, spelling: str
) -> None:
    signatures: list[str] = []

    def script(exchange: Exchange) -> None:
        header = exchange.headers["authorization"]
        signatures.append(header.rpartition("/")[2])
        echo = _SPELLINGS[spelling](header)
        task = {"taskId": "infer-1", "runStatus": "Done", "name": "ECHO"}
        body = json.dumps({"requestId": "ECHO", "result": task}).replace("ECHO", echo)
        exchange.send(response(body.encode(), f"X-Echo: {echo}"))

    received = make_transport(start_server(script)).call("DescribeBatchInferenceTask", {"taskId": "infer-1"})

    assert received.result["taskId"] == "infer-1"
    assert signatures[0] not in received.model_dump_json().lower()
    assert signatures[0] not in f"{received} {task(received, 'infer-1')} {received.headers}".lower()


def test_malformed_header_with_an_echo_is_not_logged(
    start_server: StartServer, make_transport: MakeTransport, caplog: pytest.LogCaptureFixture
) -> None:
    def script(exchange: Exchange) -> None:
        line = f"malformed {exchange.headers['authorization']}"
        exchange.send(response(b'{"result": true}', line))

    make_transport(start_server(script)).call("DeleteBatchInferenceTask", {"taskId": "infer-1"})

    assert_clean(caplog.text)


def test_log_of_the_sdk_is_captured_at_its_lowest_level(caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger("qianfan").log(5, "a record of other code")
    assert "a record of other code" in caplog.text
