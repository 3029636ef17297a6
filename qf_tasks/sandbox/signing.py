"""Checks bce-auth-v1 signatures, for any method, path and query.

Written from the rules of the documentation and not from an SDK, so that a mistake of an SDK shows. Pure
functions: they return the access key, or raise `Rejection` for any other input.
"""

import hashlib
import hmac
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from itertools import product
from typing import Self
from urllib.parse import quote, unquote

from .behavior import ServerBehavior
from .http_messages import Rejection, Request

# An empty list of signed headers means these and every `x-bce-*`.
_DEFAULT_SIGNED_HEADERS = frozenset({"host", "content-length", "content-type", "content-md5"})

# Documented for a sibling product, assumed to hold here.
_MAX_SKEW = 30 * 60

_DATE_FORMATS = ("%Y-%m-%dT%H:%M:%SZ", "%a, %d %b %Y %H:%M:%S GMT")


@dataclass(frozen=True, slots=True)
class Authorization:
    """The parts of an `Authorization` header; the names of signed headers are in lower case."""

    access_key: str
    timestamp: str
    expires_in: int
    signed_headers: frozenset[str]
    signature: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the parts of `text`; raises `Rejection` if it is not a bce-auth-v1 string."""
        match text.strip().split("/"):
            case ["bce-auth-v1", access_key, timestamp, expires_in, signed_headers, signature] if (
                access_key and timestamp and signature and _is_short_number(expires_in)
            ):
                names = (name.strip().lower() for name in signed_headers.split(";"))
                signed = frozenset(filter(None, names)) or _DEFAULT_SIGNED_HEADERS
                return cls(access_key, timestamp, int(expires_in), signed, signature)
        raise _rejection(400, "InvalidHTTPAuthHeader", "The Authorization header is malformed.")

    def sign(self, secret_key: str, canonical_request: str) -> str:
        """Return the signature that the owner of `secret_key` would have made."""
        prefix = f"bce-auth-v1/{self.access_key}/{self.timestamp}/{self.expires_in}"
        return _hmac(_hmac(secret_key, prefix), canonical_request)


def _is_short_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 12


def canonical_request(
    method: str,
    path: str,
    query: Iterable[tuple[str, str]],
    headers: Mapping[str, str],
    signed_headers: Iterable[str],
) -> str:
    """Return the text that is signed: method, path, query and the signed headers, never the body."""
    parameters = sorted(
        f"{_encode(name)}={_encode(value)}" for name, value in query if name.lower() != "authorization"
    )
    header_lines = sorted(
        f"{_encode(name)}:{_encode(headers[name].strip())}"
        for name in signed_headers
        if headers.get(name, "").strip()
    )
    return "\n".join([method, _encode(unquote(path), "/"), "&".join(parameters), "\n".join(header_lines)])


def verify(request: Request, secrets: Mapping[str, str], now: float, behavior: ServerBehavior) -> str:
    """Return the access key that signed `request`.

    Args:
        request: The request as received.
        secrets: The secret key of each access key.
        now: Seconds since 1970.
        behavior: Decides how an unsigned request is rejected.

    Raises:
        Rejection: The request is not signed, malformed, expired, or signed with another key.
    """
    headers = {name.lower(): value for name, value in request.headers.items()}
    # In the query, as in the URL that is given to others, it is documented for BOS.
    text = headers.get("authorization", dict(request.query).get("authorization"))
    if text is None:
        raise _rejection(behavior.unsigned_status, behavior.unsigned_code, "Access denied.")
    authorization = Authorization.parse(text)
    if "host" not in authorization.signed_headers:
        raise _rejection(400, "InvalidHTTPAuthHeader", "The host header is not signed.")
    secret_key = secrets.get(authorization.access_key)
    if secret_key is None:
        header_message = "NotFound, cause: Could not find credential."
        raise _rejection(403, "InvalidAccessKeyId", "The access key does not exist.", header_message)
    _check_time(authorization, headers, now)
    accepted = (
        authorization.sign(secret_key, canonical_request(request.method, request.path, request.query, *form))
        for form in _accepted_forms(authorization.signed_headers, headers)
    )
    if not any(hmac.compare_digest(_bytes(authorization.signature), _bytes(text)) for text in accepted):
        header_message = "SignatureDoesNotMatch, cause: Fail to authn user: Signature does not match"
        message = "The signature does not match."
        raise _rejection(400, "SignatureDoesNotMatch", message, header_message)
    return authorization.access_key


def _check_time(authorization: Authorization, headers: Mapping[str, str], now: float) -> None:
    signed_at = _parse_date(authorization.timestamp)
    date = headers.get("x-bce-date") or headers.get("date")  # as documented, in this order
    sent_at = _parse_date(date) if date else now
    if signed_at is None or sent_at is None:
        raise _rejection(400, "InvalidHTTPAuthHeader", "A timestamp of the request is malformed.")
    skew = max(abs(now - sent_at), signed_at - now)
    if skew > _MAX_SKEW or now - signed_at > authorization.expires_in:
        raise _rejection(400, "RequestExpired", f"Request has expired: {authorization.timestamp}")


def _accepted_forms(
    listed: frozenset[str], headers: Mapping[str, str]
) -> Iterator[tuple[Mapping[str, str], frozenset[str]]]:
    """Yield the headers and their names as the official SDKs sign them, the most common form first.

    Go and Java sign the host without its port; Python signs every `x-bce-*` header, listed or not.
    """
    host = headers.get("host", "")
    all_bce = listed | {name for name in headers if name.startswith("x-bce-")}
    for signed_host, names in product((host, host.partition(":")[0]), (listed, all_bce)):
        yield {**headers, "host": signed_host}, names


@lru_cache(maxsize=64)  # a request has the same time twice, and parsing is slow
def _parse_date(text: str) -> float | None:
    for date_format in _DATE_FORMATS:
        try:
            return datetime.strptime(text.strip(), date_format).replace(tzinfo=UTC).timestamp()
        except ValueError:
            continue
    return None


def _encode(text: str, safe: str = "") -> str:
    return quote(text, safe=safe + "-._~", errors="replace")


def _hmac(key: str, text: str) -> str:
    return hmac.new(_bytes(key), _bytes(text), hashlib.sha256).hexdigest()


def _bytes(text: str) -> bytes:
    return text.encode(errors="replace")


def _rejection(status: int, code: str, message: str, header_message: str | None = None) -> Rejection:
    """Return a rejection by the gateway, which repeats the error in two headers that the SDK reads."""
    headers = {"X-Bce-Error-Code": code, "X-Bce-Error-Message": header_message or message}
    return Rejection(status, code, message, headers, unexpected=True)
