"""Every fault that the sandbox can order, by a short name, and how a client tells the plain refusals."""

from __future__ import annotations

from typing import Any

from qf_tasks.sandbox import Fault

# The error, without its `Error`, by which a client tells a refusal that it passes on.
REFUSALS = {
    "400": "InvalidRequest",
    "401": "Authentication",
    "403": "PermissionDenied",
    "409": "Api",
    "429-for-long": "RateLimit",
    "no-in-200": "Api",
}


def with_result(result: object) -> Fault:
    return Fault.changed(lambda body: {**body, "result": result})


def archiving(body: Any) -> Any:
    """Put every task of an answer into a state that nobody knows."""
    result = body["result"]
    tasks = result.get("taskList", [result]) if isinstance(result, dict) else []
    for task in tasks:
        if "runStatus" in task:
            task["runStatus"] = "Archiving"
    return body


FAULTS: dict[str, Fault] = {
    "cut-before": Fault.cut_before(),
    "cut-after": Fault.cut_after(),
    "truncated": Fault.truncated(),
    "slow": Fault.slow(3.0),
    "slow-body": Fault.slow_body(3.0),
    "302": Fault.redirect(),
    "400": Fault.status(400, code="Strange"),
    "401": Fault.status(401),
    "403": Fault.status(403, code="AccessDenied"),
    "404": Fault.status(404, code="TaskNotFound"),
    "404-html": Fault.html(404),
    "409": Fault.status(409),
    "429": Fault.status(429),
    "429-for-long": Fault.status(429, retry_after=3600),
    "500": Fault.status(500),
    "500-after": Fault.status(500, applied=True),
    "502-html": Fault.html(502),
    "503": Fault.status(503),
    "no-in-200": Fault.hidden_error("Strange", "no"),
    "busy": Fault.hidden_error("336501", "busy"),
    "html": Fault.html(200),
    "html-after": Fault.html(200, applied=True),
    "empty": Fault.body(b""),
    "null": Fault.body(b"null"),
    "list": Fault.body(b"[]"),
    "no-result": Fault.changed(lambda body: {"requestId": body["requestId"]}),
    "false": with_result(False),
    "seven": with_result(7),
    "unknown-state": Fault.changed(archiving),
    "more-headers": Fault.headers({"Set-Cookie": "a=b", "X-Ratelimit-Limit-Requests": "1"}),
}
