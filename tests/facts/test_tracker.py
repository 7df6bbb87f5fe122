"""Frames to facts: sequence, books, gaps, rejects."""

import gzip
import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.facts import (
    AuditFact,
    Cause,
    DeltaFact,
    EventFact,
    Fact,
    FeedTracker,
    FrameCounts,
    GapFact,
    RejectFact,
    SnapshotFact,
    TradeFact,
)
from tests import independent
from tests.frames import (
    RECEIVED_US,
    delta_text,
    error_text,
    event_text,
    ok_text,
    received,
    snapshot_text,
    subscribed_text,
    trade_text,
)

EIGHT_MARKETS = "KXBTC-8-markets-2026-04-18.ndjson.gz"


def process(*texts: str, markets: Sequence[str] = ("A", "B")) -> tuple[FeedTracker, list[Fact], FrameCounts]:
    tracker = FeedTracker.of_markets(markets)
    batch = tracker.process(received(*texts))
    return tracker, list(batch.facts), batch.counts


def gaps(facts: Sequence[Fact]) -> list[GapFact]:
    return [fact for fact in facts if isinstance(fact, GapFact)]


def of_kind(facts: Sequence[Fact], kind: type[Fact]) -> list[Fact]:
    return [fact for fact in facts if isinstance(fact, kind)]


def test_delta_carries_sizes_before_and_after() -> None:
    """A level is added, changed and removed, and each delta says from what to what."""
    _, facts, counts = process(
        snapshot_text("A", 1, yes={"0.4500": "10.00"}),
        delta_text("A", 2, "0.4600", "5.00"),
        delta_text("A", 3, "0.4500", "-4.00"),
        delta_text("A", 4, "0.4600", "-5.00"),
    )

    deltas = [fact for fact in facts if isinstance(fact, DeltaFact)]
    assert [(delta.action, delta.old_size_e2, delta.new_size_e2) for delta in deltas] == [
        ("add", 0, 500),
        ("update", 1000, 600),
        ("remove", 500, 0),
    ]
    assert [delta.sequence_number for delta in deltas] == [2, 3, 4]
    assert deltas[0].received_us == RECEIVED_US + 2000
    assert counts == FrameCounts(snapshots=1, deltas=3)


def test_sequence_is_shared_by_markets_and_control_frames() -> None:
    """One counter runs over all markets of a sid and over its acknowledgements: no false gap."""
    _, facts, counts = process(
        subscribed_text("orderbook_delta", 1),
        snapshot_text("A", 1),
        snapshot_text("B", 2),
        '{"id":3,"sid":1,"seq":3,"type":"ok","msg":{"market_tickers":["A","B"]}}',
        delta_text("B", 4, "0.5000", "1.00"),
        subscribed_text("trade", 2),
        trade_text("A", 1, sid=2),
        error_text(13, sid=1, seq=5),
        delta_text("A", 6, "0.5000", "1.00"),
    )

    assert gaps(facts) == []
    assert counts == FrameCounts(snapshots=2, deltas=2, trades=1, controls=4)


def test_hole_makes_all_books_of_its_sid_unknown_until_their_snapshots() -> None:
    """After a hole each book is exact again from its own new snapshot on, and deltas between are kept."""
    tracker, facts, _ = process(
        snapshot_text("A", 1), snapshot_text("B", 2), delta_text("A", 5, "0.5000", "1.00")
    )

    assert gaps(facts) == [GapFact(1, 3, 5, RECEIVED_US + 3000, 3, Cause.SEQUENCE, None, "orderbook_delta")]
    assert tracker.lost_markets() == ["A", "B"]
    assert len(of_kind(facts, DeltaFact)) == 1

    batch = tracker.process(received(snapshot_text("B", 6, yes={"0.1000": "1.00"}, command_id=9), first=4))

    assert tracker.lost_markets() == ["A"]
    assert tracker.markets["B"].is_exact
    snapshot = batch.facts[0]
    assert isinstance(snapshot, SnapshotFact)
    assert snapshot.origin == "requested"


def test_hole_in_the_trades_leaves_books_alone() -> None:
    """A hole is recorded for the sid that it is in, and no other sid's books are doubted."""
    tracker, facts, _ = process(
        snapshot_text("A", 1), snapshot_text("B", 2), trade_text("A", 1), trade_text("A", 3)
    )

    assert [(gap.sid, gap.expected, gap.received) for gap in gaps(facts)] == [(2, 2, 3)]
    assert tracker.lost_markets() == []


@pytest.mark.parametrize(
    ("said", "channel"),
    [
        ([subscribed_text("trade", 2)], "trade"),
        ([], None),
        ([subscribed_text("odd\0name", 2)], None),
        ([snapshot_text("A", 1, sid=2)], "orderbook_delta"),
    ],
)
def test_hole_names_the_channel_of_its_subscription(said: list[str], channel: str | None) -> None:
    """What `subscribed` said, or what a frame of books shows; nothing where that was never heard."""
    _, facts, _ = process(*said, trade_text("A", 7))

    assert [gap.channel for gap in gaps(facts) if gap.cause is Cause.SEQUENCE] == [channel]


def test_first_snapshot_missing() -> None:
    """When the very first frame is lost, the market that it was for is asked for too."""
    tracker, facts, _ = process(subscribed_text("orderbook_delta", 1), snapshot_text("B", 2))

    assert [(gap.expected, gap.received) for gap in gaps(facts)] == [(1, 2)]
    assert tracker.lost_markets() == ["A"]


def test_repeated_and_late_numbers_are_dropped() -> None:
    """A number seen before is counted, and neither applied nor made a row."""
    tracker, facts, counts = process(
        snapshot_text("A", 1),
        delta_text("A", 2, "0.5000", "1.00"),
        delta_text("A", 2, "0.5000", "1.00"),
        delta_text("A", 1, "0.5000", "1.00"),
    )

    assert counts == FrameCounts(snapshots=1, deltas=1, stales=2)
    assert len(of_kind(facts, DeltaFact)) == 1
    assert tracker.markets["A"].book.yes_bids == {5000: 100}


def test_snapshot_replaces_the_book_whenever_it_comes() -> None:
    """The empty snapshot after the close empties the book; it is unsolicited, the first one initial."""
    tracker, facts, _ = process(
        snapshot_text("A", 1, yes={"0.4500": "10.00"}, no={"0.5000": "1.00"}), snapshot_text("A", 2)
    )

    assert [fact.origin for fact in facts if isinstance(fact, SnapshotFact)] == ["initial", "unsolicited"]
    assert tracker.markets["A"].book.yes_bids == {}
    assert tracker.markets["A"].book.no_bids == {}
    assert tracker.markets["A"].is_exact


def test_level_below_zero_is_an_alarm() -> None:
    """The delta is stored as received, its book is unknown until a new snapshot, others are not."""
    tracker, facts, counts = process(
        snapshot_text("A", 1, yes={"0.4500": "1.00"}),
        snapshot_text("B", 2),
        delta_text("A", 3, "0.4500", "-1.50"),
    )

    assert counts.deltas == 1
    assert [(gap.cause, gap.market_ticker, gap.expected, gap.received) for gap in gaps(facts)] == [
        ("negative_level", "A", 4, 4)
    ]
    assert tracker.lost_markets() == ["A"]
    assert tracker.negative_levels == 1


def test_malformed_frame_is_kept_verbatim_and_shows_as_a_hole() -> None:
    """Text that is no frame may have been any: no book is exact, and the number that it had is missing."""
    garbled = snapshot_text("A", 2)[:-20]

    _, facts, counts = process(snapshot_text("A", 1), garbled, delta_text("A", 3, "0.5000", "1.00"))

    assert counts == FrameCounts(snapshots=1, deltas=1, rejects=1)
    (reject,) = [fact for fact in facts if isinstance(fact, RejectFact)]
    assert (reject.frame_number, reject.text) == (2, garbled)
    assert [(gap.cause, gap.expected, gap.received) for gap in gaps(facts)] == [
        ("reject", 2, 2),
        ("sequence", 2, 3),
    ]


def test_malformed_content_costs_one_book() -> None:
    """A numbered frame whose content makes no sense counts in the sequence; its market is unknown."""
    tracker, facts, counts = process(
        snapshot_text("A", 1),
        snapshot_text("B", 2),
        delta_text("A", 3, "0.50001", "1.00"),
        delta_text("B", 4, "0.5000", "1.00"),
    )

    assert counts == FrameCounts(snapshots=2, deltas=1, rejects=1)
    assert [(gap.cause, gap.market_ticker, gap.expected, gap.received) for gap in gaps(facts)] == [
        ("reject", "A", 3, 4)
    ]
    assert tracker.lost_markets() == ["A"]


@pytest.mark.parametrize(("code", "cause"), [(10, "channel_error"), (25, "buffer_overflow")])
def test_terminal_error_is_a_hole_without_an_end(code: int, cause: str) -> None:
    """A subscription that the exchange ends leaves its books unknown until the next one's snapshots."""
    tracker, facts, _ = process(snapshot_text("A", 1), snapshot_text("B", 2), error_text(code, sid=1, seq=3))

    assert [(gap.expected, gap.received, gap.cause) for gap in gaps(facts)] == [(4, None, cause)]
    assert tracker.lost_markets() == ["A", "B"]

    batch = tracker.process(
        received(
            subscribed_text("orderbook_delta", 3),
            snapshot_text("A", 1, sid=3),
            snapshot_text("B", 2, sid=3),
            first=4,
        )
    )

    assert gaps(batch.facts) == []
    assert [fact.origin for fact in batch.facts if isinstance(fact, SnapshotFact)] == ["initial", "initial"]
    assert tracker.exact_count() == 2


def test_late_answer_on_a_dead_subscription_makes_no_book_exact() -> None:
    """A snapshot on a subscription that has ended is no book of the market: a reject, kept verbatim."""
    tracker, facts, _ = process(
        snapshot_text("A", 1),
        error_text(25, sid=1, seq=2),
        snapshot_text("A", 3, command_id=4),
        markets=["A"],
    )

    assert len(of_kind(facts, SnapshotFact)) == 1
    assert len(of_kind(facts, RejectFact)) == 1
    assert tracker.lost_markets() == ["A"]
    assert [(gap.cause, gap.market_ticker, gap.expected, gap.received) for gap in gaps(facts)] == [
        ("buffer_overflow", None, 3, None),
        ("after_end", "A", 3, 4),
    ]
    assert isinstance(facts[-1], GapFact), "a reader of the rows sees it behind the snapshot"
    assert of_kind(facts, AuditFact) == []


def test_late_answer_takes_back_what_the_next_subscription_has_given() -> None:
    """It replaces a book that was exact by an older one, so that is unknown, and asked for again."""
    tracker, facts, _ = process(
        snapshot_text("A", 1),
        error_text(25, sid=1, seq=2),
        subscribed_text("orderbook_delta", 3),
        snapshot_text("A", 1, sid=3, yes={"0.4500": "2.00"}),
        snapshot_text("A", 3, command_id=4),
        markets=["A"],
    )

    assert [gap.cause for gap in gaps(facts)] == ["buffer_overflow", "after_end"]
    assert tracker.lost_markets() == ["A"]


def test_unsubscribed_by_the_exchange_is_a_hole_and_by_us_is_not() -> None:
    """An end that nobody asked for leaves books unknown; the one that we asked for is no loss."""
    tracker, facts, _ = process(
        snapshot_text("A", 1), '{"sid":1,"seq":2,"type":"unsubscribed"}', markets=["A"]
    )
    assert [(gap.cause, gap.received) for gap in gaps(facts)] == [("unsubscribed", None)]
    assert tracker.lost_markets() == ["A"]

    tracker, facts, _ = process(
        snapshot_text("A", 1), '{"id":4,"sid":1,"seq":2,"type":"unsubscribed"}', markets=["A"]
    )
    assert gaps(facts) == []
    assert tracker.lost_markets() == []


def test_book_frame_without_a_number_is_no_silent_loss() -> None:
    """A delta that can't be placed in the sequence makes its book unknown, and is kept as a reject."""
    unnumbered = delta_text("A", 2, "0.5000", "1.00").replace('"seq": 2, ', "")
    tracker, facts, counts = process(snapshot_text("A", 1), snapshot_text("B", 2), unnumbered)

    assert counts.rejects == 1
    assert [(gap.sid, gap.cause, gap.market_ticker, gap.expected, gap.received) for gap in gaps(facts)] == [
        (1, "reject", "A", 3, 3)
    ]
    assert tracker.lost_markets() == ["A"]


@pytest.mark.parametrize(
    "msg", ['{"code":25,"msg":null}', '{"code":"25"}', '{"code":25,"msg":"%s"}' % ("x" * 20_000)]
)
def test_terminal_error_is_not_missed_for_its_wording(msg: str) -> None:
    """However odd its text, the end of a subscription is understood."""
    tracker, facts, _ = process(
        snapshot_text("A", 1), f'{{"type":"error","sid":1,"msg":{msg}}}', markets=["A"]
    )

    assert [gap.cause for gap in gaps(facts)] == ["buffer_overflow"]
    assert tracker.lost_markets() == ["A"]


def test_deprecated_fields_may_be_anything() -> None:
    """Fields that are not needed because better ones are there do not cost a frame."""
    delta = delta_text("A", 2, "0.5000", "1.00").replace('"ts": "2026-08-11T01:15:15.566273Z"', '"ts": 17')
    trade = trade_text("A", 1).replace('"taker_side": "no"', '"taker_side": ""')

    assert process(snapshot_text("A", 1), delta.replace('"0000"', "7"), trade)[2].rejects == 0


def test_names_that_the_exchange_makes_up_are_bounded() -> None:
    """Counting by name ends at some hundred names; what comes beyond is counted together."""
    tracker, _, _ = process(*(f'{{"type":"t{n}"}}' for n in range(500)))

    assert len(tracker.unknown_types) == 201
    assert tracker.unknown_types["(others)"] == 300


def test_sid_given_again_after_its_end_counts_anew() -> None:
    """Should the exchange reuse the number of a dead subscription, its sequence starts at 1 again."""
    _, facts, counts = process(
        snapshot_text("A", 1), error_text(25, sid=1), snapshot_text("A", 1), delta_text("A", 2, "0.5", "1")
    )

    assert [gap.cause for gap in gaps(facts)] == ["buffer_overflow"]
    assert counts.stales == 0


def test_what_is_not_known_is_counted_by_name() -> None:
    """New types and new fields of the protocol are counted, and change nothing else."""
    tracker, _, counts = process(
        '{"type":"weather","sid":1,"seq":1,"msg":{}}',
        snapshot_text("A", 2, yes={"0.4500": "1.00"}).replace('"market_id"', '"shape": 1, "market_id"'),
    )

    assert tracker.unknown_types == {"weather": 1}
    assert tracker.unknown_fields == {"orderbook_snapshot.shape": 1}
    assert counts == FrameCounts(controls=1, snapshots=1)


@given(st.data())
def test_batching_changes_nothing(data: st.DataObject) -> None:
    """However frames are cut into batches, the facts and the books are the same."""
    texts = [snapshot_text("A", 1, yes={"0.5000": "9.00"}), snapshot_text("B", 2)]
    texts += [delta_text("AB"[n % 2], n, f"0.{n % 7 + 1}000", "3.00") for n in range(3, 20) if n != 11]
    frames = received(*texts)
    whole = FeedTracker.of_markets(("A", "B"))
    expected = whole.process(frames).facts

    pieces = FeedTracker.of_markets(("A", "B"))
    facts: list[Fact] = []
    rest = frames
    while rest:
        size = data.draw(st.integers(1, len(rest)))
        facts.extend(pieces.process(rest[:size]).facts)
        rest = rest[size:]

    assert tuple(facts) == expected
    assert {t: m.book for t, m in pieces.markets.items()} == {t: m.book for t, m in whole.markets.items()}


@pytest.mark.frames
def test_unfiltered_recording_has_no_false_gap(frames_dir: Path) -> None:
    """Eight markets on one sid, with control frames among the data: no gap, and the tape's own books."""
    tape = independent.read_tape(frames_dir / EIGHT_MARKETS)
    tracker = FeedTracker.of_markets(())

    batch = tracker.process(received(*raw_texts(frames_dir / EIGHT_MARKETS)))

    assert gaps(batch.facts) == []
    assert batch.counts == FrameCounts(snapshots=8, deltas=61, controls=5)
    for ticker, book in independent.fold(tape).items():
        assert tracker.markets[ticker].book.yes_bids == independent.as_integers(book["yes"])
        assert tracker.markets[ticker].book.no_bids == independent.as_integers(book["no"])


@pytest.mark.frames
def test_each_frame_dropped_in_turn_is_exactly_one_gap(frames_dir: Path) -> None:
    """Whichever numbered frame is missing: one gap with its number, and no exact book."""
    texts = raw_texts(frames_dir / EIGHT_MARKETS)
    numbered = [index for index, text in enumerate(texts) if '"seq":' in text]
    tickers = [
        frame["msg"]["market_ticker"] for frame in map(json.loads, texts) if "snapshot" in frame["type"]
    ]
    for seq, dropped in enumerate(numbered[:-1], 1):
        tracker = FeedTracker.of_markets(tickers)
        kept = received(*(text for index, text in enumerate(texts) if index != dropped))
        until = next(i for i, frame in enumerate(kept) if f'"seq":{seq + 1},' in frame.text) + 1

        batch = tracker.process(kept[:until])

        assert [(gap.sid, gap.expected, gap.received) for gap in gaps(batch.facts)] == [(1, seq, seq + 1)]
        newest = kept[until - 1].text
        exact = {ticker for ticker, market in tracker.markets.items() if market.is_exact}
        assert all(f'"{ticker}"' in newest and "snapshot" in newest for ticker in exact)
        assert gaps(tracker.process(kept[until:]).facts) == []


def raw_texts(path: Path) -> list[str]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line)["frame"] for line in lines]


def test_trade_keeps_all_of_it() -> None:
    """A trade becomes a fact with its number, time, sides and block flag."""
    _, facts, _ = process(trade_text("A", 1))

    assert facts == [
        TradeFact("A", 1, 1786410063969, RECEIVED_US + 1000, "trade-1", "no", 3500, 10, False, sid=2)
    ]


def test_event_of_a_recorded_market_becomes_a_fact() -> None:
    """Of all markets' events those of this session's are kept; all of them count as controls."""
    tracker, facts, counts = process(
        subscribed_text("market_lifecycle_v2", 3),
        event_text("A", 1, determination_ts=1786410063, result="yes", settlement_value="1.0000"),
        event_text("OTHER", 2),
        trade_text("LATE", 1),
        event_text("LATE", 3),
        event_text("B", 4, "close_date_updated", close_ts=1786410063),
        '{"type":"event_lifecycle","sid":3,"seq":5,"msg":{"event_ticker":"E","title":"t"}}',
        '{"type":"event_fee_update","sid":3,"seq":6,"msg":{"market_ticker":"A","fee_multiplier_override":1}}',
    )

    events = [fact for fact in facts if isinstance(fact, EventFact)]
    text = (
        '{"determination_ts": 1786410063, "event_type": "determined", "market_ticker": "A", "result": "yes",'
        ' "settlement_value": "1.0000"}'
    )
    assert events[0] == EventFact("A", 1, 1786410063000, RECEIVED_US + 2000, "determined", text, sid=3)
    assert [(event.market_ticker, event.event_type, event.timestamp_ms) for event in events[1:]] == [
        ("B", "close_date_updated", None),
        ("A", "event_fee_update", None),
    ]
    assert counts == FrameCounts(controls=7, trades=1)
    assert gaps(facts) == []
    assert tracker.unknown_types == {}
    assert tracker.unknown_fields == {}


@pytest.mark.parametrize(
    "text",
    [
        event_text("A", 1, None),
        event_text(None, 1),
        event_text("A", 1, "a b"),
        '{"type":"market_lifecycle_v2","sid":3,"seq":1,"msg":{"market_ticker":7,"event_type":["x"],"ts_ms":"x"}}',
        '{"type":"market_lifecycle_v2","sid":3,"seq":1,"msg":"text"}',
        '{"type":"market_lifecycle_v2","sid":3,"seq":1}',
        '{"type":"event_lifecycle","msg":null}',
    ],
)
def test_event_that_makes_no_sense_costs_nothing(text: str) -> None:
    """It is a control frame without a fact, and no book is doubted."""
    tracker, facts, counts = process(snapshot_text("A", 1), snapshot_text("B", 2), text)

    assert of_kind(facts, EventFact) == []
    assert counts == FrameCounts(snapshots=2, controls=1)
    assert tracker.lost_markets() == []


@pytest.mark.parametrize("said", [[subscribed_text("market_lifecycle_v2", 3)], []])
def test_hole_in_the_lifecycle_leaves_books_alone(said: list[str]) -> None:
    """The gap names the channel, also when the acknowledgement has not come yet."""
    tracker, facts, _ = process(snapshot_text("A", 1), snapshot_text("B", 2), *said, event_text("OTHER", 4))

    assert [(gap.sid, gap.expected, gap.received, gap.channel) for gap in gaps(facts)] == [
        (3, 1, 4, "market_lifecycle_v2")
    ]
    assert tracker.lost_markets() == []


def test_what_is_new_in_an_event_is_counted() -> None:
    """A field that this program does not know is counted by name, and stays in the event."""
    tracker, facts, _ = process(event_text("A", 1, shape="round"))

    assert tracker.unknown_fields == {"market_lifecycle_v2.shape": 1}
    assert len(of_kind(facts, EventFact)) == 1


def test_market_that_is_taken_out_of_the_subscription_has_no_known_book_any_more() -> None:
    """The exchange's list says so; the others stay exact, and no number is missing."""
    tracker, facts, _ = process(
        snapshot_text("A", 1, yes={"0.4500": "10.00"}),
        snapshot_text("B", 2, yes={"0.4500": "10.00"}),
        ok_text(["B"], 3),
        delta_text("B", 4, "0.4500", "1.00"),
    )

    (gap,) = gaps(facts)
    assert (gap.cause, gap.market_ticker, gap.expected, gap.received) == ("unfollowed", "A", 4, 4)
    assert list(tracker.markets) == ["B"]
    assert tracker.is_exact("B")
    assert not tracker.is_exact("A")
    assert tracker.lost_markets() == []


def test_market_that_joins_is_waited_for_and_its_events_are_kept_from_its_first_book_on() -> None:
    tracker, facts, _ = process(
        snapshot_text("A", 1),
        event_text("C", 1, "activated"),
        ok_text(["A", "C"], 2),
        snapshot_text("C", 3, yes={"0.4500": "10.00"}),
        event_text("C", 2, "determined"),
        markets=["A"],
    )

    assert [fact.event_type for fact in facts if isinstance(fact, EventFact)] == ["determined"]
    assert tracker.is_exact("C")
    assert tracker.recorded == {"A", "C"}


def test_book_that_does_not_come_after_joining_is_lost() -> None:
    tracker, _, _ = process(snapshot_text("A", 1), ok_text(["A", "C"], 2), markets=["A"])

    tracker.lose_missing()

    assert tracker.lost_markets() == ["C"]


def test_list_of_another_subscription_or_none_at_all_changes_no_book() -> None:
    tracker, facts, _ = process(
        snapshot_text("A", 1), snapshot_text("B", 2), ok_text(["B"], 1, sid=2), ok_text(None, 3)
    )

    assert gaps(facts) == []
    assert tracker.exact_count() == 2


def test_late_answer_of_a_market_that_has_left_makes_no_book_exact() -> None:
    """Nothing follows it; but a market that joins may be told before the list that names it."""
    tracker, facts, _ = process(
        snapshot_text("A", 1, yes={"0.4500": "10.00"}),
        snapshot_text("B", 2),
        ok_text(["B"], 3),
        snapshot_text("A", 4, yes={"0.4500": "10.00"}, command_id=7),
        snapshot_text("C", 5, yes={"0.4500": "10.00"}),
    )

    assert [(gap.market_ticker, gap.cause) for gap in gaps(facts)] == [
        ("A", "unfollowed"),
        ("A", "unfollowed"),
    ]
    assert not tracker.is_exact("A")
    assert tracker.is_exact("C")
