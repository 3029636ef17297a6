"""What the sender accepts from a server: in how much time, of what size, and in which order."""

from __future__ import annotations

import gzip
import io
import tracemalloc
import zlib
from pathlib import Path

import pytest
import trustme

from qf_tasks import (
    BadResponseError,
    InvalidArgumentError,
    QfTasksError,
    RequestTimeoutError,
    ServiceUnreachableError,
)
from qf_tasks._protocol.actions import CREATE, DELETE, MODELS
from qf_tasks._transport.sender import Sender

from . import tcp_proxy
from .conftest import MakeTransport, StartServer, settings_for
from .raw_server import Exchange, Script, json_response, raw_server, response

MIB = 1024 * 1024


def confirm(exchange: Exchange) -> None:
    exchange.send(json_response(True))


# Informational responses.


@pytest.mark.parametrize("status", ["101 Switch", "102 Processing", "103 Early Hints", "199 Odd"])
def test_call_after_informational_response_gets_its_own_response(
    start_server: StartServer, make_transport: MakeTransport, status: str
) -> None:
    def script(exchange: Exchange) -> None:
        name = exchange.params["name"]
        if name == "aa":
            exchange.send(f"HTTP/1.1 {status}\r\n\r\n".encode())
        exchange.send(json_response({"taskId": f"infer-{name}"}))

    transport = make_transport(start_server(script))
    with pytest.raises(BadResponseError) as caught:
        transport.call(CREATE, {"name": "aa"})

    assert caught.value.code == "InformationalResponse"
    assert transport.call(CREATE, {"name": "bb"}).result == {"taskId": "infer-bb"}


def test_call_after_continue_reads_the_response_that_follows(
    start_server: StartServer, make_transport: MakeTransport
) -> None:
    content = b"HTTP/1.1 100 Continue\r\n\r\n" + json_response(True)
    server = start_server(lambda exchange: exchange.send(content))
    transport = make_transport(server)

    assert [transport.call(DELETE, {"taskId": "infer-1"}).result for _ in range(2)] == [True, True]
    assert server.connections == 1


# Deadlines. Each script would go on for minutes.


def trickled_head(exchange: Exchange) -> None:
    exchange.trickle(b"HTTP/1.1 200 OK\r\nX-Padding: " + b"x" * 5000)


def trickled_body(exchange: Exchange) -> None:
    exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n")
    exchange.trickle(b" " * 5000)


def endless_continue(exchange: Exchange) -> None:
    exchange.trickle(b"HTTP/1.1 100 Continue\r\n\r\n" * 500)


def nothing(exchange: Exchange) -> None:
    exchange.trickle(b"", 0)


@pytest.mark.parametrize("script", [trickled_head, trickled_body, endless_continue, nothing])
def test_call_to_slow_server_ends_at_the_deadline_whatever_trickles_in(
    start_either_server: StartServer, make_transport: MakeTransport, script: Script
) -> None:

    transport = make_transport(start_either_server(script), request_timeout=0.3)

    with pytest.raises(RequestTimeoutError) as caught:
        transport.call(DELETE, {"taskId": "infer-1"})

    assert (caught.value.code, caught.value.task_id) == ("ReadTimeout", "infer-1")


def test_call_with_shorter_timeout_ends_before_request_timeout(
    start_server: StartServer, make_transport: MakeTransport
) -> None:
    transport = make_transport(start_server(nothing), request_timeout=600)

    with pytest.raises(RequestTimeoutError):
        transport.call(DELETE, {"taskId": "infer-1"}, timeout=0.2)


def test_call_without_time_left_is_not_sent(start_server: StartServer, make_transport: MakeTransport) -> None:
    server = start_server(confirm)
    transport = make_transport(server)

    with pytest.raises(RequestTimeoutError) as caught:
        transport.call(DELETE, {"taskId": "infer-1"}, timeout=0)

    assert (caught.value.code, server.connections) == ("ConnectTimeout", 0)


def test_call_through_slow_proxy_ends_at_the_deadline(start_server: StartServer) -> None:
    proxy = start_server(trickled_head)
    sender = Sender(settings_for("https://service.invalid", proxy=proxy.url))

    with pytest.raises(RequestTimeoutError) as caught:
        sender.request("POST", "https://service.invalid/", {}, b"{}", timeout=0.3)

    assert caught.value.code == "ConnectTimeout"


# Sizes.


def zeros_in_gzip(mib: int) -> bytes:
    packer = zlib.compressobj(wbits=16 + zlib.MAX_WBITS)
    return b"".join(packer.compress(bytes(MIB)) for _ in range(mib)) + packer.flush()


def test_call_with_many_zeros_behind_gzip_is_refused_while_it_is_read(
    start_server: StartServer, make_transport: MakeTransport
) -> None:
    content = response(zeros_in_gzip(50), "Content-Encoding: gzip")
    server = start_server(lambda exchange: exchange.send(content))
    transport = make_transport(server, max_response_bytes=8 * MIB)
    with pytest.raises(BadResponseError):  # imports the SDK, which takes memory too
        transport.call(MODELS, {})

    tracemalloc.start()
    with pytest.raises(BadResponseError) as caught:
        transport.call(MODELS, {})
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert caught.value.code == "ResponseTooLarge"
    assert peak < 16 * MIB


@pytest.mark.parametrize(("size", "is_accepted"), [(1000, True), (1001, False)])
def test_request_accepts_no_more_than_max_bytes(
    start_server: StartServer, size: int, *, is_accepted: bool
) -> None:
    server = start_server(lambda exchange: exchange.send(response(b"x" * size)))
    sender = Sender(settings_for(server.url))

    try:
        received = len(sender.request("POST", server.url, {}, b"", max_bytes=1000).content)
    except BadResponseError as error:
        received, code = 0, error.code
        assert code == "ResponseTooLarge"

    assert bool(received) is is_accepted
    sender.close()


def test_request_with_gzip_response_returns_it_decompressed(start_server: StartServer) -> None:
    packed = response(gzip.compress(b"text" * 100_000), "Content-Encoding: gzip")
    server = start_server(lambda exchange: exchange.send(packed))
    sender = Sender(settings_for(server.url))

    assert sender.request("GET", server.url, {}).content == b"text" * 100_000
    sender.close()


@pytest.mark.parametrize(
    ("content", "encoding"),
    [(gzip.compress(b"text", mtime=0)[:-4], "gzip"), (b"text", "gzip"), (b"text", "br")],
)
def test_request_with_bad_encoding_raises_bad_response(
    start_server: StartServer, content: bytes, encoding: str
) -> None:
    server = start_server(lambda exchange: exchange.send(response(content, f"Content-Encoding: {encoding}")))

    with pytest.raises(BadResponseError):
        Sender(settings_for(server.url)).request("GET", server.url, {})


def test_request_with_body_shorter_than_its_length_raises_unreachable(start_server: StartServer) -> None:
    def script(exchange: Exchange) -> None:
        exchange.send(response(b"x" * 100)[:-1])
        exchange.close()

    server = start_server(script)
    with pytest.raises(ServiceUnreachableError) as caught:
        Sender(settings_for(server.url)).request("GET", server.url, {})

    assert caught.value.code == "ConnectionBroken"


def test_request_with_file_sends_its_content(start_server: StartServer) -> None:
    server = start_server(lambda exchange: exchange.send(response(exchange.body)))
    content = b"0123456789" * 100_000
    sender = Sender(settings_for(server.url))

    received = sender.request(
        "PUT", f"{server.url}/object", {"Content-Length": str(len(content))}, io.BytesIO(content)
    )

    assert received.content == content
    sender.close()


@pytest.mark.parametrize("value", ["a\r\nX-Added: b", "a\nb", "a\0"])
def test_request_with_line_break_in_header_is_not_sent(start_server: StartServer, value: str) -> None:
    server = start_server(confirm)
    with pytest.raises(InvalidArgumentError):
        Sender(settings_for(server.url)).request("GET", server.url, {"X-Name": value})


# Streams.


@pytest.fixture
def content() -> bytes:
    return bytes(range(256)) * 4096


def test_stream_gives_the_body_in_chunks_and_keeps_the_connection(
    start_server: StartServer, content: bytes
) -> None:
    server = start_server(lambda exchange: exchange.send(response(content)))
    sender = Sender(settings_for(server.url))

    for _ in range(2):
        with sender.stream("GET", server.url, {}, idle_timeout=10) as streamed:
            chunks = list(streamed.chunks())
        assert (b"".join(chunks), len(chunks) > 1) == (content, True)

    assert server.connections == 1
    sender.close()


def test_stream_of_body_that_breaks_off_raises_unreachable_after_what_came(
    start_server: StartServer, content: bytes
) -> None:
    def script(exchange: Exchange) -> None:
        exchange.send(response(content)[:-10])
        exchange.close()

    server = start_server(script)
    received = b""

    with Sender(settings_for(server.url)).stream("GET", server.url, {}, idle_timeout=10) as streamed:
        chunks = streamed.chunks()
        while len(received) < len(content) - 10:
            received += next(chunks)
        with pytest.raises(ServiceUnreachableError):
            next(chunks)

    assert received == content[:-10]


def test_stream_without_more_within_idle_timeout_raises_timeout(start_server: StartServer) -> None:
    def script(exchange: Exchange) -> None:
        exchange.send(response(b"x" * 100)[:-50])

    server = start_server(script)
    with (
        pytest.raises(RequestTimeoutError),
        Sender(settings_for(server.url)).stream("GET", server.url, {}, idle_timeout=0.2) as streamed,
    ):
        list(streamed.chunks())


def test_stream_passes_what_its_block_raises(start_server: StartServer, content: bytes) -> None:
    server = start_server(lambda exchange: exchange.send(response(content)))
    with (
        pytest.raises(OSError, match="disk full"),
        Sender(settings_for(server.url)).stream("GET", server.url, {}),
    ):
        raise OSError("disk full")


# Connections.


def test_close_during_the_first_call_leaves_no_socket_open(
    start_server: StartServer, make_transport: MakeTransport
) -> None:
    def script(exchange: Exchange) -> None:
        transport.close()
        confirm(exchange)

    server = start_server(script)
    transport = make_transport(server)

    assert transport.call(DELETE, {"taskId": "infer-1"}).result is True
    assert server.closed_by_client.wait(10)
    with pytest.raises(QfTasksError) as caught:
        transport.call(DELETE, {"taskId": "infer-1"})
    assert caught.value.code == "ClientClosed"


def test_call_after_the_server_closed_the_connection_makes_another(
    start_server: StartServer, make_transport: MakeTransport
) -> None:
    def script(exchange: Exchange) -> None:
        exchange.send(json_response(True, "Connection: close"))
        exchange.close()

    server = start_server(script)
    transport = make_transport(server)

    assert [transport.call(DELETE, {"taskId": "infer-1"}).result for _ in range(2)] == [True, True]
    assert server.connections == 2


def test_request_through_https_proxy_reaches_the_service_over_one_tunnel(
    authority: trustme.CA, authority_file: Path
) -> None:
    service_context = tcp_proxy.server_context(authority, "service.test")
    proxy_context = tcp_proxy.server_context(authority, tcp_proxy.LOOPBACK)
    with (
        raw_server(confirm, service_context) as server,
        tcp_proxy.proxy(server.server_address[1], count=lambda: 0, context=proxy_context) as proxy,
    ):
        sender = Sender(settings_for("https://service.test", proxy=proxy.url, ca_bundle=authority_file))
        received = [sender.request("POST", "https://service.test/", {}, b"{}").status for _ in range(2)]
        sender.close()

    assert received == [200, 200]
    assert [line.rpartition(" ")[0] for line in proxy.connects] == ["CONNECT service.test:443"]
