"""
Fewer rows that still fold to the true book (RL_SAMPLE_RATE above 1).

Of each market, every N-th delta is a point that is kept. Between two such points the deltas of a level are
summed; at the point, each level whose sum is not zero becomes one row, and all of them carry the point's
sequence number and times. Folding the kept rows therefore gives the true book at every kept point. Before a
gap, at the start of a segment and at the end, what is summed becomes rows too.
"""

from collections.abc import Iterable, Iterator

from attrs import define, field
from msgspec.structs import replace

from collector.facts._facts import DeltaFact, Fact, GapFact, ReplyFact, SnapshotFact, TrackerStateFact
from collector.protocol import Side


@define(eq=False)
class _Sums:
    """What has been summed for one market since its last kept point."""

    last: DeltaFact
    count: int = 0
    old_sizes_e2: dict[tuple[Side, int], int] = field(factory=dict[tuple[Side, int], int])
    deltas_e2: dict[tuple[Side, int], int] = field(factory=dict[tuple[Side, int], int])

    def add(self, delta: DeltaFact) -> None:
        level = (delta.side, delta.price_e4)
        self.old_sizes_e2.setdefault(level, delta.old_size_e2)
        self.deltas_e2[level] = self.deltas_e2.get(level, 0) + delta.delta_e2
        self.last = delta
        self.count += 1

    def rows(self) -> Iterator[DeltaFact]:
        for (side, price_e4), delta_e2 in self.deltas_e2.items():
            if delta_e2:
                old_size_e2 = self.old_sizes_e2[(side, price_e4)]
                yield replace(
                    self.last, side=side, price_e4=price_e4, delta_e2=delta_e2, old_size_e2=old_size_e2
                )


@define(eq=False)
class Thinner:
    """Keeps one delta in `every`, by market. With 1, everything passes as it is."""

    every: int
    _sums: dict[str, _Sums] = field(factory=dict[str, _Sums])

    def thin(self, facts: Iterable[Fact]) -> list[Fact]:
        """The facts that become rows, in order; replies of the exchange become none."""
        stored: list[Fact] = [fact for fact in facts if not isinstance(fact, ReplyFact)]
        if self.every == 1:
            return stored
        return [kept for fact in stored for kept in self._thin_one(fact)]

    def finish(self) -> list[Fact]:
        """What is still summed when the session ends."""
        return [row for ticker in list(self._sums) for row in self._flush(ticker)]

    def _thin_one(self, fact: Fact) -> list[Fact]:
        match fact:
            case DeltaFact(market_ticker=ticker):
                sums = self._sums.setdefault(ticker, _Sums(fact))
                sums.add(fact)
                return self._flush(ticker) if sums.count >= self.every else []
            case SnapshotFact(market_ticker=ticker):
                return [*self._flush(ticker), fact]
            case GapFact() | TrackerStateFact():
                return [*self.finish(), fact]
            case _:
                return [fact]

    def _flush(self, ticker: str) -> list[Fact]:
        sums = self._sums.pop(ticker, None)
        return [] if sums is None else list(sums.rows())
