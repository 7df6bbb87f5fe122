"""
The simulator as a whole: settings, the floor, the player, the listeners, and what tests steer it with.

    open_simulator
      nursery
        player: one task by the clock, or one for each source as fast as it is taken
        REST: Hypercorn with a Quart-Trio application, on a port of its own
        listener: one task for each connection (see `session`)

Whoever opens the simulator owns it: leaving the block cancels everything.
"""

import collections
import contextlib
import pathlib
import random
import typing

import attrs
import hypercorn
import hypercorn.trio
import trio

from collector.clock import WallClock, system_clock
from collector.errors import ConfigError, StartError
from collector.simulator._access import WS_PATH, AccessKey, KeyKind
from collector.simulator._exchange_clock import ClockScope, ExchangeClock
from collector.simulator._faults import Fault, Faults
from collector.simulator._flow import Flow, FlowSettings
from collector.simulator._markets import Floor
from collector.simulator._player import FlowSource, Player, Source, TapeSource
from collector.simulator._rest import API_PATH, Hours, build_rest_app
from collector.simulator._sent_log import Account, open_account
from collector.simulator._session import House, Session, SessionSettings
from collector.simulator._tape import load_tape

# Connections that wait to be accepted.
BACKLOG = 128
# Markets are open from an hour ago, and for a week: longer than any demonstration.
OPEN_SINCE_US = 3_600 * 1_000_000
OPEN_FOR_US = 7 * 24 * 3_600 * 1_000_000
# A REST request under way may take this long when the simulator ends.
REST_GRACE_S = 0.5
# A REST request has no body, and its answer is made at once.
REST_BODY_BYTES_MAX = 64 * 2**10

_Serve = typing.Callable[..., typing.Awaitable[None]]


@attrs.frozen
class SimulatorSettings:
    """What to serve and how. `speed` None is as fast as the clients take it."""

    tapes: tuple[pathlib.Path, ...] = ()
    copies: int = 1
    stagger_s: float = 0.0
    speed: float | None = 1.0
    markets: int = 0
    rate_per_s: float = 100.0
    messages_max: int | None = None
    seed: int = 1
    host: str = "127.0.0.1"
    port: int = 0
    faults: tuple[Fault | str, ...] = ()
    key: KeyKind = "rsa"
    # Which messages get the exchange's clock; tapes keep their recorded bytes unless it is "all".
    clocks: ClockScope = "flow"
    # As older servers: the answer to a refused update_subscription has the command's id, and no number.
    refusals_with_id: bool = False
    account_path: pathlib.Path | None = None
    keep_account: bool = False
    # What may wait on its way to one client before that is error 25; no matter when `speed` is None.
    buffer_bytes_max: int = 64 * 2**20
    ping_interval_s: float = 10.0
    # A client that subscribes with several commands gets this long between two of them before a tape starts
    # that is played as fast as it is taken.
    settle_s: float = 0.05

    @property
    def sends_times(self) -> bool:
        """Whether each frame has the time at which it is sent, `sending_ts_ms`."""
        return self.clocks == "all" or (self.clocks == "flow" and self.markets > 0)

    def check(self) -> None:
        """
        Raise ConfigError with one line for each thing that makes no sense.

        Raises:
            ConfigError: always with what to do about it.
        """
        problems: list[str] = []
        if not self.tapes and self.markets <= 0:
            problems.append("nothing to serve: name a tape with --tape, or generate flow with --markets N")
        if self.copies < 1:
            problems.append("--copies must be 1 or more")
        if self.speed is not None and self.speed <= 0:
            problems.append("--speed must be a number above 0, or max")
        if self.markets > 0 and self.rate_per_s <= 0:
            problems.append("--rate must be above 0 messages per second")
        if self.stagger_s < 0:
            problems.append("--stagger must be 0 or more seconds")
        if problems:
            raise ConfigError(tuple(problems))


class Simulator:
    """A running simulator. Made by `open_simulator`; good until its block is left."""

    def __init__(self, house: House, player: Player, ws_url: str, api_url: str) -> None:
        self._house = house
        self._player = player
        self._sessions: dict[int, Session] = {}
        self.ws_url = ws_url
        self.api_url = api_url
        # How many clients have ever connected; their numbers run from 1.
        self.connections = 0

    @property
    def key_id(self) -> str:
        """The id of the only API key."""
        return self._house.access.key_id

    @property
    def private_key_pem(self) -> str:
        """The private half of the only API key."""
        return self._house.access.private_key_pem

    @property
    def access(self) -> AccessKey:
        """The key itself, for clients in tests that sign by hand."""
        return self._house.access

    @property
    def tickers(self) -> tuple[str, ...]:
        """All served markets."""
        return tuple(self._house.floor.markets)

    @property
    def environ(self) -> dict[str, str]:
        """The variables by which a collector records all of it."""
        return {
            "KALSHI_API_KEY_ID": self.key_id,
            "KALSHI_PRIVATE_KEY_CONTENT": self.private_key_pem,
            "KALSHI_ENV": "demo",
            "KALSHI_WS_URL": self.ws_url,
            "KALSHI_API_URL": self.api_url,
            "RL_MARKET_TICKERS": ",".join(self.tickers),
        }

    @property
    def faults(self) -> Faults:
        """The faults in force; may be changed at any time."""
        return self._house.faults

    @property
    def account(self) -> Account:
        """What was sent."""
        return self._house.account

    @property
    def floor(self) -> Floor:
        """The markets and their books as of now."""
        return self._house.floor

    @property
    def connected(self) -> tuple[int, ...]:
        """The numbers of the connections that are up, handshakes included."""
        return tuple(self._sessions)

    def cut_all(self) -> None:
        """Cut every connection as a broken line does."""
        for session in tuple(self._sessions.values()):
            session.cut()

    def end_all(self, code: int = 1001, reason: str = "going away") -> None:
        """End every connection as a server does that goes away."""
        for session in tuple(self._sessions.values()):
            session.end(code, reason)

    async def wait_finished(self) -> None:
        """Wait until every source is at its end and everything is sent."""
        await self._player.wait_finished()
        for session in tuple(self._sessions.values()):
            await session.wait_flushed()

    async def serve_client(self, transport: trio.SocketStream) -> None:
        """Serve one client until its connection ends."""
        self.connections += 1
        session = Session(self._house, transport, self.connections)
        self._sessions[session.connection] = session
        try:
            await session.run()
        finally:
            del self._sessions[session.connection]


def _load_sources(
    settings: SimulatorSettings, clock: WallClock, exchange_clock: ExchangeClock
) -> tuple[Source, ...]:
    for_tapes = exchange_clock if settings.clocks == "all" else None
    for_flow = None if settings.clocks == "none" else exchange_clock
    sources: list[Source] = []
    for path in settings.tapes:
        tape = load_tape(path)
        for copy in range(settings.copies):
            delay_ns = int(settings.stagger_s * 1e9) * copy // settings.copies
            sources.append(TapeSource(tape, copy, delay_ns, for_tapes))
    if settings.markets:
        flow_settings = FlowSettings(settings.markets, settings.rate_per_s, settings.messages_max)
        flow = Flow(flow_settings, random.Random(settings.seed))
        sources.append(FlowSource(flow, clock, for_flow))
    tickers = [market.ticker for source in sources for market in source.markets]
    repeated = next((ticker for ticker, times in collections.Counter(tickers).items() if times > 1), None)
    if repeated is not None:
        raise ConfigError((f"market {repeated} is served twice: for several of one tape use --copies",))
    return tuple(sources)


async def _open_listeners(host: str, port: int) -> list[trio.SocketListener]:
    try:
        return await trio.open_tcp_listeners(port, host=host, backlog=BACKLOG)
    except OSError as error:
        raise StartError(
            f"can't listen on {host} port {port}: {error.strerror or error}; choose another --port or 0"
        ) from error


def _rest_config(host: str) -> hypercorn.Config:
    config = hypercorn.Config()
    config.bind = [f"{_bracketed(host)}:0"]
    config.errorlog = None
    config.accesslog = None
    config.graceful_timeout = REST_GRACE_S
    config.shutdown_timeout = REST_GRACE_S
    config.h11_max_incomplete_size = REST_BODY_BYTES_MAX
    return config


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


@contextlib.asynccontextmanager
async def open_simulator(
    settings: SimulatorSettings, *, clock: WallClock = system_clock
) -> typing.AsyncGenerator[Simulator, None]:
    """
    Run a simulator for the time of the block. It is listening when the block begins.

    Raises:
        ConfigError: the settings make no sense.
        StartError: a tape can't be read, or a port can't be had.
    """
    settings.check()
    exchange_clock = ExchangeClock(random.Random(settings.seed))
    sources = await trio.to_thread.run_sync(_load_sources, settings, clock, exchange_clock)
    access = await trio.to_thread.run_sync(AccessKey, settings.key)
    faults = Faults(settings.faults, random.Random(settings.seed))
    player = Player(sources, faults, settings.settle_s)
    floor = Floor((market for source in sources for market in source.markets), player.on_audience)
    bound = None if settings.speed is None else settings.buffer_bytes_max
    with contextlib.ExitStack() as held:
        account = open_account(settings.account_path, keep=settings.keep_account)
        held.callback(account.close)
        listeners = await _open_listeners(settings.host, settings.port)
        for listener in listeners:
            held.callback(listener.socket.close)
        session_settings = SessionSettings(
            buffer_bytes_max=bound,
            ping_interval_s=settings.ping_interval_s,
            sends_times=settings.sends_times,
            refusals_with_id=settings.refusals_with_id,
        )
        house = House(
            floor=floor,
            faults=faults,
            access=access,
            account=account,
            clock=clock,
            exchange_clock=exchange_clock,
            settings=session_settings,
        )
        async with trio.open_nursery() as nursery:
            now_us = clock()
            rest_app = build_rest_app(floor, Hours(now_us - OPEN_SINCE_US, now_us + OPEN_FOR_US), clock)
            # Hypercorn's type of an application names WSGI's environment without its parts.
            serve = typing.cast("_Serve", hypercorn.trio.serve)  # pyright: ignore[reportUnknownMemberType]
            binds = await nursery.start(serve, rest_app, _rest_config(settings.host))
            port = listeners[0].socket.getsockname()[1]
            ws_url = f"ws://{_bracketed(settings.host)}:{port}{WS_PATH}"
            simulator = Simulator(house, player, ws_url, f"{binds[0]}{API_PATH}")
            _start_player(nursery, player, floor, settings.speed)
            await nursery.start(trio.serve_listeners, simulator.serve_client, listeners)
            yield simulator
            nursery.cancel_scope.cancel(reason="the simulator is closed")


def _start_player(nursery: trio.Nursery, player: Player, floor: Floor, speed: float | None) -> None:
    if speed is not None:
        nursery.start_soon(player.play_by_clock, floor, speed, name="simulator:player")
        return
    for source in player.sources:
        nursery.start_soon(player.play_as_taken, floor, source, name="simulator:player")
