"""The signature: as in the documented examples, and as the SDK's own signer makes it."""

from __future__ import annotations

import pytest
from baidubce.auth.bce_credentials import BceCredentials
from baidubce.auth.bce_v1_signer import sign
from baidubce.utils import normalize_string
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
header_names = st.from_regex(r"[A-Za-z][A-Za-z-]{0,15}", fullmatch=True)


@pytest.mark.parametrize("names", VECTORS)
def test_authorization_of_documented_example_is_the_documented_one(names: str) -> None:
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
    method=st.sampled_from(["GET", "PUT", "POST", "DELETE"]),
    path=st.text(max_size=20).map(lambda name: f"/bucket/{name}"),
    # Versions of the SDK differ in how they sign an empty header, and none is sent.
    headers=st.dictionaries(header_names, values.filter(str.strip), max_size=5),
    query=st.dictionaries(values.filter(lambda name: name.lower() != "authorization"), values, max_size=3),
)
def test_authorization_of_any_request_is_that_of_the_sdk(
    method: str, path: str, headers: dict[str, str], query: dict[str, str]
) -> None:
    headers = {name.lower(): value for name, value in headers.items()} | {"host": "qianfan.baidubce.com"}
    own = authorization(
        "AK",
        "SK",
        method=method,
        path=path,
        query=query,
        headers=headers,
        timestamp=DATE,
        lifetime=300,
    )
    of_sdk = sign(
        BceCredentials("AK", "SK"),
        method.encode(),
        normalize_string(path, encoding_slash=False),
        {name.encode(): value for name, value in headers.items()},
        {name.encode(): value for name, value in query.items()},
        timestamp=MOMENT,
        expiration_in_seconds=300,
        headers_to_sign=sorted(name.encode() for name in headers),
    )
    assert own == of_sdk.decode(), "the SDK signs differently: compare both with the rules of bce-auth-v1"
