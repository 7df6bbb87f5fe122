"""
The command `simulate`: the simulator alone, on a port of its own, until it is told to stop.

Wrong arguments end it with exit status 2, what the machine refuses with exit status 1, each with one line
that says what to do; a signal is the normal end, exit status 0.
"""

import os
import pathlib
import signal
from typing import TYPE_CHECKING, Literal

import click
import trio

from collector.cli._exit import run_to_exit
from collector.errors import StartError

if TYPE_CHECKING:
    from collector.simulator import Simulator, SimulatorSettings

FAULTS_HELP = """
Faults: drop@N duplicate@N reorder@N garble@N cut@N silent@N strike at the N-th data frame of each
subscription (append xK: K times in all); drop=P duplicate=P reorder=P garble=P cut=P strike with that
probability; mute=CHANNEL@N, cut-every=SECONDS, refuse=STATUS, refuse=STATUSxK, error=CODE@N (10, 25: ends the
subscription after frame N; 18, 26, 27: answers command N), market-limit=K, command-rate=R, empty-at-close.

Faults that alter a data frame, with @N, @NxK or =P: skew (a change of a level says one contract more than it
should), repeat-clock (a delta carries the clock of its market's newest snapshot), rename-type (the type is
unknown), rename-field (the fields of the quantities have unknown names), other-sid (the sid is the next one,
of another subscription or of none).

Faults after a data frame, with @N or @NxK: restart-seq@N (the subscription's numbers start again from 1),
lower-clock@N (the exchange's clocks start again from a lower value, on all connections, as in maintenance),
unknown-error=CODE@N (a numbered error with an unknown code; the subscription continues).
"""


class SpeedType(click.ParamType[float | str]):
    """A number above 0, or `max`."""

    name = "speed"

    def convert(
        self,
        value: object,
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> float | str:
        """Return the number, or the word itself."""
        if value == "max":
            return "max"
        try:
            speed = float(str(value))
        except ValueError:
            speed = 0.0
        if not 0 < speed < float("inf"):
            self.fail(f"{value!r}: write a number above 0, or max", param, ctx)
        return speed


@click.command(epilog=FAULTS_HELP)
@click.option(
    "--tape",
    "tapes",
    type=click.Path(path_type=pathlib.Path),
    multiple=True,
    help="Recorded tape (.ndjson.gz); repeatable.",
)
@click.option(
    "--speed",
    type=SpeedType(),
    default="1",
    show_default=True,
    help="Times the recorded speed, or max: as fast as it is taken.",
)
@click.option(
    "--copies",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Serve each tape's markets this many times.",
)
@click.option(
    "--stagger",
    type=click.FloatRange(min=0),
    default=0.0,
    show_default=True,
    help="Seconds over which the copies' starts are spread.",
)
@click.option(
    "--markets", type=click.IntRange(min=0), default=0, help="Generate flow over this many markets."
)
@click.option(
    "--rate",
    type=click.FloatRange(min=0, min_open=True),
    default=100.0,
    show_default=True,
    help="Generated messages a second, over all markets.",
)
@click.option(
    "--seed", type=int, default=1, show_default=True, help="Seed of the generated flow and of random faults."
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=0,
    show_default=True,
    help="WebSocket port; 0 is any free one.",
)
@click.option(
    "--write-env",
    type=click.Path(path_type=pathlib.Path),
    help="Write the variables that a client needs into this file.",
)
@click.option("--fault", "faults", multiple=True, help="A fault, as listed below; repeatable.")
@click.option(
    "--account",
    type=click.Path(path_type=pathlib.Path),
    help="Write every frame sent into this file (NDJSON).",
)
@click.option(
    "--key",
    type=click.Choice(["rsa", "ed25519"]),
    default="rsa",
    show_default=True,
    help="Kind of the API key.",
)
@click.option(
    "--clocks",
    type=click.Choice(["flow", "all", "none"]),
    default="flow",
    show_default=True,
    help="Messages that get `clock`, which the exchange sends in snapshots and deltas since October 2026: "
    "flow (generated flow; tapes are sent as recorded), all (tapes too), none (the older format). Frames "
    "have `sending_ts_ms` if any message gets a clock.",
)
@click.option(
    "--refusals-with-id",
    is_flag=True,
    help="Answer a refused update_subscription (errors 13 and 14) with the id of the command, as older "
    "servers do, instead of the sid and a number of the subscription.",
)
def simulate(
    *,
    tapes: tuple[pathlib.Path, ...],
    speed: float | str,
    copies: int,
    stagger: float,
    markets: int,
    rate: float,
    seed: int,
    host: str,
    port: int,
    write_env: pathlib.Path | None,
    faults: tuple[str, ...],
    account: pathlib.Path | None,
    key: Literal["rsa", "ed25519"],
    clocks: Literal["flow", "all", "none"],
    refusals_with_id: bool,
) -> None:
    """Run a simulated exchange: recorded tapes or generated order flow, for real clients."""
    from collector.simulator import SimulatorSettings, parse_fault

    async def serve() -> None:
        settings = SimulatorSettings(
            tapes=tapes,
            copies=copies,
            stagger_s=stagger,
            speed=None if isinstance(speed, str) else speed,
            markets=markets,
            rate_per_s=rate,
            seed=seed,
            host=host,
            port=port,
            faults=tuple(parse_fault(fault) for fault in faults),
            key=key,
            clocks=clocks,
            refusals_with_id=refusals_with_id,
            account_path=account,
        )
        await run_simulator(settings, write_env)

    run_to_exit(serve)


async def run_simulator(settings: "SimulatorSettings", env_path: pathlib.Path | None) -> None:
    """Serve until SIGINT or SIGTERM."""
    from collector.simulator import open_simulator

    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        stopped = False
        async with open_simulator(settings) as simulator:
            if env_path is not None:
                await trio.to_thread.run_sync(write_env_file, env_path, env_lines(simulator))
            click.echo(
                f"simulated exchange on {simulator.ws_url} and {simulator.api_url}, "
                f"{len(simulator.tickers)} markets"
            )
            async for _ in signals:
                stopped = True
                break
        assert stopped


def env_lines(simulator: "Simulator") -> str:
    """Return the environment variables that a client needs, one assignment a line, for `set -a; . FILE`."""
    pem = simulator.private_key_pem.strip().replace("\n", "\\n")
    values = {**simulator.environ, "KALSHI_PRIVATE_KEY_CONTENT": pem}
    return "".join(f"{name}='{value}'\n" for name, value in values.items())


def write_env_file(path: pathlib.Path, text: str) -> None:
    """
    Put a file in its place whole, readable by nobody else.

    Raises:
        StartError: the folder is missing or can't be written.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(text)
        draft.replace(path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise StartError(
            f"can't write {path}: {error.strerror or error}; choose another --write-env"
        ) from error
