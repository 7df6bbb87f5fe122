"""Audits and probes of one session in virtual time, hours of it."""

import json
from collections import Counter

import attrs
import pytest
import trio
from trio.testing import MockClock

from collector.errors import FeedLost
from tests.frames import snapshot_text, subscribed_texts
from tests.session.test_session import Bench, HandMadeTransport

HOURS = 6


class QuietExchange:
    """Markets in which nothing happens: commands are answered, pings come, and at last the line breaks."""

    def __init__(self, bench: Bench, *muted: int) -> None:
        self._bench = bench
        self._muted = muted
        self._seqs = {1: 0, 2: 0}
        self._answered = 0
        self.questions: Counter[str] = Counter()

    async def run(self) -> None:
        await trio.sleep(1)
        (transport,) = self._bench.transports
        transport.arrive(*subscribed_texts())
        transport.arrive(snapshot_text("A", self._next(1)), snapshot_text("B", self._next(1)))
        self._answered = len(transport.sent)
        for tick in range(HOURS * 3600):
            await trio.sleep(1)
            self._answer(transport)
            if tick % 10 == 0:
                transport.activity_s = trio.current_time()
        transport.put.close()

    def _next(self, sid: int) -> int:
        self._seqs[sid] += 1
        return self._seqs[sid]

    def _answer(self, transport: HandMadeTransport) -> None:
        for text in transport.sent[self._answered :]:
            self._answered += 1
            command = json.loads(text)
            params = command["params"]
            self.questions[params["action"]] += 1
            (sid,) = params["sids"]
            if sid in self._muted:
                continue
            if params["action"] == "add_markets":
                ok = {"id": command["id"], "sid": sid, "seq": self._next(sid), "type": "ok", "msg": {}}
                transport.arrive(json.dumps(ok))
            for ticker in params["market_tickers"] if params["action"] == "get_snapshot" else ():
                transport.arrive(snapshot_text(ticker, self._next(sid), command_id=command["id"]))


async def run_quietly(
    bench: Bench, *muted: int, audit_interval_s: float = 0.0, silence_probe_s: float = 0.0
) -> tuple[QuietExchange, FeedLost | None]:
    bench.context = attrs.evolve(
        bench.context, audit_interval_s=audit_interval_s, silence_probe_s=silence_probe_s
    )
    exchange = QuietExchange(bench, *muted)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(exchange.run)
        error = await bench.run_one()
        nursery.cancel_scope.cancel()
    assert error is None or isinstance(error, FeedLost)
    return exchange, error


async def test_quiet_hours_are_probes_and_answers_and_nothing_else(autojump_clock: MockClock) -> None:
    """The connection stays as long as the exchange pings, all books stay exact, and no gap is recorded."""
    bench = Bench()
    exchange, error = await run_quietly(bench, silence_probe_s=60.0)

    assert error is not None
    assert error.close_code == 1006, "which is how the exchange of this test ends"
    assert trio.current_time() > HOURS * 3600
    minutes = HOURS * 60
    assert exchange.questions["get_snapshot"] == pytest.approx(minutes, rel=0.05)
    assert exchange.questions["add_markets"] == pytest.approx(minutes, rel=0.05)
    (session,) = bench.context.state.sessions
    assert session.gaps == 0


async def test_audits_alone_keep_to_their_interval(autojump_clock: MockClock) -> None:
    """Two books, each once in a quarter of an hour."""
    exchange, _ = await run_quietly(Bench(), audit_interval_s=900.0)

    assert exchange.questions == {"get_snapshot": pytest.approx(2 * HOURS * 4, abs=1)}


@pytest.mark.parametrize(("sid", "channel"), [(1, "orderbook_delta"), (2, "trade")])
async def test_mute_subscription_ends_the_connection_though_pings_go_on(
    autojump_clock: MockClock, sid: int, channel: str
) -> None:
    """A minute of silence, two probes of ten seconds: the supervisor then begins anew."""
    _, error = await run_quietly(Bench(), sid, silence_probe_s=60.0)

    assert error is not None
    assert error.reason == f"subscription {sid} ({channel}) is silent: two probes without an answer"
    assert trio.current_time() == pytest.approx(1 + 60 + 20, abs=3)
