"""Markets as REST lists them."""

from typing import Final

from attrs import frozen

SETTLED_STATUSES: Final = frozenset({"finalized", "settled"})
"""Of a market that is settled: the name in REST records, and the one of the filter."""
TRADABLE_STATUSES: Final = frozenset({"active", "inactive"})
"""Of a market that is open, or paused within its trading hours."""


@frozen
class OpenMarket:
    """A market that can be traded now, and the volume of the last 24 hours in 1/100 contract."""

    ticker: str
    volume_e2: int
