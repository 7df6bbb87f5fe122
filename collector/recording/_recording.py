"""What others ask about the recording while it grows: each question is one short read-only transaction."""

from attrs import frozen

from collector.database import fetch_coverage, fetch_session_summaries
from collector.postgres import ConnectStore
from collector.recording._coverage import MarketCoverage, coverage_of_markets
from collector.storage import SessionSummary


@frozen
class Recording:
    """The recording in one database. Every method opens a connection, and raises StoreError."""

    connect: ConnectStore

    async def coverage(self, from_us: int, to_us: int) -> list[MarketCoverage]:
        """When the books of each market were exact within a window, microseconds since 1970 UTC."""
        async with self.connect() as connection:
            rows = await fetch_coverage(connection, from_us, to_us)
        return await coverage_of_markets(rows, from_us, to_us)

    async def session_summaries(self, sessions: int) -> list[SessionSummary]:
        """The newest sessions, newest first."""
        async with self.connect() as connection:
            return await fetch_session_summaries(connection, sessions)
