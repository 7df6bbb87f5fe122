"""When a batch is due, and what is in it."""

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from collector.facts import Fact, FeedTracker, ReceivedFrame
from collector.session import _backlog as backlog_module
from collector.session._backlog import Backlog
from collector.storage import SessionEnding
from tests.frames import delta_text, received, snapshot_text

END = SessionEnding(1, "closed", "recorder stopped", None)


class Feed:
    """Makes batches of deltas whose numbers follow each other."""

    def __init__(self) -> None:
        self.tracker = FeedTracker.of_markets(["A"])
        self.count = 0

    def put(self, backlog: Backlog, frames: int) -> None:
        texts = [delta_text("A", self.count + n, "0.5000", "1.00") for n in range(1, frames + 1)]
        batch = self.tracker.process(received(*texts, first=self.count + 1))
        self.count += frames
        backlog.put(batch, batch.facts)


async def test_batch_is_due_when_enough_rows_wait(autojump_clock: MockClock) -> None:
    """A full batch does not wait for the interval."""
    backlog, feed = Backlog(batch_rows=10, flush_interval_s=1.0, clock=lambda: 5), Feed()
    feed.put(backlog, 10)

    batch = await backlog.take()

    assert batch is not None
    assert (len(batch.frames), len(batch.facts)) == (10, 10)
    assert trio.current_time() == 0


async def test_batch_is_due_an_interval_after_its_first_row(autojump_clock: MockClock) -> None:
    """Few rows wait as long as the interval, counted from the first of them, however many follow."""
    backlog, feed = Backlog(batch_rows=10, flush_interval_s=1.0, clock=lambda: 5), Feed()

    async def trickle() -> None:
        await trio.sleep(5)
        for _ in range(8):
            feed.put(backlog, 1)
            await trio.sleep(0.2)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(trickle)
        batch = await backlog.take()
        assert batch is not None
        assert trio.current_time() == pytest.approx(6.0)
        assert len(batch.frames) in (5, 6)


async def test_what_comes_during_a_write_is_the_next_batch(autojump_clock: MockClock) -> None:
    """However many rows have come meanwhile, they go in together; numbers follow each other."""
    backlog, feed = Backlog(batch_rows=10, flush_interval_s=1.0, clock=lambda: 5), Feed()
    feed.put(backlog, 10)
    first = await backlog.take()
    for _ in range(7):
        feed.put(backlog, 100)
    assert await backlog.take() is first, "until it is confirmed, it is the same batch"
    backlog.confirm()

    second = await backlog.take()

    assert first is not None
    assert second is not None
    assert (first.number, first.next_frame) == (1, 11)
    assert (second.number, second.next_frame, len(second.frames)) == (2, 711, 700)


async def test_flush_makes_a_batch_of_what_waits(autojump_clock: MockClock) -> None:
    """An operator's flush does not wait for rows or time, and holds for one batch only."""
    backlog, feed = Backlog(batch_rows=10, flush_interval_s=100.0, clock=lambda: 5), Feed()
    feed.put(backlog, 1)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(backlog.flush)
        batch = await backlog.take()
        assert batch is not None
        assert trio.current_time() == 0
        await trio.sleep(7)
        backlog.confirm()
    assert trio.current_time() == 7, "flushing lasts until the batch is written"
    feed.put(backlog, 1)
    with trio.move_on_after(50) as scope:
        await backlog.take()
    assert scope.cancelled_caught


async def test_closed_backlog_gives_what_is_left_and_then_ends(autojump_clock: MockClock) -> None:
    """Everything that was put comes out, rows that were summed until the end too, and then None."""
    backlog, feed = Backlog(batch_rows=10, flush_interval_s=1.0, clock=lambda: 5), Feed()
    feed.put(backlog, 3)
    last_rows: list[Fact] = list(FeedTracker.of_markets(["A"]).process(received(snapshot_text("A", 1))).facts)
    backlog.close(END, last_rows)
    backlog.close(SessionEnding(2, "error", "later", None))

    batch = await backlog.take()

    assert batch is not None
    assert (len(batch.frames), len(batch.facts)) == (3, 3 + len(last_rows))
    backlog.confirm()
    assert await backlog.take() is None
    assert backlog.ending is END


async def test_flush_ends_although_frames_keep_coming(autojump_clock: MockClock) -> None:
    """Flushing waits for what was there when it was asked for, not for what comes meanwhile."""
    backlog, feed = Backlog(batch_rows=1000, flush_interval_s=100.0, clock=lambda: 5), Feed()
    feed.put(backlog, 5)

    async def write() -> None:
        while (batch := await backlog.take()) is not None:
            batches.append(len(batch.frames))
            await trio.sleep(0.5)
            backlog.confirm()

    async def trickle() -> None:
        while True:
            await trio.sleep(0.1)
            feed.put(backlog, 1)

    batches: list[int] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(write)
        nursery.start_soon(trickle)
        await backlog.flush()
        assert trio.current_time() == pytest.approx(0.5)
        await trio.sleep(5)
        nursery.cancel_scope.cancel()
    assert batches == [5], "what came later waits for its own time"


async def test_large_settings_are_honoured_within_the_bound(autojump_clock: MockClock) -> None:
    """A batch is due at the bound of its frames, and what is left over keeps its own waiting time."""
    backlog, feed = Backlog(batch_rows=10_000, flush_interval_s=60.0, clock=lambda: 5), Feed()
    for _ in range(11):
        feed.put(backlog, 500)

    first = await backlog.take()
    assert first is not None
    assert (len(first.frames), trio.current_time()) == (4000, 0)
    backlog.confirm()
    await trio.sleep(10)
    second = await backlog.take()
    assert second is not None
    assert (len(second.frames), trio.current_time()) == (1500, 60)


@given(st.lists(st.integers(1, 1000), max_size=40), st.integers(1, 500))
def test_every_frame_comes_out_once_in_order(sizes: list[int], batch_rows: int) -> None:
    """Whatever the pieces, the batches are bounded and their frames are the frames that went in."""
    frames: list[ReceivedFrame] = []

    async def run() -> None:
        backlog, feed = Backlog(batch_rows, 1.0, lambda: 5), Feed()
        for size in sizes:
            feed.put(backlog, size)
        backlog.close(END)
        while (batch := await backlog.take()) is not None:
            assert len(batch.frames) <= backlog_module.BATCH_FRAMES_MAX
            assert batch.next_frame == batch.frames[-1].number + 1
            frames.extend(batch.frames)
            backlog.confirm()
        assert backlog.waiting_frames == 0

    trio.run(run, clock=MockClock(autojump_threshold=0))
    assert [frame.number for frame in frames] == list(range(1, sum(sizes) + 1))
