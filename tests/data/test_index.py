"""The index of a set of records."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from threading import Thread

import pytest

from qf_tasks.data.index import RecordIndex


@pytest.fixture
def index() -> Iterator[RecordIndex]:
    with closing(RecordIndex()) as index:
        index.add("a", b"value of a")
        index.add_all([("b", 7), ("b", 8)])
        yield index


def test_id_that_is_there_is_not_added_again(index: RecordIndex) -> None:
    assert (index.add("a", b"other"), index.add("c")) == (False, True)
    assert [index.value(record_id) for record_id in "abcd"] == [b"value of a", 7, b"", None]


def test_id_is_seen_once_and_only_with_its_value(index: RecordIndex) -> None:
    assert [index.see("b", 8), index.see("b", 7), index.see("b", 7), index.see("a"), index.see("d")] == [
        *(False, True, False),
        *(True, False),
    ]
    assert (index.is_seen("b"), index.is_seen("d"), index.count_unseen()) == (True, False, 0)


def test_index_is_used_by_one_thread_after_the_other(index: RecordIndex) -> None:
    thread = Thread(target=index.add, args=("c",))
    thread.start()
    thread.join()

    assert index.count_unseen() == 3
