"""
The recorder's own numbers, as the live stream's `stats` carries them once a second.

Pure: state in, message out.
"""

from collections.abc import Sequence
from itertools import islice
from typing import Final, Literal, TypeVar, cast

import msgspec

from collector.facts import AuditFact, GapFact, RejectFact
from collector.observe import (
    NO_POINT,
    STEP_MS,
    AgeSum,
    DiscoveryStatus,
    FeedPhase,
    RecorderState,
    SeriesRing,
    SessionStats,
    SpoolStatus,
    as_ms,
)
from collector.web import _schema as schema
from collector.web._problems import find_problems
from collector.web._times import iso_time, iso_utc

STATS_SESSIONS_MAX: Final = 20
"""Sessions that `stats` repeats each second; the status page has all that are remembered."""
RECENT_MAX: Final = 20
REJECT_CHARS_MAX: Final = 200
"""Enough to see what kind of frame it was: every client gets it again each second."""

Overall = Literal["active", "refused", "connecting", "closed", "error"]
_Item = TypeVar("_Item")
_encode = msgspec.json.Encoder().encode


def stats_text(state: RecorderState, clients: int) -> str:
    """The `stats` message."""
    return _encode(schema.StatsMessage(stats(state, clients))).decode()


def stats(state: RecorderState, clients: int) -> schema.StatsData:
    """The recorder's own numbers. `last_update_ms` is when the newest frame came, null before the first."""
    now_us = state.clock()
    session = state.current_session
    last_message_us = _newest_message_us(state)
    sessions = state.sessions[-STATS_SESSIONS_MAX:]
    return schema.StatsData(
        session_id="" if session is None or session.session_id is None else str(session.session_id),
        session_status=session_status(state),
        markets_active=state.exact_markets,
        snapshots_processed=state.received.snapshots,
        deltas_processed=state.received.deltas,
        messages_per_second=round(state.messages_per_second, 2),
        db_queue_size=sum(session.queued_frames for session in state.sessions),
        uptime_seconds=max(0, now_us - state.started_us) // 1_000_000,
        last_update_ms=None if last_message_us is None else last_message_us // 1000,
        trades_processed=state.received.trades,
        frames_received=state.received.total,
        gaps=state.gaps,
        rejects=state.received.rejects,
        stales=state.received.stales,
        rows_written=state.rows_written,
        reconnections=count_reconnections(state),
        sessions=[session_data(session) for session in sessions],
        write_ms_last=None if session is None else _rounded(session.write_ms_last),
        write_ms_max=_write_ms_max(state),
        ages_ms=_ages_data(state.age_sums()),
        growing_ages=growing_ages(state),
        clock=clock_data(state),
        audits=state.audits,
        audit_mismatches=state.audit_mismatches,
        spool=spool_data(state.spool),
        message_age_ms=None if last_message_us is None else max(0, now_us - last_message_us) // 1000,
        database=_database_data(state),
        feeds=_feeds_data(state),
        clients=clients,
        is_simulated=state.is_simulated,
        version=state.code_version,
        environment=state.environment,
        sample_rate=state.sample_rate,
        markets_tracked=len(state.tickers),
        stopping=state.stopping,
        server_time_ms=now_us // 1000,
        problems=find_problems(state, now_us),
        recent_gaps=[gap_data(gap) for gap in _newest(state.recent_gaps)],
        recent_rejects=[reject_data(reject, REJECT_CHARS_MAX) for reject in _newest(state.recent_rejects)],
        recent_audits=[audit_data(audit) for audit in _newest(state.recent_audits)],
        unanswered_audits=sum(session.unanswered_audits for session in state.sessions),
        newest_second=newest_second(state.series),
        discovery=discovery_data(state.discovery),
    )


def session_data(session: SessionStats) -> schema.SessionData:
    """One session's numbers; `id` is null until its row is written."""
    return schema.SessionData(
        id=session.session_id,
        key=str(session.key),
        feed=session.feed_name,
        status=cast("schema.SessionStatus", session.status),
        end_reason=session.end_reason,
        close_code=session.close_code,
        started=iso_utc(session.started_us),
        ended=None if session.ended_us is None else iso_utc(session.ended_us),
        received=session.received,
        frames_received=session.received.total,
        frames_written=session.written.total,
        queued=session.queued_frames,
        rows_written=session.rows_written,
        batches=session.batches,
        gaps=session.gaps,
        audits=session.audits,
        audit_mismatches=session.audit_mismatches,
        unanswered_audits=session.unanswered_audits,
        write_ms_last=_rounded(session.write_ms_last),
        write_ms_max=_rounded(session.write_ms_max),
        is_safe=session.is_safe,
    )


def gap_data(gap: GapFact) -> schema.GapData:
    """A gap, as the live stream and the status page show it."""
    return schema.GapData(
        detected=iso_time(gap.detected_us),
        cause=gap.cause,
        market_ticker=gap.market_ticker,
        sid=gap.sid,
        expected=gap.expected,
        received=gap.received,
        frame_number=gap.frame_number,
    )


def reject_data(reject: RejectFact, chars_max: int) -> schema.RejectData:
    """A frame that was not understood, with so much of its text."""
    time = iso_time(reject.received_us)
    return schema.RejectData(time, reject.reason, reject.frame_number, reject.text[:chars_max])


def audit_data(audit: AuditFact) -> schema.AuditData:
    """One comparison of a book with the exchange's."""
    time = iso_time(audit.received_us)
    return schema.AuditData(
        time, audit.market_ticker, audit.sequence_number, audit.is_match, audit.first_difference
    )


def growing_ages(state: RecorderState) -> list[schema.GrowingAgeData]:
    """The feeds whose messages get older and older."""
    return [
        schema.GrowingAgeData(
            session.feed_name, as_ms(session.age_trend.age_us), as_ms(session.age_trend.best_us)
        )
        for session in state.sessions
        if session.status == "active" and session.age_trend.is_alarming
    ]


def clock_data(state: RecorderState) -> schema.ClockData:
    """How often the wall clock was set; the newest time and size are null before the first."""
    clock = state.wall_clock
    if not clock.steps:
        return schema.ClockData(0, None, None)
    return schema.ClockData(clock.steps, iso_utc(clock.last_step_us), as_ms(clock.last_size_us))


def spool_data(spool: SpoolStatus) -> schema.SpoolData:
    """What waits on disk for the database."""
    return schema.SpoolData(
        bytes=spool.bytes,
        bytes_max=spool.bytes_max,
        kept_bytes=spool.kept_bytes,
        records=spool.records,
        sessions=spool.sessions,
        torn_records=spool.torn_records,
        damaged_files=spool.damaged_files,
        refused_batches=spool.refused_batches,
        drained_records=spool.drained_records,
        is_full=spool.is_full,
        failure=spool.failure,
        keep_failure=spool.keep_failure,
        since=iso_utc(spool.since_us),
    )


def series_data(ring: SeriesRing) -> schema.SeriesData:
    """The last quarter of an hour, for charts."""
    points = list(ring.points)
    return schema.SeriesData(
        step_ms=STEP_MS,
        end_ms=ring.end_us // 1000,
        messages_per_second=[_rounded(point.messages_per_second) for point in points],
        commit_p99_ms=[as_ms(point.commit_p99_us) for point in points],
        age_p99_ms=[as_ms(point.age_p99_us) for point in points],
        exact_markets=[point.exact_markets for point in points],
    )


def newest_second(ring: SeriesRing) -> schema.SecondData:
    """The last point of the series, so that charts go on without asking for all of it."""
    point = ring.points[-1] if ring.points else NO_POINT
    return schema.SecondData(
        ring.end_us // 1000,
        _rounded(point.messages_per_second),
        as_ms(point.commit_p99_us),
        as_ms(point.age_p99_us),
        point.exact_markets,
    )


def discovery_data(discovery: DiscoveryStatus) -> schema.DiscoveryData:
    """What was found of the exchange's markets."""
    last_look = iso_utc(discovery.last_us) if discovery.last_us else None
    return schema.DiscoveryData(
        discovery.is_on, discovery.open_markets, discovery.followed, last_look, discovery.reason
    )


def session_status(state: RecorderState) -> Overall:
    """`active` while a session is; otherwise what keeps the next one, or how the last one ended."""
    session = state.current_session
    if session is not None and session.status == "active":
        return "active"
    phases = {feed.phase for feed in state.feeds}
    if FeedPhase.REFUSED in phases:
        return "refused"
    if session is None or FeedPhase.CONNECTING in phases:
        return "connecting"
    return cast("Overall", session.status)


def count_reconnections(state: RecorderState) -> int:
    """How often a connection was made again after its first time."""
    return sum(max(0, feed.connections - 1) for feed in state.feeds)


def _newest(items: Sequence[_Item]) -> list[_Item]:
    return list(islice(reversed(items), RECENT_MAX))


def _database_data(state: RecorderState) -> schema.DatabaseData:
    store = state.store
    return schema.DatabaseData(
        store.phase,
        store.reason,
        iso_utc(store.since_us),
        database=store.database,
        repeated_batches=store.repeated_batches,
        losses=store.losses,
        chain_head=store.chain_head,
    )


def _feeds_data(state: RecorderState) -> list[schema.FeedData]:
    return [
        schema.FeedData(
            name=feed.name,
            phase=feed.phase,
            reason=feed.reason,
            since=iso_utc(feed.since_us),
            markets=len(feed.market_tickers),
            attempts=feed.attempts,
        )
        for feed in state.feeds
    ]


def _ages_data(sums: dict[str, AgeSum]) -> schema.AgesData:
    quantiles = {
        name: schema.QuantilesData(ages.recent_ms(0.5), ages.recent_ms(0.99)) for name, ages in sums.items()
    }
    return schema.AgesData(**quantiles)


def _newest_message_us(state: RecorderState) -> int | None:
    times = [session.last_message_us for session in state.sessions if session.last_message_us is not None]
    return max(times, default=None)


def _write_ms_max(state: RecorderState) -> float | None:
    times = [session.write_ms_max for session in state.sessions if session.write_ms_max is not None]
    return _rounded(max(times, default=None))


def _rounded(ms: float | None) -> float | None:
    return None if ms is None else round(ms, 1)
