"""Runs in virtual time whose task order a seed decides. Trio's private names are used here alone."""

from collections.abc import Awaitable, Callable
from typing import Any, cast

import hypothesis  # noqa: F401 - makes Trio's scheduler take its order from one random source
import trio
from trio.testing import MockClock


def run_seeded(run: Callable[[], Awaitable[None]], seed: int) -> None:
    """Run in virtual time; the same seed gives the same order of tasks."""
    source = cast("Any", trio._core._run)._r
    state = source.getstate()
    try:
        source.seed(seed)
        trio.run(run, clock=MockClock(autojump_threshold=0))
    finally:
        source.setstate(state)
