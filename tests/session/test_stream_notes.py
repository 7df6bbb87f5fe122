"""What a session's stream holds besides frames: opening, commands, events, REST records, ending, in order."""

import json

import trio
from trio.testing import MockClock

from collector.clock import ClockStep
from collector.facts import ConnectionEventFact, NoteKind, StreamNote
from collector.observe import SpoolStatus
from collector.spool import Spool, find_leftovers
from collector.storage import Batch
from tests.frames import snapshot_text, subscribed_texts
from tests.session.test_session import Bench

STATUS = b'{"exchange_active":%s,"trading_active":true}'
ACTIVE, INACTIVE = STATUS % b"true", STATUS % b"false"


async def recorded(bench: Bench) -> tuple[list[StreamNote], list[ConnectionEventFact]]:
    """The notes of the one session, and the rows about its connection."""
    notes: list[StreamNote] = []
    events: list[ConnectionEventFact] = []
    (journal,) = await find_leftovers(Spool(bench.context.spool.disk, 2**30, SpoolStatus()))
    while isinstance(record := await journal.first(), Batch):
        notes += record.notes
        events += [fact for fact in record.facts if isinstance(fact, ConnectionEventFact)]
        await journal.advance()
    return notes, events


def kinds(notes: list[StreamNote]) -> list[str]:
    return [note.kind.name for note in notes]


def contents(notes: list[StreamNote], kind: NoteKind) -> list[object]:
    return [json.loads(note.content) for note in notes if note.kind is kind]


async def test_commands_are_in_the_stream_where_they_were_sent(autojump_clock: MockClock) -> None:
    """As they were sent, between opening and answer; the ending is last, and times do not decrease."""
    bench = Bench()

    async def answer() -> None:
        await trio.sleep(1)
        bench.transports[0].arrive(*subscribed_texts(), snapshot_text("A", 1))
        await trio.sleep(1)
        bench.transports[0].put.close()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(answer)
        await bench.run_one()
    notes, _ = await recorded(bench)

    assert kinds(notes)[0] == "OPENING"
    assert kinds(notes)[-1] == "ENDING", kinds(notes)
    commands = [note for note in notes if note.kind is NoteKind.COMMAND]
    assert [note.content for note in commands] == bench.transports[0].sent
    assert {note.after_frame for note in commands[:3]} == {0}
    assert [note.noted_us for note in notes] == sorted(note.noted_us for note in notes)


async def test_silence_and_clock_steps_are_events_with_their_time(autojump_clock: MockClock) -> None:
    """A step has its size and the receive time at which it was noticed; both are rows too."""
    bench = Bench()

    async def step() -> None:
        await trio.sleep(1)
        transport = bench.transports[0]
        transport.clock_steps.append(ClockStep(transport.now_us(), -3_600_000_000))
        transport.arrive(*subscribed_texts())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(step)
        await bench.run_one()
    notes, events = await recorded(bench)

    assert contents(notes, NoteKind.EVENT) == [
        {"event_type": "clock_step", "step_us": -3_600_000_000},
        {"event_type": "silence"},
    ]
    assert [(event.event_type, event.step_us, event.after_frame) for event in events] == [
        ("clock_step", -3_600_000_000, 0),
        ("silence", None, 3),
    ]


async def test_a_stop_is_an_event(autojump_clock: MockClock) -> None:
    """It comes before the commands that unsubscribe."""
    bench = Bench()

    async def stop() -> None:
        await trio.sleep(1)
        bench.transports[0].arrive(*subscribed_texts())
        await trio.sleep(1)
        bench.context.stopping.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(stop)
        await bench.run_one()
    notes, _ = await recorded(bench)

    assert contents(notes, NoteKind.EVENT) == [{"event_type": "stop"}]
    after_stop = notes[kinds(notes).index("EVENT") + 1 :]
    assert '"cmd":"unsubscribe"' in after_stop[0].content


async def test_records_are_noted_by_the_sessions_that_they_concern(autojump_clock: MockClock) -> None:
    """
    What is known of the exchange when a session begins, then changes; and records of markets, also of one
    that no session follows.
    """
    bench = Bench()
    records = bench.context.records
    records.use_status(ACTIVE)
    records.use_status(b"not JSON")

    async def use() -> None:
        await trio.sleep(1)
        records.use_status(ACTIVE)
        records.use_status(INACTIVE)
        records.use_schedule(b'{"schedule":{"maintenance_windows":[]}}')
        records.use_schedule(b"[]")
        await records.use_markets({"A": b'{"ticker":"A"}', "other": b"{}", "B": b'"\xff"'})
        bench.transports[0].put.close()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(use)
        await bench.run_one()
    notes, _ = await recorded(bench)

    assert contents(notes, NoteKind.RECORD) == [
        {"path": "/exchange/status", "record": json.loads(ACTIVE)},
        {"path": "/exchange/status", "record": json.loads(INACTIVE)},
        {"path": "/exchange/schedule", "record": {"schedule": {"maintenance_windows": []}}},
        {"path": "/markets/A", "record": {"ticker": "A"}},
        {"path": "/markets/other", "record": {}},
    ]
    await records.use_markets({"A": b"{}"})
    assert not records.held_books


async def test_an_inactive_exchange_leaves_no_held_book(autojump_clock: MockClock) -> None:
    """A book from before proves nothing for the next session."""
    bench = Bench()

    async def play() -> None:
        await trio.sleep(1)
        bench.transports[0].arrive(*subscribed_texts(), snapshot_text("A", 1, clock=4))
        await trio.sleep(1)
        bench.transports[0].put.close()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(play)
        await bench.run_one()
    assert set(bench.context.records.held_books) == {"A"}
    bench.context.records.use_status(INACTIVE)
    assert not bench.context.records.held_books
