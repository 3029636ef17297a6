"""Every failure to get through to the service, for as long as a public method tries: one table.

`faults.py` says how it is read. The client repeats nothing here: `test_retry.py` has what is repeated. Where
there are two tasks, the failure falls on both.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import mkdtemp

import pytest

from qf_tasks import BadResponseError, TaskClient
from qf_tasks._many import ManyTasks
from qf_tasks.sandbox import Fault

from . import verbs
from .faults import Place, added, expected, found, observed
from .clients import client_of
from .transport import network_faults
from .transport.network_faults import NetworkFault

TABLE = """
call of a read; get; wait
    ServiceUnreachable, 0 sent   | Done            | NOT-SENT BROKEN-BEFORE
    ServiceUnreachable, 1 sent   | Done            | BROKEN-AFTER
    BadResponse, 1 sent          | Done            | short
models
    ServiceUnreachable, 0 sent   | nothing         | NOT-SENT BROKEN-BEFORE
    ServiceUnreachable, 1 sent   | nothing         | BROKEN-AFTER
    BadResponse, 1 sent          | nothing         | short
as_completed; list; pages; plan_purge; wait_all
    ServiceUnreachable, 0 sent   | Done Done       | NOT-SENT BROKEN-BEFORE
    ServiceUnreachable, 1 sent   | Done Done       | BROKEN-AFTER
    BadResponse, 1 sent          | Done Done       | short
stop
    ServiceUnreachable, 0 sent   | Running         | NOT-SENT
    ServiceUnreachable?, 0 sent  | Running         | BROKEN-BEFORE
    ServiceUnreachable?, 1 sent  | Stopping        | BROKEN-AFTER
    BadResponse?, 1 sent         | Stopping        | short
call of a delete; delete
    ServiceUnreachable, 0 sent   | Done            | NOT-SENT
    ServiceUnreachable?, 0 sent  | Done            | BROKEN-BEFORE
    ServiceUnreachable?, 1 sent  | nothing         | BROKEN-AFTER
    BadResponse?, 1 sent         | nothing         | short
delete with stop_first
    ServiceUnreachable, 0 sent   | Running         | NOT-SENT BROKEN-BEFORE
    ServiceUnreachable, 1 sent   | Running         | BROKEN-AFTER
    BadResponse, 1 sent          | Running         | short
create
    ServiceUnreachable, 0 sent   | nothing         | NOT-SENT
    OutcomeUnknown?, 0 sent      | nothing         | BROKEN-BEFORE
    OutcomeUnknown?, 2 sent      | Queuing         | BROKEN-AFTER short
delete_many
    failed failed, 0 sent        | Done Done       | NOT-SENT
    unknown unknown, 0 sent      | Done Done       | BROKEN-BEFORE
    unknown unknown, 2 sent      | nothing         | BROKEN-AFTER short
stop_many
    failed failed, 0 sent        | Running Running | NOT-SENT
    unknown unknown, 0 sent      | Running Running | BROKEN-BEFORE
    unknown unknown, 2 sent      | Stopping Stopping | BROKEN-AFTER short
delete_many with a journal; purge
    failed failed, 0 sent        | Done Done       | NOT-SENT BROKEN-BEFORE
    failed failed, 2 sent        | Done Done       | BROKEN-AFTER short
"""
GROUPS = {
    "NOT-SENT": "refused unresolved certificate proxy-refuses",
    "BROKEN-BEFORE": "TLS-before proxy-before",
    "BROKEN-AFTER": "TLS-after TLS-closed-after proxy-after",
}

FAILURES: dict[str, NetworkFault] = {
    "refused": network_faults.REFUSED_PORT,
    "unresolved": network_faults.unresolved,
    "certificate": network_faults.wrong_certificate,
    "TLS-before": network_faults.TLS_BROKEN_BEFORE,
    "TLS-after": network_faults.TLS_BROKEN_AFTER,
    "TLS-closed-after": network_faults.TLS_CLOSED_AFTER,
    "proxy-refuses": network_faults.PROXY_REFUSES,
    "proxy-before": network_faults.PROXY_DROPS_BEFORE,
    "proxy-after": network_faults.PROXY_DROPS_AFTER,
    "short": network_faults.short_length,
}
PLACES: dict[str, Place] = {
    "as_completed": Place(verbs.as_completed, "Done Done"),
    "call of a delete": Place(verbs.call_of_a_delete, "Done"),
    "call of a read": Place(verbs.call_of_a_read, "Done"),
    "create": Place(verbs.create, ""),
    "delete": Place(verbs.delete, "Done"),
    "delete with stop_first": Place(verbs.stop_first, "Running"),
    "delete_many": Place(verbs.delete_many, "Done Done"),
    "delete_many with a journal": Place(verbs.delete_many_with_a_journal, "Done Done"),
    "get": Place(verbs.get, "Done"),
    "list": Place(verbs.listed, "Done Done"),
    "models": Place(verbs.models, ""),
    "pages": Place(verbs.pages, "Done Done"),
    "plan_purge": Place(verbs.plan_purge, "Done Done"),
    "purge": Place(verbs.purge, "Done Done"),
    "stop": Place(verbs.stop, "Running"),
    "stop_many": Place(verbs.stop_many, "Running Running"),
    "wait": Place(verbs.wait, "Done"),
    "wait_all": Place(verbs.wait_all, "Done Done"),
}


def test_every_method_that_does_not_get_through_is_as_the_table_says(tmp_path: Path) -> None:
    def seen(name: str, failure: str) -> str:
        place = PLACES[name]
        with (
            FAILURES[failure](Path(mkdtemp(dir=tmp_path))) as (sandbox, settings),
            client_of(sandbox, max_retries=0, request_timeout=10, **settings) as client,
        ):
            return observed(sandbox, client, place, added(sandbox, place.run_statuses))

    assert found(PLACES, FAILURES, seen) == expected(TABLE, GROUPS)


def test_the_table_has_every_public_method_of_the_client() -> None:
    methods = {name for name in vars(TaskClient) | vars(ManyTasks) if not name.startswith("_")}
    assert methods - {"account", "close"} == {name.split()[0] for name in PLACES}


def test_bytes_beyond_the_length_are_not_taken_for_the_next_answer(tmp_path: Path) -> None:
    forged = b'HTTP/1.1 200 OK\r\nContent-Length: 34\r\n\r\n{"requestId": "2", "result": true}'
    honest = b'{"requestId": "1", "result": true}'.ljust(len(forged))
    with (
        network_faults.short_length(tmp_path) as (sandbox, settings),
        client_of(sandbox, max_retries=0, **settings) as client,
    ):
        done, running = added(sandbox, "Done Running")
        sandbox.inject(Fault.body(honest + forged, applied=True))
        assert client.delete(done).outcome == "deleted"
        with pytest.raises(BadResponseError):
            client.delete(running)
        assert list(sandbox.tasks) == [running]
