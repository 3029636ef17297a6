"""Lengths of time as text with a unit."""

from __future__ import annotations

import re

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def parse_duration(text: str) -> float | None:
    """Return a length of time in seconds, None for a text that is none."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhdw])", text.strip().lower())
    return float(found[1]) * _UNITS[found[2]] if found else None
