"""How long to wait before the next try."""

import random
from collections.abc import Iterator


def backoff_delays(rng: random.Random, *, first_s: float, s_max: float) -> Iterator[float]:
    """
    Full-jitter exponential backoff, without an end: uniform between nothing and a bound that doubles.

    The jitter keeps many clients that lost the same server from coming back at the same instant.
    """
    bound_s = first_s
    while True:
        yield rng.uniform(0, bound_s)
        bound_s = min(bound_s * 2, s_max)
