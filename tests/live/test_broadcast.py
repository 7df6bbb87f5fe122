"""The live stream's mailboxes: nothing waits for a slow client, and what it missed becomes whole books."""

import json

import pytest
import trio
import trio.testing
from attrs import define, field

from collector.facts import DeltaFact, SnapshotFact
from collector.live import STREAMS, LiveHub, Mailbox, Stream
from collector.web._book_messages import LiveMessages
from tests.web.recorder import Recorder, delta, running_recorder, snapshot

BOOKS: frozenset[Stream] = frozenset({"orderbook"})
STATS: frozenset[Stream] = frozenset({"stats"})


@define(eq=False)
class CountingEncoder:
    """The real encoder, counting."""

    messages: LiveMessages
    encoded: list[str] = field(factory=list[str])

    def delta(self, fact: DeltaFact) -> str:
        self.encoded.append("delta")
        return self.messages.delta(fact)

    def snapshot(self, fact: SnapshotFact) -> str:
        self.encoded.append("snapshot")
        return self.messages.snapshot(fact)

    def current(self, ticker: str) -> str | None:
        self.encoded.append("current")
        return self.messages.current(ticker)

    def stats(self, clients: int) -> str:
        self.encoded.append("stats")
        return f"stats {self.encoded.count('stats')} for {clients}"


def attach(recorder: Recorder) -> CountingEncoder:
    encoder = CountingEncoder(LiveMessages(recorder.state))
    recorder.hub.encoder = encoder
    return encoder


async def take(mailbox: Mailbox) -> list[tuple[str, str, int]]:
    """Type, market and sequence number of what the mailbox brings."""
    with trio.fail_after(1):
        messages = [json.loads(text) for text in await mailbox.take()]
    return [
        (message["type"], message["data"]["market_ticker"], message["data"]["sequence_number"])
        for message in messages
    ]


async def test_join_brings_the_current_books() -> None:
    """A new client first gets the book of every market that has one, as it is when it is taken."""
    recorder, session = running_recorder("A", "B")
    recorder.state.market_tickers = ("A", "B", "WITHOUT-A-BOOK")
    attach(recorder)
    mailbox = recorder.hub.join()
    recorder.fold(session, delta("A", 3))
    assert await take(mailbox) == [("orderbook_snapshot", "A", 3), ("orderbook_snapshot", "B", 2)]
    recorder.fold(session, delta("A", 4), snapshot("B", 5))
    assert await take(mailbox) == [("orderbook_delta", "A", 4), ("orderbook_snapshot", "B", 5)]


def test_publish_without_readers_encodes_nothing() -> None:
    """Clients that want statistics only don't cost the book task an encoding."""
    recorder, session = running_recorder("A")
    encoder = attach(recorder)
    mailbox = recorder.hub.join(STATS)
    recorder.fold(session, delta("A", 2))
    assert encoder.encoded == []
    assert mailbox.waiting == 0


async def test_checkpoints_are_for_the_recording_alone() -> None:
    """The book that is written out at the begin of an hour tells a reader along nothing new."""
    recorder, session = running_recorder("A")
    attach(recorder)
    mailbox = recorder.hub.join(BOOKS)
    await take(mailbox)
    recorder.now_us += 3_600_000_000
    recorder.fold(session, delta("A", 2))
    assert await take(mailbox) == [("orderbook_delta", "A", 2)]


async def test_each_message_is_encoded_once() -> None:
    """Ten clients share one encoding of a delta."""
    recorder, session = running_recorder("A")
    encoder = attach(recorder)
    mailboxes = [recorder.hub.join(BOOKS) for _ in range(10)]
    for mailbox in mailboxes:
        await take(mailbox)
    encoder.encoded.clear()
    recorder.fold(session, delta("A", 2))
    assert encoder.encoded == ["delta"]
    assert [mailbox.waiting for mailbox in mailboxes] == [1] * 10


async def test_markets_that_nobody_wants_are_not_encoded() -> None:
    """A filter by market keeps the other markets out of the mailbox and out of the encoder."""
    recorder, session = running_recorder("A", "B")
    encoder = attach(recorder)
    mailbox = recorder.hub.join(BOOKS, frozenset({"B"}))
    assert await take(mailbox) == [("orderbook_snapshot", "B", 2)]
    encoder.encoded.clear()
    recorder.fold(session, delta("A", 3))
    assert encoder.encoded == []
    recorder.fold(session, delta("B", 4))
    assert await take(mailbox) == [("orderbook_delta", "B", 4)]


async def test_overflow_becomes_fresh_books_for_the_slow_client_alone() -> None:
    """A slow client loses its waiting messages and gets the present book; a fast one gets every delta."""
    recorder, session = running_recorder("A", "B")
    attach(recorder)
    slow, fast = recorder.hub.join(BOOKS), recorder.hub.join(BOOKS)
    for mailbox in (slow, fast):
        await take(mailbox)
    slow.messages_max = 3
    seen: list[int] = []
    recorder.fold(session, delta("B", 3))
    for seq in range(4, 12):
        recorder.fold(session, delta("A", seq))
        seen += [number for _, ticker, number in await take(fast) if ticker == "A"]
    assert seen == list(range(4, 12))
    assert (slow.dropped, slow.resyncs) == (4, 1)
    assert slow.due == ("B", "A")
    assert slow.waiting == 0
    assert await take(slow) == [("orderbook_snapshot", "B", 3), ("orderbook_snapshot", "A", 11)]
    recorder.fold(session, delta("A", 12))
    assert await take(slow) == [("orderbook_delta", "A", 12)]
    assert recorder.hub.dropped == 4


async def test_what_a_client_folds_is_the_recorders_book() -> None:
    """Books and deltas put together give the recorder's book, whatever was dropped in between."""
    recorder, session = running_recorder("A")
    attach(recorder)
    mailbox = recorder.hub.join(BOOKS)
    mailbox.messages_max = 4
    bids: dict[str, float] = {}
    for seq in range(2, 60):
        recorder.fold(session, delta("A", seq, price=f"0.{10 + seq % 7}00", size=f"{seq}.50"))
        if seq % 11 in (0, 1, 2, 3):
            for text in await mailbox.take():
                message = json.loads(text)
                if message["type"] == "orderbook_snapshot":
                    bids = dict(message["data"]["yes_bids"])
                else:
                    assert bids.get(str(message["data"]["price"]), 0) == message["data"]["old_size"]
                    bids[str(message["data"]["price"])] = message["data"]["new_size"]
    assert mailbox.resyncs > 0
    for text in await mailbox.take():
        message = json.loads(text)
        if message["type"] == "orderbook_snapshot":
            bids = dict(message["data"]["yes_bids"])
        else:
            bids[str(message["data"]["price"])] = message["data"]["new_size"]
    book = session.tracker.markets["A"].book
    assert bids == {str(price // 100): size / 100 for price, size in book.yes_bids.items()}


async def test_bytes_are_bounded_too() -> None:
    """Few long messages overflow a mailbox as many short ones do."""
    recorder, session = running_recorder("A")
    attach(recorder)
    mailbox = recorder.hub.join(BOOKS)
    await take(mailbox)
    mailbox.bytes_max = 500
    for seq in range(2, 5):
        recorder.fold(session, delta("A", seq))
    assert mailbox.resyncs == 1
    assert mailbox.due == ("A",)


async def test_a_gap_brings_the_book_anew_as_not_exact() -> None:
    """When a book is lost its readers are sent it again, with the cause; a later snapshot makes it exact."""
    recorder, session = running_recorder("A")
    attach(recorder)
    mailbox = recorder.hub.join(BOOKS)
    await take(mailbox)
    recorder.fold(session, delta("A", 5))
    (text,) = await mailbox.take()
    data = json.loads(text)["data"]
    assert (data["is_exact"], data["unknown_cause"], data["sequence_number"]) == (False, "sequence", 5)
    recorder.fold(session, snapshot("A", 6))
    (text,) = await mailbox.take()
    assert json.loads(text)["data"]["is_exact"] is True


async def test_only_the_newest_statistics_wait() -> None:
    """Statistics replace each other while a client is slow, and reach only those who want them."""
    recorder, _ = running_recorder("A")
    attach(recorder)
    reader, other = recorder.hub.join(STATS), recorder.hub.join(BOOKS)
    recorder.hub.publish_stats()
    recorder.hub.publish_stats()
    assert await reader.take() == ["stats 2 for 2"]
    await take(other)
    assert other.waiting == 0


async def test_take_waits_for_something(autojump_clock: trio.testing.MockClock) -> None:
    """A client without news sleeps until there is some."""
    recorder, session = running_recorder("A")
    attach(recorder)
    mailbox = recorder.hub.join(BOOKS)
    await take(mailbox)
    with trio.move_on_after(3600) as scope:
        await mailbox.take()
    assert scope.cancelled_caught
    async with trio.open_nursery() as nursery:

        async def publish_later() -> None:
            await trio.sleep(60)
            recorder.fold(session, delta("A", 2))

        nursery.start_soon(publish_later)
        texts = await mailbox.take()
    assert len(texts) == 1


async def test_close_ends_all_mailboxes() -> None:
    """Closing the hub wakes every client with nothing, those who come later too."""
    recorder, _ = running_recorder("A")
    attach(recorder)
    mailbox = recorder.hub.join(STATS)
    async with trio.open_nursery() as nursery:

        async def close_soon() -> None:
            await trio.testing.wait_all_tasks_blocked()
            recorder.hub.close()

        nursery.start_soon(close_soon)
        assert await mailbox.take() == []
    assert await recorder.hub.join(STREAMS).take() == []


async def test_leaving_forgets_the_client_but_not_what_it_missed() -> None:
    """After a client has left nothing is queued for it, and its dropped messages stay counted."""
    recorder, session = running_recorder("A")
    attach(recorder)
    mailbox = recorder.hub.join(BOOKS)
    await take(mailbox)
    mailbox.messages_max = 0
    recorder.fold(session, delta("A", 2))
    recorder.hub.leave(mailbox)
    recorder.fold(session, delta("A", 3))
    assert (recorder.hub.clients, recorder.hub.dropped, recorder.hub.clients_ever) == (0, 1, 1)


def test_a_hub_is_full_at_its_bound() -> None:
    """The number of clients is bounded."""
    recorder, _ = running_recorder("A")
    attach(recorder)
    hub = LiveHub(recorder.state, recorder.hub.encoder, clients_max=1)
    assert not hub.is_full
    hub.join()
    assert hub.is_full


@pytest.mark.parametrize("clients", [1, 10])
def test_clients_share_the_bound_on_messages(clients: int) -> None:
    """All readers together are sent no more than one alone may be."""
    recorder, _ = running_recorder("A")
    attach(recorder)
    for _ in range(clients):
        recorder.hub.join(BOOKS)
    assert recorder.hub.share_per_s * clients == pytest.approx(3000)
