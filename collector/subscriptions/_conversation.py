"""
Our side of a connection: which commands are due, and what their answers mean.

Theory of operation. For each channel there is at most one subscribe command under way; its `subscribed` reply
names the `sid`. After that there is at most one further command in an interval, and what is most urgent goes
first:

1. A probe of a subscription that has been silent for long. Quiet is not mute: any numbered frame on that
   `sid` is an answer. Two probes without one, and the connection is given up. The lifecycle is not probed: it
   carries no markets that a probe could name.
2. Markets that are to be followed from now on, or no longer: see `collector.subscriptions._membership`.
3. Markets whose books are lost are asked for with `get_snapshot`, at most so many in each command, and asked
   for again when no answer came in time.
4. Audits: exact books are asked for in rotation, each once in the audit interval. The tracker compares. An
   audit without an answer is counted, and comes again with the next rotation.

The exchange may ask us to come again later (18, 27), may end a subscription (10, 25), or say that it has too
many markets (26). Time comes in as seconds of any steady clock.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

from attrs import define, field

from collector.errors import FeedLost, MarketLimitExceeded
from collector.facts import Fact, ReplyFact, SequenceChain, SnapshotFact
from collector.protocol import (
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
    encode_add_markets,
    encode_get_snapshot,
    encode_subscribe,
    encode_unsubscribe,
)
from collector.subscriptions._audits import AuditRotation, Pace
from collector.subscriptions._membership import Membership

CHANNELS = (BOOK_CHANNEL, TRADE_CHANNEL, LIFECYCLE_CHANNEL)


@define
class _Subscription:
    """
    One channel. `command_id` is that of the subscribe under way.

    `number` is what the next numbered frame of the `sid` would carry, as far as was heard. `probes` counts
    the ones that nothing has followed yet.
    """

    channel: str
    membership: Membership
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

    @property
    def takes_markets(self) -> bool:
        """Whether it is for markets that it names."""
        return self.channel != LIFECYCLE_CHANNEL

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


def _nothing_is_exact(_ticker: str) -> bool:
    return False


@define(eq=False)
class Conversation:
    """
    What has been said on one connection, and what is to be said next.

    With `is_listing`, the exchange is asked to tell the whole set of markets with each change of it: where
    markets come and go, the recording has to show it.
    """

    tickers: Sequence[str]
    pace: Pace = field(factory=Pace)
    is_listing: bool = False
    error_counts: dict[int, int] = field(factory=dict[int, int])
    _next_command_id: int = 1
    _subscriptions: dict[str, _Subscription] = field(init=False)
    _asked: dict[str, float] = field(factory=dict[str, float])
    _asked_by_command: dict[int, list[str]] = field(factory=dict[int, list[str]])
    _is_leaving: bool = False
    _sids_left: set[int] = field(factory=set[int])
    _markets_at_once: int = field(init=False)
    _update_due_s: float = 0.0
    _audits: AuditRotation = field(init=False)
    _probes_sent: int = 0
    _wanted: frozenset[str] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._subscriptions = {channel: _Subscription(channel, Membership(self.pace)) for channel in CHANNELS}
        self._markets_at_once = self.pace.snapshot_markets_max
        self._wanted = frozenset(self.tickers)
        self._audits = AuditRotation.at_pace(self.tickers, self.pace)

    @property
    def unanswered_audits(self) -> int:
        """How many audits have not been answered in time."""
        return self._audits.unanswered

    @property
    def is_subscribed(self) -> bool:
        """Whether every channel has been answered, acknowledged or refused for now, and every change too."""
        return all(
            s.is_refused
            or (s.sid is not None and (not s.takes_markets or s.membership.is_settled(self._wanted)))
            for s in self._subscriptions.values()
        )

    def follow(self, tickers: Sequence[str]) -> None:
        """Other markets from now on; `due` has the commands."""
        self.tickers = tickers
        self._wanted = frozenset(tickers)
        self._audits.follow(tickers, self.pace)

    def due(
        self, now_s: float, lost: Sequence[str], is_exact: Callable[[str], bool] = _nothing_is_exact
    ) -> list[str]:
        """
        Commands to send now. `lost` are the markets whose books must be asked for.

        Raises FeedLost when the exchange has left a subscribe unanswered too often, or a probe.
        """
        if self._is_leaving:
            return self._unsubscribe()
        commands = [
            self._subscribe(subscription, now_s)
            for subscription in self._subscriptions.values()
            if subscription.sid is None and now_s >= self._subscribe_due_s(subscription)
        ]
        self._give_up_mute(now_s)
        if now_s < self._update_due_s:
            return commands
        update = self._probe(now_s, is_exact) or self._change_markets(now_s)
        update = update or self._ask_snapshots(now_s, lost) or self._audit(now_s, is_exact)
        if update is None:
            return commands
        self._update_due_s = now_s + self.pace.snapshot_interval_s
        return [*commands, update]

    def next_due_s(self, lost: Sequence[str]) -> float:
        """When `due` has something to say at the earliest, if nothing comes in before."""
        if self._is_leaving:
            return float("inf")
        subscriptions = self._subscriptions.values()
        times = [self._subscribe_due_s(s) for s in subscriptions if s.sid is None]
        on = [s for s in subscriptions if s.sid is not None and s.takes_markets]
        # A probe names a market.
        updates = [s.probe_due_s for s in on if not s.membership.carried.isdisjoint(self._wanted)]
        updates += [s.membership.next_due_s(self._wanted) for s in on]
        if self._subscriptions[BOOK_CHANNEL].sid is not None:
            updates.append(self._audits.due_s)
            updates += [self._asked.get(ticker, 0.0) for ticker in lost if self._is_followed(ticker)]
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

    def leave(self) -> None:
        """From now on `due` ends subscriptions, those too of which the answer is still on its way."""
        self._is_leaving = True

    @property
    def has_left(self) -> bool:
        """Whether no subscription is on, and none under way: then nothing more comes."""
        return all(s.sid is None and s.command_id is None for s in self._subscriptions.values())

    @property
    def open_sids(self) -> set[int]:
        """The subscriptions that are on."""
        return {s.sid for s in self._subscriptions.values() if s.sid is not None}

    def _unsubscribe(self) -> list[str]:
        sids = self.open_sids - self._sids_left
        self._sids_left |= sids
        return [encode_unsubscribe(self._take_id(), sorted(sids))] if sids else []

    def _subscribe_due_s(self, subscription: _Subscription) -> float:
        """When to subscribe: never without markets, where a channel wants some."""
        return subscription.due_s if self.tickers or not subscription.takes_markets else float("inf")

    def _subscribe(self, subscription: _Subscription, now_s: float) -> str:
        subscription.tries += 1
        if subscription.tries > self.pace.subscribe_tries_max:
            raise FeedLost(f"no answer to {self.pace.subscribe_tries_max} subscribe commands")
        subscription.command_id = self._take_id()
        subscription.due_s = now_s + self.pace.reply_s_max
        subscription.membership.begin(self._wanted)
        is_listing = self.is_listing and subscription.channel == BOOK_CHANNEL
        return encode_subscribe(
            subscription.command_id, subscription.channel, self.tickers, is_listing=is_listing
        )

    def _change_markets(self, now_s: float) -> str | None:
        """Bring a subscription nearer to the markets that are to be followed."""
        for subscription in self._subscriptions.values():
            if subscription.sid is None or not subscription.takes_markets:
                continue
            awaited = self._awaited(subscription, now_s)
            membership = subscription.membership
            command = membership.next_command(now_s, subscription.sid, self.tickers, awaited, self._take_id)
            if command is not None:
                return command
        return None

    def _awaited(self, subscription: _Subscription, now_s: float) -> set[str]:
        """Markets of which an answer is to come on this subscription."""
        if subscription.channel != BOOK_CHANNEL:
            return set()
        asked = (*self._asked.items(), *self._audits.asked.items())
        return {ticker for ticker, until_s in asked if now_s < until_s}

    def _is_followed(self, ticker: str) -> bool:
        """Whether a market's book is wanted and told: nothing would follow the snapshot of another one."""
        return ticker in self._wanted and ticker in self._subscriptions[BOOK_CHANNEL].membership.carried

    def _ask_snapshots(self, now_s: float, lost: Sequence[str]) -> str | None:
        sid = self._subscriptions[BOOK_CHANNEL].sid
        if sid is None:
            return None
        free = [t for t in lost if self._is_followed(t) and now_s >= self._asked.get(t, 0.0)]
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
            carried = [ticker for ticker in self.tickers if ticker in subscription.membership.carried]
            if not carried:
                continue
            # Another market each time: one that is over may well be answered with nothing.
            exact = [ticker for ticker in carried if is_exact(ticker)] or carried
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
            case OkReply(market_tickers=tickers) if reply.sid is not None:
                # What a subscribe to a channel that is on already is answered with, by the documentation.
                for subscription in self._subscriptions.values():
                    if subscription.sid is None and subscription.command_id == reply.command_id:
                        self._begin(subscription, reply.sid, now_s)
                    if subscription.sid == reply.sid:
                        subscription.membership.note_ok(reply.command_id, tickers, now_s)
            case UnsubscribedReply():
                for subscription in self._subscriptions.values():
                    if subscription.sid == reply.sid:
                        subscription.again(float("inf") if self._is_leaving else now_s)
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
            for subscription in self._subscriptions.values():
                subscription.membership.note_refused(reply.command_id, now_s)
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
            subscription.membership.hold_back(reply.command_id, at_s)
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
