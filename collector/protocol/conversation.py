"""
Our side of a connection: which commands are due, and what their answers mean.

Theory of operation. For each channel there is at most one subscribe command under way; its `subscribed` reply
names the `sid`. After that there is at most one further command in an interval, and what is most urgent goes
first:

1. A probe of a subscription that has been silent for long. Quiet is not mute: any numbered frame on that
   `sid` is an answer. Two probes without one, and the connection is given up. The lifecycle is not probed: it
   carries no markets that a probe could name.
2. Markets whose books are lost are asked for with `get_snapshot`, at most so many in each command, and asked
   for again when no answer came in time.
3. Audits: exact books are asked for in rotation, each once in the audit interval. The tracker compares. An
   audit without an answer is counted, and comes again with the next rotation.

The exchange may ask us to come again later (18, 27), may end a subscription (10, 25), or say that it has too
many markets (26). Time comes in as seconds of any steady clock.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence

from attrs import define, field, frozen

from collector.errors import FeedLost, MarketLimitExceeded
from collector.protocol.commands import (
    encode_add_markets,
    encode_get_snapshot,
    encode_subscribe,
    encode_unsubscribe,
)
from collector.protocol.facts import Fact, ReplyFact, SnapshotFact
from collector.protocol.messages import (
    BOOK_CHANNEL,
    ERROR_COMMAND_TIMEOUT,
    ERROR_MARKET_LIMIT,
    ERROR_TOO_MANY_REQUESTS,
    ERROR_UNKNOWN_SUBSCRIPTION,
    LIFECYCLE_CHANNEL,
    TERMINAL_ERRORS,
    TRADE_CHANNEL,
    ErrorReply,
    OkReply,
    SubscribedReply,
    UnsubscribedReply,
)
from collector.protocol.sequence import SequenceChain

CHANNELS = (BOOK_CHANNEL, TRADE_CHANNEL, LIFECYCLE_CHANNEL)


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
    audit_interval_s: float = 0.0
    silence_probe_s: float = 0.0
    probe_tries_max: int = 2


@define
class _Subscription:
    """
    One channel. `command_id` is that of the subscribe under way.

    `number` is what the next numbered frame of the `sid` would carry, as far as was heard. `probes` counts
    the ones that nothing has followed yet.
    """

    channel: str
    sid: int | None = None
    command_id: int | None = None
    due_s: float = 0.0
    tries: int = 0
    ended_s: float = float("-inf")
    is_refused: bool = False
    number: int | None = None
    probes: int = 0
    probe_command_id: int | None = None
    probe_due_s: float = float("inf")

    def again(self, at_s: float) -> None:
        """Subscribe (anew) at a time."""
        self.sid = None
        self.command_id = None
        self.due_s = at_s

    def hear(self, probe_due_s: float) -> None:
        """The exchange has shown that this subscription lives; should it be silent, probe it at that time."""
        self.probes = 0
        self.probe_command_id = None
        self.probe_due_s = probe_due_s


@define(eq=False)
class _Audits:
    """Whose turn it is. `asked` are the markets without an answer, and until when one may come."""

    tickers: Sequence[str]
    markets_at_once: int = 0
    period_s: float = 0.0
    due_s: float = float("inf")
    unanswered: int = 0
    asked: dict[str, float] = field(factory=dict[str, float])
    _position: int = 0

    @classmethod
    def at_pace(cls, tickers: Sequence[str], pace: Pace) -> "_Audits":
        """All markets within the interval, and no faster than the pace allows."""
        if not tickers or not pace.audit_interval_s:
            return cls(tickers)
        wanted = math.ceil(len(tickers) * pace.snapshot_interval_s / pace.audit_interval_s)
        at_once = min(max(1, wanted), pace.snapshot_markets_max)
        period_s = max(pace.snapshot_interval_s, pace.audit_interval_s * at_once / len(tickers))
        return cls(tickers, at_once, period_s)

    def begin(self, now_s: float) -> None:
        """The books have just begun: there is nothing to audit before one period is over."""
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
        self._position = (self._position + len(turn)) % len(self.tickers)
        # A turn that came late does not make the next ones late.
        self.due_s = max(self.due_s + self.period_s, now_s)
        exact = [ticker for ticker in turn if is_exact(ticker)]
        self.asked.update(dict.fromkeys(exact, now_s + reply_s_max))
        return exact


def _nothing_is_exact(_ticker: str) -> bool:
    return False


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
    _update_due_s: float = 0.0
    _audits: _Audits = field(init=False)
    _probes_sent: int = 0

    def __attrs_post_init__(self) -> None:
        self._subscriptions = {channel: _Subscription(channel) for channel in CHANNELS}
        self._markets_at_once = self.pace.snapshot_markets_max
        self._audits = _Audits.at_pace(self.tickers, self.pace)

    @property
    def unanswered_audits(self) -> int:
        """How many audits have not been answered in time."""
        return self._audits.unanswered

    @property
    def is_subscribed(self) -> bool:
        """Whether every channel has been answered: acknowledged, or refused for now."""
        return all(s.sid is not None or s.is_refused for s in self._subscriptions.values())

    def due(
        self, now_s: float, lost: Sequence[str], is_exact: Callable[[str], bool] = _nothing_is_exact
    ) -> list[str]:
        """
        Commands to send now. `lost` are the markets whose books must be asked for.

        Raises FeedLost when the exchange has left a subscribe unanswered too often, or a probe.
        """
        if self._is_unsubscribing:
            return []
        commands = [
            self._subscribe(subscription, now_s)
            for subscription in self._subscriptions.values()
            if subscription.sid is None and now_s >= subscription.due_s
        ]
        self._give_up_mute(now_s)
        if now_s < self._update_due_s:
            return commands
        update = self._probe(now_s, is_exact) or self._ask_snapshots(now_s, lost)
        update = update or self._audit(now_s, is_exact)
        if update is None:
            return commands
        self._update_due_s = now_s + self.pace.snapshot_interval_s
        return [*commands, update]

    def next_due_s(self, lost: Sequence[str]) -> float:
        """When `due` has something to say at the earliest, if nothing comes in before."""
        if self._is_unsubscribing:
            return float("inf")
        subscriptions = self._subscriptions.values()
        times = [s.due_s for s in subscriptions if s.sid is None]
        updates = [s.probe_due_s for s in subscriptions if s.sid is not None]
        if self._subscriptions[BOOK_CHANNEL].sid is not None:
            updates.append(self._audits.due_s)
            updates += [self._asked.get(ticker, 0.0) for ticker in lost]
        if updates:
            times.append(max(self._update_due_s, min(updates)))
        return min(times, default=float("inf"))

    def note(
        self, facts: Iterable[Fact], now_s: float, chains: Mapping[int, SequenceChain] | None = None
    ) -> None:
        """
        Learn from what has come in; the counters of the subscriptions tell which of them have been heard.

        Raises MarketLimitExceeded on error 26, and FeedLost on an end of subscription that names none.
        """
        for fact in facts:
            match fact:
                case SnapshotFact(market_ticker=ticker, origin=origin) if origin != "checkpoint":
                    self._audits.asked.pop(ticker, None)
                    if self._asked.pop(ticker, None) is not None:
                        self._markets_at_once = self.pace.snapshot_markets_max
                case ReplyFact():
                    self._note_reply(fact, now_s)
                case _:
                    pass
        if chains is not None:
            self._listen(chains, now_s)

    def _listen(self, chains: Mapping[int, SequenceChain], now_s: float) -> None:
        for subscription in self._subscriptions.values():
            chain = None if subscription.sid is None else chains.get(subscription.sid)
            if chain is not None and chain.expected != subscription.number:
                subscription.number = chain.expected
                subscription.hear(self._probe_after(subscription, now_s))

    def _probe_after(self, subscription: _Subscription, now_s: float) -> float:
        is_probed = self.pace.silence_probe_s and subscription.channel != LIFECYCLE_CHANNEL
        return now_s + self.pace.silence_probe_s if is_probed else float("inf")

    def _begin(self, subscription: _Subscription, sid: int, now_s: float) -> None:
        """A subscription is on."""
        subscription.sid = sid
        subscription.number = None
        subscription.hear(self._probe_after(subscription, now_s))
        if subscription.channel == BOOK_CHANNEL:
            self._audits.begin(now_s)

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
        if sid is None:
            return None
        free = [ticker for ticker in lost if now_s >= self._asked.get(ticker, 0.0)]
        tickers = free[: self._markets_at_once]
        if not tickers:
            return None
        self._asked_by_command = {self._next_command_id: tickers}
        for ticker in tickers:
            self._asked[ticker] = now_s + self.pace.reply_s_max
        return encode_get_snapshot(self._take_id(), sid, tickers)

    def _audit(self, now_s: float, is_exact: Callable[[str], bool]) -> str | None:
        sid = self._subscriptions[BOOK_CHANNEL].sid
        if sid is None or now_s < self._audits.due_s:
            return None
        tickers = self._audits.take(now_s, is_exact, self.pace.reply_s_max)
        return encode_get_snapshot(self._take_id(), sid, tickers) if tickers else None

    def _give_up_mute(self, now_s: float) -> None:
        for subscription in self._subscriptions.values():
            is_over = subscription.probes >= self.pace.probe_tries_max and now_s >= subscription.probe_due_s
            if subscription.sid is not None and is_over:
                raise FeedLost(
                    f"subscription {subscription.sid} ({subscription.channel}) is silent:"
                    " two probes without an answer"
                )

    def _probe(self, now_s: float, is_exact: Callable[[str], bool]) -> str | None:
        """Make a subscription that has been silent say something."""
        for subscription in self._subscriptions.values():
            if subscription.sid is None or now_s < subscription.probe_due_s:
                continue
            # Another market each time: one that is over may well be answered with nothing.
            exact = [ticker for ticker in self.tickers if is_exact(ticker)] or self.tickers
            tickers = [exact[self._probes_sent % len(exact)]]
            self._probes_sent += 1
            subscription.probes += 1
            subscription.probe_due_s = now_s + self.pace.reply_s_max
            subscription.probe_command_id = self._take_id()
            encode = encode_get_snapshot if subscription.channel == BOOK_CHANNEL else encode_add_markets
            return encode(subscription.probe_command_id, subscription.sid, tickers)
        return None

    def _note_reply(self, reply: ReplyFact, now_s: float) -> None:
        match reply.message:
            case SubscribedReply(channel=channel, sid=sid):
                subscription = self._subscriptions.get(channel)
                if subscription is not None:
                    self._begin(subscription, sid, now_s)
                    subscription.tries = 0
                    subscription.is_refused = False
            case OkReply() if reply.sid is not None:
                # What a subscribe to a channel that is on already is answered with, by the documentation.
                for subscription in self._subscriptions.values():
                    if subscription.sid is None and subscription.command_id == reply.command_id:
                        self._begin(subscription, reply.sid, now_s)
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
            self._note_refused_probe(error, reply.command_id, now_s)
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
        """A subscribe was turned down. Without books there is nothing to do; others are tried again."""
        for subscription in self._subscriptions.values():
            if command_id is None or subscription.sid is not None or subscription.command_id != command_id:
                continue
            if subscription.channel == BOOK_CHANNEL:
                raise FeedLost(f"error {error.code} to the subscription of books: {error.text}")
            subscription.again(now_s + self.pace.refused_s)
            subscription.tries = 0
            subscription.is_refused = True

    def _note_refused_probe(self, error: ErrorReply, command_id: int | None, now_s: float) -> None:
        """An exchange that does not take such a probe says nothing of the subscription: ask it rarely."""
        for subscription in self._subscriptions.values():
            is_ours = command_id is not None and subscription.probe_command_id == command_id
            if is_ours and error.code != ERROR_UNKNOWN_SUBSCRIPTION:
                subscription.hear(now_s + self.pace.refused_s)

    def _ask_for_fewer(self, tickers: list[str], now_s: float) -> None:
        """One market of these is not to be had: halve until it stands alone, and then ask for it rarely."""
        again_s = now_s if len(tickers) > 1 else now_s + self.pace.refused_s
        for ticker in tickers:
            self._asked[ticker] = again_s
        self._markets_at_once = max(1, len(tickers) // 2)

    def _hold_back(self, reply: ReplyFact, at_s: float) -> None:
        """The command that this answers was not carried out: say it again, but not before a time."""
        self._update_due_s = max(self._update_due_s, at_s)
        self._asked.clear()
        for subscription in self._subscriptions.values():
            if reply.command_id is not None and subscription.probe_command_id == reply.command_id:
                subscription.probes = max(0, subscription.probes - 1)
                subscription.probe_due_s = at_s
            if subscription.sid is None and subscription.command_id == reply.command_id:
                subscription.tries -= 1
                subscription.again(at_s)

    def _take_id(self) -> int:
        command_id = self._next_command_id
        self._next_command_id += 1
        return command_id
