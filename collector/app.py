"""
The nursery tree of the service, top to bottom. Nesting is the order of shutdown: the innermost ends first.

    signals                     SIGTERM, SIGINT; until the process is gone
    └── service
        ├── maintenance         schema, partitions, the lock of this process
        └── web                 Hypercorn serving the Quart-Trio app
            ├── ticks           statistics, once a second
            ├── drain           how long the end may take
            ├── discovery       which markets to record, where the settings don't say
            ├── records         the REST record of each market, hourly; discovery's own
            ├── exchange        schedule and status of the exchange
            ├── recovery        what an earlier process left in the spool
            └── supervisor      one session for each connection: see collector.session
"""

import random
import secrets
import signal
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final
from urllib.parse import urlsplit

import trio

from collector import __version__
from collector.clock import Clocks, WallClock, system_clock
from collector.config import Settings
from collector.database import PostgresSession
from collector.exchange import Signer, load_private_key, open_transport
from collector.live import LiveHub, run_ticks
from collector.maintenance import RETRY_FIRST_S, RETRY_S_MAX, Maintenance, Retention
from collector.markets import (
    Discovery,
    Universe,
    run_discovery,
    run_exchange_records,
    run_market_records,
)
from collector.observe import RecorderState, StorePhase, get_logger
from collector.postgres import EMBEDDED_PREFIX, ConnectStore, open_connection, open_database
from collector.recording import Recording
from collector.retry import Backoff
from collector.session import FRAMES_MAX, SessionContext, Tickers, run_supervisor
from collector.spool import Spool, find_leftovers, open_folder, run_recovery
from collector.web import make_app, serve_web

DRAIN_S_MAX: Final = 15.0
"""From the signal until what is left is given up to the writers' last flush; see railway.toml."""
FLUSH_S_MAX: Final = 10.0
STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)

_log = get_logger("service")


async def run_service(
    settings: Settings,
    *,
    on_ready: Callable[[list[str]], None] = lambda urls: None,
    clock: WallClock = system_clock,
    rng: random.Random | None = None,
    stopping: trio.Event | None = None,
) -> bool:
    """
    Run until `stopping`; True when everything received is kept: in the database, or in the spool for the
    next start.

    `on_ready` gets the URLs at which the web server answers. Raises StartError when the machine refuses the
    port or the embedded database's folder, and ConfigError when the database is not one to record into, alone
    or in an exception group; any other exception is a bug.
    """
    stopping = trio.Event() if stopping is None else stopping
    rng = rng or random.Random()
    state = _first_state(settings, clock)
    hub = LiveHub(state)
    async with (
        open_folder(settings.spool_dir) as disk,
        open_database(settings.database_url) as database_url,
        trio.open_nursery() as store,
    ):
        spool = Spool(disk, settings.spool_mb_max * 2**20, state.spool, settings.rewrite_window_s)
        leftovers = await find_leftovers(spool)
        connect_store = _store_connector(settings, database_url)
        context = _session_context(
            settings, state, hub, connect_store=connect_store, spool=spool, rng=rng, stopping=stopping
        )
        maintenance = Maintenance(
            database_url=database_url,
            schema=settings.database_schema,
            recorder_key=context.recorder_key,
            retention=Retention(settings.rows_retention_days, settings.raw_retention_days),
            code_version=state.code_version,
            status=state.store,
            clock=clock,
            backoff=Backoff(rng, RETRY_FIRST_S, RETRY_S_MAX),
            ready=context.store_ready,
            is_embedded=settings.database_url.startswith(EMBEDDED_PREFIX),
        )
        await maintenance.check_start()
        store.start_soon(maintenance.run, name="maintenance")
        async with trio.open_nursery() as web:
            web_stopping = trio.Event()
            on_ready(await _start_web(web, settings, context, connect_store, web_stopping))
            async with trio.open_nursery() as sources:
                sources.start_soon(limit_drain, stopping, sources.cancel_scope, name="drain")
                sources.start_soon(run_ticks, state, hub, name="ticks")
                changes = _start_market_tasks(sources, settings, context)
                sources.start_soon(
                    run_recovery, leftovers, context.open_store, context.store_ready, rng, name="recovery"
                )
                await run_supervisor(context, settings.market_tickers, changes)
                sources.cancel_scope.cancel(reason="everything is safe")
            web_stopping.set()
        store.cancel_scope.cancel(reason="the service stops")
    _log_final_status(settings, state)
    return all(session.is_kept for session in state.sessions)


async def _start_web(
    web: trio.Nursery,
    settings: Settings,
    context: SessionContext,
    connect_store: ConnectStore,
    stopping: trio.Event,
) -> list[str]:
    """Serve until `stopping`; the URLs at which the server answers."""
    app = make_app(
        context.state,
        context.hub,
        admin_token=settings.admin_token,
        allowed_origins=settings.allowed_origins,
        flush=partial(flush_backlogs, context),
        recording=Recording(connect_store),
    )
    serve = partial(serve_web, app, settings.host, settings.port, shutdown=stopping)
    urls: list[str] = await web.start(serve)
    return urls


def _start_market_tasks(
    sources: trio.Nursery, settings: Settings, context: SessionContext
) -> trio.MemoryReceiveChannel[Tickers] | None:
    """What goes on about markets beside their books; gives the changes of what to record, if any come."""
    used = context.records
    sources.start_soon(
        run_market_records,
        settings.api_url,
        # At the start no connection has its markets yet.
        lambda: context.state.followed_tickers or settings.market_tickers,
        used.use_markets,
        name="records",
    )
    sources.start_soon(
        run_exchange_records, settings.api_url, used.use_schedule, used.use_status, name="exchange"
    )
    if settings.market_mode == "config":
        return None
    changes_out, changes_in = trio.open_memory_channel[Tickers](1)
    context.state.discovery.is_on = True
    discovery = Discovery(
        api_url=settings.api_url,
        interval_s=settings.discovery_interval_s,
        universe=Universe(settings.market_limit),
        status=context.state.discovery,
        clock=context.clock,
        stopping=context.stopping,
        changes=changes_out,
        use_records=used.use_markets,
    )
    sources.start_soon(run_discovery, discovery, name="discovery")
    return changes_in


async def run_until_signal(run: Callable[[trio.Event], Awaitable[bool]]) -> bool:
    """
    Run something that stops in order when its event is set, which the first SIGTERM or SIGINT does.

    Later ones change nothing, the drain is bounded; and from the end on neither has any effect in this
    process, so that none of them cuts off its last moments.
    """
    stopping = trio.Event()
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    async with trio.open_nursery() as nursery:
        await nursery.start(_watch_signals, stopping)
        is_safe = await run(stopping)
        nursery.cancel_scope.cancel(reason="it has ended")
    return is_safe


async def _watch_signals(
    stopping: trio.Event, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    with trio.open_signal_receiver(*STOP_SIGNALS) as signals:
        task_status.started()
        async for number in signals:
            if not stopping.is_set():
                _log.info("stopping", signal=signal.Signals(number).name)
            stopping.set()


async def limit_drain(stopping: trio.Event, sources: trio.CancelScope) -> None:
    """Bound the time that an orderly end may take."""
    await stopping.wait()
    await trio.sleep(DRAIN_S_MAX)
    _log.error("the drain time is over", seconds=DRAIN_S_MAX)
    sources.cancel(reason="the drain time is over")


def _log_final_status(settings: Settings, state: RecorderState) -> None:
    """The last line of the log."""
    frames = state.received.total
    lost = [session for session in state.sessions if not session.is_kept]
    if state.spool.refused_batches:
        folder = str(settings.spool_dir.absolute())
        _log.warning("batches_set_aside", batches=state.spool.refused_batches, folder=folder)
    if lost:
        lost_frames = sum(session.memory_frames for session in lost)
        event = "stopped: the end of sessions could not be kept"
        _log.error(event, frames=frames, sessions=len(lost), lost=lost_frames)
    elif state.spool.bytes:
        _log.warning(
            "stopped: what is not in the database is in the spool, and the next start there brings it in",
            frames=frames, spooled=sum(session.spooled_frames for session in state.sessions),
            sessions=state.spool.sessions, bytes=state.spool.bytes,
            folder=str(settings.spool_dir.absolute()),
        )  # fmt: skip
    elif frames or state.store.phase is StorePhase.AVAILABLE:
        _log.info("stopped: all is in the database", frames=frames, chain_head=state.store.chain_head)
    else:
        _log.info("stopped: nothing was received")


async def flush_backlogs(context: SessionContext) -> int:
    """Write what waits now, within ten seconds, and tell how many frames that were."""
    waiting = context.waiting_frames
    with trio.move_on_after(FLUSH_S_MAX):
        async with trio.open_nursery() as nursery:
            for backlog in context.backlogs:
                nursery.start_soon(backlog.flush)
    return waiting


def _first_state(settings: Settings, clock: WallClock) -> RecorderState:
    return RecorderState(
        clock=clock,
        environment=settings.environment,
        code_version=__version__,
        sample_rate=settings.sample_rate,
        market_tickers=settings.market_tickers,
        started_us=clock(),
        memory_frames_max=FRAMES_MAX,
    )


def _session_context(
    settings: Settings,
    state: RecorderState,
    hub: LiveHub,
    *,
    connect_store: ConnectStore,
    spool: Spool,
    rng: random.Random,
    stopping: trio.Event,
) -> SessionContext:
    signer = Signer(settings.api_key_id, load_private_key(settings.private_key_pem))
    path = urlsplit(settings.ws_url).path
    return SessionContext(
        open_transport=partial(
            open_transport,
            settings.ws_url,
            lambda: signer.headers("GET", path, state.clock() // 1000),
            Clocks(state.clock),
        ),
        open_store=partial(PostgresSession, open_connection=connect_store),
        spool=spool,
        state=state,
        hub=hub,
        clock=state.clock,
        rng=rng,
        # A key of its own for each process: PostgreSQL's advisory locks are named by a bigint.
        recorder_key=secrets.randbits(62),
        ws_url=settings.ws_url,
        batch_rows=settings.batch_rows,
        flush_interval_s=settings.flush_interval_s,
        audit_interval_s=settings.audit_interval_s,
        silence_probe_s=settings.silence_probe_s,
        is_following=settings.market_mode == "discovery",
        stopping=stopping,
    )


def _store_connector(settings: Settings, database_url: str) -> ConnectStore:
    """How to connect for what needs no session state: through the pooler where there is one."""
    pooled_url = settings.database_url_pooled
    return partial(
        open_connection,
        pooled_url or database_url,
        schema=settings.database_schema,
        is_pooled=pooled_url is not None,
        application_name="collector-writer",
    )
