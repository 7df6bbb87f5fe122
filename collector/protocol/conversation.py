"""
Our side of a connection: which commands are due, and what their answers mean.

Theory of operation. For each channel there is at most one subscribe command under way; its `subscribed` reply
names the `sid`. Markets whose books are lost are asked for with `get_snapshot`, at most one command in an
interval and at most so many markets in each, and asked for again when no answer came in time. The exchange
may ask us to come again later (18, 27), may end a subscription (10, 25), or say that it has too many markets
(26). Time comes in as seconds of any steady clock.
"""

from collections.abc import Iterable, Sequence

from attrs import define, field, frozen

from collector.errors import FeedLost, MarketLimitExceeded
from collector.protocol.commands import encode_get_snapshot, encode_subscribe, encode_unsubscribe
from collector.protocol.facts import Fact, ReplyFact, SnapshotFact
from collector.protocol.messages import (
    BOOK_CHANNEL,
    ERROR_COMMAND_TIMEOUT,
    ERROR_MARKET_LIMIT,
    ERROR_TOO_MANY_REQUESTS,
    TERMINAL_ERRORS,
    TRADE_CHANNEL,
    ErrorReply,
    OkReply,
    SubscribedReply,
    UnsubscribedReply,
)

CHANNELS = (BOOK_CHANNEL, TRADE_CHANNEL)


@frozen
class Pace:
    """
    How patient and how fast we are, in seconds and markets.

    The exchange publishes no number for its command rate (error 27), only that one connection may send 10,000
    commands a second; one a second is far below anything reported as too fast.
    """

    reply_s_max: float = 10.0
    subscribe_tries_max: int = 3
    snapshot_interval_s: float = 1.0
    snapshot_markets_max: int = 100
    back_off_s: float = 5.0
    command_timeout_s: float = 0.5
    refused_s: float = 300.0


@define
class _Subscription:
    """One channel. `command_id` is that of the subscribe under way."""

    channel: str
    sid: int | None = None
    command_id: int | None = None
    due_s: float = 0.0
    tries: int = 0
    ended_s: float = float("-inf")
    is_refused: bool = False

    def again(self, at_s: float) -> None:
        """Subscribe (anew) at a time."""
        self.sid = None
        self.command_id = None
        self.due_s = at_s


@define(eq=False)
class Conversation:
    """What has been said on one connection, and what is to be said next."""

    tickers: Sequence[str]
    pace: Pace = Pace()
    error_counts: dict[int, int] = field(factory=dict[int, int])
    _next_command_id: int = 1
    _subscriptions: dict[str, _Subscription] = field(init=False)
    _asked: dict[str, float] = field(factory=dict[str, float])
    _asked_by_command: dict[int, list[str]] = field(factory=dict[int, list[str]])
    _is_unsubscribing: bool = False
    _markets_at_once: int = field(init=False)
    _snapshots_due_s: float = 0.0

    def __attrs_post_init__(self) -> None:
        self._subscriptions = {channel: _Subscription(channel) for channel in CHANNELS}
        self._markets_at_once = self.pace.snapshot_markets_max

    @property
    def is_subscribed(self) -> bool:
        """Whether every channel has been answered: acknowledged, or refused for now."""
        return all(s.sid is not None or s.is_refused for s in self._subscriptions.values())

    def due(self, now_s: float, lost: Sequence[str]) -> list[str]:
        """
        Commands to send now. `lost` are the markets whose books must be asked for.

        Raises FeedLost when the exchange has left a subscribe unanswered too often.
        """
        commands = [
            self._subscribe(subscription, now_s)
            for subscription in self._subscriptions.values()
            if subscription.sid is None and now_s >= subscription.due_s
        ]
        snapshots = self._ask_snapshots(now_s, lost)
        return commands if snapshots is None else [*commands, snapshots]

    def next_due_s(self, lost: Sequence[str]) -> float:
        """When `due` has something to say at the earliest, if nothing comes in before."""
        times = [s.due_s for s in self._subscriptions.values() if s.sid is None]
        if lost and self._subscriptions[BOOK_CHANNEL].sid is not None:
            first_free_s = min(self._asked.get(ticker, 0.0) for ticker in lost)
            times.append(max(self._snapshots_due_s, first_free_s))
        return min(times, default=float("inf"))

    def note(self, facts: Iterable[Fact], now_s: float) -> None:
        """
        Learn from what has come in.

        Raises MarketLimitExceeded on error 26, and FeedLost on an end of subscription that names none.
        """
        for fact in facts:
            match fact:
                case SnapshotFact(market_ticker=ticker):
                    if self._asked.pop(ticker, None) is not None:
                        self._markets_at_once = self.pace.snapshot_markets_max
                case ReplyFact():
                    self._note_reply(fact, now_s)
                case _:
                    pass

    def unsubscribe(self) -> str | None:
        """The command that ends all subscriptions; None when there is none."""
        self._is_unsubscribing = True
        sids = sorted(self.open_sids)
        return encode_unsubscribe(self._take_id(), sids) if sids else None

    @property
    def open_sids(self) -> set[int]:
        """The subscriptions that are on."""
        return {s.sid for s in self._subscriptions.values() if s.sid is not None}

    def _subscribe(self, subscription: _Subscription, now_s: float) -> str:
        subscription.tries += 1
        if subscription.tries > self.pace.subscribe_tries_max:
            raise FeedLost(f"no answer to {self.pace.subscribe_tries_max} subscribe commands")
        subscription.command_id = self._take_id()
        subscription.due_s = now_s + self.pace.reply_s_max
        return encode_subscribe(subscription.command_id, subscription.channel, self.tickers)

    def _ask_snapshots(self, now_s: float, lost: Sequence[str]) -> str | None:
        sid = self._subscriptions[BOOK_CHANNEL].sid
        if sid is None or now_s < self._snapshots_due_s:
            return None
        free = [ticker for ticker in lost if now_s >= self._asked.get(ticker, 0.0)]
        tickers = free[: self._markets_at_once]
        if not tickers:
            return None
        self._asked_by_command = {self._next_command_id: tickers}
        self._snapshots_due_s = now_s + self.pace.snapshot_interval_s
        for ticker in tickers:
            self._asked[ticker] = now_s + self.pace.reply_s_max
        return encode_get_snapshot(self._take_id(), sid, tickers)

    def _note_reply(self, reply: ReplyFact, now_s: float) -> None:
        match reply.message:
            case SubscribedReply(channel=channel, sid=sid):
                subscription = self._subscriptions.get(channel)
                if subscription is not None:
                    subscription.sid = sid
                    subscription.tries = 0
                    subscription.is_refused = False
            case OkReply() if reply.sid is not None:
                # What a subscribe to a channel that is on already is answered with, by the documentation.
                for subscription in self._subscriptions.values():
                    if subscription.sid is None and subscription.command_id == reply.command_id:
                        subscription.sid = reply.sid
            case UnsubscribedReply():
                for subscription in self._subscriptions.values():
                    if subscription.sid == reply.sid:
                        subscription.again(float("inf") if self._is_unsubscribing else now_s)
            case ErrorReply() as error:
                self._note_error(error, reply, now_s)
            case _:
                pass

    def _note_error(self, error: ErrorReply, reply: ReplyFact, now_s: float) -> None:
        self.error_counts[error.code] = self.error_counts.get(error.code, 0) + 1
        if error.code == ERROR_MARKET_LIMIT:
            raise MarketLimitExceeded(f"error 26: {len(self.tickers)} markets are too many: {error.text}")
        if error.code in TERMINAL_ERRORS:
            self._subscribe_again(reply.sid, error, now_s)
        elif error.code == ERROR_TOO_MANY_REQUESTS:
            self._hold_back(reply, now_s + self.pace.back_off_s)
        elif error.code == ERROR_COMMAND_TIMEOUT:
            self._hold_back(reply, now_s + self.pace.command_timeout_s)
        elif reply.command_id in self._asked_by_command:
            self._ask_for_fewer(self._asked_by_command.pop(reply.command_id), now_s)
        else:
            self._note_refusal(error, reply.command_id, now_s)

    def _subscribe_again(self, sid: int | None, error: ErrorReply, now_s: float) -> None:
        if sid is None:
            raise FeedLost(f"error {error.code} ended a subscription without naming it: {error.text}")
        for subscription in self._subscriptions.values():
            if subscription.sid == sid:
                # At once, but not in a circle with an exchange that ends each one as it begins.
                is_again = now_s - subscription.ended_s < self.pace.back_off_s
                subscription.ended_s = now_s
                subscription.again(now_s + (self.pace.command_timeout_s if is_again else 0.0))

    def _note_refusal(self, error: ErrorReply, command_id: int | None, now_s: float) -> None:
        """A subscribe was turned down. Without books there is nothing to do; trades are tried again later."""
        for subscription in self._subscriptions.values():
            if command_id is None or subscription.sid is not None or subscription.command_id != command_id:
                continue
            if subscription.channel == BOOK_CHANNEL:
                raise FeedLost(f"error {error.code} to the subscription of books: {error.text}")
            subscription.again(now_s + self.pace.refused_s)
            subscription.tries = 0
            subscription.is_refused = True

    def _ask_for_fewer(self, tickers: list[str], now_s: float) -> None:
        """One market of these is not to be had: halve until it stands alone, and then ask for it rarely."""
        again_s = now_s if len(tickers) > 1 else now_s + self.pace.refused_s
        for ticker in tickers:
            self._asked[ticker] = again_s
        self._markets_at_once = max(1, len(tickers) // 2)

    def _hold_back(self, reply: ReplyFact, at_s: float) -> None:
        """The command that this answers was not carried out: say it again, but not before a time."""
        self._snapshots_due_s = max(self._snapshots_due_s, at_s)
        self._asked.clear()
        for subscription in self._subscriptions.values():
            if subscription.sid is None and subscription.command_id == reply.command_id:
                subscription.tries -= 1
                subscription.again(at_s)

    def _take_id(self) -> int:
        command_id = self._next_command_id
        self._next_command_id += 1
        return command_id
