"""
The check that a database is one to record into: at the start, and again with every new connection.

At the start the check is stopped after START_S_MAX; closing its connection can take another 3 s. A server
that does not answer delays recording by no more than that.
"""

from contextlib import AbstractAsyncContextManager
from typing import Final

from attrs import define, field

from collector.database import (
    ADVICE,
    Risk,
    fetch_database_facts,
    find_obstacle,
    find_risks,
    holds_session_locks,
)
from collector.errors import StoreUnsuitable
from collector.observe import get_logger
from collector.postgres import TrioConnection, open_connection

START_S_MAX: Final = 7.0
"""Seconds for the check at the start. Ending it then takes a connection another 3 s: 10 s in all."""

_log = get_logger("preflight")


@define(eq=False)
class Preflight:
    """
    The check of one database, and of the schema in it.

    `key` is the number of an advisory lock that nobody else uses.

    An embedded server is connected to directly, so that `may_be_pooled` is false for it.
    """

    database_url: str
    schema: str
    key: int
    may_be_pooled: bool
    _risks: frozenset[Risk] = field(factory=frozenset[Risk], init=False)

    async def check_connection(self) -> None:
        """
        Check that a session lock stays with its connection. Once this has succeeded, it is not repeated.

        Raises StoreUnsuitable for a transaction pooler, and StoreUnavailable and StoreRejected.
        """
        if not self.may_be_pooled:
            return
        async with self._open() as first, self._open() as second:
            if not await holds_session_locks(first, second, self.key):
                raise StoreUnsuitable(
                    "DATABASE_URL names a transaction pooler, which does not keep session locks: set"
                    " DATABASE_URL to the direct connection, or to the pooler's session mode, and"
                    " DATABASE_URL_POOLED to the present value of DATABASE_URL"
                )
        self.may_be_pooled = False

    def _open(self) -> AbstractAsyncContextManager[TrioConnection]:
        return open_connection(
            self.database_url, schema=self.schema, is_pooled=True, application_name="collector-preflight"
        )

    async def check_database(self, connection: TrioConnection) -> None:
        """
        Check the database itself, and log new risks.

        Raises StoreUnsuitable for tables of another program, and StoreUnavailable and StoreRejected.
        """
        facts = await fetch_database_facts(connection)
        risks = find_risks(facts)
        for risk in sorted(risks - self._risks, key=lambda risk: risk.value):
            _log.warning("database_risk", risk=risk.value, encoding=facts.encoding, advice=ADVICE[risk])
        self._risks = risks
        obstacle = find_obstacle(facts)
        if obstacle is not None:
            raise obstacle
