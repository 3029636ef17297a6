"""A signature is removed from what others wrote, however they spell it."""

from __future__ import annotations

import html
import json
from urllib.parse import quote

import pytest

from qf_tasks._protocol.redaction import one_line, redact, redact_bytes

SIGNATURE = "0123456789abcdef" * 4
HEADER = f"bce-auth-v1/ALTAKexample/2025-01-01T00:00:00Z/300/content-type;host;x-bce-date/{SIGNATURE}"

SPELLINGS = {
    "plain": HEADER,
    "upper case": HEADER.upper(),
    r"\/": HEADER.replace("/", r"\/"),
    r"\\/": HEADER.replace("/", r"\\/"),
    r"\u002f": HEADER.replace("/", r"\u002f"),
    r"\\u002F": HEADER.replace("/", r"\\u002F"),
    "%2F": quote(HEADER, safe=""),
    "%252F": quote(quote(HEADER, safe=""), safe=""),
    "&#x2F;": HEADER.replace("/", "&#x2F;"),
    "&amp;#47;": html.escape(HEADER.replace("/", "&#47;")),
    "escaped dashes": HEADER.replace("-", "%2D").replace("/", "%2F"),
    "JSON in JSON": json.dumps(json.dumps({"sent": HEADER})),
    "cut off": HEADER[:-1],
}


@pytest.mark.parametrize("spelling", SPELLINGS.values(), ids=list(SPELLINGS))
def test_redact_removes_signed_header_in_every_spelling(spelling: str) -> None:
    redacted = redact(f'before "{spelling}" after')

    assert SIGNATURE[:-1] not in redacted.lower()
    assert redacted.startswith('before "')
    assert redacted.endswith('" after')


@pytest.mark.parametrize("echo", [SIGNATURE, SIGNATURE.upper(), f"signature={SIGNATURE}&", f"x{SIGNATURE}"])
def test_redact_removes_the_signature_that_was_sent_without_its_header(echo: str) -> None:
    assert SIGNATURE not in redact(echo, [SIGNATURE]).lower()
    assert SIGNATURE.encode() not in redact_bytes(echo.encode(), [SIGNATURE]).lower()


@pytest.mark.parametrize("slash", ["/", r"\/", r"\u002f"])
def test_redact_bytes_leaves_json_readable(slash: str) -> None:
    inner = json.dumps({"name": HEADER}).replace("/", slash)
    content = json.dumps({"error": inner, "next": "kept"}).encode()

    body = json.loads(redact_bytes(content))

    assert body["next"] == "kept"
    assert json.loads(body["error"]) == {"name": "(signed header)"}


@pytest.mark.parametrize("content", [b"", b"bce", b"\xff\xfebce-auth-v2", "批量推理".encode()])
def test_redact_bytes_without_signature_changes_nothing(content: bytes) -> None:
    assert redact_bytes(content, [SIGNATURE]) == content


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("plain", "plain"),
        (" two \r\n lines\x1b[31m ", "two lines [31m"),
        ("x" * 30, "x" * 19 + "…"),
        (HEADER, "(signed header)"),
    ],
)
def test_one_line_is_short_and_printable(text: str, line: str) -> None:
    assert one_line(text, 20) == line
