"""Recording works in databases of any encoding, and with any defaults of the role."""

import pytest

from tests.databases import hostile_role, new_database
from tests.pgbouncer import open_pgbouncer
from tests.service.harness import assert_verified, flow, query, raw_frames, record, sent_frames

SIMULATION = flow(markets=3, rate_per_s=1000, messages_max=500)


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1"])
@pytest.mark.parametrize("is_pooled", [False, True], ids=["direct", "pooled"])
async def test_database_of_another_encoding(
    postgres_15_server_url: str, encoding: str, is_pooled: bool
) -> None:
    """Everything is recorded and can be verified."""
    with new_database(postgres_15_server_url, encoding) as url:
        if is_pooled:
            with open_pgbouncer(url, "transaction") as pooled_url:
                simulator = await record(SIMULATION, url, database_url_pooled=pooled_url)
        else:
            simulator = await record(SIMULATION, url)
        assert list(raw_frames(url).values()) == sent_frames(simulator)
        tickers = query(f"{url}&client_encoding=UTF8", "SELECT market_ticker FROM rl_markets ORDER BY 1")
        assert [ticker for (ticker,) in tickers] == sorted(simulator.tickers)


@pytest.mark.parametrize("is_pooled", [False, True], ids=["direct", "pooled"])
async def test_role_with_hostile_defaults(database_url: str, is_pooled: bool) -> None:
    """A read-only default, another search path and the like change nothing."""
    with hostile_role(database_url) as url:
        if is_pooled:
            with open_pgbouncer(url, "transaction", settings="default_pool_size = 3") as pooled_url:
                simulator = await record(SIMULATION, url, database_url_pooled=pooled_url)
        else:
            simulator = await record(SIMULATION, url)
        assert list(raw_frames(database_url).values()) == sent_frames(simulator)
        await assert_verified(url)
