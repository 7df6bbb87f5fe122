"""
What each kind of frame does to books, rows and gaps in each situation, found out by trying.

`python -m tests.facts.situations` prints the table of docs/architecture.md; with --update it writes it there.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from attrs import frozen

from collector.facts import BookStateFact, FeedTracker, GapFact
from collector.protocol import LIFECYCLE_CHANNEL
from collector.storage import KIND_BY_FACT
from tests.frames import (
    delta_text,
    error_text,
    event_text,
    ok_text,
    received,
    snapshot_text,
    subscribed_text,
    trade_text,
)

PAGE: Final = Path(__file__).resolve().parent.parent.parent / "docs/architecture.md"
BEGIN: Final = "<!-- The table is made by: python -m tests.facts.situations --update -->\n"
END: Final = "<!-- end of the table -->\n"

BOOKS, TRADES, LIFECYCLE, ENDED, UNKNOWN = 1, 2, 3, 4, 9
"""The `sid` of each subscription. ENDED has been unsubscribed, UNKNOWN was never acknowledged."""
BEFORE: Final = (
    subscribed_text("orderbook_delta", BOOKS),
    subscribed_text("trade", TRADES),
    subscribed_text(LIFECYCLE_CHANNEL, LIFECYCLE),
    subscribed_text("trade", ENDED),
    json.dumps({"type": "unsubscribed", "id": 5, "sid": ENDED}),
    snapshot_text("A", 1, yes={"0.4500": "10.00"}, clock=7),
    snapshot_text("B", 2, clock=8),
    snapshot_text("C", 3, clock=8),
    ok_text(["A", "B"], 4),
    delta_text("A", 5, "0.4500", "1.00", clock=9),
    trade_text("A", 1),
    event_text("A", 1),
)
"""A session with exact books of A and B. C has been taken out of the subscription."""
NEXT: Final = {BOOKS: 6, TRADES: 2, LIFECYCLE: 2, ENDED: 7, UNKNOWN: 1}
"""The number expected on each subscription. On the ended one 1 would begin a new subscription."""


@frozen
class Message:
    """A kind of frame, and the subscription that it belongs to; None where it names none."""

    name: str
    home: int | None
    text: str
    is_placed: bool = True
    """Whether it is tried in other places than its own."""


@frozen
class Outcome:
    """What a frame does: how it is counted, which books are unknown after it and why, rows, and gaps."""

    counted: str
    books: str
    rows: str
    gap: str


@frozen
class Tried:
    """A frame in a situation, and what it did."""

    message: Message
    situation: str
    causes: dict[str, str | None]
    """Why each book is unknown after it; None where exact."""
    stated: dict[str, str | None]
    """The same by the rows about books that it makes."""
    outcome: Outcome


def changed(text: str, *, command_id: int | None = None, **content: object) -> str:
    """The same frame with other fields in its `msg` (None removes one), or with an id."""
    frame: dict[str, Any] = json.loads(text)
    merged = {**frame.get("msg", {}), **content}
    frame["msg"] = {name: value for name, value in merged.items() if value is not None}
    return json.dumps(frame if command_id is None else {"id": command_id, **frame})


DELTA: Final = delta_text("A", 0, "0.4500", "1.00", clock=10)
SNAPSHOT: Final = snapshot_text("A", 0, yes={"0.4500": "11.00"}, clock=9)
NEW_BOOKS: Final = subscribed_text("orderbook_delta", UNKNOWN)
MESSAGES: Final = (
    Message("delta", BOOKS, DELTA),
    Message("delta with an additional field", BOOKS, changed(DELTA, liquidity="deep"), is_placed=False),
    Message("delta without a required field", BOOKS, changed(DELTA, price_dollars=None), is_placed=False),
    Message("delta with a field of another type", BOOKS, changed(DELTA, delta_fp=1.0), is_placed=False),
    Message("delta with an unknown side", BOOKS, changed(DELTA, side="maybe"), is_placed=False),
    Message("delta that names no market", BOOKS, changed(DELTA, market_ticker=None), is_placed=False),
    Message("delta that takes a level below zero", BOOKS, changed(DELTA, delta_fp="-99.00"), is_placed=False),
    Message("delta with a clock below the book's", BOOKS, changed(DELTA, clock=8), is_placed=False),
    Message("delta of a market that has left", BOOKS, changed(DELTA, market_ticker="C"), is_placed=False),
    Message("delta of a market never seen", BOOKS, changed(DELTA, market_ticker="D"), is_placed=False),
    Message("snapshot", BOOKS, SNAPSHOT),
    Message("snapshot with a clock below the book's", BOOKS, changed(SNAPSHOT, clock=2), is_placed=False),
    Message(
        "snapshot with unknown fields and no known side",
        BOOKS,
        changed(SNAPSHOT, yes_dollars_fp=None, yes_levels=[]),
        is_placed=False,
    ),
    Message("answer to an audit, equal", BOOKS, changed(SNAPSHOT, command_id=9), is_placed=False),
    Message(
        "answer to an audit, different",
        BOOKS,
        changed(SNAPSHOT, command_id=9, yes_dollars_fp=[["0.4500", "12.00"]]),
        is_placed=False,
    ),
    Message("trade", TRADES, trade_text("A", 0)),
    Message("trade without a required field", TRADES, changed(trade_text("A", 0), count_fp=None)),
    Message("lifecycle message", LIFECYCLE, event_text("A", 0)),
    Message("unknown type", BOOKS, '{"type":"weather","msg":{}}'),
    Message("text that is no frame", None, "<html>", is_placed=False),
    Message("`ok` with the list of markets", BOOKS, ok_text(["A"], 0), is_placed=False),
    Message("`ok` without an `id`", BOOKS, '{"type":"ok","msg":{}}', is_placed=False),
    Message("`subscribed`: books on a new `sid`", None, NEW_BOOKS, is_placed=False),
    Message("`unsubscribed`, our command", BOOKS, '{"type":"unsubscribed","id":7}', is_placed=False),
    Message("`unsubscribed` without a command", BOOKS, '{"type":"unsubscribed"}', is_placed=False),
    Message("error that refuses a command (14)", BOOKS, error_text(14), is_placed=False),
    Message("error 10", BOOKS, error_text(10), is_placed=False),
    Message("error 25", BOOKS, error_text(25), is_placed=False),
    Message("error with an unknown code", BOOKS, error_text(99)),
)


def placed(text: str, sid: int | None, seq: int | None) -> str:
    """The frame on a subscription, with a number or without."""
    if not text.startswith("{"):
        return text
    frame = {name: value for name, value in json.loads(text).items() if name not in ("sid", "seq")}
    place = {"sid": sid, "seq": seq}
    return json.dumps(frame | {name: value for name, value in place.items() if value is not None})


def situations(message: Message) -> Iterator[tuple[str, list[str], str]]:
    """Where and with which number a message may arrive: name, frames before it, and the frame."""
    home, text = message.home, message.text
    if home is None:
        yield "any", [], text
        return
    yield "own `sid`, expected number", [], placed(text, home, NEXT[home])
    if not message.is_placed:
        return
    yield "own `sid`, number ahead", [], placed(text, home, NEXT[home] + 2)
    again = placed(text, home, NEXT[home])
    yield "own `sid`, repeated number, same frame", [again], again
    yield "own `sid`, repeated number, other frame", [], placed(text, home, NEXT[home] - 1)
    others = {"`sid` of the books": BOOKS, "`sid` of trades": TRADES}
    others |= {"ended `sid`": ENDED, "unknown `sid`": UNKNOWN}
    for name, sid in others.items():
        if sid != home:
            yield name, [], placed(text, sid, NEXT[sid])
    yield "no `sid`", [], placed(text, None, None)


def try_all() -> list[Tried]:
    """Every message in every situation, each on a session of its own."""
    return [
        _try(message, name, [*BEFORE, *more], frame)
        for message in MESSAGES
        for name, more, frame in situations(message)
    ]


def _try(message: Message, situation: str, before: list[str], frame: str) -> Tried:
    tracker = FeedTracker.of_markets(["A", "B", "C"])
    tracker.process(received(*before))
    causes_before = _causes(tracker)
    batch = tracker.process(received(frame, first=len(before) + 1))
    causes = _causes(tracker)
    counted = next(name for name in ("deltas", "snapshots", "trades", "controls", "stales", "rejects")
                   if getattr(batch.counts, name))  # fmt: skip
    gaps = [fact for fact in batch.facts if isinstance(fact, GapFact)]
    rows = [
        KIND_BY_FACT[type(fact)].name.replace("_", " ")
        for fact in batch.facts
        if type(fact) in KIND_BY_FACT and not isinstance(fact, GapFact | BookStateFact)
    ]
    outcome = Outcome(
        counted=counted.removesuffix("s"),
        books=_books(causes, causes_before),
        rows=", ".join(rows) or "-",
        gap="; ".join(map(_gap, gaps)) or "-",
    )
    states = [fact for fact in batch.facts if isinstance(fact, BookStateFact)]
    stated: dict[str, str | None] = {
        fact.market_ticker: fact.cause for fact in states if fact.market_ticker in causes
    }
    return Tried(message, situation, causes, causes_before | stated, outcome)


def _causes(tracker: FeedTracker) -> dict[str, str | None]:
    return {
        ticker: tracker.markets[ticker].unknown_cause if ticker in tracker.markets else "unfollowed"
        for ticker in "AB"
    }


def _books(causes: dict[str, str | None], before: dict[str, str | None]) -> str:
    """Which books are unknown that were exact; A is the market that the frame names."""
    new = {ticker: cause for ticker, cause in causes.items() if cause and before[ticker] is None}
    if not new:
        return "none"
    who = {"AB": "all", "A": "its own", "B": "all others"}["".join(sorted(new))]
    return f"{who}: " + ", ".join(f"`{cause}`" for cause in sorted(set(new.values())))


def _gap(gap: GapFact) -> str:
    numbers = "open end" if gap.received is None else f"{gap.received - gap.expected} missing"
    about = "the market" if gap.market_ticker else "the `sid`"
    return f"`{gap.cause}`, {about}, {numbers}"


def render() -> str:
    """The table. Situations of one message with the same outcome share a line."""
    lines = ["| frame | where | counted as | books that become unknown | rows | gap |", "|" + " --- |" * 6]
    grouped: dict[tuple[str, Outcome], list[str]] = {}
    for tried in try_all():
        grouped.setdefault((tried.message.name, tried.outcome), []).append(tried.situation)
    for (name, outcome), where in grouped.items():
        cells = (name, "; ".join(where), outcome.counted, outcome.books, outcome.rows, outcome.gap)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def main() -> None:
    """Print the table, or write it into the page."""
    if "--update" not in sys.argv:
        sys.stdout.write(render())
        return
    page = PAGE.read_text()
    before, _, rest = page.partition(BEGIN)
    PAGE.write_text(before + BEGIN + render() + END + rest.partition(END)[2])


if __name__ == "__main__":
    main()
