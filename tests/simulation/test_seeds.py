"""A hundred lives of the service, each from a seed; thousands by `python -m tests.simulation`."""

import pytest

from tests.simulation.check import check_world
from tests.simulation.world import run_world


@pytest.mark.parametrize("block", range(10))
def test_hundred_seeds(block: int) -> None:
    """Whatever goes wrong, nothing that was safe is lost, every hole is on record, and no other."""
    failures: dict[int, list[str]] = {}
    for seed in range(block * 10, block * 10 + 10):
        world = run_world(seed)
        findings = check_world(world)
        if findings:
            failures[seed] = [*findings, *world.log]
    assert failures == {}, "replay with: python -m tests.simulation --count 1 --verbose --first SEED"


def test_same_seed_same_run() -> None:
    """A failure can be replayed: the same seed gives the same frames, the same sessions, the same log."""

    def trace(seed: int) -> list[object]:
        world = run_world(seed)
        sessions = [[frame.text for frame in session.frames] for session in world.database.sessions.values()]
        return [world.log, sessions]

    assert trace(5) == trace(5)
    assert trace(5) != trace(6)
