"""Every fault that a single request can meet, by a plain name."""

from __future__ import annotations

from typing import Any

from qf_tasks.sandbox import Fault


def _archive(body: Any) -> Any:
    """Put every task of a response into a state that nobody knows."""
    result = body["result"]
    tasks = result.get("taskList", [result]) if isinstance(result, dict) else []
    for task in tasks:
        if "runStatus" in task:
            task["runStatus"] = "Archiving"
    return body


def _with_result(result: object) -> Fault:
    return Fault.transform(lambda body: {**body, "result": result})


FAULTS: dict[str, Fault] = {
    # The connection.
    "reset before": Fault.reset_before(),
    "reset after": Fault.reset_after(),
    "truncated": Fault.truncated(),
    "slow": Fault.slow(3.0),
    "slow body": Fault.slow_body(3.0),
    # Rejections of the service.
    "400": Fault.status(400, code="Strange"),
    "401": Fault.status(401),
    "403": Fault.status(403, code="AccessDenied"),
    "404": Fault.status(404, code="TaskNotFound"),
    "409": Fault.status(409),
    "error in 200": Fault.hidden_error("Strange", "no"),
    "429": Fault.status(429),
    "429, in an hour": Fault.status(429, retry_after=3600),
    "busy in 200": Fault.hidden_error("336501", "busy"),
    # Failures of the service.
    "500": Fault.status(500),
    "500, applied": Fault.status(500, applied=True),
    "503": Fault.status(503),
    "503, in an hour": Fault.status(503, retry_after=3600),
    "504": Fault.status(504),
    # Another server responds.
    "302": Fault.redirect(),
    "404 page": Fault.html(404),
    "502 page": Fault.html(502),
    "200 page": Fault.html(200),
    "empty": Fault.body(b""),
    "null": Fault.body(b"null"),
    "list": Fault.body(b"[]"),
    # The service applies the request, and its response is wrong.
    "page, applied": Fault.html(200, applied=True),
    "half of JSON": Fault.body(b'{"requestId": "1", "resu', applied=True),
    "not gzip": Fault.headers({"Content-Encoding": "gzip"}),
    "no result": Fault.transform(lambda body: {"requestId": body["requestId"]}),
    "result false": _with_result(False),
    "result 7": _with_result(7),
    # Nothing is wrong.
    "unknown state": Fault.transform(_archive),
    "more headers": Fault.headers({"Set-Cookie": "a=b", "X-Ratelimit-Limit-Requests": "1"}),
}
