"""
What an operator should know of right now: the one place where the page's verdict is made.

`health.assess` judges, and everything that it does not find ok is a problem here, at the same level. What it
is content with, and somebody may still want to know, is a notice. So the worst level here is health's
verdict, with a notice counting as ok. Pure.
"""

import re
from collections import Counter
from typing import Final

from collector.facts import Cause, GapFact
from collector.observe import RECENT_EVENTS_KEPT, FeedPhase, FeedStatus, RecorderState, StorePhase
from collector.protocol import format_cents, format_contracts
from collector.web import _problem_text as advice
from collector.web._current_books import UnknownBooks, recent_mismatches, unknown_books
from collector.web._health import MISMATCH_S, Component, Verdict, assess, is_lost_for_long
from collector.web._problem_text import CAUSES, Words
from collector.web._schema import Level, Problem
from collector.web._times import iso_time

RECENT_S: Final = 600
"""Gaps, rejects and lost connections of the last ten minutes are worth a note."""
FIRST_SNAPSHOTS_S: Final = 10
"""So long a book may be without its first snapshot before anybody is told."""
NAMES_MAX: Final = 5
UNANSWERED_SHARE: Final = 10
"""A market that is over is not answered for; when it is more than one audit in ten, somebody should look."""
_DIFFERENCE: Final = re.compile(r"(yes|no) (\d+): book (-?\d+), exchange (-?\d+)")
_NO_LOSS: Final = frozenset({Cause.AUDIT_MISMATCH, Cause.UNFOLLOWED})
"""Gaps that are no news: the audit itself is told, and to follow a market no longer is our own wish."""

_RANKS: Final[dict[Level, int]] = {"failed": 0, "degraded": 1, "notice": 2}
_ORDER: Final = (
    "stopping", "database", "spool-full", "spool-disk", "feed", "no-feed", "audit-mismatch", "books", "clock",
    "message-age", "event-loop", "partitions", "spool-damaged", "spool", "gaps", "connection-lost", "rejects",
    "discovery", "unanswered", "starting", "unknown-types",
)  # fmt: skip
"""Among problems of one level: causes before what follows from them."""


def find_problems(state: RecorderState, now_us: int) -> list[Problem]:
    """All problems at a moment, worst first; none when all is well."""
    health = assess(state, now_us)
    found: list[Problem] = []
    for component in health.components:
        if component.name == "feeds":
            found += _feed_problems(state, component, health.feeds)
        elif component.name == "books":
            found += _book_problems(state, now_us)
        elif component.verdict != "ok":
            found += _component_problems(state, component)
    found += _discovery(state)
    found += _starting(state, health.components, health.feeds)
    found += _gap_problems(state, now_us)
    found += _reject_problems(state, now_us)
    found += _past_losses(state, now_us)
    found += _unanswered(state)
    found += _unknown_types(state)
    return sorted(found, key=lambda problem: (_RANKS[problem.level], _place(problem), problem.id))


def _place(problem: Problem) -> int:
    name = problem.id.partition(":")[0]
    return _ORDER.index(name) if name in _ORDER else len(_ORDER)


def _problem(
    name: str, level: Level, words: Words, detail: str, since_us: int | None = None, *, is_over: bool = False
) -> Problem:
    since_ms = since_us // 1000 if since_us else None
    return Problem(
        id=name,
        level=level,
        title=words.title,
        detail=detail,
        advice=words.advice,
        since_ms=since_ms,
        is_over=is_over,
    )


def _level(verdict: Verdict) -> Level:
    return "notice" if verdict == "ok" else verdict


# ------------------------------------------------------------------ what health finds wrong


def _component_problems(state: RecorderState, component: Component) -> list[Problem]:
    match component.name:
        case "store":
            name, words, detail = _database(state, component)
        case "spool" if _waits_for_database(state):
            # One trouble, told once: the database's own words say how the spool stands.
            return []
        case "spool":
            name, words, detail = _spool(state, component)
        case "partitions":
            name, words, detail = "partitions", advice.PARTITIONS, component.why
        case "event_loop":
            name, words, detail = "event-loop", advice.EVENT_LOOP, component.why
        case "message_age":
            name, words, detail = "message-age", advice.MESSAGE_AGE, component.why
        case "clock":
            was_set = "was set" in component.why
            name, words, detail = "clock", advice.CLOCK_SET if was_set else advice.CLOCK_BEHIND, component.why
        case other:
            name, words, detail = other, Words(f"Trouble: {other}", "Read the log."), component.why
    is_cause = name == "database" and state.spool.is_full
    level = "failed" if is_cause else _level(component.verdict)
    return [_problem(name, level, words, detail, component.since_us)]


def _waits_for_database(state: RecorderState) -> bool:
    spool = state.spool
    is_troubled = spool.failure or spool.damaged_files or spool.refused_batches
    return state.store.phase is StorePhase.AWAY and not is_troubled


def _database(state: RecorderState, component: Component) -> tuple[str, Words, str]:
    if state.store.phase is StorePhase.STARTING:
        return "database", advice.DATABASE_NEVER_REACHED, component.why
    if state.spool.is_full:
        detail = f"{component.why}; memory holds {_memory_left(state)}"
        return "database", advice.DATABASE_AWAY_AND_SPOOL_FULL, detail
    left = "" if state.spool.failure else _time_left(state)
    detail = f"{component.why}; the spool holds {_room(state)}{left}"
    words = advice.DATABASE_REFUSES if state.store.is_refusing else advice.DATABASE_AWAY
    return "database", words, detail


def _time_left(state: RecorderState) -> str:
    """How long the spool will do, if it goes on filling as it has since it came into use."""
    spool = state.spool
    in_use_us = state.clock() - spool.since_us
    if not spool.since_us or not spool.bytes or in_use_us <= 0:
        return ""
    left_s = (spool.bytes_max - spool.bytes) * in_use_us // spool.bytes // 1_000_000
    return f", enough for {_words_for(left_s)}"


def _spool(state: RecorderState, component: Component) -> tuple[str, Words, str]:
    spool = state.spool
    detail = f"{component.why}; it holds {_room(state)}"
    if spool.is_full:
        return "spool-full", advice.SPOOL_FULL, f"{detail}, and memory {_memory_left(state)}"
    if spool.failure:
        is_full = "no space left" in spool.failure.lower()
        words = advice.DISK_FULL if is_full else advice.DISK_FAILS
        return "spool-disk", words, f"{detail}, and memory {_memory_left(state)}"
    if spool.bytes:
        return "spool", advice.SPOOL_WAITS, detail
    if spool.damaged_files:
        return "spool-damaged", advice.SPOOL_DAMAGED, component.why
    if spool.refused_batches:
        return "spool-refused", advice.SPOOL_REFUSED, component.why
    return "spool-keep", advice.SPOOL_KEEPS_NOTHING, component.why


def _room(state: RecorderState) -> str:
    spool = state.spool
    return f"{_size(spool.bytes)} of {_size(spool.bytes_max)}"


def _size(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 10**9 else f"{size / 1e6:.1f} MB"


def _memory_left(state: RecorderState) -> str:
    """How long memory will do for what the spool does not take."""
    frames = sum(session.memory_frames for session in state.sessions)
    per_s = state.messages_per_second
    left = f"{frames:,} of its {state.memory_frames_max:,} frames"
    return f"{left}, enough for {_words_for((state.memory_frames_max - frames) / per_s)}" if per_s else left


def _words_for(left_s: float) -> str:
    if left_s >= 2 * 86_400:
        return f"{int(left_s / 86_400)} days at this rate"
    if left_s >= 2 * 3600:
        return f"{int(left_s / 3600)} hours at this rate"
    if left_s >= 120:
        return f"{int(left_s / 60)} minutes at this rate"
    return f"{max(0, int(left_s))} seconds at this rate"


# ------------------------------------------------------------------ feeds


def _feed_problems(state: RecorderState, summary: Component, feeds: tuple[Component, ...]) -> list[Problem]:
    if state.stopping:
        return [_problem("stopping", _level(summary.verdict), advice.STOPPING, summary.why)]
    if not feeds and summary.verdict != "ok":
        level = _level(summary.verdict)
        return [_problem("no-feed", level, advice.NO_FEED, summary.why, summary.since_us)]
    return [
        _feed_problem(state, feed, component)
        for feed, component in zip(state.feeds, feeds, strict=True)
        if component.verdict != "ok" or (feed.phase is not FeedPhase.CONNECTED and feed.ever_connected)
    ]


def _feed_problem(state: RecorderState, feed: FeedStatus, component: Component) -> Problem:
    words = _feed_words(feed)
    words = Words(words.title, words.advice.format(environment=state.environment))
    detail = f"{feed.name}: {component.why}; {len(feed.market_tickers)} markets are not recorded meanwhile"
    return _problem(f"feed:{feed.name}", _level(component.verdict), words, detail, component.since_us)


def _feed_words(feed: FeedStatus) -> Words:
    match feed.phase:
        case FeedPhase.REFUSED if "HTTP 401" in feed.reason or "HTTP 403" in feed.reason:
            return advice.KEY_REFUSED
        case FeedPhase.REFUSED:
            return advice.REFUSED
        case FeedPhase.WAITING_FOR_STORE:
            return advice.WAITING
        case FeedPhase.STOPPED:
            return advice.STOPPED
        case _ if not feed.ever_connected:
            return advice.NEVER_CONNECTED
        case _:
            return _loss_words(feed.reason)


def _loss_words(reason: str) -> Words:
    is_silence = "silent" in reason or "no frame of any kind" in reason
    return advice.SILENT if is_silence else advice.LOST


def _past_losses(state: RecorderState, now_us: int) -> list[Problem]:
    """Connections that were lost and are there again."""
    up = {feed.name for feed in state.feeds if feed.phase is FeedPhase.CONNECTED}
    lost = [
        session
        for session in state.sessions
        if session.status == "error"
        and session.feed_name in up
        and session.ended_us is not None
        and _is_recent(session.ended_us, now_us)
    ]
    if not lost:
        return []
    newest = max(lost, key=lambda session: session.ended_us or 0)
    newest_lost = f"{newest.feed_name}, {newest.end_reason}"
    detail = f"{len(lost)} in the last 10 minutes; newest: {newest_lost}; connected again"
    words = Words(_loss_words(newest.end_reason or "").title, advice.LOSS_OVER)
    return [_problem("connection-lost", "notice", words, detail, newest.ended_us, is_over=True)]


def _discovery(state: RecorderState) -> list[Problem]:
    discovery = state.discovery
    if not discovery.is_on or not discovery.reason or state.stopping:
        return []
    last = f"last done at {iso_time(discovery.last_us)}" if discovery.last_us else "never done yet"
    detail = f"{discovery.reason}; {last}; {discovery.followed} markets are followed"
    return [_problem("discovery", "notice", advice.DISCOVERY, detail, discovery.last_us)]


def _starting(
    state: RecorderState, components: tuple[Component, ...], feeds: tuple[Component, ...]
) -> list[Problem]:
    """One notice for all that has not been reached yet, and need not have been."""
    if state.stopping:
        return []
    waiting = [
        f"{component.name}: {component.why.removeprefix('starting: ')}"
        for component in (*components[1:], *feeds, *(components[:1] if not feeds else ()))
        if component.verdict == "ok" and component.why.startswith("starting: ")
    ]
    if not waiting:
        return []
    return [_problem("starting", "notice", advice.STARTING, "; ".join(waiting), state.started_us)]


# ------------------------------------------------------------------ books


def _book_problems(state: RecorderState, now_us: int) -> list[Problem]:
    problems = _mismatches(state, now_us)
    total = len(state.tickers)
    for books in unknown_books(state):
        if _is_awaited(books, now_us):
            continue
        level: Level = "degraded" if is_lost_for_long(books, now_us) else "notice"
        words = _cause_words(state, books.cause)
        count = len(books.tickers)
        title = f"{count} of {total} books unknown: {words.title}"
        detail = f"cause {books.cause}: {_names(books.tickers)}; their deltas are recorded all the same"
        problem = _problem(f"books:{books.cause}", level, Words(title, words.advice), detail, books.since_us)
        problems.append(problem)
    return problems


def _is_awaited(books: UnknownBooks, now_us: int) -> bool:
    since_us = books.since_us
    is_young = since_us is not None and now_us - since_us < FIRST_SNAPSHOTS_S * 1_000_000
    return books.cause == Cause.NO_SNAPSHOT_YET and is_young


def _mismatches(state: RecorderState, now_us: int) -> list[Problem]:
    mismatches = recent_mismatches(state, now_us, MISMATCH_S)
    if not mismatches:
        return []
    newest = mismatches[-1]
    ids = [session.session_id for session in state.sessions if session.audit_mismatches]
    words = Words(advice.MISMATCH.title, advice.MISMATCH.advice.format(session=_session_option(ids)))
    detail = (
        f"{_at_least(len(mismatches))} in the last hour; newest: {newest.market_ticker} at sequence number"
        f" {newest.sequence_number}, {_difference(newest.first_difference)}"
    )
    return [_problem("audit-mismatch", "degraded", words, detail, mismatches[0].received_us, is_over=True)]


def _difference(first: str | None) -> str:
    """The first level that differs, in cents and contracts."""
    match = _DIFFERENCE.fullmatch(first or "")
    if match is None:
        return first or "the difference was not noted"
    side, price, ours, theirs = match.groups()
    sizes = [format_contracts(int(size)) for size in (ours, theirs)]
    level = f"{side.upper()} bids at {format_cents(int(price))} ¢"
    return f"{level}: {sizes[0]} contracts here, {sizes[1]} at the exchange"


def _gap_problems(state: RecorderState, now_us: int) -> list[Problem]:
    by_cause: dict[Cause, list[GapFact]] = {}
    for gap in state.recent_gaps:
        if gap.cause not in _NO_LOSS and _is_recent(gap.detected_us, now_us):
            by_cause.setdefault(gap.cause, []).append(gap)
    return [_gap_problem(state, cause, gaps) for cause, gaps in by_cause.items()]


def _gap_problem(state: RecorderState, cause: Cause, gaps: list[GapFact]) -> Problem:
    words = _cause_words(state, cause)
    newest = gaps[-1]
    missing = max(0, newest.received - newest.expected) if newest.received is not None else 0
    whose = newest.market_ticker or f"all books of sid {newest.sid}"
    numbers = "number" if missing == 1 else "numbers"
    what = f"{missing} {numbers} missing from {newest.expected} on" if missing else "no number missing"
    detail = (
        f"{_at_least(len(gaps))} of them; the newest: {whose}, {what}, before frame {newest.frame_number}"
    )
    title = f"{words.title[0].upper()}{words.title[1:]} in the last 10 minutes"
    words = Words(title, words.advice)
    return _problem(f"gaps:{cause}", "notice", words, detail, newest.detected_us, is_over=True)


def _reject_problems(state: RecorderState, now_us: int) -> list[Problem]:
    rejects = [reject for reject in state.recent_rejects if _is_recent(reject.received_us, now_us)]
    if not rejects:
        return []
    newest = rejects[-1]
    newest_reject = f"frame {newest.frame_number}, {newest.reason}"
    detail = f"{_at_least(len(rejects))} in the last 10 minutes; newest: {newest_reject}"
    return [_problem("rejects", "notice", advice.REJECTS, detail, newest.received_us, is_over=True)]


def _unanswered(state: RecorderState) -> list[Problem]:
    problems: list[Problem] = []
    for session in state.sessions:
        unanswered, answered = session.unanswered_audits, session.audits
        if session.status == "active" and unanswered * UNANSWERED_SHARE > answered:
            detail = f"{session.feed_name}: {unanswered} without an answer, {answered} with one"
            problem = _problem(f"unanswered:{session.feed_name}", "notice", advice.UNANSWERED, detail)
            problems.append(problem)
    return problems


def _unknown_types(state: RecorderState) -> list[Problem]:
    types: Counter[str] = Counter()
    for session in state.sessions:
        if session.status == "active":
            types.update(session.tracker.unknown_types)
    if not types:
        return []
    names = ", ".join(f"{name} ({count})" for name, count in types.most_common(NAMES_MAX))
    return [_problem("unknown-types", "notice", advice.UNKNOWN_TYPES, f"{types.total()} frames: {names}")]


# ------------------------------------------------------------------ words


def _cause_words(state: RecorderState, cause: Cause) -> Words:
    words = CAUSES[cause]
    ids = [session.session_id for session in state.sessions if session.gaps]
    return Words(words.title, words.advice.format(session=_session_option(ids)))


def _session_option(ids: list[int | None]) -> str:
    known = [session_id for session_id in ids if session_id is not None]
    return f" --session {known[-1]}" if known else ""


def _names(tickers: tuple[str, ...]) -> str:
    more = len(tickers) - NAMES_MAX
    return ", ".join(tickers[:NAMES_MAX]) + (f" and {more} more" if more > 0 else "")


def _at_least(count: int) -> str:
    return f"at least {count}" if count >= RECENT_EVENTS_KEPT else str(count)


def _is_recent(time_us: int, now_us: int) -> bool:
    # A clock that was set back puts what has just happened into the future, where it is recent too.
    return now_us - time_us < RECENT_S * 1_000_000
