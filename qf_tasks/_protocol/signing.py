"""The signature of a request, `bce-auth-v1`, from the written rules: `.github/docs/service.md#signing`.

The SDK's own signer is not used: it logs the signing key, and warns at every call on Python 3.12 and later.
A test holds the two equal.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from functools import lru_cache
from urllib.parse import quote


def authorization(
    access_key: str,
    secret_key: str,
    *,
    method: str,
    path: str,
    query: Mapping[str, str],
    headers: Mapping[str, str],
    timestamp: str,
    lifetime: int,
) -> str:
    """Return the `Authorization` header of a request.

    Args:
        path: As in the URL before it is encoded, from the first slash on.
        query: The parameters before they are encoded.
        headers: Those to sign; the request may have more.
        timestamp: When the signature begins to be valid, as in `2025-01-01T00:00:00Z`.
        lifetime: For how many seconds it is valid.
    """
    prefix = f"bce-auth-v1/{access_key}/{timestamp}/{lifetime}"
    parameters = {name: value for name, value in query.items() if name.lower() != "authorization"}
    stripped = {name.strip().lower(): value.strip() for name, value in headers.items()}
    lines = sorted(f"{_encode(name)}:{_encode(value)}" for name, value in stripped.items() if value)
    canonical = "\n".join((method, _encode(path, safe="/"), query_string(parameters), "\n".join(lines)))
    signature = _hmac(_hmac(secret_key, prefix), canonical)
    return f"{prefix}/{';'.join(sorted(stripped))}/{signature}"


def query_string(parameters: Mapping[str, str]) -> str:
    """Return parameters in the encoding and order in which they are signed."""
    return "&".join(sorted(f"{_encode(name)}={_encode(value)}" for name, value in parameters.items()))


def _hmac(key: str, message: str) -> str:
    return hmac.digest(key.encode(), message.encode(), "sha256").hex()


@lru_cache(maxsize=64)  # most values are the same in every call
def _encode(text: str, *, safe: str = "") -> str:
    return quote(text, safe=safe)
