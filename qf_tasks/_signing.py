"""The signature of a request, `bce-auth-v1`, from the written rules (njwvz1yfu, hjwvz1y4f).

The SDK's own signer is not used: it logs the signing key, and warns at every call on Python 3.12 and later.
It must sign alike, and a test holds the two together.
"""

from __future__ import annotations

import hashlib
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
    """Return the `Authorization` of a request, which signs all of its headers.

    Args:
        timestamp: as in `2025-01-01T00:00:00Z`.
        lifetime: seconds after that for which it is good.
    """
    prefix = f"bce-auth-v1/{access_key}/{timestamp}/{lifetime}"
    lines = sorted(f"{name.lower()}:{_encoded(value.strip())}" for name, value in headers.items() if value)
    parameters = sorted(f"{_encoded(name)}={_encoded(value)}" for name, value in query.items())
    canonical = "\n".join((method, path, "&".join(parameters), *lines))
    signature = _hmac(_hmac(secret_key, prefix), canonical)
    return f"{prefix}/{';'.join(sorted(map(str.lower, headers)))}/{signature}"


def _hmac(key: str, message: str) -> str:
    return hmac.new(key.encode(), message.encode(), hashlib.sha256).hexdigest()


@lru_cache(maxsize=64)  # of a header's value, which is the same from call to call but for the date
def _encoded(text: str) -> str:
    return quote(text, safe="")
