"""
The whole state of a tracker as bytes, so that a session can be read from a frame in its middle. Pure.

The same state always gives the same bytes. What no fact depends on is left out: the counts of unknown names
and of negative levels, and which books must be requested.
"""

from typing import Final
from uuid import UUID

import msgspec
from msgspec import Struct

from collector.facts._causes import Cause
from collector.facts._interruptions import HeldBook, LastExact
from collector.facts._maintenance import Maintenance
from collector.facts._market_state import MarketState
from collector.facts._order_book import OrderBook
from collector.facts._sequence import SequenceChain
from collector.facts._subscriptions import Subscriptions
from collector.facts._tracker import FeedTracker
from collector.protocol import Levels

VERSION: Final = 1
"""Raised when the meaning of a state changes. A state of another version is not read."""


class _Held(Struct, frozen=True, array_like=True):
    session_key: UUID
    last_frame: int
    from_us: int
    clock: int | None
    yes_bids: Levels
    no_bids: Levels


class _Market(Struct, frozen=True, array_like=True):
    ticker: str
    yes_bids: Levels
    no_bids: Levels
    unknown_cause: Cause | None
    last_turn: tuple[int, Cause | None] | None
    held: _Held | None
    last_exact: LastExact | None
    sid: int | None
    sequence_number: int
    clock: int | None
    snapshot_clock: int | None
    timestamp_ms: int | None
    received_us: int
    hour: int
    snapshots: int
    deltas: int
    trades: int


class _Chain(Struct, frozen=True, array_like=True):
    sid: int
    expected: int
    remembered: list[tuple[int, str | None, bytes | None]]
    """The number of each frame with either its text or its digest."""


class _State(Struct, frozen=True, array_like=True):
    version: int
    session_key: UUID
    book_sid: int | None
    listed: list[str] | None
    channels: list[tuple[int, str]]
    ended_sids: list[int]
    chains: list[_Chain]
    recorded: list[str]
    left: list[tuple[str, LastExact | None]]
    is_inactive: bool
    windows: list[tuple[int, int]]
    markets: list[_Market]


def encode_tracker(tracker: FeedTracker) -> bytes:
    """The state of a tracker between two frames, as MessagePack."""
    subscriptions = tracker.subscriptions
    state = _State(
        version=VERSION,
        session_key=tracker.session_key,
        book_sid=subscriptions.book_sid,
        listed=None if subscriptions.listed is None else sorted(subscriptions.listed),
        channels=list(subscriptions.channels.items()),
        ended_sids=sorted(subscriptions.ended_sids),
        chains=[_pack_chain(sid, chain) for sid, chain in subscriptions.chains.items()],
        recorded=sorted(tracker.recorded),
        left=list(tracker.left.items()),
        is_inactive=tracker.maintenance.is_inactive,
        windows=tracker.maintenance.windows,
        markets=[_pack_market(market) for market in tracker.markets.values()],
    )
    return msgspec.msgpack.encode(state)


def decode_tracker(state: bytes) -> FeedTracker:
    """
    A tracker that continues where the encoded one was.

    Raises ValueError for anything but a state of this version.
    """
    try:
        content = msgspec.msgpack.decode(state, type=_State)
    except msgspec.MsgspecError as error:
        raise ValueError(f"not the state of a tracker: {error}") from error
    if content.version != VERSION:
        raise ValueError(f"the state of a tracker has version {content.version}, not {VERSION}")
    subscriptions = Subscriptions(
        book_sid=content.book_sid,
        listed=None if content.listed is None else frozenset(content.listed),
        channels=dict(content.channels),
        ended_sids=set(content.ended_sids),
        chains={chain.sid: _unpack_chain(chain) for chain in content.chains},
    )
    return FeedTracker(
        {market.ticker: _unpack_market(market) for market in content.markets},
        content.session_key,
        subscriptions,
        maintenance=Maintenance(content.is_inactive, set(content.windows)),
        recorded=set(content.recorded),
        left=dict(content.left),
    )


def _pack_chain(sid: int, chain: SequenceChain) -> _Chain:
    remembered: list[tuple[int, str | None, bytes | None]] = [
        (seq, kept, None) if isinstance(kept, str) else (seq, None, kept) for seq, kept in chain.remembered
    ]
    return _Chain(sid, chain.expected, remembered)


def _unpack_chain(packed: _Chain) -> SequenceChain:
    remembered = ((seq, digest if text is None else text) for seq, text, digest in packed.remembered)
    return SequenceChain.of(packed.expected, ((seq, kept) for seq, kept in remembered if kept is not None))


def _pack_market(market: MarketState) -> _Market:
    before = market.before
    held = None
    if isinstance(before, HeldBook):
        held = _Held(
            session_key=before.session_key,
            last_frame=before.last_frame,
            from_us=before.from_us,
            clock=before.clock,
            yes_bids=before.book.yes_bids,
            no_bids=before.book.no_bids,
        )
    return _Market(
        ticker=market.ticker,
        yes_bids=market.book.yes_bids,
        no_bids=market.book.no_bids,
        unknown_cause=market.unknown_cause,
        last_turn=market.last_turn,
        held=held,
        last_exact=before if isinstance(before, LastExact) else None,
        sid=market.sid,
        sequence_number=market.sequence_number,
        clock=market.clock,
        snapshot_clock=market.snapshot_clock,
        timestamp_ms=market.timestamp_ms,
        received_us=market.received_us,
        hour=market.hour,
        snapshots=market.snapshots,
        deltas=market.deltas,
        trades=market.trades,
    )


def _unpack_market(packed: _Market) -> MarketState:
    held = packed.held
    before: HeldBook | LastExact | None = packed.last_exact
    if held is not None:
        before = HeldBook(
            market_ticker=packed.ticker,
            session_key=held.session_key,
            last_frame=held.last_frame,
            from_us=held.from_us,
            clock=held.clock,
            book=OrderBook(held.yes_bids, held.no_bids),
        )
    return MarketState(
        packed.ticker,
        OrderBook(packed.yes_bids, packed.no_bids),
        packed.unknown_cause,
        before=before,
        last_turn=packed.last_turn,
        sid=packed.sid,
        sequence_number=packed.sequence_number,
        clock=packed.clock,
        snapshot_clock=packed.snapshot_clock,
        timestamp_ms=packed.timestamp_ms,
        received_us=packed.received_us,
        hour=packed.hour,
        snapshots=packed.snapshots,
        deltas=packed.deltas,
        trades=packed.trades,
    )
