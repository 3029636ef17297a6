"""A secret key and a signed header are nowhere to be found, whatever goes wrong and wherever one looks."""

from __future__ import annotations

import hmac
import http.client
import logging
import pickle
import signal
import traceback
from collections.abc import Callable, Iterator
from types import FrameType

import pytest
import requests
from baidubce.auth import bce_v1_signer

from qf_tasks import QfTasksError, TaskClient
from qf_tasks.sandbox import Fault, Sandbox
from tests.conftest import MakeClient

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


@pytest.fixture
def client(make_client: MakeClient) -> TaskClient:
    return make_client(max_retries=1, request_timeout=0.1)


@pytest.fixture(autouse=True)
def nothing_is_printed_or_logged(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> Iterator[None]:
    """Look at every record of every level, and at both streams, when a test has ended."""
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
    "an echo as message": Fault.status(400, message=_ECHO),
    "an echo as code": Fault.status(403, code=_ECHO),
    "an echo in the headers": Fault.body(b"", status=403, headers={"X-Bce-Error-Message": _ECHO}),
    "an echo as request id": Fault.body(b"{}", headers={"X-Bce-Request-Id": _ECHO}),
    "an echo as body": Fault.body(_ECHO.encode()),
    "an echo in JSON": Fault.body(b'{"result": {"taskId": "x", "name": "%s"}}' % _ECHO.encode()),
    "an error in a 200": Fault.hidden_error("InternalError", _ECHO),
    "HTML": Fault.html(502),
    "a redirect": Fault.redirect(location=f"/{_ECHO}"),
    "a line cut before": Fault.reset_before(),
    "a line cut after": Fault.reset_after(),
    "half an answer": Fault.truncated(),
    "a foreign encoding": Fault.headers({"Content-Encoding": "gzip"}),
    "a false result": Fault.body(b'{"result": false}'),
    "a list": Fault.body(b"[]"),
    "a slow answer": Fault.slow(5),
    "a slow body": Fault.slow_body(5),
}


def create(client: TaskClient) -> object:
    uri = "bos:/bucket/folder/"
    return client.create(name="nightly", endpoint="e", input_bos_uri=uri, output_bos_uri=uri)


_VERBS: dict[str, Callable[[TaskClient], object]] = {
    "delete": lambda client: client.delete("infer-1"),
    "get": lambda client: client.get("infer-1"),
    "list": lambda client: list(client.list()),
    "create": create,
}


@pytest.mark.parametrize("verb", _VERBS)
@pytest.mark.parametrize("fault", _FAULTS)
def test_failure_of_a_call_shows_no_secret(
    sandbox: Sandbox, client: TaskClient, fault: str, verb: str
) -> None:
    sandbox.inject(_FAULTS[fault], times=2)  # the call and its one repeat
    try:
        value = _VERBS[verb](client)
    except QfTasksError as error:
        assert_clean(*seen_of(error))
    else:
        assert_clean(repr(value), str(value))


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
def test_client_that_gets_nowhere_shows_no_secret(make_client: MakeClient, settings: dict[str, str]) -> None:
    client = make_client(max_retries=0, **settings)
    with pytest.raises(QfTasksError) as caught:
        client.delete("infer-1")
    del settings
    assert_clean(*seen_of(caught.value), repr(client), str(client))


def test_call_that_succeeds_shows_no_secret(sandbox: Sandbox, client: TaskClient) -> None:
    result = client.delete("infer-1")
    reply = client.call("DescribeBatchInferenceModel", {})
    assert_clean(repr(result), reply.model_dump_json(), repr(client), repr(client.account))
    assert all(request.access_key for request in sandbox.requests)


# Where a call can be cut off; each of these is given keys or signed headers.
_PLACES: dict[str, tuple[object, str]] = {
    "while signing": (hmac, "new"),
    "while preparing": (requests.PreparedRequest, "prepare_body"),
    "while sending": (http.client.HTTPConnection, "endheaders"),
    "while reading": (http.client.HTTPConnection, "getresponse"),
}


class SoftTimeLimit(Exception):
    """What a caller's own code may raise from a handler of signals: it goes on as it is."""


_OWN = (KeyboardInterrupt, SystemExit, SoftTimeLimit)


@pytest.mark.parametrize("kind", [*_OWN, RuntimeError, MemoryError, OSError])
@pytest.mark.parametrize("place", _PLACES)
def test_call_cut_off_anywhere_shows_no_secret(
    client: TaskClient, monkeypatch: pytest.MonkeyPatch, place: str, kind: type[BaseException]
) -> None:
    def cut_off(*_args: object, **_kwargs: object) -> None:
        try:
            raise ValueError(CANARY + _ECHO)
        except ValueError:
            raise kind from None

    client.models()
    owner, name = _PLACES[place]
    monkeypatch.setattr(owner, name, cut_off)
    with pytest.raises(kind if kind in _OWN else QfTasksError) as caught:
        client.delete("infer-1")
    assert_clean(*seen_of(caught.value))


@pytest.mark.parametrize("kind", [TimeoutError, RuntimeError, SoftTimeLimit])
def test_create_limited_by_a_handler_of_signals_ends_with_what_that_raises(
    sandbox: Sandbox, make_client: MakeClient, kind: type[Exception]
) -> None:
    def limit(_number: int, _frame: FrameType | None) -> None:
        raise kind("out of time")

    client = make_client()
    client.models()
    sandbox.inject(Fault.slow(30))
    before = signal.signal(signal.SIGALRM, limit)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with pytest.raises(kind, match="out of time") as caught:
            client.create(
                name="nightly", endpoint="e", input_bos_uri="bos:/b/in", output_bos_uri="bos:/b/out"
            )
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert not isinstance(caught.value, QfTasksError)
    assert_clean(*seen_of(caught.value))


def test_call_interrupted_by_a_signal_shows_no_secret(sandbox: Sandbox, make_client: MakeClient) -> None:
    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    client = make_client()
    client.models()
    sandbox.inject(Fault.slow(30))
    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with pytest.raises(KeyboardInterrupt) as caught:
            client.delete("infer-1")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert_clean(*seen_of(caught.value))
    assert client.models().common


def test_log_of_the_sdk_is_watched_at_its_lowest_level(caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger("qianfan").log(5, "a record of other code")
    assert "a record of other code" in caplog.text
