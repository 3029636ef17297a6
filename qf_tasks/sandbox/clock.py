"""The clock of the sandbox, which runs at any speed and can be moved forward."""

import time
from datetime import UTC, datetime


class Clock:
    """Seconds since 1970 on the clock of the service, starting at the present."""

    def __init__(self, speed: float) -> None:
        self._speed = speed
        self._started = time.monotonic()
        self._offset = time.time()

    def seconds(self) -> float:
        """Return the current time."""
        return self._offset + self._speed * (time.monotonic() - self._started)

    def advance(self, seconds: float) -> None:
        """Move the clock forward."""
        if seconds < 0:
            raise ValueError(f"the clock cannot go back by {-seconds} seconds")
        to_datetime(self.seconds() + seconds)  # raises for a time that cannot be represented
        self._offset += seconds


def to_datetime(seconds: float) -> datetime:
    """Convert to an aware `datetime`."""
    return datetime.fromtimestamp(seconds, UTC)


def to_text(seconds: float) -> str:
    """Convert to the format of the service's dates."""
    return to_datetime(seconds).strftime("%Y-%m-%dT%H:%M:%SZ")


def to_seconds(moment: datetime) -> float:
    """Convert from an aware `datetime`."""
    if moment.tzinfo is None:
        raise ValueError(f"a time needs a time zone: {moment}")
    return moment.timestamp()
