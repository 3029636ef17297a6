"""Records in: every kind of source, the rules for a record, the shards."""

from __future__ import annotations

import io
import json
import tracemalloc
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydantic import BaseModel

from qf_tasks import InvalidArgumentError, InvalidRecordError, Record, Result
from qf_tasks.data import jsonl
from qf_tasks.data.jsonl import lines, plan, shards, split_lines

WANTED = [{"id": "1", "query": "a"}, {"id": "2", "query": "b"}]


@dataclass
class Question:
    query: str


class Model(BaseModel):
    query: str


class Frame:
    """What is used of a `pandas.DataFrame`."""

    columns = ("query",)

    def itertuples(self, *, index: bool, name: str | None) -> Iterator[tuple[str]]:
        assert (index, name) == (False, None)
        return iter([("a",), ("b",)])

    def __iter__(self) -> Iterator[str]:
        return iter(self.columns)


@pytest.mark.parametrize(
    "records",
    [
        [{"query": "a"}, {"query": "b", "id": "2"}],
        ({"query": text} for text in "ab"),
        [Question("a"), Question("b")],
        [Model(query="a"), Model(query="b")],
        [Record("1", "a"), Record("2", raw={"id": "2", "query": "b"})],
        Frame(),
        io.StringIO('\ufeff{"query": "a"}\n{"query": "b"}'),
        io.BytesIO(b'{"query": "a"}\r\n{"query": "b"}\r\n'),
    ],
    ids=["list", "generator", "dataclass", "pydantic", "record", "frame", "text file", "binary file"],
)
def test_records_of_any_source_become_lines(records: object) -> None:
    assert [json.loads(line) for line in lines(records)] == WANTED


class Array:
    """What is used of an array or number of numpy, whose `item()` is for numbers alone."""

    def __init__(self, value: object) -> None:
        self._value = value

    def tolist(self) -> object:
        return self._value

    def item(self) -> object:
        raise ValueError


def test_record_with_numbers_and_arrays_of_numpy_has_those_of_json() -> None:
    (line,) = lines([{"query": "a", "score": Array(1.5), "vector": Array([1, 2]), "inner": Question("b")}])

    assert json.loads(line) == {
        "id": "1",
        "query": "a",
        "score": 1.5,
        "vector": [1, 2],
        "inner": {"query": "b"},
    }


def test_records_of_a_directory_are_read_in_the_order_of_names(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "b.txt").write_text('{"query": "b"}\n')
    (tmp_path / "a.jsonl").write_bytes(b'\xef\xbb\xbf{"query": "a"}')
    (tmp_path / ".hidden.jsonl").write_text("not JSON")
    (tmp_path / "readme.md").write_text("not JSON")

    assert [json.loads(line) for line in lines(tmp_path)] == WANTED


def test_records_of_several_paths_are_read_in_their_order(tmp_path: Path) -> None:
    paths = [tmp_path / "z.jsonl", tmp_path / "a.jsonl"]
    for path, query in zip(paths, "ab", strict=True):
        path.write_text(json.dumps({"query": query}))

    assert [json.loads(line) for line in lines(paths)] == WANTED


@pytest.mark.parametrize(
    ("record", "rule"),
    [
        ({"id": "1", "query": "again"}, "not unique"),
        ({"id": 7, "query": "a"}, "its id is not text"),
        ({"id": " ", "query": "a"}, "its id is empty"),
        ({"id": "7"}, "has no query"),
        ({"query": " "}, "its query is empty"),
        ({"messages": []}, "its messages are not a list, or empty"),
        (
            {"messages": [{"role": "user", "content": "a"}]},
            "it has messages, but the records before it have query",
        ),
        ({"query": "a", "weight": float("nan")}, "not JSON"),
        ({"query": "\ud800"}, "not JSON"),
        ({"query": "a", "when": object()}, "not JSON"),
        ({"query": "a" * 3_000_000}, "more than"),
        ("a question", "not a mapping"),
    ],
)
def test_record_that_breaks_a_rule_is_named_by_its_position(record: object, rule: str) -> None:
    with pytest.raises(InvalidRecordError, match=rule) as caught:
        list(lines([{"id": "1", "query": "a"}, record]))

    assert (caught.value.file, caught.value.line) == (None, 2)


@pytest.mark.parametrize(
    "line",
    [b"{", b"[]", b"\xff", b'{"query": NaN}', b'{"query": "\\ud800"}', b"[" * 100_000, b"x" * 3_000_001],
)
def test_line_that_is_no_record_is_named_by_file_and_line(line: bytes, tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    path.write_bytes(b'{"query": "a"}\n\n' + line + b"\n")

    with pytest.raises(InvalidRecordError) as caught:
        list(lines(path))

    assert (caught.value.file, caught.value.line) == (str(path), 3)


@pytest.mark.parametrize(
    "records", [[], {"query": "a"}, None, 7, b"x", "missing.jsonl", "bos:/bucket/in/", Model(query="a")]
)
def test_records_that_are_none_are_refused(records: object) -> None:
    with pytest.raises(InvalidArgumentError, match="records"):
        list(lines(records))


def test_shards_of_the_same_records_are_the_same_and_agree_with_the_plan(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(jsonl, "SHARD_BYTES", 1000)
    records = [{"query": f"question {number}"} for number in range(100)]

    first, second = (list(shards(records, io.BytesIO())) for _ in range(2))
    planned = plan(records)

    assert first == second
    assert len({shard.name for shard in first}) == len(first) > 3
    assert min(shard.size for shard in first[:-1]) > 900
    assert (planned.files, planned.records) == (len(first), 100)
    assert planned.bytes == sum(shard.size for shard in first) == sum(len(line) for line in lines(records))


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_split_lines_of_any_chunks_are_the_same(size: int) -> None:
    content = b"\xef\xbb\xbfone\r\n\n  \ntwo\xe2\x80\xa8\n" + b"x" * 50 + b"\nfive"
    chunks = (content[start : start + size] for start in range(0, len(content), size))

    assert [tuple(line) for line in split_lines(chunks, 20)] == [
        (b"one", 1),
        (b"two\xe2\x80\xa8", 4),
        (None, 5),
        (b"five", 6),
    ]


def test_split_lines_of_a_line_without_end_keeps_no_more_than_the_limit() -> None:
    tracemalloc.start()
    try:
        found = list(split_lines([b"x" * 100_000] * 100, 1000))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert found == [(None, 1)]
    assert peak < 1_000_000


def test_records_and_results_are_members_of_sets_although_they_hold_dicts() -> None:
    records = {Record("1", "a", {"query": "a"}), Record("1", "a", {"query": "a"})}
    results = {Result("1", "succeeded", raw={"id": "1"}), Result("1", "succeeded", raw={"id": "1"})}

    assert (len(records), len(results)) == (1, 1)


def test_error_of_a_record_names_file_line_and_rule(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("{}")

    with pytest.raises(InvalidRecordError) as caught:
        list(lines(path))

    assert str(caught.value) == f"{path}, line 1: {caught.value.rule}"
