"""One call: a delete over the wire, and the same without a network."""

from __future__ import annotations

import asyncio
import cProfile
import io
import pstats
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from unittest.mock import patch

import requests
from requests.adapters import HTTPAdapter

from qf_tasks._protocol.responses import RawResponse
from qf_tasks._transport.sender import Sender
from tests.benchmarks.measuring import MICRO, MILLI, Case, Figure, Size, at_most, medians
from tests.benchmarks.server import SCHEMES, Server, running
from tests.benchmarks.subjects import DELETE, async_facade, bare_session, facade, raw_sdk, wire

_OF_RAW = {"https": at_most(0.30), "http": at_most(0.35)}
_OF_SESSION = at_most(0.65)
_REQUEST_ID = "6ba7b810-9dad-11d1-80b4-00c04fd430c8"
_BODY = b'{"requestId": "%s", "result": true}' % _REQUEST_ID.encode()
_PROFILE_LINES = 12


def delete(size: Size) -> Case:
    """Measure the delete of a task that is there."""
    figures = [figure for scheme in SCHEMES for figure in _delete_over(scheme, size.calls)]
    return Case(figures)


def _delete_over(scheme: str, calls: int) -> Iterator[Figure]:
    with running(scheme) as server:
        task_ids = iter(server.run("add_tasks", count=4 * (calls + 1)))
        post = wire(server, DELETE)
        with _subjects(server, task_ids) as subjects:
            seconds = medians({**subjects, "wire": lambda: post({"taskId": next(task_ids)})}, calls)
    for name, value in seconds.items():
        yield Figure(f"{scheme}, {name}", value * MILLI, "ms")
    ours, raw, session, bare = seconds.values()
    yield Figure(f"{scheme}, ours / raw", ours / raw, target=_OF_RAW[scheme])
    yield Figure(f"{scheme}, ours / session", ours / session, target=_OF_SESSION)
    yield Figure(f"{scheme}, ours / raw, both above the wire", (ours - bare) / (raw - bare))


def overhead(size: Size) -> Case:
    """Measure what is left of a call whose response is there at once."""
    never_ending = iter(lambda: "infer-9ia3kc1wt9mp", "")
    with running("http") as server, _subjects(server, never_ending) as subjects, _no_network():
        seconds = medians(subjects, size.calls)
        with asyncio.Runner() as runner:
            seconds["ours, asyncio"] = runner.run(_seconds_of_async_deletes(server, size.calls))
        profile = _profile(subjects["ours"], size.calls)
    figures = [Figure(name, value * MICRO, "µs") for name, value in seconds.items()]
    added = (seconds["ours"] - seconds["session"]) * MICRO
    return Case([*figures, Figure("ours, above the session", added, "µs")], profile)


async def _seconds_of_async_deletes(server: Server, calls: int) -> float:
    """Return the seconds that a delete by the asyncio client takes on the mean, one after the other."""
    async with async_facade(server) as client:
        await client.delete("infer-9ia3kc1wt9mp")
        started = time.perf_counter()
        for _ in range(calls):
            await client.delete("infer-9ia3kc1wt9mp")
        return (time.perf_counter() - started) / calls


@contextmanager
def _subjects(server: Server, task_ids: Iterator[str]) -> Iterator[dict[str, Callable[[], object]]]:
    """Offer the three ways to delete the next task."""
    raw, post = raw_sdk(server), bare_session(server, DELETE)
    with facade(server) as client:
        yield {
            "ours": lambda: client.delete(next(task_ids)),
            "raw": lambda: raw(DELETE, {"taskId": next(task_ids)}),
            "session": lambda: post({"taskId": next(task_ids)}),
        }


@contextmanager
def _no_network() -> Iterator[None]:
    """Give every request of this process its response at once."""

    def send(_self: HTTPAdapter, request: requests.PreparedRequest, **_options: object) -> requests.Response:
        response = requests.Response()
        response.status_code = 200
        response.headers["x-bce-request-id"] = _REQUEST_ID
        response.raw = io.BytesIO(_BODY)
        response.request = request
        return response

    def request(_self: Sender, *_request: object, **_options: object) -> RawResponse:
        return RawResponse(200, {"x-bce-request-id": _REQUEST_ID}, _BODY)

    with patch.object(HTTPAdapter, "send", send), patch.object(Sender, "request", request):
        yield


def _profile(subject: Callable[[], object], calls: int) -> list[str]:
    """Return the functions that take most of the time, those that they call left out."""
    profile = cProfile.Profile()
    with profile:
        for _ in range(calls):
            subject()
    table = io.StringIO()
    pstats.Stats(profile, stream=table).strip_dirs().sort_stats("tottime").print_stats(_PROFILE_LINES)
    _, _, rows = table.getvalue().partition("   ncalls")
    return [f"   ncalls{rows}".rstrip()] if rows else []
