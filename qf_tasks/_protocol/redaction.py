"""Removes signed headers from text that others wrote: a gateway may echo the request that it rejects."""

from __future__ import annotations

import re
from collections.abc import Iterable

REDACTED = "(signed header)"

# A dash: as it is, percent-encoded, escaped in JSON or as an HTML entity, each of them repeatedly.
_DASH = r"(?:-|%(?:25)*2d|\\+u002d|&(?:amp;)*#(?:x0*2d|0*45);)"
# What follows, up to white space, a quote or a comma. A backslash is part of it only with what it escapes:
# the JSON around a redacted header must stay readable.
_REST = r"(?:[\w.:;=~%&#/+-]|\\+(?:/|u[0-9a-f]{4}))*"
_SIGNED_HEADER = re.compile(f"bce{_DASH}auth{_DASH}v1{_REST}", re.IGNORECASE | re.ASCII)


def redact(text: str, secrets: Iterable[str] = ()) -> str:
    """Return text without anything that is, or was, a signed header.

    Args:
        secrets: Literal strings to remove too, in upper or lower case: the signature that was just sent.
    """
    lower = text.lower()
    for secret in secrets:
        if secret.lower() in lower:
            text = re.sub(re.escape(secret), REDACTED, text, flags=re.IGNORECASE)
    return _SIGNED_HEADER.sub(REDACTED, text) if "bce" in lower else text


def redact_bytes(content: bytes, secrets: Iterable[str] = ()) -> bytes:
    """Return a body without signed headers, whatever its encoding."""
    lower = content.lower()
    if b"bce" not in lower and not any(secret.lower().encode() in lower for secret in secrets):
        return content
    return redact(content.decode("latin-1"), secrets).encode("latin-1")


def one_line(text: str, limit: int = 500) -> str:
    """Return text that others wrote as one short printable line, without signed headers."""
    if len(text) <= limit and text.isprintable() and "  " not in text:
        return redact(text).strip()
    printable = "".join(char if char.isprintable() else " " for char in redact(text[: 4 * limit]))
    line = " ".join(printable.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"
