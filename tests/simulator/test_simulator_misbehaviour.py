"""Faults over real sockets: what a client sees of each, and what the account says."""

import json
import pathlib

import pytest
import trio

from collector.simulator import Simulator, SimulatorSettings, open_simulator
from tests.simulator.exchange_client import (
    Client,
    busy_frames,
    connect,
    data_frame,
    numbers,
    trade_msg,
    write_tape,
)


@pytest.fixture
def tape(tmp_path: pathlib.Path) -> pathlib.Path:
    """A tape of one market: a snapshot, 30 deltas, and 3 trades."""
    trades = [data_frame("trade", 2, n, trade_msg("M")) for n in (1, 2, 3)]
    return write_tape(tmp_path / "t.gz", busy_frames("M", 30) + trades)


def settings(
    tape: pathlib.Path, *faults: str, speed: float | None = None, buffer_bytes_max: int = 2**20
) -> SimulatorSettings:
    return SimulatorSettings(
        tapes=(tape,),
        speed=speed,
        key="ed25519",
        faults=faults,
        keep_account=True,
        buffer_bytes_max=buffer_bytes_max,
    )


async def book_numbers(simulator: Simulator, client: Client) -> list[int]:
    """Subscribe the book, take the whole tape, and return the numbers in the order they came."""
    await client.subscribe(["M"])
    with trio.fail_after(5):
        await simulator.wait_finished()
    count = simulator.account.counts[1]
    frames = [json.loads(await client.receive_text()) for _ in range(count)]
    assert simulator.account.frames(1) == client.texts
    return numbers(frames, 1)


async def test_a_dropped_frame_leaves_a_hole(tape: pathlib.Path) -> None:
    """A dropped frame has its number, is not sent, and is not in the account."""
    async with open_simulator(settings(tape, "drop@5")) as simulator, connect(simulator) as client:
        assert await book_numbers(simulator, client) == [n for n in range(1, 32) if n != 5]


async def test_a_duplicated_frame_comes_twice(tape: pathlib.Path) -> None:
    """A duplicated frame is sent twice with the same number."""
    async with open_simulator(settings(tape, "duplicate@5")) as simulator, connect(simulator) as client:
        assert await book_numbers(simulator, client) == sorted([*range(1, 32), 5])


async def test_reordered_frames_change_places(tape: pathlib.Path) -> None:
    """A reordered frame comes after the next; the very last one is not lost."""
    async with (
        open_simulator(settings(tape, "reorder@5", "reorder@31")) as simulator,
        connect(simulator) as client,
    ):
        assert await book_numbers(simulator, client) == [1, 2, 3, 4, 6, 5, *range(7, 32)]


async def test_a_garbled_frame_is_sent_and_accounted_as_it_is(tape: pathlib.Path) -> None:
    """A garbled frame is text that is not JSON, and the account has it as it was sent."""
    async with open_simulator(settings(tape, "garble@5")) as simulator, connect(simulator) as client:
        await client.subscribe(["M"])
        texts = [await client.receive_text() for _ in range(32)]
        with pytest.raises(json.JSONDecodeError):
            json.loads(texts[5])
        assert all(json.loads(text) for text in texts[:5] + texts[6:])
        assert simulator.account.frames(1) == texts


async def test_a_cut_comes_after_its_frame(tape: pathlib.Path) -> None:
    """The N-th frame is the last, there is no goodbye, and the rest waits for the next connection."""
    async with open_simulator(settings(tape, "cut@10x1")) as simulator:
        async with connect(simulator) as client:
            await client.subscribe(["M"])
            frames, code = await client.receive_until_closed()
            assert numbers(frames, 1) == list(range(1, 11))
            assert code == 1006
        async with connect(simulator) as client:
            await client.subscribe(["M"])
            frames = await client.receive_many(23)
            assert numbers(frames, 1) == list(range(1, 23))


async def test_all_connections_can_be_cut_by_hand(tape: pathlib.Path) -> None:
    """`cut_all` ends every connection without a goodbye."""
    async with open_simulator(settings(tape)) as simulator:
        async with connect(simulator) as one, connect(simulator) as two:
            simulator.cut_all()
            assert (await one.receive_until_closed())[1] == 1006
            assert (await two.receive_until_closed())[1] == 1006
        assert simulator.connections == 2


async def test_connections_are_cut_by_time(tape: pathlib.Path) -> None:
    """`cut-every` ends a connection that has lived so long."""
    async with open_simulator(settings(tape, "cut-every=0.1")) as simulator, connect(simulator) as client:
        with trio.fail_after(2):
            assert await client.receive_until_closed() == ([], 1006)


async def test_a_silent_connection_stays_up(tape: pathlib.Path) -> None:
    """After silent@N nothing comes any more, not even an answer, and the connection is not ended."""
    async with open_simulator(settings(tape, "silent@4")) as simulator, connect(simulator) as client:
        await client.subscribe(["M"])
        await client.receive_many(5)
        await client.command(9, "list_subscriptions")
        assert await client.is_quiet()
        assert simulator.account.counts[1] == 5
        assert simulator.connected == (1,)


async def test_a_skewed_change_is_off_by_one_contract_and_keeps_its_number(tape: pathlib.Path) -> None:
    """skew@N changes one frame's size; the exchange's own book, and so the next snapshot, is not skewed."""
    async with open_simulator(settings(tape)) as simulator, connect(simulator) as client:
        await client.subscribe(["M"])
        sound = await client.receive_many(6)
    async with open_simulator(settings(tape, "skew@3x1")) as simulator, connect(simulator) as client:
        await client.subscribe(["M"])
        skewed = await client.receive_many(6)

    assert numbers(skewed, 1) == numbers(sound, 1)
    (before, after), *others = [pair for pair in zip(sound, skewed, strict=True) if pair[0] != pair[1]]
    assert others == []
    assert float(after["msg"]["delta_fp"]) == float(before["msg"]["delta_fp"]) + 1
    assert {**after["msg"], "delta_fp": ""} == {**before["msg"], "delta_fp": ""}


async def test_a_mute_subscription_leaves_the_others(tape: pathlib.Path) -> None:
    """mute=CHANNEL@N silences one subscription from its N-th frame on, answers included, and nothing else."""
    async with (
        open_simulator(settings(tape, "mute=orderbook_delta@3")) as simulator,
        connect(simulator) as client,
    ):
        await client.subscribe(["M"], "orderbook_delta", "trade")
        frames = await client.receive_many(7)
        assert numbers(frames, 1) == [1, 2]
        assert numbers(frames, 2) == [1, 2, 3]
        for command_id, action in enumerate(("get_snapshot", "add_markets"), 7):
            await client.command(
                command_id, "update_subscription", sids=[1], market_tickers=["M"], action=action
            )
        await client.command(9, "list_subscriptions")
        assert len((await client.receive())["msg"]) == 2


@pytest.mark.parametrize("code", [10, 25])
async def test_a_terminal_error_ends_the_subscription_only(tape: pathlib.Path, code: int) -> None:
    """After error 10 or 25 the sid is silent; subscribing again on the same connection gives a new one."""
    async with open_simulator(settings(tape, f"error={code}@6x1")) as simulator, connect(simulator) as client:
        await client.subscribe(["M"])
        frames = await client.receive_many(8)
        assert (frames[-1]["type"], frames[-1]["sid"], frames[-1]["seq"]) == ("error", 1, 7)
        assert frames[-1]["msg"]["code"] == code
        await client.subscribe(["M"], command_id=2)
        frames = await client.receive_many(27)
        assert frames[0]["msg"]["sid"] == 2
        assert numbers(frames, 2) == list(range(1, 27))


async def test_commands_that_come_too_fast_are_refused(tape: pathlib.Path) -> None:
    """With a command rate of 2 the third command within a second is answered with error 27 and its id."""
    async with open_simulator(settings(tape, "command-rate=2")) as simulator, connect(simulator) as client:
        for command_id in (1, 2, 3):
            await client.command(command_id, "list_subscriptions")
        frames = await client.receive_many(3)
        assert [frame["type"] for frame in frames] == ["ok", "ok", "error"]
        assert (frames[2]["id"], frames[2]["msg"]["code"]) == (3, 27)


async def test_a_full_buffer_is_error_25(tape: pathlib.Path) -> None:
    """Played by the clock, more waiting frames than the buffer holds end the subscription with error 25."""
    narrow = settings(tape, speed=10_000.0, buffer_bytes_max=2_000)
    async with open_simulator(narrow) as simulator, connect(simulator) as client:
        await client.subscribe(["M"])
        with trio.fail_after(5):
            await simulator.wait_finished()
        frames = await client.receive_many(simulator.account.counts[1])
        assert frames[-1]["type"] == "error"
        assert frames[-1]["msg"]["code"] == 25
        await client.command(9, "list_subscriptions")
        assert (await client.receive())["msg"] == []


async def test_an_empty_snapshot_closes_the_market(tape: pathlib.Path) -> None:
    """With empty-at-close the last frame of a market is a snapshot without sides, and no frame follows."""
    async with open_simulator(settings(tape, "empty-at-close")) as simulator, connect(simulator) as client:
        await client.subscribe(["M"])
        last = (await client.receive_many(33))[-1]
        assert last["type"] == "orderbook_snapshot"
        assert set(last["msg"]) == {"market_ticker", "market_id"}
        assert await client.is_quiet(0.05)


async def test_faults_can_be_steered_while_it_runs(tape: pathlib.Path) -> None:
    """Faults put in force between two connections strike the second one."""
    async with open_simulator(settings(tape)) as simulator:
        async with connect(simulator):
            simulator.faults.add("refuse=429")
        simulator.faults.replace("drop@1")
        async with connect(simulator) as client:
            await client.subscribe(["M"])
            frames = await client.receive_many(31)
            assert numbers(frames, 1) == list(range(2, 32))
