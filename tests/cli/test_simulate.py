"""The command `simulate`: its exit statuses, its line, and the file for clients."""

import json
import pathlib
import re
import signal
import stat
import subprocess
import sys

import pytest
import trio
from click.testing import CliRunner

from collector.cli._simulate import FAULTS_HELP, simulate
from collector.simulator import SimulatorSettings
from collector.simulator._faults import FRAME_FAULTS, Fault

PROGRAM = "from collector.cli._simulate import simulate; simulate()"


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        ([], 2, "--tape"),
        (["--markets", "1", "--fault", "nonsense"], 2, "nonsense"),
        (["--markets", "1", "--speed", "0"], 2, "max"),
        (["--markets", "1", "--clocks", "some"], 2, "--clocks"),
        (["--tape", "nowhere.gz"], 1, "nowhere.gz"),
        (["--markets", "1", "--key", "ed25519", "--write-env", "/nowhere/env"], 1, "/nowhere/env"),
        (["--markets", "1", "--key", "ed25519", "--account", "/nowhere/a"], 1, "/nowhere/a"),
    ],
)
def test_what_is_wrong_is_said(arguments: list[str], status: int, says: str) -> None:
    """Bad usage is exit status 2, what the machine refuses is 1, and the text names the thing."""
    outcome = CliRunner().invoke(simulate, arguments)
    assert outcome.exit_code == status
    assert says in outcome.output


def test_options_become_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Options about the format reach the simulator; without them it is the format of today."""
    given: list[SimulatorSettings] = []

    async def keep(settings: SimulatorSettings, _env_path: pathlib.Path | None) -> None:
        await trio.lowlevel.checkpoint()
        given.append(settings)

    monkeypatch.setattr("collector.cli._simulate.run_simulator", keep)
    for more in ([], ["--clocks", "all", "--refusals-with-id", "--fault", "lower-clock@9"]):
        assert CliRunner().invoke(simulate, ["--markets", "1", *more]).exit_code == 0
    default, changed = given
    assert (default.clocks, default.refusals_with_id, default.faults) == ("flow", False, ())
    assert (changed.clocks, changed.refusals_with_id) == ("all", True)
    (fault,) = changed.faults
    assert isinstance(fault, Fault)
    assert (fault.kind, fault.at) == ("lower-clock", 9)


@pytest.mark.parametrize("kind", sorted({*FRAME_FAULTS, "error"}))
def test_every_fault_is_in_the_help(kind: str) -> None:
    """Each fault that strikes frames is named in the text after the options."""
    assert re.search(rf"\b{kind}[@=( ,]", FAULTS_HELP)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_serves_until_a_signal(tmp_path: pathlib.Path, number: signal.Signals) -> None:
    """It says where it listens, writes the client's variables for a shell, and ends well on a signal."""
    env_path = tmp_path / "env"
    command = [sys.executable, "-c", PROGRAM, "--markets", "3", "--write-env", str(env_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        process.send_signal(number)
        assert process.wait(10) == 0
    assert stat.S_IMODE(env_path.stat().st_mode) == 0o600
    names = [
        "KALSHI_API_KEY_ID",
        "KALSHI_PRIVATE_KEY_CONTENT",
        "KALSHI_WS_URL",
        "KALSHI_API_URL",
        "RL_MARKET_TICKERS",
    ]
    tell = "import json, os; print(json.dumps(dict(os.environ)))"
    shell = f'set -a; . {env_path}; exec {sys.executable} -c "{tell}"'
    answer = subprocess.run(["sh", "-c", shell], env={}, stdout=subprocess.PIPE, check=True, timeout=10)
    values = json.loads(answer.stdout)
    assert set(names) <= set(values)
    assert values["RL_MARKET_TICKERS"] == "SIM-0001,SIM-0002,SIM-0003"
    assert values["KALSHI_WS_URL"] in line
    assert values["KALSHI_API_URL"] in line
    assert values["KALSHI_PRIVATE_KEY_CONTENT"].startswith(r"-----BEGIN RSA PRIVATE KEY-----\n")
    assert "\n" not in values["KALSHI_PRIVATE_KEY_CONTENT"]
    assert [path.name for path in tmp_path.iterdir()] == ["env"]
