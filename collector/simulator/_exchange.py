"""
One connection as the exchange sees it: its subscriptions, and the answer to every command.

Pure. An answer is handed out frame by frame, and each frame must be on its way before the next is asked
for: a number is taken at the moment that its frame is made.
"""

import typing
from collections.abc import Mapping

import attrs
import msgspec

from collector.simulator._faults import Faults
from collector.simulator._markets import Floor, Outlet
from collector.simulator._subscription import (
    BOOK_CHANNEL,
    ERROR_TEXTS,
    LIFECYCLE_CHANNEL,
    TICKER_CHANNEL,
    TRADE_CHANNEL,
    Subscription,
    write_reply,
)

# Channels that carry markets, and so can be changed with update_subscription.
MARKET_CHANNELS = frozenset({BOOK_CHANNEL, TRADE_CHANNEL, TICKER_CHANNEL})
# Channels that the exchange knows; beside the market channels and the lifecycle they stay silent here.
CHANNELS = MARKET_CHANNELS | {
    LIFECYCLE_CHANNEL,
    "fill",
    "market_positions",
    "multivariate_market_lifecycle",
    "communications",
    "order_group_updates",
    "user_orders",
    "cfbenchmarks_value",
    "cfbenchmarks_value_5hz",
    "pyth_value",
}
# What these channels can't do without, and the error that says so.
NEEDED_PARAMETERS = {
    "cfbenchmarks_value": ("index_ids", 24),
    "cfbenchmarks_value_5hz": ("index_ids", 24),
    "pyth_value": ("underlying_tickers", 28),
}

# Refusals of an update_subscription that name the subscription instead of the command, as was seen.
SUBSCRIPTION_REFUSALS = frozenset({13, 14})

Params = dict[str, typing.Any]


class CommandRefused(Exception):  # noqa: N818 - an answer, not a failure
    """The command is answered with this error; nothing beyond what was already answered happens."""

    def __init__(self, code: int) -> None:
        super().__init__(ERROR_TEXTS[code])
        self.code = code


@attrs.frozen
class Answer:
    """One frame of an answer. `data_of` is its subscription if it is market data, None for a plain reply."""

    frame: bytes
    of: Subscription | None = None
    data: bool = False


Answers = typing.Iterator[Answer]


def read_command(text: str | bytes) -> tuple[int | None, dict[str, typing.Any] | None]:
    """Return a command's id and its members; None for what is no command at all. Id 0 counts as absent."""
    try:
        command = msgspec.json.decode(text)
    except msgspec.DecodeError:
        return None, None
    if not isinstance(command, dict):
        return None, None
    members = typing.cast("dict[str, typing.Any]", command)
    command_id = members.get("id")
    if command_id is None or command_id == 0:
        return None, members
    if not isinstance(command_id, int) or isinstance(command_id, bool):
        return None, None
    return command_id, members


def error_reply(command_id: int | None, code: int) -> bytes:
    """Write the error that answers a command."""
    return write_reply(command_id, {"type": "error", "msg": {"code": code, "msg": ERROR_TEXTS[code]}})


class ConnectionState:
    """
    The subscriptions of one connection. Invariant: at most one for each channel.

    `refusals_with_id`: the answer to each refused command has its id. Otherwise the answer to a refused
    update_subscription has the `sid` and a number of the subscription, for the codes for which that was seen.
    """

    def __init__(
        self, floor: Floor, outlet: Outlet, faults: Faults, *, refusals_with_id: bool = False
    ) -> None:
        self._floor = floor
        self._outlet = outlet
        self._faults = faults
        self._refusals_with_id = refusals_with_id
        self._sids_given = 0
        self.subscriptions: dict[int, Subscription] = {}

    def answer(self, text: str | bytes) -> Answers:
        """Carry out one command and yield its answers. Each must be sent before the next is asked for."""
        command_id, members = read_command(text)
        try:
            if members is None:
                raise CommandRefused(1)
            yield from self._dispatch(members, command_id)
        except CommandRefused as refusal:
            yield Answer(error_reply(command_id, refusal.code))

    def _dispatch(self, members: dict[str, typing.Any], command_id: int | None) -> Answers:
        command = members.get("cmd")
        if command == "list_subscriptions":
            yield self._listing(command_id)
            return
        handlers = {
            "subscribe": self._subscribe,
            "unsubscribe": self._unsubscribe,
            "update_subscription": self._update,
        }
        handler = handlers.get(command) if isinstance(command, str) else None
        if handler is None:
            raise CommandRefused(5)
        params = members.get("params")
        if params is None:
            raise CommandRefused(2)
        if not isinstance(params, dict):
            raise CommandRefused(1)
        yield from handler(typing.cast("Params", params), command_id)

    def _listing(self, command_id: int | None) -> Answer:
        held = [{"channel": s.channel, "sid": s.sid} for s in self.subscriptions.values()]
        return Answer(write_reply(command_id, {"type": "ok", "msg": held}))

    # subscribe

    def _subscribe(self, params: Params, command_id: int | None) -> Answers:
        channels = params.get("channels")
        if not channels:
            raise CommandRefused(3)
        tickers = _tickers(params)
        for channel in _texts(channels):
            try:
                yield from self._subscribe_channel(channel, tickers, params, command_id)
            except CommandRefused as refusal:
                # One answer for each channel: the others may well succeed.
                yield Answer(error_reply(command_id, refusal.code))

    def _subscribe_channel(
        self, channel: str, tickers: list[str] | None, params: Params, command_id: int | None
    ) -> Answers:
        if channel not in CHANNELS:
            raise CommandRefused(8)
        needed, code = NEEDED_PARAMETERS.get(channel, ("channels", 3))
        if not params.get(needed):
            raise CommandRefused(code)
        if channel == BOOK_CHANNEL and not tickers:
            raise CommandRefused(14)
        named = tickers if channel in MARKET_CHANNELS else None
        skip, yes_price = _flag(params, "skip_ticker_ack"), _flag(params, "use_yes_price")
        held = next((s for s in self.subscriptions.values() if s.channel == channel), None)
        if held is not None:
            held.skip_ticker_ack = skip or held.skip_ticker_ack
            yield from self._add_markets(held, named or [], command_id)
            return
        self._check_limit(0, named or [])
        self._sids_given += 1
        tickers_held: dict[str, None] | None = None if named is None else {}
        subscription = Subscription(self._sids_given, channel, tickers_held, skip, yes_price)
        self.subscriptions[subscription.sid] = subscription
        msg = {"channel": channel, "sid": subscription.sid}
        yield Answer(write_reply(None, _with_id("subscribed", command_id, msg)), of=subscription)
        if named is None:
            self._floor.join_everything(self._outlet, subscription)
        yield from self._join(subscription, named or [])

    def _join(self, subscription: Subscription, tickers: list[str]) -> Answers:
        """For each market that is new: its snapshot, and from then on its changes."""
        assert subscription.tickers is not None or not tickers
        for ticker in tickers:
            # The subscription may end while its answer is still going out.
            if subscription.sid not in self.subscriptions:
                return
            if subscription.tickers is None or ticker in subscription.tickers:
                continue
            subscription.tickers[ticker] = None
            msg: bytes | None = None
            if subscription.channel == BOOK_CHANNEL:
                msg = self._floor.opening(ticker, yes_scale=subscription.use_yes_price)
            self._floor.join(self._outlet, subscription, ticker)
            if msg is not None:
                yield Answer(subscription.data_frame("orderbook_snapshot", msg), of=subscription, data=True)

    def _add_markets(self, subscription: Subscription, tickers: list[str], command_id: int | None) -> Answers:
        if subscription.tickers is None:
            # It hears every market already.
            yield Answer(subscription.ok_frame(command_id), of=subscription)
            return
        added = [ticker for ticker in dict.fromkeys(tickers) if ticker not in subscription.tickers]
        self._check_limit(len(subscription.tickers), added)
        # The answer lists the set as it will be; the snapshots of the new markets follow it.
        listed = {**subscription.tickers, **dict.fromkeys(added)}
        before, subscription.tickers = subscription.tickers, listed
        frame = subscription.ok_frame(command_id)
        subscription.tickers = before
        yield Answer(frame, of=subscription)
        yield from self._join(subscription, added)

    def _check_limit(self, held: int, added: list[str]) -> None:
        limit = self._faults.market_limit()
        if limit is not None and held + len(set(added)) > limit:
            raise CommandRefused(26)

    # unsubscribe

    def _unsubscribe(self, params: Params, command_id: int | None) -> Answers:
        sids = params.get("sids")
        if not sids:
            raise CommandRefused(4)
        if not isinstance(sids, list):
            raise CommandRefused(11)
        for sid in typing.cast("list[object]", sids):
            subscription = self._held(sid)
            if subscription is None:
                yield Answer(error_reply(command_id, 7))
                continue
            self.drop(subscription)
            yield Answer(subscription.unsubscribed_frame(command_id), of=subscription)

    def drop(self, subscription: Subscription) -> None:
        """End a subscription: no frame of it is made any more."""
        self.subscriptions.pop(subscription.sid, None)
        self._floor.leave_everything(subscription)

    def drop_all(self) -> None:
        """End every subscription: the connection is over."""
        for subscription in tuple(self.subscriptions.values()):
            self.drop(subscription)

    def _held(self, sid: object) -> Subscription | None:
        if not isinstance(sid, int) or isinstance(sid, bool):
            raise CommandRefused(11)
        return self.subscriptions.get(sid)

    # update_subscription

    def _update(self, params: Params, command_id: int | None) -> Answers:
        subscription = self._one_subscription(params)
        try:
            yield from self._change(subscription, params, command_id)
        except CommandRefused as refusal:
            if self._refusals_with_id or refusal.code not in SUBSCRIPTION_REFUSALS:
                raise
            yield Answer(subscription.error_frame(refusal.code), of=subscription)

    def _change(self, subscription: Subscription, params: Params, command_id: int | None) -> Answers:
        action = params.get("action")
        if not action:
            raise CommandRefused(15)
        actions = {
            "add_markets": self._add_markets,
            "delete_markets": self._delete_markets,
            "get_snapshot": self._send_snapshots,
        }
        handler = actions.get(action) if isinstance(action, str) else None
        if handler is None or subscription.channel not in MARKET_CHANNELS:
            raise CommandRefused(13)
        if action == "get_snapshot" and params.get("market_ticker") is not None:
            raise CommandRefused(11)
        tickers = _tickers(params)
        if not tickers:
            raise CommandRefused(14)
        yield from handler(subscription, tickers, command_id)

    def _one_subscription(self, params: Params) -> Subscription:
        sid, sids = params.get("sid"), params.get("sids")
        if (sid is None) == (sids is None):
            raise CommandRefused(12)
        if sids is not None:
            if not isinstance(sids, list):
                raise CommandRefused(11)
            several = typing.cast("list[object]", sids)
            if len(several) != 1:
                raise CommandRefused(12)
            sid = several[0]
        subscription = self._held(sid)
        if subscription is None:
            raise CommandRefused(7)
        return subscription

    def _delete_markets(
        self, subscription: Subscription, tickers: list[str], command_id: int | None
    ) -> Answers:
        if subscription.tickers is None:
            raise CommandRefused(11)
        self._floor.leave(subscription, tickers)
        for ticker in tickers:
            subscription.tickers.pop(ticker, None)
        yield Answer(subscription.ok_frame(command_id), of=subscription)

    def _send_snapshots(
        self, subscription: Subscription, tickers: list[str], command_id: int | None
    ) -> Answers:
        if subscription.channel != BOOK_CHANNEL:
            raise CommandRefused(13)
        for ticker in dict.fromkeys(tickers):
            if subscription.sid not in self.subscriptions:
                return
            msg = self._floor.snapshot(ticker, yes_scale=subscription.use_yes_price)
            if msg is not None:
                frame = subscription.requested_frame("orderbook_snapshot", command_id, msg)
                yield Answer(frame, of=subscription, data=True)


def _with_id(kind: str, command_id: int | None, msg: Mapping[str, object]) -> dict[str, object]:
    """Put the members of an acknowledgement in the order that was seen: type, id, msg."""
    if command_id is None:
        return {"type": kind, "msg": msg}
    return {"type": kind, "id": command_id, "msg": msg}


def _texts(value: object) -> list[str]:
    """Return a list of texts, or refuse the command."""
    if not isinstance(value, list):
        raise CommandRefused(11)
    items = typing.cast("list[object]", value)
    if not all(isinstance(item, str) for item in items):
        raise CommandRefused(11)
    return typing.cast("list[str]", items)


def _tickers(params: Params) -> list[str] | None:
    """Return the markets that a command names, in whichever of the two ways; both at once is refused."""
    one, several = params.get("market_ticker"), params.get("market_tickers")
    if one is not None and several is not None:
        raise CommandRefused(11)
    if one is not None:
        return _texts([one])
    return None if several is None else _texts(several)


def _flag(params: Params, name: str) -> bool:
    value = params.get(name, False)
    if not isinstance(value, bool):
        raise CommandRefused(11)
    return value
