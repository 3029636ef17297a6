"""Records in and results out: shards up and down, many small objects, results joined with their records."""

from __future__ import annotations

import hashlib
import json
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from itertools import chain, count
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import BinaryIO, NamedTuple

import requests
from baidubce.auth.bce_credentials import BceCredentials
from baidubce.auth.bce_v1_signer import sign
from baidubce.bce_client_configuration import BceClientConfiguration
from baidubce.services.bos.bos_client import BosClient

from qf_tasks.data import jsonl
from qf_tasks.data.results import join, parse_results
from qf_tasks.data.store import ObjectStore
from qf_tasks.data.transfers import side_by_side
from qf_tasks.data.uri import BosUri
from tests.benchmarks.measuring import MEGA, MICRO, Case, Figure, Size, at_most, medians
from tests.benchmarks.server import SCHEMES, Server, running
from tests.benchmarks.subjects import facade, settings_of

_CHUNK = 64 * 1024
_RECORD_BYTES = 1000
_RECORD_CHARACTERS = 650
_SMALL_BYTES = 200
_QUESTION = "How tall is Mount Tai? 泰山有多高？ "
_ANSWER = "Mount Tai is 1,545 metres tall. " * 6


class _File(NamedTuple):
    """A file to send, and the key of its object."""

    path: Path
    key: str
    size: int
    md5: str


class _Subject(NamedTuple):
    """How a client sends files, and how it receives their objects in a folder."""

    send: Callable[[list[_File]], object]
    receive: Callable[[list[_File], Path], object]


def shards(size: Size) -> Case:
    """Measure shards of 3 MB up and down."""
    return Case([figure for scheme in SCHEMES for figure in _shards_over(scheme, size)])


def _shards_over(scheme: str, size: Size) -> Iterator[Figure]:
    with TemporaryDirectory() as name, _subjects(scheme) as (subjects, prefix):
        text = (_QUESTION * _RECORD_BYTES)[:_RECORD_CHARACTERS]
        records = _records(text, size.shards * jsonl.SHARD_BYTES // _RECORD_BYTES)
        files = list(_written(records, Path(name), prefix))
        yield Figure(f"{scheme}, size", sum(file.size for file in files) / MEGA, "MB")
        for direction, seconds in _both_ways(subjects, files, Path(name), size.shard_rounds):
            yield from (Figure(f"{scheme}, {direction}, {key}", value, "s") for key, value in seconds.items())
            ours, *others = seconds.values()
            yield Figure(
                f"{scheme}, {direction}, ours / the better", ours / min(others), target=at_most(1.15)
            )


def _written(records: Iterable[object], folder: Path, prefix: str) -> Iterator[_File]:
    """Write the shards of records to files."""
    with TemporaryFile() as whole:
        for shard in list(jsonl.shards(records, whole)):
            whole.seek(shard.offset)
            path = folder / shard.name
            path.write_bytes(whole.read(shard.size))
            yield _File(path, prefix + shard.name, shard.size, shard.md5)


def small_objects(size: Size) -> Case:
    """Measure many small objects over TLS."""
    figures: list[Figure] = []
    with TemporaryDirectory() as name, _subjects("https") as (subjects, prefix):
        content = b"x" * _SMALL_BYTES
        md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
        files = [
            _File(Path(name, str(number)), f"{prefix}{number}.jsonl", len(content), md5)
            for number in range(size.small_objects)
        ]
        for file in files:
            file.path.write_bytes(content)
        for direction, seconds in _both_ways(subjects, files, Path(name), rounds=1):
            figures += [Figure(f"{direction}, {key}", value, "s") for key, value in seconds.items()]
            ratio = seconds["ours"] / seconds["BosClient"]
            figures.append(Figure(f"{direction}, ours / BosClient", ratio, target=at_most(0.10)))
    return Case(figures)


def lines(size: Size) -> Case:
    """Measure records that are validated, and results that are joined with them, against `json` alone."""
    with TemporaryDirectory() as name:
        records, results = Path(name, "records.jsonl"), Path(name, "results.jsonl")
        _write(records, _records(_QUESTION, size.lines))
        _write(results, _results(_QUESTION, size.lines))

        def read(path: Path) -> Iterator[jsonl.Line]:
            return jsonl.split_lines(_chunks(path), jsonl.MAX_RESULT_BYTES)

        seconds = medians(
            {
                "parsed": lambda: _exhaust(parse_results(read(results), "results")),
                "joined": lambda: _exhaust(
                    join(parse_results(read(results), ""), lambda: jsonl.parse_records(read(records), ""))
                ),
                "json.loads of results": lambda: _exhaust(_loaded(results)),
                "json.loads of both": lambda: _exhaust(chain(_loaded(results), _loaded(records))),
                "validated": lambda: _exhaust(jsonl.lines(records)),
                "json.loads and dumps of records": lambda: _exhaust(map(json.dumps, _loaded(records))),
            },
            rounds=1,
        )
    parse, joining, loads_results, loads_both, validation, dumps = seconds.values()
    return Case(
        [
            *(Figure(key, value / size.lines * MICRO, "µs") for key, value in seconds.items()),
            Figure("parsed / json.loads of results", parse / loads_results, target=at_most(2.0)),
            Figure("joined / json.loads of both", joining / loads_both, target=at_most(2.0)),
            Figure("joined / json.loads of results", joining / loads_results),
            Figure("validated / json.loads and dumps", validation / dumps),
        ]
    )


@contextmanager
def _subjects(scheme: str) -> Iterator[tuple[dict[str, _Subject], str]]:
    """Offer the three clients of a bucket, and the prefix of the output of a task in it."""
    with (
        running(scheme) as server,
        facade(server) as client,
        closing(ObjectStore(settings_of(server))) as store,
    ):
        task = client.get(server.run("add_task", fields={"outputBosUri": "bos:/bucket/out/"}))
        output = BosUri.parse_directory(task.output_uri)

        def send(file: _File) -> None:
            with file.path.open("rb") as content:
                store.put(BosUri(output.bucket, file.key), content, file.size, file.md5)

        def send_all(files: list[_File]) -> None:
            for _file in side_by_side(send, files):
                pass

        ours = _Subject(send_all, receive=lambda _files, folder: client.data.download(task, folder))
        yield {"ours": ours, "BosClient": _bos_client(server), "session": _session(server)}, output.key


def _object_store(server: Server) -> AbstractContextManager[ObjectStore]:
    return closing(ObjectStore(settings_of(server)))


def _bos_client(server: Server) -> _Subject:
    """Return the SDK's own client, as its documentation has it."""
    os.environ["SSL_CERT_FILE"] = str(server.ca_bundle)
    credentials = BceCredentials(server.access_key, server.secret_key)
    bos = BosClient(BceClientConfiguration(credentials=credentials, endpoint=server.url))

    def send(files: list[_File]) -> None:
        for file in files:
            bos.put_object_from_file("bucket", file.key, str(file.path))

    def receive(files: list[_File], folder: Path) -> None:
        for file in files:
            bos.get_object_to_file("bucket", file.key, str(folder / file.path.name))

    return _Subject(send, receive)


def _session(server: Server) -> _Subject:
    """Return a session that keeps its connection, and signs as the SDK does."""
    session, credentials = requests.Session(), BceCredentials(server.access_key, server.secret_key)
    os.environ["REQUESTS_CA_BUNDLE"] = str(server.ca_bundle)

    def request(method: str, file: _File, body: BinaryIO | None = None) -> requests.Response:
        path = f"/bucket/{file.key}"
        host = {b"host": server.netloc.encode()}
        signed = sign(credentials, method.encode(), path.encode(), host, {}, headers_to_sign=[*host])
        headers = {"Authorization": signed.decode(), "Accept-Encoding": "identity"}
        response = session.request(method, server.url + path, data=body, headers=headers, stream=True)
        response.raise_for_status()
        return response

    def send(files: list[_File]) -> None:
        for file in files:
            with file.path.open("rb") as body:
                assert request("PUT", file, body).content == b""

    def receive(files: list[_File], folder: Path) -> None:
        for file in files:
            with (folder / file.path.name).open("wb") as target:
                target.writelines(request("GET", file).iter_content(_CHUNK))

    return _Subject(send, receive)


def _both_ways(
    subjects: dict[str, _Subject], files: list[_File], folder: Path, rounds: int
) -> Iterator[tuple[str, dict[str, float]]]:
    numbers = count()

    def sending(subject: _Subject) -> Callable[[], object]:
        return lambda: subject.send(files)

    def receiving(subject: _Subject) -> Callable[[], object]:
        def receive() -> None:
            target = folder / f"received-{next(numbers)}"
            target.mkdir()
            subject.receive(files, target)

        return receive

    yield "up", medians({key: sending(subject) for key, subject in subjects.items()}, rounds)
    yield "down", medians({key: receiving(subject) for key, subject in subjects.items()}, rounds)


def _records(text: str, number: int) -> Iterator[dict[str, object]]:
    return ({"id": f"record-{position}", "query": f"{text}{position}"} for position in range(number))


def _results(text: str, number: int) -> Iterator[dict[str, object]]:
    usage = {"prompt_tokens": 20, "completion_tokens": 60, "total_tokens": 80}
    output = {"id": "as-1", "object": "chat.completion", "created": 1_717_200_000, "result": _ANSWER}
    return ({**record, "output": {**output, "usage": usage}} for record in _records(text, number))


def _write(path: Path, values: Iterable[object]) -> None:
    with path.open("w") as file:
        file.writelines(json.dumps(value, ensure_ascii=False) + "\n" for value in values)


def _loaded(path: Path) -> Iterator[object]:
    with path.open("rb") as file:
        yield from map(json.loads, file)


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        yield from iter(lambda: file.read(_CHUNK), b"")


def _exhaust(iterator: Iterable[object]) -> None:
    deque(iterator, maxlen=0)
