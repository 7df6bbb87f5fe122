"""
What received frames mean for the recording: facts, in the order of the frames.

Pure. Does not know PostgreSQL. Reads no clock. Starts no task.

Live recording, reading back and the tests use the same code: the same frames always give the same facts.

- `_facts`: the facts that become rows, statistics and the live stream. `_causes`: why a book is not exact.
- `_sequence`: the counter of one subscription. `_order_book`: the book of one market.
- `_tracker`: frames to facts, for one connection. `_subscriptions` and `_market_state`: its state.
  `_message_facts`: facts that concern no book. `_downsampling`: fewer rows that still fold to the true book.
- `_fold`: a session's stream to the facts that become rows. `_tracker_state`: a tracker's state as bytes.
- `_interruptions`: the proof that nothing happened while a book was unknown. `_maintenance`: when there is
  none.
- `_name_counts`: bounded counts of names that are not known.
- `_stream`: what a session's stream holds besides its frames.
"""

from collector.facts._causes import Cause
from collector.facts._facts import (
    FRAME_COUNTS,
    AuditFact,
    BookStateFact,
    ConnectionEventFact,
    DeltaFact,
    EventFact,
    Fact,
    FrameBatch,
    FrameCounts,
    GapFact,
    ProvenEmptyFact,
    ReceivedFrame,
    RejectFact,
    ReplyFact,
    SnapshotFact,
    TrackerStateFact,
    TradeFact,
)
from collector.facts._fold import DECODER_VERSION, StreamFold
from collector.facts._interruptions import (
    PROVABLE_US_MAX,
    PROVEN_EMPTY,
    HeldBook,
    LastExact,
    last_exact_of,
)
from collector.facts._market_state import MarketState
from collector.facts._order_book import asks_of, digest_levels
from collector.facts._sequence import SequenceChain
from collector.facts._stream import (
    MARKETS_PATH,
    ConnectionEvent,
    NoteKind,
    RestRecord,
    StreamNote,
    command_note,
    event_note,
    record_note,
)
from collector.facts._tracker import FeedTracker

__all__ = [
    "DECODER_VERSION",
    "FRAME_COUNTS",
    "MARKETS_PATH",
    "PROVABLE_US_MAX",
    "PROVEN_EMPTY",
    "AuditFact",
    "BookStateFact",
    "Cause",
    "ConnectionEvent",
    "ConnectionEventFact",
    "DeltaFact",
    "EventFact",
    "Fact",
    "FeedTracker",
    "FrameBatch",
    "FrameCounts",
    "GapFact",
    "HeldBook",
    "LastExact",
    "MarketState",
    "NoteKind",
    "ProvenEmptyFact",
    "ReceivedFrame",
    "RejectFact",
    "ReplyFact",
    "RestRecord",
    "SequenceChain",
    "SnapshotFact",
    "StreamFold",
    "StreamNote",
    "TrackerStateFact",
    "TradeFact",
    "asks_of",
    "command_note",
    "digest_levels",
    "event_note",
    "last_exact_of",
    "record_note",
]
