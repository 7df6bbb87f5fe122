"""
The whole service with nothing to configure: simulator, embedded PostgreSQL, dashboard, in one process.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Final

import trio
from attrs import frozen

from collector.app import run_service
from collector.config import read_settings
from collector.postgres import EMBEDDED_PREFIX
from collector.simulator import SimulatorSettings, open_simulator

DEMO_MARKETS: Final = 12
DEMO_RATE_PER_S: Final = 60.0


@frozen
class DemoSettings:
    """What can be chosen about a demonstration."""

    folder: Path
    host: str = "127.0.0.1"
    port: int = 8001
    markets: int = DEMO_MARKETS
    rate_per_s: float = DEMO_RATE_PER_S
    seed: int = 1


async def run_demo(demo: DemoSettings, on_ready: Callable[[list[str]], None], stopping: trio.Event) -> bool:
    """Run until `stopping`. Raises StartError when a port or the folder can't be had."""
    flow = SimulatorSettings(markets=demo.markets, rate_per_s=demo.rate_per_s, seed=demo.seed)
    async with open_simulator(flow) as simulator:
        settings = read_settings(
            {
                **simulator.environ,
                "DATABASE_URL": f"{EMBEDDED_PREFIX}{demo.folder / 'postgres'}",
                "RL_SPOOL_DIR": str(demo.folder / "spool"),
                "HOST": demo.host,
                "PORT": str(demo.port),
            }
        )
        return await run_service(settings, on_ready=on_ready, stopping=stopping)
