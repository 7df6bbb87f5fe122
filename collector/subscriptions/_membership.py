"""
Which markets a subscription carries, and what brings it to those that are wanted.

One command at a time. Markets leave before others join, so that a limit of the exchange is not passed on the
way. A refused command is halved until the market that is refused stands alone, and that one is left out for a
while. What the exchange lists is believed over what was asked of it.
"""

from collections.abc import Callable, Collection, Sequence

from attrs import define, field, frozen

from collector.protocol import encode_add_markets, encode_delete_markets
from collector.subscriptions._audits import Pace


@frozen
class Change:
    """A command under way."""

    command_id: int
    is_joining: bool
    tickers: frozenset[str]


@define
class Membership:
    """What one subscription carries, as far as is known. Times are seconds of any steady clock."""

    pace: Pace
    carried: frozenset[str] = frozenset()
    _change: Change | None = None
    _due_s: float = 0.0
    _at_once: int = field(init=False)
    _refused: dict[str, float] = field(factory=dict[str, float])
    """Markets that the exchange does not take, each with the time at which it is asked again."""

    def __attrs_post_init__(self) -> None:
        self._at_once = self.pace.change_markets_max

    def begin(self, carried: frozenset[str]) -> None:
        """A subscription is asked for with these markets; what was under way is void."""
        self.carried = carried
        self._change = None
        self._due_s = 0.0

    def is_settled(self, wanted: frozenset[str]) -> bool:
        """Whether nothing is under way, and all that is wanted and can be had is carried."""
        return self._change is None and not wanted - self.carried - self._refused.keys()

    def next_due_s(self, wanted: frozenset[str]) -> float:
        """When `next_command` has something to say at the earliest, if nothing comes in before."""
        missing = wanted - self.carried
        if self._change is not None or self.carried - wanted or missing - self._refused.keys():
            return self._due_s
        return min((self._refused[ticker] for ticker in missing), default=float("inf"))

    def next_command(
        self,
        now_s: float,
        sid: int,
        wanted: Sequence[str],
        awaited: Collection[str],
        take_id: Callable[[], int],
    ) -> str | None:
        """
        The command that brings the subscription nearer to what is wanted; None when there is none now.

        `awaited` are markets of which an answer is to come: they don't leave before it is there, since behind
        the end it would pass for a book.
        """
        if now_s < self._due_s:
            return None
        self._change = None
        self._refused = {ticker: until_s for ticker, until_s in self._refused.items() if now_s < until_s}
        leaving = sorted(self.carried.difference(wanted, awaited))[: self.pace.change_markets_max]
        if leaving:
            return self._say(now_s, sid, leaving, take_id(), is_joining=False)
        known = self.carried | self._refused.keys()
        joining = [ticker for ticker in wanted if ticker not in known][: self._at_once]
        if joining:
            return self._say(now_s, sid, joining, take_id(), is_joining=True)
        self._due_s = now_s + self.pace.snapshot_interval_s
        return None

    def note_ok(self, command_id: int | None, listed: frozenset[str] | None, now_s: float) -> None:
        """A change is done, ours or not; `listed` is what the subscription carries, where that is told."""
        change = self._take(command_id)
        if change is None:
            self.carried = self.carried if listed is None else listed
            return
        self._at_once = self.pace.change_markets_max
        self._due_s = now_s
        if listed is None:
            carried = self.carried | change.tickers
            self.carried = carried if change.is_joining else carried - change.tickers
            return
        self.carried = listed
        if change.is_joining:
            self._refuse(change.tickers - listed, now_s)
        elif change.tickers & listed:
            self._due_s = now_s + self.pace.refused_s

    def note_refused(self, command_id: int | None, now_s: float) -> None:
        """The exchange has answered a command with an error: ours, perhaps."""
        change = self._take(command_id)
        if change is None:
            return
        self._due_s = now_s
        if not change.is_joining:
            self._due_s = now_s + self.pace.refused_s
        elif len(change.tickers) > 1:
            self._at_once = len(change.tickers) // 2
        else:
            self._refuse(change.tickers, now_s)
            self._at_once = self.pace.change_markets_max

    def hold_back(self, command_id: int | None, at_s: float) -> None:
        """A command was not carried out, and may be said again at a time: ours, perhaps."""
        if self._take(command_id) is not None:
            self._due_s = at_s

    def _say(
        self, now_s: float, sid: int, tickers: Sequence[str], command_id: int, *, is_joining: bool
    ) -> str:
        self._change = Change(command_id, is_joining, frozenset(tickers))
        self._due_s = now_s + self.pace.reply_s_max
        encode = encode_add_markets if is_joining else encode_delete_markets
        return encode(command_id, sid, tickers)

    def _take(self, command_id: int | None) -> Change | None:
        """The change under way, when this is its number; it is under way no more."""
        change = self._change
        if change is None or change.command_id != command_id:
            return None
        self._change = None
        return change

    def _refuse(self, tickers: frozenset[str], now_s: float) -> None:
        self._refused.update(dict.fromkeys(tickers, now_s + self.pace.refused_s))
