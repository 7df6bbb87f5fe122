"""
How fast a connection is asked for things, and whose book is to be audited next.
"""

import math
from collections.abc import Callable, Sequence

from attrs import define, field, frozen


@frozen
class Pace:
    """
    How patient and how fast we are, in seconds and markets.

    The exchange publishes no number for its command rate (error 27), only that one connection may send 10,000
    commands a second; one a second is far below anything reported as too fast. Without `audit_interval_s` no
    book is audited, without `silence_probe_s` no subscription is probed.
    """

    reply_s_max: float = 10.0
    subscribe_tries_max: int = 3
    snapshot_interval_s: float = 1.0
    snapshot_markets_max: int = 100
    back_off_s: float = 5.0
    command_timeout_s: float = 0.5
    refused_s: float = 300.0
    change_markets_max: int = 500
    audit_interval_s: float = 0.0
    silence_probe_s: float = 0.0
    probe_tries_max: int = 2


@define(eq=False)
class AuditRotation:
    """Whose turn it is. `asked` are the markets without an answer, and until when one may come."""

    tickers: Sequence[str]
    markets_at_once: int = 0
    period_s: float = 0.0
    due_s: float = float("inf")
    unanswered: int = 0
    asked: dict[str, float] = field(factory=dict[str, float])
    _is_begun: bool = False
    _position: int = 0

    @classmethod
    def at_pace(cls, tickers: Sequence[str], pace: Pace) -> "AuditRotation":
        """All markets within the interval, and no faster than the pace allows."""
        audits = cls(tickers)
        audits.follow(tickers, pace)
        return audits

    def follow(self, tickers: Sequence[str], pace: Pace) -> None:
        """Other markets from now on; whose turn it is stays about the same."""
        self.tickers = tickers
        self.markets_at_once = 0
        if not tickers or not pace.audit_interval_s:
            return
        wanted = math.ceil(len(tickers) * pace.snapshot_interval_s / pace.audit_interval_s)
        self.markets_at_once = min(max(1, wanted), pace.snapshot_markets_max)
        self.period_s = max(
            pace.snapshot_interval_s, pace.audit_interval_s * self.markets_at_once / len(tickers)
        )
        if self._is_begun and self.due_s == float("inf"):
            # The subscription had begun without a market.
            self.due_s = 0.0

    def begin(self, now_s: float) -> None:
        """The books have just begun: there is nothing to audit before one period is over."""
        self._is_begun = True
        self.due_s = now_s + self.period_s if self.markets_at_once else float("inf")

    def take(self, now_s: float, is_exact: Callable[[str], bool], reply_s_max: float) -> list[str]:
        """The markets of this turn that can be audited."""
        late = [ticker for ticker, until_s in self.asked.items() if now_s >= until_s]
        for ticker in late:
            del self.asked[ticker]
        self.unanswered += len(late)
        turn = [
            self.tickers[(self._position + step) % len(self.tickers)]
            for step in range(min(self.markets_at_once, len(self.tickers)))
        ]
        self._position = (self._position + len(turn)) % max(1, len(self.tickers))
        # A turn that came late does not make the next ones late.
        self.due_s = max(self.due_s + self.period_s, now_s)
        exact = [ticker for ticker in turn if is_exact(ticker)]
        self.asked.update(dict.fromkeys(exact, now_s + reply_s_max))
        return exact
