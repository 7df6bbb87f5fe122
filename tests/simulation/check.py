"""
What must hold after every run, found out without the recorder's own code where that is possible.

The frames that a line has sent are walked with nothing but the standard library: what was numbered, what was
missing. What the database twin holds must say the same.
"""

import json
from collections.abc import Iterable, Iterator
from typing import Any

from collector.facts import AuditFact, ConnectionEventFact, FrameCounts, GapFact
from collector.recording._derivation import Derivation, RowSums
from collector.storage import KIND_BY_FACT
from tests.simulation.world import Kept, World
from tests.twins import TwinSession

ENDED_BY_EXCHANGE = {10: "channel_error", 25: "buffer_overflow"}


def check_world(world: World) -> list[str]:
    """Everything that is wrong; an empty list is what is wanted."""
    findings: list[str] = []
    for kept in world.kept:
        session = world.database.sessions.get(kept.stats.key)
        check = _check_losses if world.may_lose else _check_kept
        findings += [f"line {kept.line.number}: {text}" for text in check(kept, session)]
    for session in world.database.sessions.values():
        if world.may_lose and not is_whole(session):
            continue
        findings += [f"session {session.session_id}: {text}" for text in _check_ledger(session)]
        findings += [
            f"session {session.session_id}: {text}" for text in _check_rows(session, world.sample_rate)
        ]
        findings += [f"session {session.session_id}: {text}" for text in _check_holes(session)]
    return findings + list(_check_books(world)) + list(_check_disk(world))


def _check_kept(kept: Kept, session: TwinSession | None) -> Iterator[str]:
    """Nothing that was received is missing, but for the tail that a killed process had not made safe yet."""
    sent = kept.line.sent
    recorded = [] if session is None else [frame.text for frame in session.frames]
    if recorded != sent[: len(recorded)]:
        yield "the recorded frames are not what was sent"
    if kept.safe_frames is None:
        if len(recorded) != len(sent):
            yield f"{len(sent) - len(recorded)} of {len(sent)} frames are missing, though nothing was killed"
    elif len(recorded) < kept.safe_frames:
        yield f"{kept.safe_frames} frames were safe when the process was killed, {len(recorded)} are recorded"
    if session is not None and session.ending is None:
        yield "the session has no end"


def _check_losses(kept: Kept, session: TwinSession | None) -> Iterator[str]:
    """What is recorded is what was sent, and what the database has lost is a hole in its ledger."""
    if session is None:
        return
    for frame in session.frames:
        if frame.text != kept.line.sent[frame.number - 1]:
            yield f"frame {frame.number} is not what was sent"
    numbers = [frame.number for frame in session.frames]
    if numbers != sorted(set(numbers)):
        yield "frames are recorded twice, or in another order"
    for number, batch in session.batches.items():
        before = session.batches.get(number - 1)
        if before is not None and before.next_frame != batch.first_frame:
            yield f"a hole before batch {number} is none in the ledger"


def is_whole(session: TwinSession) -> bool:
    """Whether the ledger has no hole, so that its frames give its rows."""
    return bool(session.batches) and sorted(session.batches) == list(range(1, len(session.batches) + 1))


def _check_ledger(session: TwinSession) -> Iterator[str]:
    """Batches and frames follow each other without a hole, and the counts add up."""
    numbers = sorted(session.batches)
    if numbers != list(range(1, len(numbers) + 1)):
        yield f"batches are missing: {numbers}"
    frames = session.frames
    if [frame.number for frame in frames] != list(range(1, len(frames) + 1)):
        yield "frame numbers have holes"
    counts = sum((session.batches[number].counts for number in numbers), FrameCounts())
    if counts.total != len(frames):
        yield f"{len(frames)} frames, but the counts say {counts}"


def _check_rows(session: TwinSession, sample_rate: int) -> Iterator[str]:
    """The rows are what the frames give."""
    derivation = Derivation(session.opening)
    derivation.add(derivation.facts_of(session.stream)[0])
    has_died = session.ending is not None and session.ending.reason.startswith("recorder_died")
    recorded = RowSums()
    for fact in session.facts:
        kind = KIND_BY_FACT.get(type(fact))
        if kind is not None:
            recorded.add(kind, kind.values(fact))
    # One that was killed has written what it was still summing, if its feed had ended before, or has not.
    expected = derivation.finish()
    if has_died and not derivation.rows.differences(recorded):
        expected = derivation.rows
    for bucket in expected.differences(recorded):
        yield f"{bucket.kind.name} rows differ from what the frames give"


def _check_holes(session: TwinSession) -> Iterator[str]:
    """Every hole in the numbers is a recorded gap, every gap is a hole, and no audit found anything."""
    texts = [frame.text for frame in session.frames]
    gaps = [fact for fact in session.facts if isinstance(fact, GapFact)]
    found = [(gap.sid, gap.expected, gap.received) for gap in gaps if gap.cause == "sequence"]
    if found != list(holes_in(texts)):
        yield f"recorded gaps {found}, holes {list(holes_in(texts))}"
    ends = [gap.cause for gap in gaps if gap.cause in ENDED_BY_EXCHANGE.values()]
    if ends != list(ends_in(texts)):
        yield f"recorded ends of subscriptions {ends}, but there were {list(ends_in(texts))}"
    left = sorted((gap.sid, gap.market_ticker or "") for gap in gaps if gap.cause == "unfollowed")
    if left != sorted(leaves_in(texts)):
        yield f"markets that left {left}, but there were {sorted(leaves_in(texts))}"
    known = {"sequence", *ENDED_BY_EXCHANGE.values(), "after_end", "unfollowed"}
    if len(list(_parsed(texts))) < len(texts):
        known.add("reject")
    if has_conflict(texts):
        known.add("sequence_conflict")
    if any(
        isinstance(fact, ConnectionEventFact) and fact.event_type == "store_lost" for fact in session.facts
    ):
        # The batches were refused, or their file was gone, and they are there by now.
        known.add("store_lost")
    others = {gap.cause for gap in gaps} - known
    if others:
        yield f"gaps that nothing brought about: {others}"
    for fact in session.facts:
        if isinstance(fact, AuditFact) and not fact.is_match:
            yield f"an audit found a difference: {fact}"


def _check_books(world: World) -> Iterator[str]:
    """When everything has healed, every book is exact, and is the exchange's."""
    assert world.last is not None
    for ticker, market in world.exchange.floor.markets.items():
        held = world.last.state.market(ticker)
        if held is None or held.unknown_cause not in (None, "session_ended"):
            yield f"{ticker} is not exact in the end: {held and held.unknown_cause}"
            continue
        depth = market.book.depth()
        if (held.book.yes_bids, held.book.no_bids) != (dict(depth.yes), dict(depth.no)):
            yield f"{ticker} is called exact, but is not the exchange's book"


def _check_disk(world: World) -> Iterator[str]:
    """When everything is in the database, only what the last process keeps for the window is in the spool."""
    assert world.last is not None
    own = {str(stats.key) for stats in world.last.state.sessions}
    waiting = [name for name in sorted(world.disk.files) if name.endswith(".spool")]
    left = [name for name in waiting if name.split(".", 1)[0] not in own]
    if left or world.last.state.spool.bytes:
        yield f"left on the disk: {left}, {world.last.state.spool.bytes} bytes wait"


def _parsed(texts: Iterable[str]) -> Iterator[dict[str, Any]]:
    for text in texts:
        try:
            yield json.loads(text)
        except ValueError:
            continue


def holes_in(texts: Iterable[str]) -> Iterator[tuple[int, int, int]]:
    """Each jump in the numbers of a subscription: (sid, expected, received)."""
    expected: dict[int, int] = {}
    for frame in _parsed(texts):
        sid, seq = frame.get("sid"), frame.get("seq")
        if sid is None or seq is None:
            continue
        due = expected.setdefault(sid, 1)
        if seq > due:
            yield sid, due, seq
        expected[sid] = max(due, seq + 1)


def has_conflict(texts: Iterable[str]) -> bool:
    """Whether a number came late or again with another frame than the first time."""
    seen: dict[tuple[int, int], dict[str, Any]] = {}
    due: dict[int, int] = {}
    for frame in _parsed(texts):
        sid, seq = frame.get("sid"), frame.get("seq")
        if sid is None or seq is None:
            continue
        content = {name: value for name, value in frame.items() if name != "sending_ts_ms"}
        if seq < due.get(sid, 1) and seen.get((sid, seq)) != content:
            return True
        seen[sid, seq] = content
        due[sid] = max(due.get(sid, 1), seq + 1)
    return False


def leaves_in(texts: Iterable[str]) -> Iterator[tuple[int, str]]:
    """Each market that a subscription does not cover any more, after it had brought a message of its book."""
    due: dict[int, int] = {}
    covered: dict[str, int] = {}
    for frame in _parsed(texts):
        sid, seq = frame.get("sid"), frame.get("seq")
        if sid is None or seq is None or seq < due.get(sid, 1):
            continue
        due[sid] = seq + 1
        if frame["type"] in ("orderbook_snapshot", "orderbook_delta"):
            covered[frame["msg"]["market_ticker"]] = sid
        elif frame["type"] == "error":
            covered = {ticker: by for ticker, by in covered.items() if by != sid}
        elif frame["type"] == "ok" and sid in covered.values():
            listed = frame["msg"].get("market_tickers")
            gone = [t for t, by in covered.items() if by == sid and listed is not None and t not in listed]
            for ticker in gone:
                del covered[ticker]
                yield sid, ticker


def ends_in(texts: Iterable[str]) -> Iterator[str]:
    """Each end of a subscription that the exchange brought about."""
    for frame in _parsed(texts):
        if frame.get("type") == "error" and "sid" in frame:
            yield ENDED_BY_EXCHANGE[frame["msg"]["code"]]
