"""What is repeated, and what is not: every way in which a request can fail, made on the wire."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from qf_tasks import (
    ApiError,
    BadResponseError,
    QfTasksError,
    RateLimitError,
    RequestTimeoutError,
    ServerError,
    ServiceUnreachableError,
    TaskClient,
)
from qf_tasks.sandbox import Fault

from .clients import client_of
from .transport.network_faults import (
    PROXY_DROPS_AFTER,
    PROXY_DROPS_BEFORE,
    PROXY_REFUSES,
    REFUSED_PORT,
    SILENT_PORT,
    TLS_BROKEN_AFTER,
    TLS_BROKEN_BEFORE,
    TLS_CLOSED_AFTER,
    NetworkFault,
    injected,
    unresolved,
    wrong_certificate,
)

TASK = {
    "name": "nightly",
    "endpoint": "ernie-x1-turbo-32k",
    "inputBosUri": "bos:/bucket/in/",
    "outputBosUri": "bos:/bucket/out/",
}
DELETED = "infer-9ia3kc1wt9mp"
LOOK = "DescribeBatchInferenceTask"  # what a delete does about a refusal that nobody knows

VERBS: dict[str, Callable[[TaskClient], object]] = {
    "read": lambda client: list(client.list()),
    "delete": lambda client: client.delete(DELETED),
    "create": lambda client: client.call("CreateBatchInferenceTask", TASK),
    "unknown action": lambda client: client.call("SomethingNew", {}),
}


class Seen(NamedTuple):
    """What the caller sees of a failure that goes on, with one repeat allowed."""

    attempts: int
    may_have_been_applied: bool
    retryable: bool


NOT_SENT = dict.fromkeys(VERBS, Seen(2, False, True))
PERHAPS = {
    "read": Seen(2, False, True),
    "delete": Seen(2, True, True),
    "create": Seen(1, True, False),
    "unknown action": Seen(1, True, False),
}
UNREADABLE = {**dict.fromkeys(VERBS, Seen(1, True, False)), "read": Seen(1, False, False)}
NOT_VERIFIED = dict.fromkeys(VERBS, Seen(1, False, False))
REFUSED = dict.fromkeys(VERBS, Seen(1, False, False))


class Row(NamedTuple):
    """A failure that goes on: what the caller gets, and whether the service gets the request."""

    surrounding: NetworkFault
    kind: type[QfTasksError]
    codes: str
    expected: dict[str, Seen]
    arrives: bool = True


SLOW = injected(Fault.slow(2.0), request_timeout=0.25)
SLOW_BODY = injected(Fault.slow_body(2.0), request_timeout=0.25)
INTERNAL = Fault.hidden_error("InternalError", "something failed inside")
ANY_BREAK = "TlsBroken|ConnectionBroken|ProxyFailed"

ROWS: dict[str, Row] = {
    "name not resolved": Row(unresolved, ServiceUnreachableError, "NameNotResolved", NOT_SENT, False),
    "refused connection": Row(REFUSED_PORT, ServiceUnreachableError, "ConnectionFailed", NOT_SENT, False),
    "connect timeout": Row(SILENT_PORT, RequestTimeoutError, "ConnectTimeout", NOT_SENT, False),
    "certificate": Row(
        wrong_certificate, ServiceUnreachableError, "CertificateNotVerified", NOT_VERIFIED, False
    ),
    "TLS broken before": Row(TLS_BROKEN_BEFORE, ServiceUnreachableError, "TlsBroken", PERHAPS, False),
    "TLS broken after": Row(TLS_BROKEN_AFTER, ServiceUnreachableError, "TlsBroken", PERHAPS),
    "TLS closed after": Row(TLS_CLOSED_AFTER, ServiceUnreachableError, ANY_BREAK, PERHAPS),
    "reset before": Row(injected(Fault.reset_before()), ServiceUnreachableError, "ConnectionBroken", PERHAPS),
    "reset after": Row(injected(Fault.reset_after()), ServiceUnreachableError, "ConnectionBroken", PERHAPS),
    "cut short": Row(injected(Fault.truncated()), ServiceUnreachableError, "ConnectionBroken", PERHAPS),
    "proxy refuses": Row(PROXY_REFUSES, ServiceUnreachableError, "ProxyFailed", NOT_SENT, False),
    "proxy drops before": Row(PROXY_DROPS_BEFORE, ServiceUnreachableError, ANY_BREAK, PERHAPS, False),
    "proxy drops after": Row(PROXY_DROPS_AFTER, ServiceUnreachableError, ANY_BREAK, PERHAPS),
    "read timeout": Row(SLOW, RequestTimeoutError, "ReadTimeout", PERHAPS),
    "slow body": Row(SLOW_BODY, RequestTimeoutError, "ReadTimeout", PERHAPS),
    "429": Row(injected(Fault.status(429)), RateLimitError, "TooManyRequests", NOT_SENT),
    "429 of a gateway": Row(injected(Fault.html(429)), RateLimitError, "None", NOT_SENT),
    "busy in a 200": Row(injected(Fault.hidden_error("336501", "busy")), RateLimitError, "336501", NOT_SENT),
    "500": Row(injected(Fault.status(500)), ServerError, "InternalServerError", PERHAPS),
    "503": Row(injected(Fault.status(503)), ServerError, "ServiceUnavailable", PERHAPS),
    "502 of a gateway": Row(injected(Fault.html(502)), ServerError, "None", PERHAPS),
    "internal in a 200": Row(injected(INTERNAL), ServerError, "InternalError", PERHAPS),
    "not JSON": Row(injected(Fault.body(b"<html>")), BadResponseError, "None", UNREADABLE),
    "refused": Row(injected(Fault.status(403)), ApiError, "Forbidden", REFUSED),
}


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("row", ROWS.values(), ids=list(ROWS))
def test_call_that_goes_on_failing_is_repeated_where_that_is_safe(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, row: Row, verb: str
) -> None:
    expected = row.expected[verb]
    with (
        row.surrounding(tmp_path) as (sandbox, settings),
        client_of(sandbox, max_retries=1, **settings) as client,
    ):
        with pytest.raises(row.kind) as caught:
            VERBS[verb](client)
        error = caught.value
        assert Seen(error.attempts or 0, error.may_have_been_applied, error.retryable) == expected
        assert re.fullmatch(row.codes, str(error.code))
        sent = [request for request in sandbox.requests if request.action != LOOK]
        assert len(sent) == (expected.attempts if row.arrives else 0)
        warnings = [line for line in caplog.messages if "again in" in line]
        assert len(warnings) == expected.attempts - 1
