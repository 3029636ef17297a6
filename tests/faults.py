"""Every fault that the sandbox can order, by a short name, and the tables of what they do to each verb.

A table has a section for each verb, or each request of it. A line of it has what the caller sees, the number
of requests that the service got, the states of the tasks that are left, and the faults of which that is true.
What the caller sees is a word of the verb's, or an error without its `Error`; with a question mark, it says
that it may have been applied. "refused" is the error of that very refusal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from typing import Any, NamedTuple

from qf_tasks import QfTasksError, TaskClient
from qf_tasks.sandbox import Fault, Sandbox

from .clients import client_of
from .verbs import CREATE, Verb

# The error, without its `Error`, by which a client tells a refusal that it passes on.
REFUSALS = {
    "400": "InvalidRequest",
    "401": "Authentication",
    "403": "PermissionDenied",
    "409": "Api",
    "429-for-long": "RateLimit",
    "503-for-long": "Server",
    "no-in-200": "Api",
}


def with_result(result: object) -> Fault:
    return Fault.transform(lambda body: {**body, "result": result})


def archiving(body: Any) -> Any:
    """Put every task of an answer into a state that nobody knows."""
    result = body["result"]
    tasks = result.get("taskList", [result]) if isinstance(result, dict) else []
    for task in tasks:
        if "runStatus" in task:
            task["runStatus"] = "Archiving"
    return body


FAULTS: dict[str, Fault] = {
    "cut-before": Fault.reset_before(),
    "cut-after": Fault.reset_after(),
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
    "503-for-long": Fault.status(503, retry_after=3600),
    "504": Fault.status(504),
    "no-in-200": Fault.hidden_error("Strange", "no"),
    "busy": Fault.hidden_error("336501", "busy"),
    "html": Fault.html(200),
    "html-after": Fault.html(200, applied=True),
    "half-json": Fault.body(b'{"requestId": "1", "resu', applied=True),
    "no-gzip": Fault.headers({"Content-Encoding": "gzip"}),
    "empty": Fault.body(b""),
    "null": Fault.body(b"null"),
    "list": Fault.body(b"[]"),
    "no-result": Fault.transform(lambda body: {"requestId": body["requestId"]}),
    "false": with_result(False),
    "seven": with_result(7),
    "unknown-state": Fault.transform(archiving),
    "more-headers": Fault.headers({"Set-Cookie": "a=b", "X-Ratelimit-Limit-Requests": "1"}),
}

GROUPS = {
    "OUTLASTED": "cut-before cut-after truncated slow slow-body 429 busy 500 500-after 502-html 503 504",
    "LOST": "cut-after truncated slow slow-body 500-after",
    "NOT-ARRIVED": "cut-before 429 busy 500 502-html 503 504",
    "STRANGER": "404-html 302 html empty null list",
    "UNREADABLE": "html-after half-json no-gzip no-result",
    "WRONG": "html-after half-json no-gzip no-result false seven",
    "REFUSED": "400 401 403 409 429-for-long 503-for-long no-in-200",
    "HARMLESS": "unknown-state more-headers",
}
ENDS = 9.0  # seconds: between two looks, whatever the jitter

Cells = dict[tuple[str, str], str]


class Place(NamedTuple):
    """A request of a verb: its action and number, and the states of the tasks that the verb is about."""

    verb: Verb
    run_statuses: str
    action: str = ""
    nth: int = 1
    is_lost: bool = False


def expected(table: str, groups: Mapping[str, str]) -> Cells:
    """Return what a table says of each section and fault; several sections may share their lines."""
    said: Cells = {}
    sections: list[str] = []
    for line in table.strip().splitlines():
        if not line.startswith(" "):
            sections = line.split("; ")
            continue
        seen, left, named = map(str.strip, line.split("|"))
        faults = " ".join(groups.get(word, word) for word in named.split()).split()
        for cell in product(sections, faults):
            assert cell not in said
            said[cell] = f"{seen} | {left}"
    return said


def found(sections: Iterable[str], faults: Iterable[str], observed: Callable[[str, str], str]) -> Cells:
    """Return what is observed of each section under each fault, several at a time."""
    cells = list(product(sections, faults))
    with ThreadPoolExecutor(16) as pool:
        return dict(zip(cells, pool.map(lambda cell: observed(*cell), cells), strict=True))


def under_fault(place: Place, fault: str) -> str:
    """Let a fault fall on a request, and return what is seen and left."""
    with Sandbox(frozen=True, stop_seconds=ENDS) as sandbox:
        task_ids = added(sandbox, place.run_statuses)
        if place.is_lost:
            sandbox.inject(Fault.reset_after(), action=CREATE)
        sandbox.inject(FAULTS[fault], action=place.action, skip=place.nth - 1)
        with client_of(sandbox, request_timeout=0.5 if "slow" in fault else 60) as client:
            return observed(sandbox, client, place, task_ids, REFUSALS.get(fault))


def added(sandbox: Sandbox, run_statuses: str) -> list[str]:
    """Add tasks in these states; one that is "Ending" runs, and is done after a while."""
    return [
        sandbox.add_task(run_status="Running", ends_after=ENDS)
        if state == "Ending"
        else sandbox.add_task(run_status=state)
        for state in run_statuses.split()
    ]


def observed(
    sandbox: Sandbox, client: TaskClient, place: Place, task_ids: list[str], refusal: str | None = None
) -> str:
    """Return what the caller sees, the number of requests that came, and the states left."""
    try:
        seen = place.verb(client, *task_ids)
    except QfTasksError as error:
        kind = type(error).__name__.removesuffix("Error")
        is_its_own = kind == refusal and error.action == place.action
        seen = ("refused" if is_its_own else kind) + "?" * error.may_have_been_applied
    left = " ".join(str(task["runStatus"]) for task in sandbox.tasks.values())
    return f"{seen}, {len(sandbox.requests)} sent | {left or 'nothing'}"
