"""Faults over real sockets: what a client sees of each, and what the account says."""

import json
import pathlib

import attrs
import pytest
import trio

from collector.simulator import Simulator, SimulatorSettings, open_simulator
from tests.simulator.exchange_client import (
    Client,
    Frame,
    busy_frames,
    connect,
    data_frame,
    numbers,
    trade_msg,
    write_tape,
)

WALL_US = 1_786_410_915_566_999


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


async def altered_by(tape: pathlib.Path, fault: str) -> tuple[Frame, Frame]:
    """The only frame that differs from a run without faults, and the one that should have been sent."""
    runs: list[list[Frame]] = []
    for faults in ((), (fault,)):
        clocked = attrs.evolve(settings(tape, *faults), clocks="all")
        async with open_simulator(clocked, clock=lambda: WALL_US) as simulator:
            async with connect(simulator, simulator.access.headers(WALL_US // 1000)) as client:
                await client.subscribe(["M"], "orderbook_delta", "trade")
                runs.append(await client.receive_many(36))
    (pair,) = [pair for pair in zip(*runs, strict=True) if pair[0] != pair[1]]
    return pair[1], pair[0]


async def test_a_renamed_type_is_the_only_change(tape: pathlib.Path) -> None:
    """rename-type@N gives the N-th frame a type that the exchange does not have; number and msg stay."""
    sent, sound = await altered_by(tape, "rename-type@5x1")
    assert sent == {**sound, "type": "orderbook_delta_v9"}
    assert sent["seq"] == 5


async def test_a_renamed_field_is_the_only_change(tape: pathlib.Path) -> None:
    """rename-field@N gives the quantity of the N-th frame another name; the value stays."""
    sent, sound = await altered_by(tape, "rename-field@5x1")
    quantity = sound["msg"].pop("delta_fp")
    assert sent == {**sound, "msg": {**sound["msg"], "delta_fp_v9": quantity}}


async def test_another_sid_is_the_only_change(tape: pathlib.Path) -> None:
    """other-sid@N sends the N-th frame with the sid of another subscription, and the number of its own."""
    sent, sound = await altered_by(tape, "other-sid@5x1")
    assert (sound["sid"], sound["seq"]) == (1, 5)
    assert sent == {**sound, "sid": 2}


async def test_a_repeated_clock_is_a_conflict_with_the_snapshot(tape: pathlib.Path) -> None:
    """repeat-clock@N sends a delta with the clock of the snapshot before it, on that connection only."""
    clocked = attrs.evolve(settings(tape, "repeat-clock@5x1"), clocks="all")
    async with open_simulator(clocked) as simulator, connect(simulator) as client:
        await client.subscribe(["M"])
        _, snapshot, *frames = await client.receive_many(32)
        clocks = [frame["msg"]["clock"] for frame in frames]
        assert clocks[3] == snapshot["msg"]["clock"]
        others = clocks[:3] + clocks[4:]
        assert others == sorted(set(others))
        assert others[0] > snapshot["msg"]["clock"]


async def test_a_repeated_clock_is_that_of_the_newest_snapshot() -> None:
    """A requested snapshot counts too: a delta after it repeats the clock of that one."""
    calm = SimulatorSettings(markets=1, rate_per_s=50, key="ed25519")
    async with open_simulator(calm) as simulator, connect(simulator) as client:
        await client.subscribe(simulator.tickers)
        _, first, *_ = await client.receive_many(12)
        await client.command(
            2, "update_subscription", sids=[1], market_tickers=simulator.tickers, action="get_snapshot"
        )
        while (newest := await client.receive())["type"] != "orderbook_snapshot":
            pass
        simulator.faults.add("repeat-clock=1")
        assert newest["msg"]["clock"] > first["msg"]["clock"]
        # Deltas that were queued before the fault came are sound.
        clocks = [(await client.receive())["msg"]["clock"] for _ in range(20)]
        assert clocks[-1] == clocks[-2] == newest["msg"]["clock"]


async def test_a_lowered_clock_is_lower_on_every_connection() -> None:
    """After lower-clock@N changes of all markets have lower clocks, which rise again from there."""
    calm = SimulatorSettings(markets=2, rate_per_s=2000, messages_max=600, key="ed25519")
    async with (
        open_simulator(attrs.evolve(calm, faults=("lower-clock@40x1",))) as simulator,
        connect(simulator) as one,
        connect(simulator) as two,
    ):
        await one.subscribe(simulator.tickers)
        await two.subscribe(simulator.tickers)
        changes: list[list[Frame]] = []
        for client in (one, two):
            frames = await client.receive_many(400)
            changes.append([frame["msg"] for frame in frames if frame["type"] == "orderbook_delta"])
        await one.command(
            2, "update_subscription", sids=[1], market_tickers=simulator.tickers, action="get_snapshot"
        )
        snapshots = await take_answers(one, 2, 2)
    clocks = [msg["clock"] for msg in changes[0]]
    (fall,) = [place for place in range(1, len(clocks)) if clocks[place] < clocks[place - 1]]
    assert max(clocks[fall:]) < min(clocks[:fall])
    assert min(clocks) >= 1
    # The 40 frames are two snapshots and 38 deltas.
    assert fall == 38 or clocks[37] == clocks[38]
    missed = changes[0].index(changes[1][0])
    both = list(zip(changes[0][missed:], changes[1], strict=False))
    assert len(both) > 300
    assert all(here == there for here, there in both)
    assert all(frame["msg"]["clock"] < min(clocks[:fall]) for frame in snapshots)


async def take_answers(client: Client, command_id: int, count: int) -> list[Frame]:
    """The answers to a command, past all that comes before them."""
    answers: list[Frame] = []
    while len(answers) < count:
        frame = await client.receive()
        if frame.get("id") == command_id:
            answers.append(frame)
    return answers


async def test_an_unknown_error_leaves_the_subscription_as_it_is(tape: pathlib.Path) -> None:
    """unknown-error=CODE@N takes the number after frame N, names the sid, and the data continue."""
    async with (
        open_simulator(settings(tape, "unknown-error=99@6")) as simulator,
        connect(simulator) as client,
    ):
        await client.subscribe(["M"])
        frames = await client.receive_many(33)
        assert numbers(frames, 1) == list(range(1, 33))
        (error,) = [frame for frame in frames if frame["type"] == "error"]
        assert (error["sid"], error["seq"], error["msg"]["code"]) == (1, 7, 99)
        assert "id" not in error


async def test_numbers_start_again_while_the_subscription_lives(tape: pathlib.Path) -> None:
    """After restart-seq@N the numbers of the sid run from 1 again; all data arrive."""
    async with open_simulator(settings(tape, "restart-seq@6")) as simulator, connect(simulator) as client:
        assert await book_numbers(simulator, client) == [*range(1, 7), *range(1, 26)]
        await client.command(9, "list_subscriptions")
        assert len((await client.receive())["msg"]) == 1


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
