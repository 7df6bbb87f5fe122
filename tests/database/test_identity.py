"""
A database may return in an older state, and give its numbers to others. Nothing goes under a wrong one.
"""

import uuid
from collections.abc import Callable
from functools import partial

import attrs
import pytest

from collector.database import PostgresSession, apply_schema, ensure_partitions
from collector.errors import LedgerConflict, StoreChanged
from collector.facts import ReceivedFrame
from collector.postgres import open_connection
from collector.storage import DAY_US, Batch, SessionEnding, SessionOpening, fold_of
from tests.database.test_batches import opening, rows
from tests.frames import RECEIVED_US, delta_text, received, snapshot_text, subscribed_text
from tests.recording.recordings import execute
from tests.service.harness import raw_contents, raw_frames

TEXTS = tuple(
    # Without spaces, as the exchange writes it: so the session has a dictionary.
    text.replace(" ", "")
    for text in (
        subscribed_text("orderbook_delta", 1),
        snapshot_text("A", 1, yes={"0.4500": "10.00"}),
        snapshot_text("B", 2),
        *(delta_text("A", seq, "0.4500", "1.00") for seq in range(3, 9)),
    )
)
ENDING = SessionEnding(RECEIVED_US + 1_000_000, "closed", "recorder stopped", None, len(TEXTS))


def batches_of(session: SessionOpening, texts: tuple[str, ...] = TEXTS) -> list[Batch]:
    """The session's frames in batches of three."""
    fold, frames = fold_of(session), received(*texts)
    batches: list[Batch] = []
    for number, first in enumerate(range(0, len(frames), 3), 1):
        batch, facts = fold.process(frames[first : first + 3])
        batches.append(
            Batch(
                number, batch.frames, facts, batch.counts, batch.frames[-1].number + 1, formed_us=RECEIVED_US
            )
        )
    return batches


async def prepare(url: str) -> None:
    async with open_connection(url) as connection:
        await apply_schema(connection)
        await ensure_partitions(connection, RECEIVED_US // DAY_US, RECEIVED_US // DAY_US)


def store_of(url: str, session: SessionOpening) -> PostgresSession:
    return PostgresSession(session, partial(open_connection, url))


async def write_again(store: PostgresSession, batch: Batch) -> None:
    """What the writer does: a new connection, and the same batch."""
    async with store.connect() as link:
        await link.begin()
        await link.write(batch)


def set_back_session(url: str) -> None:
    """A backup from before the session: its number is another session's by now."""
    execute(
        url,
        "DELETE FROM rl_book_states",
        "DELETE FROM rl_delta_rows",
        "DELETE FROM rl_snapshot_rows",
        "DELETE FROM rl_raw_blocks",
        "DELETE FROM rl_raw_lexicons",
        "DELETE FROM rl_write_ledger",
        f"UPDATE rl_orderbook_sessions SET session_key = '{uuid.UUID(int=99)}'",
    )


def set_back_markets(url: str) -> None:
    """A backup from before the markets: their numbers are other markets' by now."""
    execute(
        url,
        "UPDATE rl_markets SET market_ticker = 'C' WHERE market_ticker = 'A'",
        "UPDATE rl_markets SET market_ticker = 'D' WHERE market_ticker = 'B'",
    )


def set_back_dictionaries(url: str) -> None:
    """A backup from before the dictionary that the session's blocks are compressed with."""
    execute(url, "DELETE FROM rl_raw_lexicons")


def lose_session(url: str) -> None:
    """A backup from before the session, whose number is free."""
    set_back_session(url)
    execute(url, "DELETE FROM rl_orderbook_sessions")


@pytest.mark.parametrize(
    "set_back", [set_back_session, set_back_markets, set_back_dictionaries, lose_session]
)
async def test_no_row_is_written_under_a_number_of_something_else(
    database_url: str, set_back: Callable[[str], None]
) -> None:
    """The batch fails as a whole; the next connection requests the numbers again, and it goes in."""
    await prepare(database_url)
    session = opening()
    batches = batches_of(session)
    store = store_of(database_url, session)
    async with store.connect() as link:
        await link.begin()
        await link.write(batches[0])
        await link.write(batches[1])
        set_back(database_url)
        before = rows(database_url, "SELECT count(*) FROM rl_write_ledger")
        with pytest.raises(StoreChanged, match=str(session.key)):
            await link.write(batches[2])
    assert rows(database_url, "SELECT count(*) FROM rl_write_ledger") == before

    await write_again(store, batches[2])
    (key, ticker) = rows(
        database_url,
        "SELECT session_key::text, market_ticker FROM rl_orderbook_deltas JOIN rl_orderbook_sessions"
        " USING (session_id) ORDER BY sequence_number DESC LIMIT 1",
    )[0]
    assert (key, ticker) == (str(session.key), "A")
    if set_back is not set_back_dictionaries:
        newest = raw_frames_of(database_url, session)
        assert newest[-3:] == [frame.text for frame in batches[2].frames]


def lose_tail(url: str) -> None:
    """A replica that took over without the last batch."""
    execute(url, "DELETE FROM rl_write_ledger WHERE batch_number = 2")


def become_another_database(url: str) -> None:
    """A database with the same numbers, which is not the one that gave them."""
    execute(url, "UPDATE rl_database SET database_key = gen_random_uuid()")


async def test_emptied_tables_are_another_database(database_url: str) -> None:
    """Its old key is gone with the rows. The session begins again, from its first batch on."""
    await prepare(database_url)
    session = opening()
    store, batches = store_of(database_url, session), batches_of(session)
    async with store.connect() as link:
        before = await link.begin()
        await link.write(batches[0])
    execute(database_url, "TRUNCATE rl_database, rl_markets, rl_orderbook_sessions CASCADE")
    async with store.connect() as link:
        after = await link.begin()
        assert after.database != before.database
        assert after.last_batch == 0
        for batch in batches:
            await link.write(batch)
    assert raw_frames_of(database_url, session) == list(TEXTS)


@pytest.mark.parametrize("change", [lose_tail, become_another_database])
async def test_a_batch_is_refused_where_the_ledger_is_not_as_the_recorder_left_it(
    database_url: str, change: Callable[[str], None]
) -> None:
    """Also without a new connection: behind a pooler the server can change unnoticed."""
    await prepare(database_url)
    session = opening()
    batches = batches_of(session)
    store = store_of(database_url, session)
    async with store.connect() as link:
        assert (await link.begin()).last_batch == 0
        await link.write(batches[0])
        await link.write(batches[1])
        change(database_url)
        with pytest.raises(StoreChanged):
            await link.write(batches[2])
        held = await link.begin()
        assert held.last_batch == (1 if change is lose_tail else 2)
    assert rows(database_url, "SELECT max(batch_number) FROM rl_write_ledger") == [(held.last_batch,)]


@pytest.mark.parametrize(
    ("default", "used"), [("off", "on"), ("local", "on"), ("remote_apply", "remote_apply")]
)
async def test_a_confirmed_batch_is_on_the_servers_disk(database_url: str, default: str, used: str) -> None:
    """A default that confirms earlier is not followed; a stronger one is kept."""
    await prepare(database_url)
    execute(
        database_url,
        "CREATE TABLE seen (mode text)",
        "CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " INSERT INTO seen VALUES (current_setting('synchronous_commit')); RETURN NEW; END $$",
        "CREATE CONSTRAINT TRIGGER see AFTER INSERT ON rl_write_ledger DEFERRABLE INITIALLY DEFERRED"
        " FOR EACH ROW EXECUTE FUNCTION see()",
        f"DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET synchronous_commit = {default}',"
        " current_database()); END $$",
    )
    session = opening()
    await write_again(store_of(database_url, session), batches_of(session)[0])
    assert rows(database_url, "SELECT mode FROM seen") == [(used,)]


def raw_frames_of(url: str, session: SessionOpening) -> list[str]:
    """The frames that are stored of a session, also after a hole in its ledger."""
    ((session_id,),) = rows(
        url, f"SELECT session_id FROM rl_orderbook_sessions WHERE session_key = '{session.key}'"
    )
    return [
        frame.text
        for number, _, content in raw_contents(url)
        if number == session_id
        for frame in content.frames
    ]


async def test_an_ending_is_not_stored_under_another_session(database_url: str) -> None:
    """It is an update, which must find the session that it is about."""
    await prepare(database_url)
    session = opening()
    store = store_of(database_url, session)
    async with store.connect() as link:
        await link.begin()
        set_back_session(database_url)
        with pytest.raises(StoreChanged):
            await link.end(ENDING)
    async with store.connect() as link:
        await link.begin()
        await link.end(ENDING)
    statuses = rows(database_url, "SELECT session_key::text, status FROM rl_orderbook_sessions ORDER BY 1")
    assert sorted(statuses) == sorted([(str(uuid.UUID(int=99)), "active"), (str(session.key), "closed")])


async def test_the_same_batch_is_stored_once_whatever_its_dictionary(database_url: str) -> None:
    """Another process compresses the same frames with another dictionary: the content decides."""
    await prepare(database_url)
    session = opening()
    batches = batches_of(session)
    first = store_of(database_url, session)
    for batch in batches:
        await write_again(first, batch)
    counts = rows(database_url, "SELECT count(*) FROM rl_orderbook_deltas")

    second = store_of(database_url, session)
    for batch in (batches[2], *batches):
        await write_again(second, batch)

    assert rows(database_url, "SELECT count(*) FROM rl_orderbook_deltas") == counts
    assert list(raw_frames(database_url).values()) == [list(TEXTS)]


async def test_another_content_under_the_same_number_is_a_conflict(database_url: str) -> None:
    """Never taken for success: another range of frames, or other frames in the same range."""
    await prepare(database_url)
    session = opening()
    batches = batches_of(session)
    store = store_of(database_url, session)

    async def conflicts(batch: Batch) -> None:
        with pytest.raises(LedgerConflict, match="another content"):
            await write_again(store, batch)

    await write_again(store, batches[0])
    other = [ReceivedFrame(frame.number, frame.received_us, frame.text + " ") for frame in batches[0].frames]
    await conflicts(attrs.evolve(batches[0], frames=other))
    await conflicts(attrs.evolve(batches[1], number=1))
    await write_again(store, batches[1])
    assert rows(database_url, "SELECT batch_number FROM rl_write_ledger ORDER BY 1") == [(1,), (2,)]
    assert list(raw_frames(database_url).values()) == [list(TEXTS[:6])]


async def test_two_sessions_keep_their_own_batches(database_url: str) -> None:
    """Batch 1 of one session says nothing about batch 1 of another."""
    await prepare(database_url)
    for session in (opening(), opening()):
        for batch in batches_of(session):
            await write_again(store_of(database_url, session), batch)
    assert [len(texts) for texts in raw_frames(database_url).values()] == [len(TEXTS)] * 2
