"""The command `simulate`: its exit statuses, its line, and the file for clients."""

import json
import pathlib
import signal
import stat
import subprocess
import sys

import pytest
from click.testing import CliRunner

from collector.cli._simulate import simulate

PROGRAM = "from collector.cli._simulate import simulate; simulate()"


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        ([], 2, "--tape"),
        (["--markets", "1", "--fault", "nonsense"], 2, "nonsense"),
        (["--markets", "1", "--speed", "0"], 2, "max"),
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
