"""
Which markets to record, of all that the exchange has: the most traded ones, for as long as they are open.

Pure. A market that is recorded stays recorded while it is open, however little it is traded by then: a book
with holes is worth less than a quiet one. When it closes it stays until it is settled, so that its last
snapshot and its settlement are in the recording; meanwhile its place is given to another one.
"""

from collections.abc import Iterable, Mapping

from attrs import define, field, frozen

from collector.protocol import SETTLED_STATUSES, TRADABLE_STATUSES, OpenMarket

CLOSED_KEPT_S = 86_400.0
"""A closed market that is not settled by then is let go."""


@frozen
class Choice:
    """The markets to record from now on, and what that changes."""

    tickers: tuple[str, ...]
    joined: tuple[str, ...]
    left: tuple[str, ...]


@define
class Universe:
    """The markets that are recorded: each with the second at which it was found closed, None while open."""

    markets_max: int
    _closed_s: dict[str, float | None] = field(factory=dict[str, float | None], init=False)

    def missing_from(self, listed: Iterable[OpenMarket]) -> list[str]:
        """The recorded markets that are not among the open ones: their status is to be asked for."""
        tickers = {market.ticker for market in listed}
        return [ticker for ticker in self._closed_s if ticker not in tickers]

    def choose(self, listed: Iterable[OpenMarket], statuses: Mapping[str, str], now_s: float) -> Choice:
        """
        Take in what is open, and how those stand that are not; `now_s` is of any steady clock.

        A market without a status is taken for closed: REST has none for a while, or has forgotten it.
        """
        by_volume = sorted(listed, key=lambda market: (-market.volume_e2, market.ticker))
        left = self._close(self.missing_from(by_volume), statuses, now_s)
        for market in by_volume:
            if market.ticker in self._closed_s:
                self._closed_s[market.ticker] = None
        room = self.markets_max - sum(closed_s is None for closed_s in self._closed_s.values())
        new = [market.ticker for market in by_volume if market.ticker not in self._closed_s][: max(0, room)]
        self._closed_s.update(dict.fromkeys(new))
        return Choice(tuple(self._closed_s), tuple(new), tuple(left))

    def _close(self, tickers: Iterable[str], statuses: Mapping[str, str], now_s: float) -> list[str]:
        """Note the closed ones, and let those go that are over."""
        left: list[str] = []
        for ticker in tickers:
            closed_s = self._closed_s[ticker]
            if statuses.get(ticker) in TRADABLE_STATUSES:
                # A listing that changes while it is paged through may leave it out.
                self._closed_s[ticker] = None
                continue
            if closed_s is None:
                closed_s = self._closed_s[ticker] = now_s
            if statuses.get(ticker) in SETTLED_STATUSES or now_s - closed_s >= CLOSED_KEPT_S:
                left.append(ticker)
        for ticker in left:
            del self._closed_s[ticker]
        waiting = [(closed_s, ticker) for ticker, closed_s in self._closed_s.items() if closed_s is not None]
        # However long the exchange takes to settle, no more wait for it than are open.
        for _, ticker in sorted(waiting)[: max(0, len(waiting) - self.markets_max)]:
            del self._closed_s[ticker]
            left.append(ticker)
        return left
