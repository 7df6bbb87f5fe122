"""What trades, lifecycle messages and notes say, as facts. No book depends on them."""

import msgspec

from collector.facts._facts import ConnectionEventFact, EventFact, TradeFact
from collector.facts._stream import EventContent, NoteKind, StreamNote
from collector.protocol import (
    LIFECYCLE_CHANNEL,
    Envelope,
    LifecycleMessage,
    TradeMessage,
    canonical_event,
)


def trade_fact(envelope: Envelope, trade: TradeMessage, received_us: int) -> TradeFact:
    """A trade as a fact."""
    return TradeFact(
        market_ticker=trade.market_ticker,
        sequence_number=envelope.seq,
        timestamp_ms=trade.timestamp_ms,
        received_us=received_us,
        trade_id=trade.trade_id,
        taker_side=trade.taker_side,
        price_e4=trade.price_e4,
        count_e2=trade.count_e2,
        is_block_trade=trade.is_block_trade,
        sid=envelope.sid,
        sending_ts_ms=envelope.sending_ts_ms,
    )


def event_fact(envelope: Envelope, lifecycle: LifecycleMessage, received_us: int) -> EventFact | None:
    """A lifecycle message as a fact; None if it names no market or no event, or is not readable JSON."""
    event_type = lifecycle.event_type
    if event_type is None and envelope.type != LIFECYCLE_CHANNEL:
        event_type = envelope.type
    if lifecycle.market_ticker is None or event_type is None:
        return None
    event = canonical_event(lifecycle.content)
    if event is None:
        return None
    return EventFact(
        market_ticker=lifecycle.market_ticker,
        sequence_number=envelope.seq,
        timestamp_ms=lifecycle.timestamp_ms,
        received_us=received_us,
        event_type=event_type,
        event=event,
        sid=envelope.sid,
    )


def connection_event_fact(note: StreamNote) -> ConnectionEventFact | None:
    """An event of the connection as a fact; None for an event that this version does not know."""
    assert note.kind is NoteKind.EVENT
    try:
        content = msgspec.json.decode(note.content, type=EventContent)
    except (msgspec.MsgspecError, ValueError):
        return None
    return ConnectionEventFact(
        note.after_frame, note.noted_us, content.event_type, content.step_us, content.detail
    )
