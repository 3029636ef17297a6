"""The passing of time, as it is injected into what waits."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

_dice = random.SystemRandom()


class Clock(NamedTuple):
    """A clock that only goes forward, and a way to let it."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


def pauses(longest: float) -> Iterator[float]:
    """Yield the pauses between looks, in seconds: a second at first, then slower, none over `longest`.

    Each is shortened by up to a quarter at random, so that many waiting programs do not ask in step.
    """
    pause = min(1.0, longest)
    while True:
        yield pause * _dice.uniform(0.75, 1.0)
        pause = min(pause * 1.5, longest)
