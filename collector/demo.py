"""
The whole service with nothing to configure: simulator, embedded PostgreSQL, dashboard, in one process.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from attrs import frozen

from collector.app import run_service
from collector.config import Settings
from collector.simulator.server import SimulatorSettings, open_simulator

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


async def run_demo(demo: DemoSettings, on_ready: Callable[[list[str]], None]) -> bool:
    """Run until SIGTERM or SIGINT. Raises StartError when a port or the folder can't be had."""
    flow = SimulatorSettings(markets=demo.markets, rate_per_s=demo.rate_per_s, seed=demo.seed)
    async with open_simulator(flow) as simulator:
        settings = Settings(
            api_key_id=simulator.key_id,
            private_key_pem=simulator.private_key_pem,
            environment="demo",
            ws_url=simulator.ws_url,
            api_url=simulator.api_url,
            market_tickers=tuple(simulator.tickers),
            market_mode="config",
            market_limit=300,
            batch_rows=100,
            flush_interval_s=1.0,
            sample_rate=1,
            database_url=f"embedded:{demo.folder / 'postgres'}",
            database_url_pooled=None,
            host=demo.host,
            port=demo.port,
            admin_token=None,
            allowed_origins=(),
            spool_dir=demo.folder / "spool",
            spool_mb_max=256,
            log_level="INFO",
            log_format=None,
            rows_retention_days=None,
            raw_retention_days=None,
            is_simulated=True,
        )
        return await run_service(settings, on_ready=on_ready)
