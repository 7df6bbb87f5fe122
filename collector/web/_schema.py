"""
Every message that the dashboard reads, defined once: the live stream, series, coverage, the data's health.

`python -m collector.web._jsonschema` prints their JSON Schema, of which the frontend makes its types. Names
and values of the live stream are a contract with clients that exist: fields are added, never changed.

Units are in the names: `_ms` is milliseconds, and a time that is a number counts them since 1970 UTC. A time
that is text is ISO 8601 UTC with milliseconds. Prices are cents and sizes contracts, as numbers that were
written digit by digit and never were floats. Counts are since the process began, or since the session began
where they are a session's. What is not known yet is null. Pure.
"""

from typing import Annotated, Literal, TypeAlias

from attrs import frozen
from msgspec import Meta, Raw, Struct

from collector.facts import Cause, FrameCounts
from collector.observe import FeedPhase, StorePhase

Level = Literal["failed", "degraded", "notice"]
DataVerdict = Literal["good", "off", "unknown"]
SessionStatus = Literal["active", "closed", "error"]

UnixMs = Annotated[int, Meta(description="A time in milliseconds since 1970 UTC.")]
IsoTime = Annotated[str, Meta(description="A time, as in 2025-01-01T00:00:00.000Z.")]
Ms = Annotated[float, Meta(description="Milliseconds.")]
Ticker = Annotated[str, Meta(description="A market's ticker.")]
Cents = Annotated[
    Raw, Meta(description="A price in cents, between 0 and 100.", extra_json_schema={"type": "number"})
]
MidPrice = Annotated[
    Raw,
    Meta(
        description="The middle of best bid and best ask in cents; null when a side is empty.",
        extra_json_schema={"type": ["number", "null"]},
    ),
]
Contracts = Annotated[Raw, Meta(description="A size in contracts.", extra_json_schema={"type": "number"})]
LevelsData = Annotated[
    Raw,
    Meta(
        description="Contracts by price in cents, as in {45.5: 100}.",
        extra_json_schema={"type": "object", "additionalProperties": {"type": "number"}},
    ),
]


class Problem(Struct, frozen=True):
    """
    Something that an operator should know of.

    `id` names the problem for as long as it lasts. `failed` means that something which should be recorded is
    not, or that the service can't do its job; `degraded` that it is, with a reserve in use or in doubt;
    `notice` that nothing needs to be done now. `detail` says what exactly, and `advice` what to do about it.
    `is_over` tells of something that has passed: then `since_ms` is when it happened.
    """

    id: str
    level: Level
    title: str
    detail: str
    advice: str
    since_ms: UnixMs | None
    is_over: bool = False


class GapData(Struct, frozen=True):
    """
    Something is missing, and books were unknown from there on.

    The numbers from `expected` up to but without `received` are missing; `received` is null when the
    subscription ended, and equal to `expected` when no number is missing. `market_ticker` is null when all
    books of the subscription are concerned.
    """

    detected: IsoTime
    cause: Cause
    market_ticker: Ticker | None
    sid: int
    expected: int
    received: int | None
    frame_number: int


class RejectData(Struct, frozen=True):
    """A frame that could not be understood, why, and the beginning of its text."""

    received: IsoTime
    reason: str
    frame_number: int
    text: str


class AuditData(Struct, frozen=True):
    """
    A book that was compared with the exchange's own.

    `first_difference` is null when they were equal, else the first level that was not, in the recorder's
    units (1/100 cent, 1/100 contract).
    """

    received: IsoTime
    market_ticker: Ticker
    sequence_number: int
    is_match: bool
    first_difference: str | None


class SessionData(Struct, frozen=True):
    """
    One connection's recording. `id` is null until its row is written.

    `received` and `frames_received` are what came, `frames_written` what the ledger holds, `queued` the
    frames between the two. `is_safe` tells that the session has ended and all of it is in the database.
    """

    id: int | None
    key: str
    feed: str
    status: SessionStatus
    end_reason: str | None
    close_code: int | None
    started: IsoTime | None
    ended: IsoTime | None
    received: FrameCounts
    frames_received: int
    frames_written: int
    queued: int
    rows_written: int
    batches: int
    gaps: int
    audits: int
    audit_mismatches: int
    unanswered_audits: int
    write_ms_last: Ms | None
    write_ms_max: Ms | None
    is_safe: bool


class QuantilesData(Struct, frozen=True):
    """Ages of the last minute's messages, in milliseconds; null without messages."""

    p50: Ms | None
    p99: Ms | None


class AgesData(Struct, frozen=True):
    """How old messages are: from the exchange to us, from there to the book, and to the database."""

    exchange_to_receive: QuantilesData
    exchange_to_send: QuantilesData
    send_to_receive: QuantilesData
    receive_to_book: QuantilesData
    receive_to_commit: QuantilesData


class GrowingAgeData(Struct, frozen=True):
    """A feed whose messages get older: the least age of the newest ten seconds, and the best ever."""

    feed: str
    age_ms: Ms | None
    best_ms: Ms | None


class ClockData(Struct, frozen=True):
    """How often the wall clock was set; when last, and by how much, with a sign."""

    steps: int
    last_step: IsoTime | None
    last_size_ms: Ms | None


class SpoolData(Struct, frozen=True):
    """
    What waits on disk for the database.

    `bytes` and `sessions` wait now, `records` of this process. `kept_bytes` are written, and kept for the
    rewrite window. The others are counts.

    `failure` is the disk's reason for not taking what it should take, and empty when it takes everything;
    `keep_failure` the same of what is kept.
    """

    bytes: int
    bytes_max: int
    kept_bytes: int
    records: int
    sessions: int
    torn_records: int
    damaged_files: int
    refused_batches: int
    drained_records: int
    is_full: bool
    failure: str
    keep_failure: str
    since: IsoTime | None


class DatabaseData(Struct, frozen=True):
    """
    PostgreSQL, as the writers see it, and since when.

    `database` says which one it is. `repeated_batches` were written again after it had lost some, `losses`
    counts how often that was not possible. `chain_head` is the newest hash of its chain in hexadecimal, empty
    until it is known.
    """

    phase: StorePhase
    reason: str
    since: IsoTime | None
    database: str
    repeated_batches: int
    losses: int
    chain_head: str


class FeedData(Struct, frozen=True):
    """One connection slot: where it stands and why, how many markets it is for, and how often it tried."""

    name: str
    phase: FeedPhase
    reason: str
    since: IsoTime | None
    markets: int
    attempts: int


class SecondData(Struct, frozen=True):
    """The newest second of what `/rl/series` tells; `end_ms` is 0 before the first."""

    end_ms: UnixMs
    messages_per_second: float | None
    commit_p99_ms: Ms | None
    age_p99_ms: Ms | None
    exact_markets: int | None


class DiscoveryData(Struct, frozen=True):
    """
    What is found of the exchange's markets, where the settings don't name them.

    `followed` of `open_markets` are recorded. `reason` says why the last look failed, and is empty when it
    did not; `last_look` is when one succeeded.
    """

    is_on: bool
    open_markets: int
    followed: int
    last_look: IsoTime | None
    reason: str


class StatsData(Struct, frozen=True):
    """
    The recorder's own numbers, once a second.

    `markets_active` counts exact books, `markets_tracked` all markets. `db_queue_size` is frames that are not
    in the database yet. `message_age_ms` is the time since the newest frame, at `last_update_ms`, before
    `server_time_ms`. `problems` is worst first, and empty when all is well. The `recent_` lists have the
    newest 20 of the process, newest first.
    """

    session_id: str
    session_status: Literal["active", "refused", "connecting", "closed", "error"]
    markets_active: int
    snapshots_processed: int
    deltas_processed: int
    messages_per_second: float
    db_queue_size: int
    uptime_seconds: int
    last_update_ms: UnixMs | None
    trades_processed: int
    frames_received: int
    gaps: int
    rejects: int
    stales: int
    rows_written: int
    reconnections: int
    sessions: list[SessionData]
    write_ms_last: Ms | None
    write_ms_max: Ms | None
    ages_ms: AgesData
    growing_ages: list[GrowingAgeData]
    clock: ClockData
    audits: int
    audit_mismatches: int
    spool: SpoolData
    message_age_ms: int | None
    database: DatabaseData
    feeds: list[FeedData]
    clients: int
    is_simulated: bool
    version: str
    environment: str
    sample_rate: int
    markets_tracked: int
    stopping: bool
    server_time_ms: UnixMs
    problems: list[Problem]
    recent_gaps: list[GapData]
    recent_rejects: list[RejectData]
    recent_audits: list[AuditData]
    unanswered_audits: int
    newest_second: SecondData
    discovery: DiscoveryData


class ConnectionData(Struct, frozen=True):
    """The first message to a client: the markets that it will hear of, and the service's version."""

    markets: list[Ticker]
    status: Literal["connected"]
    version: str


class BookData(Struct, frozen=True):
    """
    A market's whole book, best prices first. Asks are derived from the other side's bids.

    `is_exact` says whether it is known to be the exchange's, and `unknown_cause` why not.
    """

    market_ticker: Ticker
    timestamp_ms: UnixMs
    sequence_number: int
    yes_bids: LevelsData
    yes_asks: LevelsData
    no_bids: LevelsData
    no_asks: LevelsData
    yes_mid_price: MidPrice
    no_mid_price: MidPrice
    is_exact: bool
    unknown_cause: Cause | None


class DeltaData(Struct, frozen=True):
    """A level has changed. `side` is the side whose bids it belongs to."""

    market_ticker: Ticker
    timestamp_ms: UnixMs
    sequence_number: int
    side: Literal["yes", "no"]
    action: Literal["add", "update", "remove"]
    price: Cents
    old_size: Contracts
    new_size: Contracts


class ErrorData(Struct, frozen=True):
    """Why a client can't stay; its connection is closed next."""

    message: str


class ConnectionMessage(Struct, frozen=True, tag_field="type", tag="connection"):
    """Greets a client of the live stream."""

    data: ConnectionData


class SnapshotMessage(Struct, frozen=True, tag_field="type", tag="orderbook_snapshot"):
    """Replaces a market's book as a whole."""

    data: BookData


class DeltaMessage(Struct, frozen=True, tag_field="type", tag="orderbook_delta"):
    """Changes one level of a market's book."""

    data: DeltaData


class StatsMessage(Struct, frozen=True, tag_field="type", tag="stats"):
    """The recorder's numbers, once a second."""

    data: StatsData


class ErrorMessage(Struct, frozen=True, tag_field="type", tag="error"):
    """The last message to a client that can't stay."""

    data: ErrorData


LiveMessage: TypeAlias = ConnectionMessage | SnapshotMessage | DeltaMessage | StatsMessage | ErrorMessage
"""Whatever the live stream sends."""


class SeriesData(Struct, frozen=True):
    """
    The answer of `/rl/series`: one value for each step, oldest first, null where there was none.

    All lists are equally long; their last value is of the step that ended at `end_ms`. Ages are those of the
    messages of that step: `commit` from arrival to database, `age` from the exchange to arrival.
    """

    step_ms: int
    end_ms: UnixMs
    messages_per_second: list[float | None]
    commit_p99_ms: list[Ms | None]
    age_p99_ms: list[Ms | None]
    exact_markets: list[int | None]


class IntervalData(Struct, frozen=True):
    """A time in which a market's book was exact, or why it was unknown."""

    from_ms: UnixMs
    to_ms: UnixMs
    is_exact: bool
    cause: str | None


class MarketCoverageData(Struct, frozen=True):
    """A market's intervals in their order; between them, no session was for this market."""

    market_ticker: Ticker
    intervals: list[IntervalData]


class CoverageData(Struct, frozen=True):
    """The answer of `/rl/coverage`: when books were exact, by the database, for markets by ticker."""

    from_ms: UnixMs
    to_ms: UnixMs
    markets: list[MarketCoverageData]


class LedgerData(Struct, frozen=True):
    """What a session's ledger adds up to."""

    batches: int
    frames: int
    last_frame: int


@frozen(kw_only=True)
class DataCountsData(FrameCounts):
    """Frames of a session by kind, and its gaps."""

    gaps: int


class AuditsData(Struct, frozen=True):
    """How often books were compared with the exchange's, with what outcome, and when last."""

    matches: int
    mismatches: int
    last: IsoTime | None


class DataCoverageData(Struct, frozen=True):
    """How many markets have an exact book now, or had at the end, and the share of time over all markets."""

    markets: int
    exact_markets: int
    exact_time_share: float | None


class DataSessionData(Struct, frozen=True):
    """
    A session as it is in the database. `findings` says where its ledger does not close.

    `gaps` counts by cause. `coverage` is null when the session has no market.
    """

    id: int
    status: SessionStatus
    started: IsoTime | None
    ended: IsoTime | None
    end_reason: str | None
    last_message: IsoTime | None
    is_good: bool
    findings: list[str]
    frames: int
    ledger: LedgerData
    counts: DataCountsData
    gaps: dict[str, int]
    rejects: int
    audits: AuditsData
    coverage: DataCoverageData | None


class DataHealthData(Struct, frozen=True):
    """The answer of `/health/data`: `off` when a ledger does not close, `unknown` when nobody could say."""

    status: DataVerdict
    why: str
    sessions: list[DataSessionData]


class ErrorAnswer(Struct, frozen=True):
    """What every HTTP route answers when it can't do what was asked: a name, and a sentence for people."""

    error: str
    message: str
