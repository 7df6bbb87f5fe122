"""What is sent is what is recorded."""

import json
from pathlib import Path

import pytest
import trio

from collector.simulator import SimulatorSettings, open_simulator
from collector.simulator._markets import Published
from tests import independent
from tests.service.harness import (
    assert_verified,
    flow,
    kinds,
    last_books,
    query,
    raw_contents,
    raw_frames,
    record,
    sent_frames,
    serve,
    settings_for,
)


def assert_recorded(simulator: object, url: str) -> None:
    """Every frame verbatim under its session, a row for each that makes one, a ledger that adds up."""
    sent = sent_frames(simulator)  # type: ignore[arg-type]
    recorded = raw_frames(url)
    assert list(recorded.values()) == sent
    for session_id, texts in recorded.items():
        by_type = kinds(text for text in texts if is_json(text))
        for view, kind in (
            ("deltas", "orderbook_delta"),
            ("snapshots", "orderbook_snapshot"),
            ("trades", "trade"),
        ):
            (count,) = query(
                url, f"SELECT count(*) FROM rl_orderbook_{view} WHERE session_id = {session_id}"
            )[0]
            assert count == by_type[kind], view
        ledger = query(
            url,
            "SELECT sum(last_frame - first_frame + 1), sum(deltas + snapshots + trades"
            " + controls + stales + rejects), sum(delta_rows) FROM rl_write_ledger"
            f" WHERE session_id = {session_id}",
        )
        assert ledger == [(len(texts), len(texts), by_type["orderbook_delta"])]
        session = query(
            url, f"SELECT frames, deltas FROM rl_orderbook_sessions WHERE session_id = {session_id}"
        )
        assert session == [(len(texts), by_type["orderbook_delta"])]


def is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


async def test_generated_flow(database_url: str) -> None:
    """Twenty markets at full speed: every frame, every row, no gap, no reject, and the right last books."""
    simulator = await record(flow(markets=20, rate_per_s=1000, messages_max=5000), database_url)

    assert_recorded(simulator, database_url)
    assert query(database_url, "SELECT count(*) FROM rl_orderbook_gaps") == [(0,)]
    assert query(database_url, "SELECT count(*) FROM rl_orderbook_rejects") == [(0,)]
    assert query(database_url, "SELECT status, end_reason FROM rl_orderbook_sessions") == [
        ("closed", "recorder stopped")
    ]
    frames = [json.loads(text) for texts in sent_frames(simulator) for text in texts]
    expected = {
        ticker: (independent.as_integers(book["yes"]), independent.as_integers(book["no"]))
        for ticker, book in independent.fold(frames).items()
    }
    assert last_books(database_url) == expected


@pytest.mark.frames
@pytest.mark.parametrize(
    ("tape", "sessions"),
    [
        ("KXBTC-8-markets-2026-04-18.ndjson.gz", 1),
        ("KXGOLD15M-26AUG101900-00.ndjson.gz", 1),
        ("KXGOLD15M-26AUG102030-30.ndjson.gz", 2),
    ],
)
async def test_recorded_tape(database_url: str, frames_dir: Path, tape: str, sessions: int) -> None:
    """A real tape at full speed: a row for each of its deltas and trades, no gap, and its own last book."""
    simulator = await record(SimulatorSettings(tapes=(frames_dir / tape,), speed=None), database_url)

    assert_recorded(simulator, database_url)
    frames = independent.read_tape(frames_dir / tape)
    counts = independent.count_types(frames)
    assert query(database_url, "SELECT count(*) FROM rl_orderbook_deltas") == [(counts["orderbook_delta"],)]
    assert query(database_url, "SELECT count(*) FROM rl_orderbook_trades") == [(counts["trade"],)]
    assert query(database_url, "SELECT count(*) FROM rl_orderbook_gaps") == [(0,)]
    assert query(database_url, "SELECT count(*) FROM rl_orderbook_rejects") == [(0,)]
    assert query(database_url, "SELECT count(*) FROM rl_orderbook_sessions") == [(sessions,)]
    assert last_books(database_url) == {
        ticker: (independent.as_integers(book["yes"]), independent.as_integers(book["no"]))
        for ticker, book in independent.fold(frames).items()
    }


async def test_connection_cut_twenty_times(database_url: str) -> None:
    """Each reconnection is a session of its own, and every row is under the session that received it."""
    async with open_simulator(flow(markets=10, rate_per_s=2000, speed=1.0, keep_account=True)) as simulator:
        async with serve(settings_for(simulator, database_url)) as service:
            for cuts in range(20):
                await service.wait_until("/rl/status")
                while simulator.connections <= cuts or simulator.account.counts.get(cuts + 1, 0) < 30:
                    await trio.sleep(0.01)
                simulator.cut_all()
            while simulator.account.counts.get(21, 0) < 30:
                await trio.sleep(0.01)
        assert service.is_safe

    await assert_verified(database_url)
    assert query(
        database_url, "SELECT count(*), count(*) FILTER (WHERE status = 'error') FROM rl_orderbook_sessions"
    ) == [(21, 20)]
    recorded = list(raw_frames(database_url).values())
    for texts, sent in zip(recorded, sent_frames(simulator), strict=True):
        # A broken line takes with it what was on its way.
        assert texts == sent[: len(texts)]
    assert recorded[-1] == sent_frames(simulator)[-1]
    mismatches = query(
        database_url,
        "SELECT s.session_id FROM rl_orderbook_sessions s WHERE deltas <>"
        " (SELECT count(*) FROM rl_orderbook_deltas d WHERE d.session_id = s.session_id)",
    )
    assert mismatches == []


async def test_market_records(database_url: str) -> None:
    """The record that REST has of each market is stored beside its recording, as it came."""
    async with open_simulator(flow(markets=3, rate_per_s=100, speed=1.0)) as simulator:
        async with serve(settings_for(simulator, database_url)):
            found = query(database_url, "SELECT WHERE false")
            while len(found) < 3:
                await trio.sleep(0.05)
                if query(database_url, "SELECT to_regclass('rl_markets') IS NOT NULL")[0][0]:
                    found = query(
                        database_url,
                        "SELECT market_ticker FROM rl_markets WHERE record ->> 'ticker' = market_ticker"
                        " AND record ->> 'close_time' IS NOT NULL AND noted_us > 0 ORDER BY 1",
                    )
    assert found == [(ticker,) for ticker in sorted(simulator.tickers)]


async def test_lifecycle_events(database_url: str) -> None:
    """Events of the recorded markets become rows; those of others are in the raw frames alone."""

    def publish(ticker: str, event_type: str, **more: object) -> None:
        msg = json.dumps({"market_ticker": ticker, "event_type": event_type, **more}).encode()
        simulator.floor.publish(Published("market_lifecycle_v2", ticker, msg, None))

    def sent_events() -> list[str]:
        return [text for texts in sent_frames(simulator) for text in texts if '"event_type"' in text]

    async with open_simulator(flow(markets=2, rate_per_s=100, speed=1.0, keep_account=True)) as simulator:
        first, second = simulator.tickers
        async with serve(settings_for(simulator, database_url, market_tickers=(first,))):
            with trio.fail_after(10):
                while not sent_events():
                    publish("OTHER", "created")
                    await trio.sleep(0.05)
            publish(first, "determined", result="yes", determination_ts=1_786_410_063)
            publish(second, "determined", result="no", determination_ts=1_786_410_063)
            publish(first, "settled", settled_ts=1_786_410_064, note="a \0 that jsonb has no place for")
            await trio.sleep(0.2)

    assert query(
        database_url,
        "SELECT market_ticker, event_type, timestamp_ms, event ->> 'result', event ->> 'note'"
        " FROM rl_market_events ORDER BY sequence_number",
    ) == [
        (first, "determined", 1_786_410_063_000, "yes", None),
        (first, "settled", 1_786_410_064_000, None, "a \\u0000 that jsonb has no place for"),
    ]
    assert query(database_url, "SELECT sum(event_rows) FROM rl_write_ledger") == [(2,)]
    assert query(database_url, "SELECT count(*) FROM rl_orderbook_gaps") == [(0,)]
    recorded = [text for texts in raw_frames(database_url).values() for text in texts]
    assert [text for text in recorded if '"event_type"' in text] == sent_events()
    await assert_verified(database_url)


async def test_thinned_rows(database_url: str) -> None:
    """With a sample rate above 1 there are fewer rows, all raw frames, and the same last books."""
    simulator = await record(
        flow(markets=3, rate_per_s=1000, messages_max=3000), database_url, sample_rate=10
    )

    frames = [json.loads(text) for texts in sent_frames(simulator) for text in texts]
    ((rows,),) = query(database_url, "SELECT count(*) FROM rl_orderbook_deltas")
    assert 0 < rows < independent.count_types(frames)["orderbook_delta"]
    assert list(raw_frames(database_url).values()) == sent_frames(simulator)
    assert query(database_url, "SELECT sample_rate FROM rl_orderbook_sessions") == [(10,)]
    assert last_books(database_url) == {
        ticker: (independent.as_integers(book["yes"]), independent.as_integers(book["no"]))
        for ticker, book in independent.fold(frames).items()
    }


async def test_the_stream_holds_all_that_facts_come_from(database_url: str) -> None:
    """Opening, records of the exchange and of each market, commands in order of their ids, stop, ending."""
    async with open_simulator(flow(markets=2, rate_per_s=50, messages_max=10**6)) as simulator:
        async with serve(settings_for(simulator, database_url)):
            with trio.fail_after(20):
                while query(database_url, "SELECT to_regclass('rl_write_ledger')") == [(None,)]:
                    await trio.sleep(0.1)
                while not query(database_url, "SELECT FROM rl_markets WHERE record IS NOT NULL OFFSET 1"):
                    await trio.sleep(0.1)

    notes = [note for _, _, content in raw_contents(database_url) for note in content.notes]
    contents = [json.loads(note.content) for note in notes]
    kinds_of_notes = [note.kind.name for note in notes]
    assert (kinds_of_notes[0], kinds_of_notes[-1]) == ("OPENING", "ENDING")
    noted = [(content["path"], content["record"]) for content in contents if "path" in content]
    tickers = {f"/markets/{ticker}" for ticker in simulator.tickers}
    assert {path for path, _ in noted} == {"/exchange/schedule", "/exchange/status", *tickers}
    for stored, ticker in query(database_url, "SELECT record, market_ticker FROM rl_markets"):
        assert (f"/markets/{ticker}", stored) in noted
    ids = [content["id"] for content in contents if "cmd" in content]
    assert ids == list(range(1, len(ids) + 1))
    assert [content["cmd"] for content in contents if "cmd" in content][-1] == "unsubscribe"
    assert [content["event_type"] for content in contents if "event_type" in content] == ["stop"]
    assert query(database_url, "SELECT event_type, step_us FROM rl_connection_events") == [("stop", None)]
    await assert_verified(database_url)
