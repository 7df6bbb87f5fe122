"""The exchange's clock: which messages carry it, what it counts, and that every connection sees the same."""

import json
import pathlib
import random
import typing
from itertools import pairwise

import attrs
import pytest
import trio

from collector.simulator import Simulator, SimulatorSettings, open_simulator
from collector.simulator._books import Depth, LevelChange, on_yes_scale, snapshot_msg
from collector.simulator._exchange_clock import ClockScope, ExchangeClock
from collector.simulator._flow import Flow, FlowSettings
from collector.simulator._markets import Published
from collector.simulator._player import FlowSource, TapeSource
from collector.simulator._tape import read_tape
from tests.simulator.exchange_client import (
    Client,
    Frame,
    busy_frames,
    connect,
    data_frame,
    delta_msg,
    fold,
    tape_lines,
    write_tape,
)
from tests.simulator.exchange_client import (
    snapshot_msg as recorded_snapshot,
)


def flow(messages: int = 800, **more: object) -> SimulatorSettings:
    values: dict[str, object] = {
        "markets": 3,
        "messages_max": messages,
        "speed": None,
        "key": "ed25519",
        **more,
    }
    return SimulatorSettings(**values)  # type: ignore[arg-type]


def tape(path: pathlib.Path, *faults: str, clocks: ClockScope = "all") -> SimulatorSettings:
    return SimulatorSettings(tapes=(path,), speed=None, key="ed25519", clocks=clocks, faults=faults)


def flow_source(seed: int = 1, messages: int = 3000, *, clocks: bool = True) -> FlowSource:
    exchange_clock = ExchangeClock(random.Random(seed)) if clocks else None
    generated = Flow(FlowSettings(3, 1000.0, messages), random.Random(seed))
    return FlowSource(generated, lambda: 1_786_410_915_566_270, exchange_clock)


def play_all(source: FlowSource | TapeSource) -> list[tuple[Published, ...]]:
    """All actions of a source, without anybody who follows it."""
    actions: list[tuple[Published, ...]] = []
    while source.due_ns is not None:
        actions.append(source.take())
    return actions


def clock_in(published: Published) -> int | None:
    return typing.cast("int | None", json.loads(published.msg).get("clock"))


def deltas(frames: list[Frame], ticker: str | None = None) -> list[dict[str, typing.Any]]:
    return [
        frame["msg"]
        for frame in frames
        if frame["type"] == "orderbook_delta" and ticker in (None, frame["msg"]["market_ticker"])
    ]


async def take_all(simulator: Simulator, client: Client, connection: int) -> list[Frame]:
    """Everything that one connection is sent until all sources are at their end."""
    with trio.fail_after(5):
        await simulator.wait_finished()
    return await client.receive_many(simulator.account.counts[connection] - len(client.texts))


# What the clock counts.


def test_the_clock_rises_and_skips_values() -> None:
    """Each action has a higher clock than the one before it; some values are never used."""
    exchange_clock = ExchangeClock(random.Random(1))
    clocks = [exchange_clock.advance() for _ in range(1000)]
    steps = [after - before for before, after in pairwise(clocks)]
    assert min(steps) == 1
    assert max(steps) > 3
    assert clocks[0] >= 1
    assert clocks[-1] < 2**53


def test_the_clock_is_repeatable() -> None:
    """The same seed gives the same messages, clocks included; another seed gives other clocks."""
    first, second = play_all(flow_source(7)), play_all(flow_source(7))
    assert first == second
    other = play_all(flow_source(8))
    assert [one.clock for (one, *_) in first[:5]] != [one.clock for (one, *_) in other[:5]]


def test_a_clock_that_was_lowered_continues_from_there() -> None:
    """After maintenance the clock is lower than ever before, at least 1, and rises again."""
    exchange_clock = ExchangeClock(random.Random(1))
    lowest = exchange_clock.advance()
    for _ in range(3):
        exchange_clock.lower()
        clocks = [exchange_clock.advance() for _ in range(100)]
        assert clocks == sorted(set(clocks))
        assert 1 <= clocks[-1] < lowest
        lowest = clocks[0]


def test_the_changes_of_one_action_share_a_clock() -> None:
    """An amended order is two deltas with one clock, sent together; two actions never share a clock."""
    actions = play_all(flow_source())
    clocks = [{clock_in(one) for one in action if one.kind == "orderbook_delta"} for action in actions]
    assert all(len(shared) == 1 for shared in clocks)
    assert len(set().union(*clocks)) == len(actions)
    moves = [action for action in actions if [one.kind for one in action] == ["orderbook_delta"] * 2]
    assert len(moves) > 20
    for taken, added in moves:
        assert taken.ticker == added.ticker
        assert json.loads(taken.msg)["price_dollars"] != json.loads(added.msg)["price_dollars"]


def test_a_trade_has_no_clock() -> None:
    """Only messages of the books carry the clock."""
    trades = [one for action in play_all(flow_source()) for one in action if one.kind == "trade"]
    assert trades
    assert all(clock_in(one) is None and one.clock is None for one in trades)


async def test_one_count_runs_over_all_markets() -> None:
    """On one connection clocks never fall, whatever the market; in one market they have gaps."""
    async with open_simulator(flow()) as simulator, connect(simulator) as client:
        await client.subscribe(simulator.tickers)
        frames = await take_all(simulator, client, 1)
        clocks = [msg["clock"] for msg in deltas(frames)]
        assert clocks == sorted(clocks)
        assert all(type(clock) is int for clock in clocks)
        for ticker in simulator.tickers:
            own = sorted({msg["clock"] for msg in deltas(frames, ticker)})
            assert 1 < len(own) < own[-1] - own[0]


async def test_every_connection_gets_the_same_clock_for_the_same_change() -> None:
    """Two connections with other markets before and after get the same changes, in one order."""
    async with open_simulator(flow()) as simulator:
        tickers = simulator.tickers
        async with connect(simulator) as one, connect(simulator) as two, trio.open_nursery() as nursery:
            got: dict[int, list[Frame]] = {}
            await one.subscribe(tickers)
            await two.subscribe(tuple(reversed(tickers)), "trade", "orderbook_delta")

            async def take(connection: int, client: Client) -> None:
                got[connection] = await take_all(simulator, client, connection)

            nursery.start_soon(take, 1, one)
            nursery.start_soon(take, 2, two)
    # The one that subscribed second may have missed the first changes.
    changes = deltas(got[2])
    assert len(changes) > 400
    assert deltas(got[1])[-len(changes) :] == changes


# Snapshots.


async def test_a_snapshot_has_the_clock_of_the_newest_change_in_it() -> None:
    """It includes every change of its market up to its clock, and none above; other markets do not count."""
    async with (
        open_simulator(flow(3000, speed=5.0, rate_per_s=1000)) as simulator,
        connect(simulator) as client,
    ):
        await client.subscribe(simulator.tickers)
        frames = await client.receive_many(1 + len(simulator.tickers))
        requested = 0
        for command_id in range(2, 30):
            await client.command(
                command_id,
                "update_subscription",
                sids=[1],
                market_tickers=simulator.tickers,
                action="get_snapshot",
            )
            while frames[-1].get("id") != command_id or frames[-2].get("id") != command_id:
                frames.append(await client.receive())
    for place, frame in enumerate(frames):
        if "id" not in frame or frame["type"] != "orderbook_snapshot":
            continue
        requested += 1
        msg, ticker = frame["msg"], frame["msg"]["market_ticker"]
        before, after = deltas(frames[:place], ticker), deltas(frames[place:], ticker)
        if before:
            assert msg["clock"] == before[-1]["clock"]
        assert all(later["clock"] > msg["clock"] for later in after)
        assert fold([frame], ticker) == fold(frames[:place], ticker)
    assert requested > 50


async def test_the_first_snapshot_is_older_than_the_first_change() -> None:
    """Orders that were there before the flow have a clock too, below that of every change."""
    async with open_simulator(flow(50)) as simulator, connect(simulator) as client:
        await client.subscribe(simulator.tickers)
        frames = await take_all(simulator, client, 1)
        opened = [frame["msg"]["clock"] for frame in frames if frame["type"] == "orderbook_snapshot"]
        assert len(opened) == len(set(opened)) == 3
        assert 0 < max(opened) < min(msg["clock"] for msg in deltas(frames))


async def test_a_market_without_any_change_has_clock_0(tmp_path: pathlib.Path) -> None:
    """An empty market that nobody has traded yet has clock 0, and its first change at least 1."""
    msgs = [recorded_snapshot("M"), delta_msg("M", "0.4000", "1.00")]
    kinds = ["orderbook_snapshot", "orderbook_delta"]
    frames = [data_frame(kind, 1, n, msg) for n, (kind, msg) in enumerate(zip(kinds, msgs, strict=True), 1)]
    path = write_tape(tmp_path / "t.gz", frames)
    async with open_simulator(tape(path)) as simulator, connect(simulator) as client:
        await client.subscribe(["M"])
        _, snapshot, delta = await client.receive_many(3)
        assert snapshot["msg"]["clock"] == 0
        assert delta["msg"]["clock"] >= 1


async def test_clearing_the_book_at_the_close_keeps_the_clock(tmp_path: pathlib.Path) -> None:
    """The empty snapshot at the close has the last change's clock, though the levels are gone."""
    path = write_tape(tmp_path / "t.gz", busy_frames("M", 5))
    async with open_simulator(tape(path, "empty-at-close")) as simulator, connect(simulator) as client:
        await client.subscribe(["M"])
        frames = await client.receive_many(8)
        await client.command(2, "update_subscription", sids=[1], market_tickers=["M"], action="get_snapshot")
        frames.append(await client.receive())
    *_, last_delta, closing, requested = [frame["msg"] for frame in frames]
    assert fold(frames[:-2], "M")["yes"]
    assert (
        closing
        == requested
        == {
            "market_ticker": "M",
            "market_id": "id-M",
            "clock": last_delta["clock"],
        }
    )


def test_the_yes_scale_keeps_the_clock() -> None:
    """A subscription with use_yes_price gets the same clocks as any other."""
    snapshot = snapshot_msg("M", "id", Depth(no=((300, 7),)), clock=12)
    assert json.loads(on_yes_scale("orderbook_snapshot", snapshot))["clock"] == 12
    delta = delta_msg("M", "0.4800", "1.00", "no").replace("}", ',"clock":13}').encode()
    assert json.loads(on_yes_scale("orderbook_delta", delta))["clock"] == 13


# When a frame is sent.


async def test_every_frame_has_the_time_at_which_it_is_sent() -> None:
    """Data and replies of every kind have it in the envelope, as a whole number of milliseconds."""
    wall_us = 1_786_410_915_566_999
    faults = ("error=10@9", "error=18@6")

    async with open_simulator(flow(30, faults=faults), clock=lambda: wall_us) as simulator:
        headers = simulator.access.headers(wall_us // 1000)
        async with connect(simulator, headers) as client:
            await client.command(1, "list_subscriptions")
            await client.command(2, "nonsense")
            await client.subscribe([], "trade", command_id=3)
            await client.command(4, "unsubscribe", sids=[1])
            await client.subscribe(["SIM-0001"], command_id=5)
            await client.command(6, "list_subscriptions")
            # The last frame is error 10: the ninth data frame ends the subscription.
            frames = await client.receive_many(6 + 9 + 1)
    kinds = ["ok", "error", "subscribed", "unsubscribed", "orderbook_snapshot", "orderbook_delta"]
    assert {frame["type"] for frame in frames} == set(kinds)
    assert [frame["msg"]["code"] for frame in frames if frame["type"] == "error"] == [5, 18, 10]
    assert all(frame["sending_ts_ms"] == 1_786_410_915_566 for frame in frames)


async def test_the_sending_time_follows_the_wall_clock() -> None:
    """A frame that is sent later has a later time, also if the change in it is as old as the other's."""
    wall_us = 1_786_410_915_566_999

    def clock() -> int:
        return wall_us

    async with open_simulator(flow(10), clock=clock) as simulator:
        async with connect(simulator, simulator.access.headers(wall_us // 1000)) as client:
            await client.command(1, "list_subscriptions")
            first = await client.receive()
            wall_us += 7_000
            await client.command(2, "list_subscriptions")
            second = await client.receive()
    assert second["sending_ts_ms"] == first["sending_ts_ms"] + 7


@pytest.mark.parametrize(
    ("clocks", "flow_too", "sent"),
    [
        ("flow", False, False),
        ("flow", True, True),
        ("all", False, True),
        ("none", True, False),
        ("none", False, False),
    ],
)
async def test_sending_times_belong_to_the_format_with_clocks(
    tmp_path: pathlib.Path, clocks: ClockScope, flow_too: bool, sent: bool
) -> None:
    """Frames have the time if any message gets a clock: with generated flow, or tapes with clocks."""
    path = write_tape(tmp_path / "t.gz", busy_frames("M", 5))
    settings = attrs.evolve(tape(path, clocks=clocks), markets=1 if flow_too else 0)
    async with open_simulator(settings) as simulator, connect(simulator) as client:
        await client.subscribe(["M"])
        frames = await client.receive_many(7)
        assert all(("sending_ts_ms" in frame) == sent for frame in frames)


# Which messages carry the clock.


async def test_the_older_format_has_no_clock() -> None:
    """With clocks "none" neither snapshots nor deltas of the generated flow have it."""
    async with open_simulator(flow(100, clocks="none")) as simulator, connect(simulator) as client:
        await client.subscribe(simulator.tickers)
        frames = await take_all(simulator, client, 1)
        assert len(deltas(frames)) > 50
        assert not any("clock" in frame["msg"] for frame in frames)


async def test_a_clock_is_added_to_the_messages_of_a_tape(tmp_path: pathlib.Path) -> None:
    """With clocks "all" each recorded book message has one, after the bytes that were recorded."""
    recorded = busy_frames("M", 20)
    path = write_tape(tmp_path / "t.gz", recorded)
    async with open_simulator(tape(path)) as simulator, connect(simulator) as client:
        await client.subscribe(["M"])
        frames = await client.receive_many(22)
        clocks = [frame["msg"]["clock"] for frame in frames[1:]]
        assert clocks == sorted(set(clocks))
        for frame, text, clock in zip(recorded, client.texts[1:], clocks, strict=True):
            msg = frame.partition('"msg":')[2].removesuffix("}}")
            assert f'"msg":{msg},"clock":{clock}}}' in text


async def test_a_tape_keeps_the_clocks_that_were_recorded(tmp_path: pathlib.Path) -> None:
    """A tape with clocks is sent as it is, whatever the setting, and other snapshots continue from it."""
    recorded = [
        data_frame("orderbook_snapshot", 1, 1, '{"market_ticker":"M","market_id":"i","clock":40}'),
        data_frame("orderbook_delta", 1, 2, delta_msg("M", "0.4000", "1.00").replace("}", ',"clock":41}')),
        data_frame("orderbook_delta", 1, 3, delta_msg("M", "0.5000", "1.00").replace("}", ',"clock":45}')),
    ]
    path = write_tape(tmp_path / "t.gz", recorded)
    scopes: list[ClockScope] = ["flow", "all", "none"]
    for clocks in scopes:
        async with open_simulator(tape(path, clocks=clocks)) as simulator, connect(simulator) as client:
            await client.subscribe(["M"])
            frames = await client.receive_many(4)
            assert [frame["msg"]["clock"] for frame in frames[1:]] == [40, 41, 45]
            assert all(text.count('"clock"') == 1 for text in client.texts[1:])
            await client.command(
                2, "update_subscription", sids=[1], market_tickers=["M"], action="get_snapshot"
            )
            assert (await client.receive())["msg"]["clock"] == 45


def test_a_market_of_a_tape_has_one_clock_until_its_first_change() -> None:
    """A second subscriber, before any change, gets the clock of the recorded first snapshot."""
    frames = busy_frames("M", 1)
    source = TapeSource(read_tape("invented", tape_lines(frames)), 0, 0, ExchangeClock(random.Random(1)))
    (market,) = source.markets
    first, second = (json.loads(market.open_with_snapshot(yes_scale=False)) for _ in range(2))
    assert first["clock"] == second["clock"] > 0


@pytest.mark.parametrize(
    ("levels", "rises"),
    [([("0.4000", "8.00")], False), ([("0.4000", "9.00")], True), ([], False)],
    ids=["equal", "different", "empty"],
)
def test_a_snapshot_in_a_tape_has_a_new_clock_if_it_shows_changes(
    levels: list[tuple[str, str]], rises: bool
) -> None:
    """Levels as the book has them, or none as at the close, keep the clock; others are newer changes."""
    recorded = [
        data_frame("orderbook_snapshot", 1, 1, recorded_snapshot("M", [("0.4000", "7.00")])),
        data_frame("orderbook_delta", 1, 2, delta_msg("M", "0.4000", "1.00")),
        data_frame("orderbook_snapshot", 1, 3, recorded_snapshot("M", levels)),
    ]
    source = TapeSource(read_tape("invented", tape_lines(recorded)), 0, 0, ExchangeClock(random.Random(1)))
    (market,) = source.markets
    market.open_with_snapshot(yes_scale=False)
    clocks: list[int] = []
    for (published,) in (source.take() for _ in range(3)):
        if isinstance(published.effect, LevelChange):
            market.book.apply(published.effect)
        if published.clock is not None:
            clocks.append(published.clock)
            market.clock = published.clock
    assert clocks[0] < clocks[1]
    assert (clocks[2] > clocks[1]) == rises
    assert rises or clocks[2] == clocks[1]
