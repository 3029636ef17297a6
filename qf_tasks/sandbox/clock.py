"""The sandbox's own time: it stands still unless it is turned or told to run."""

import time
from datetime import UTC, datetime


class Clock:
    """Seconds since 1970 as the service sees them, starting at the present."""

    def __init__(self, speed: float) -> None:
        self._speed = speed
        self._started = time.monotonic()
        self._seconds = time.time()

    def seconds(self) -> float:
        """The time now."""
        return self._seconds + self._speed * (time.monotonic() - self._started)

    def advance(self, seconds: float) -> None:
        """Turn the clock on; it never goes back."""
        if seconds < 0:
            raise ValueError(f"the clock only goes forward, not by {seconds}")
        as_datetime(self.seconds() + seconds)  # refuses what is no time before it is too late
        self._seconds += seconds


def as_datetime(seconds: float) -> datetime:
    """The same moment as an aware `datetime`."""
    return datetime.fromtimestamp(seconds, UTC)


def as_text(seconds: float) -> str:
    """The same moment as the service writes it (Yjx35byvt)."""
    return as_datetime(seconds).strftime("%Y-%m-%dT%H:%M:%SZ")


def as_seconds(moment: datetime | None, default: float) -> float:
    """The same moment in seconds, or `default`; raises `ValueError` where it has no time zone."""
    if moment is None:
        return default
    if moment.tzinfo is None:
        raise ValueError(f"a time needs a time zone: {moment}")
    return moment.timestamp()
