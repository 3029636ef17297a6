"""The signature check: documented vectors and what the SDKs do differently."""

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qf_tasks.sandbox.behavior import ServerBehavior
from qf_tasks.sandbox.http_messages import Rejection, Request
from qf_tasks.sandbox.signing import Authorization, canonical_request, verify

from .signed_client import ROUTE, bce_time, sign

DATE = "2025-01-01T00:00:00Z"
NOW = 1735689600.0
QUERY = "Action=CreateBatchInferenceTask"
HEADERS = {
    "host": "qianfan.baidubce.com",
    "content-type": "application/json",
    "x-bce-date": DATE,
}
VECTORS = {
    "host;x-bce-date": "444211a1c582332f3f4f005df9b9339e7908f1033c9487bcc7ab699ea84a50f0",
    "content-type;host;x-bce-date": "5da222853b7cbe1825fd45247351f483d6cbdeb629510a915b960b87a6ab8520",
}


def check(headers: dict[str, str], *, query: str = QUERY, now: float = NOW) -> str:
    request = Request("POST", ROUTE, query, headers, b"{}")
    return verify(request, {"AKexample": "SKexample"}, now, ServerBehavior())


def rejection(headers: dict[str, str], **rest: Any) -> tuple[int, str]:
    with pytest.raises(Rejection) as caught:
        check(headers, **rest)
    assert caught.value.unexpected
    return caught.value.status, caught.value.code


def signed(
    headers: dict[str, str],
    names: list[str] | None = None,
    *,
    query: str = QUERY,
    timestamp: str = DATE,
    expires_in: int = 1800,
    listed: str | None = None,
) -> dict[str, str]:
    """Return `headers` with a signature over `names`, by default over all of them."""
    covered = {name: headers[name] for name in (names or headers)}
    authorization = sign(
        "AKexample",
        "SKexample",
        covered,
        query=query,
        timestamp=timestamp,
        expires_in=expires_in,
        listed=listed,
    )
    return {**headers, "authorization": authorization}


@pytest.mark.parametrize("names", VECTORS)
def test_verify_documented_vector_returns_access_key(names: str) -> None:
    authorization = f"bce-auth-v1/AKexample/{DATE}/1800/{names}/{VECTORS[names]}"
    assert check({**HEADERS, "authorization": authorization}) == "AKexample"


def test_sign_documented_vectors_returns_their_signatures() -> None:
    for names, expected in VECTORS.items():
        authorization = Authorization.parse(f"bce-auth-v1/AKexample/{DATE}/1800/{names}/x")
        query = [("Action", "CreateBatchInferenceTask")]
        text = canonical_request("POST", ROUTE, query, HEADERS, names.split(";"))
        assert authorization.sign("SKexample", text) == expected


def test_canonical_request_follows_the_documented_rules() -> None:
    query = [("b", ""), ("Authorization", "x"), ("a", "1 /ü")]
    headers = {"host": " h:1 ", "x-bce-date": DATE, "empty": " "}
    assert canonical_request("POST", ROUTE, query, headers, ["x-bce-date", "empty", "host"]) == (
        "POST\n/v2/batchinference\na=1%20%2F%C3%BC&b=\nhost:h%3A1\nx-bce-date:2025-01-01T00%3A00%3A00Z"
    )


def test_canonical_request_encodes_path_once() -> None:
    text = canonical_request("PUT", "/bucket/a%20b/%E5%90%8D.jsonl", [("uploads", "")], {}, [])
    assert text == "PUT\n/bucket/a%20b/%E5%90%8D.jsonl\nuploads=\n"


@pytest.mark.parametrize("listed", ["x-bce-date;host;content-type", "Host;X-Bce-Date;Content-Type"])
def test_verify_signed_headers_in_any_order_and_case_is_accepted(listed: str) -> None:
    assert check(signed(HEADERS, listed=listed)) == "AKexample"


def test_verify_empty_list_of_headers_means_default_headers() -> None:
    headers = {**HEADERS, "content-length": "2", "x-bce-other": "1"}
    with_more = {**signed(headers, listed=""), "accept": "*/*"}
    assert check(with_more) == "AKexample"


def test_verify_unlisted_bce_header_is_accepted() -> None:
    assert check(signed(HEADERS, ["host", "x-bce-date"], listed="host")) == "AKexample"


@pytest.mark.parametrize("host", ["127.0.0.1:8080", "127.0.0.1"])
def test_verify_host_with_or_without_port_is_accepted(host: str) -> None:
    headers = signed({**HEADERS, "host": host})
    assert check({**headers, "host": "127.0.0.1:8080"}) == "AKexample"


def test_verify_empty_header_is_not_signed() -> None:
    headers = signed(HEADERS, listed="content-type;host;x-bce-date;x-empty")
    assert check({**headers, "x-empty": " "}) == "AKexample"


def test_verify_long_expiry_is_accepted() -> None:
    headers = signed({"host": "h"}, expires_in=180_000)
    assert check(headers, now=NOW + 179_000) == "AKexample"


@pytest.mark.parametrize(
    ("name", "value"),
    [("host", "elsewhere"), ("content-type", "text/plain"), ("x-bce-date", "2025-01-01T00:00:01Z")],
)
def test_verify_changed_header_is_rejected(name: str, value: str) -> None:
    headers = signed(HEADERS)
    assert rejection({**headers, name: value}) == (400, "SignatureDoesNotMatch")


def test_verify_changed_query_is_rejected() -> None:
    headers = signed(HEADERS)
    assert rejection(headers, query="Action=DeleteBatchInferenceTask") == (400, "SignatureDoesNotMatch")


def test_verify_wrong_secret_sets_the_headers_that_the_sdk_reads() -> None:
    headers = {**HEADERS, "authorization": f"bce-auth-v1/AKexample/{DATE}/1800/host/{'0' * 64}"}
    with pytest.raises(Rejection) as caught:
        check(headers)
    assert caught.value.headers == {
        "X-Bce-Error-Code": "SignatureDoesNotMatch",
        "X-Bce-Error-Message": "SignatureDoesNotMatch, cause: Fail to authn user: Signature does not match",
    }


def test_verify_unknown_key_sets_the_headers_that_the_sdk_reads() -> None:
    headers = {**HEADERS, "authorization": f"bce-auth-v1/nobody/{DATE}/1800/host/{'0' * 64}"}
    with pytest.raises(Rejection) as caught:
        check(headers)
    assert (caught.value.status, caught.value.code) == (403, "InvalidAccessKeyId")
    assert caught.value.headers["X-Bce-Error-Message"] == "NotFound, cause: Could not find credential."


def test_verify_without_authorization_is_rejected() -> None:
    assert rejection(HEADERS) == (403, "AccessDenied")


def test_verify_without_signed_host_is_rejected() -> None:
    assert rejection(signed(HEADERS, ["x-bce-date"])) == (400, "InvalidHTTPAuthHeader")


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "Bearer abc",
        "bce-auth-v1/AKexample",
        "bce-auth-v2/AKexample/2025-01-01T00:00:00Z/1800/host/00",
        "bce-auth-v1/AKexample/2025-01-01T00:00:00Z/soon/host/00",
        "bce-auth-v1/AKexample/2025-01-01T00:00:00Z/-1/host/00",
        "bce-auth-v1/AKexample/yesterday/1800/host/00",
        "bce-auth-v1/AKexample/2025-01-01T00:00:00Z/1800/host/00/00",
    ],
)
def test_verify_malformed_authorization_is_rejected(authorization: str) -> None:
    headers = {**HEADERS, "authorization": authorization}
    assert rejection(headers) == (400, "InvalidHTTPAuthHeader")


@pytest.mark.parametrize("late", [301.0, 86_400.0])
def test_verify_after_expiry_is_rejected_with_timestamp(late: float) -> None:
    headers = signed({"host": "h"}, expires_in=300)
    with pytest.raises(Rejection) as caught:
        check(headers, now=NOW + late)
    assert caught.value.code == "RequestExpired"
    assert DATE in caught.value.message


@pytest.mark.parametrize("skew", [-1801.0, 1801.0])
def test_verify_clock_skew_above_half_an_hour_is_rejected(skew: float) -> None:
    headers = signed(HEADERS, expires_in=180_000)
    assert rejection(headers, now=NOW + skew) == (400, "RequestExpired")


@pytest.mark.parametrize("skew", [-1799.0, 1799.0])
def test_verify_clock_skew_below_half_an_hour_is_accepted(skew: float) -> None:
    assert check(signed(HEADERS, expires_in=180_000), now=NOW + skew) == "AKexample"


def test_verify_signature_from_the_future_is_rejected() -> None:
    assert rejection(signed({"host": "h"}), now=NOW - 1801) == (400, "RequestExpired")


def test_verify_uses_x_bce_date_before_date() -> None:
    stale = "Wed, 01 Jan 2020 00:00:00 GMT"
    assert check({**signed(HEADERS), "date": stale}) == "AKexample"
    assert rejection({**signed({"host": "h"}), "date": stale}) == (400, "RequestExpired")


def test_verify_malformed_date_is_rejected() -> None:
    assert rejection(signed({"host": "h", "x-bce-date": "now"})) == (400, "InvalidHTTPAuthHeader")


# baidubce uses a function that Python 3.12 deprecated.
@pytest.mark.filterwarnings("ignore:datetime.datetime.utcfromtimestamp:DeprecationWarning:baidubce")
def test_verify_request_signed_by_the_sdk_is_accepted() -> None:
    from baidubce.auth.bce_credentials import BceCredentials
    from baidubce.auth.bce_v1_signer import sign as sdk_sign

    now = int(time.time())
    headers = {"Host": "h:80", "x-bce-date": bce_time(now), "Referer": "a b/ü", "Accept": "*/*"}
    made = sdk_sign(
        BceCredentials("AKexample", "SKexample"),
        b"POST",
        ROUTE.encode(),
        {name.encode(): value for name, value in headers.items()},
        {b"Action": "A b", b"empty": ""},
        timestamp=now,
        headers_to_sign={b"host", b"x-bce-date", b"referer"},
    )
    sent = {**headers, "Authorization": made.decode()}
    assert check(sent, query="Action=A%20b&empty=", now=now) == "AKexample"


GARBAGE = st.text(max_size=40)
ALMOST = st.builds(
    "{}/{}/{}/{}/{}/{}".format,
    st.sampled_from(["bce-auth-v1", "x"]),
    st.one_of(st.just("AKexample"), GARBAGE),
    st.one_of(st.just(DATE), GARBAGE),
    st.one_of(st.integers().map(str), GARBAGE),
    st.one_of(st.just("host"), GARBAGE),
    GARBAGE,
)


@given(
    authorization=st.one_of(ALMOST, GARBAGE),
    headers=st.dictionaries(st.sampled_from(["host", "date", "x-bce-date", "x-bce-ü"]), GARBAGE),
    query=GARBAGE,
)
def test_verify_random_input_is_rejected(authorization: str, headers: dict[str, str], query: str) -> None:
    status, _ = rejection({**headers, "authorization": authorization}, query=query)
    assert 400 <= status < 500
