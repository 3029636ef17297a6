"""The client's signature: as the rules' examples have it, and as the SDK's own signer writes it."""

from __future__ import annotations

import pytest
from baidubce.auth.bce_credentials import BceCredentials
from baidubce.auth.bce_v1_signer import sign
from hypothesis import given
from hypothesis import strategies as st

from qf_tasks._protocol.signing import authorization

DATE, MOMENT = "2025-01-01T00:00:00Z", 1735689600
VECTORS = {
    "host;x-bce-date": "444211a1c582332f3f4f005df9b9339e7908f1033c9487bcc7ab699ea84a50f0",
    "content-type;host;x-bce-date": "5da222853b7cbe1825fd45247351f483d6cbdeb629510a915b960b87a6ab8520",
}
HEADERS = {"Host": "qianfan.baidubce.com", "Content-Type": "application/json", "x-bce-date": DATE}
values = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=40)


@pytest.mark.parametrize("names", VECTORS)
def test_authorization_of_the_documented_example_is_as_documented(names: str) -> None:
    signed = authorization(
        "AKexample",
        "SKexample",
        method="POST",
        path="/v2/batchinference",
        query={"Action": "CreateBatchInferenceTask"},
        headers={name: value for name, value in HEADERS.items() if name.lower() in names},
        timestamp=DATE,
        lifetime=1800,
    )
    assert signed == f"bce-auth-v1/AKexample/{DATE}/1800/{names}/{VECTORS[names]}"


@pytest.mark.filterwarnings("ignore:datetime.datetime.utcfromtimestamp:DeprecationWarning:baidubce")
@given(
    headers=st.dictionaries(st.from_regex(r"[A-Za-z][A-Za-z-]{0,15}", fullmatch=True), values, max_size=5),
    query=st.dictionaries(values.filter(lambda name: name.lower() != "authorization"), values, max_size=3),
)
def test_authorization_of_anything_is_that_of_the_sdk(headers: dict[str, str], query: dict[str, str]) -> None:
    headers = {name.lower(): value for name, value in headers.items()} | {"host": "qianfan.baidubce.com"}
    own = authorization(
        "AK",
        "SK",
        method="POST",
        path="/v2/batchinference",
        query=query,
        headers=headers,
        timestamp=DATE,
        lifetime=300,
    )
    theirs = sign(
        BceCredentials("AK", "SK"),
        b"POST",
        b"/v2/batchinference",
        {name.encode(): value for name, value in headers.items()},
        {name.encode(): value for name, value in query.items()},
        timestamp=MOMENT,
        expiration_in_seconds=300,
        headers_to_sign=sorted(name.encode() for name in headers),
    )
    assert own == theirs.decode(), "the SDK signs otherwise: compare both with the rules of bce-auth-v1"
