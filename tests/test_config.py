"""The environment: what is read, and what is said about what is wrong."""

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from collector.config import Settings, read_settings
from collector.errors import ConfigError
from tests.service.processes import bare_environ

RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
PKCS1 = RSA_KEY.private_bytes(
    serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
).decode()
PKCS8 = RSA_KEY.private_bytes(
    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
).decode()
LOCKED = RSA_KEY.private_bytes(
    serialization.Encoding.PEM,
    serialization.PrivateFormat.PKCS8,
    serialization.BestAvailableEncryption(b"a passphrase"),
).decode()
ED25519 = (
    ed25519.Ed25519PrivateKey.generate()
    .private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    .decode()
)
ELLIPTIC = (
    ec.generate_private_key(ec.SECP256R1())
    .private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    .decode()
)
GOOD = {
    "KALSHI_API_KEY_ID": "key-id",
    "KALSHI_PRIVATE_KEY_CONTENT": PKCS8,
    "RL_MARKET_TICKERS": "KXCABOUT-29",
    "DATABASE_URL": "postgresql://user:word@localhost/db",
}
WRONG = {
    "KALSHI_API_KEY_ID": "a key with spaces",
    "KALSHI_PRIVATE_KEY_CONTENT": "-----BEGIN PRIVATE KEY-----\nsecretsecret\n-----END PRIVATE KEY-----",
    "KALSHI_ENV": "production",
    "KALSHI_WS_URL": "https://example.com",
    "KALSHI_API_URL": "ftp://example.com",
    "RL_MARKET_TICKERS": "GOOD-1, bad ticker!",
    "RL_MARKET_MODE": "everything",
    "ORDERBOOK_MARKET_LIMIT": "-3",
    "RL_BATCH_SIZE": "many",
    "RL_FLUSH_INTERVAL": "0",
    "RL_SAMPLE_RATE": "0.5",
    "RL_AUDIT_INTERVAL": "90000",
    "RL_SILENCE_PROBE": "-1",
    "DATABASE_URL": "mysql://root:secretsecret@localhost/db",
    "DATABASE_URL_POOLED": "embedded:somewhere",
    "HOST": "no host",
    "PORT": "99999",
    "RL_ADMIN_TOKEN": "secretshort",
    "RL_ALLOWED_ORIGINS": "example.com",
    "RL_SPOOL_MAX_MB": "lots",
    "RL_LOG_LEVEL": "LOUD",
    "RL_LOG_FORMAT": "xml",
    "RL_ROWS_RETENTION_DAYS": "0",
    "RL_RAW_RETENTION_DAYS": "forever",
}


def read(**changes: str | None) -> Settings:
    environ: dict[str, str | None] = {**GOOD, **changes}
    return read_settings({name: value for name, value in environ.items() if value is not None})


def problems(environ: Mapping[str, str]) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        read_settings(environ)
    return caught.value.problems


def test_defaults() -> None:
    """With the four things that nobody can guess, everything else is as documented."""
    settings = read()

    assert settings.ws_url == "wss://external-api-ws.kalshi.com/trade-api/ws/v2"
    assert settings.api_url == "https://external-api.kalshi.com/trade-api/v2"
    assert settings.market_tickers == ("KXCABOUT-29",)
    assert (settings.batch_rows, settings.flush_interval_s, settings.sample_rate) == (100, 1.0, 1)
    assert (settings.audit_interval_s, settings.silence_probe_s) == (900.0, 60.0)
    assert (settings.host, settings.port) == (None, 8001)
    assert (settings.spool_dir, settings.spool_mb_max) == (Path("spool"), 2048)
    assert (settings.market_mode, settings.market_limit) == ("config", 300)


def test_hosts_follow_the_environment_and_can_be_overridden() -> None:
    """`demo` means the demo hosts; a URL of one's own comes before them."""
    assert read(KALSHI_ENV="demo").ws_url == "wss://external-api-ws.demo.kalshi.co/trade-api/ws/v2"
    assert read(KALSHI_WS_URL="ws://127.0.0.1:9/trade-api/ws/v2").ws_url == "ws://127.0.0.1:9/trade-api/ws/v2"
    assert read(KALSHI_WS_URL="wss://host.example").ws_url == "wss://host.example/trade-api/ws/v2"


def test_urls_hold_no_passwords() -> None:
    """What is written beside every session must not hold a secret."""
    (problem,) = problems({**GOOD, "KALSHI_WS_URL": "wss://user:secret@host.example"})

    assert "KALSHI_WS_URL" in problem
    assert "secret" not in problem


def test_tickers_may_have_spaces_and_repeats() -> None:
    """A list typed by hand is read as it was meant; one ticker alone is fine."""
    assert read(RL_MARKET_TICKERS=" A-1 ,B-2,, A-1,").market_tickers == ("A-1", "B-2")


@pytest.mark.parametrize("pem", [PKCS1, PKCS8, ED25519, PKCS8.replace("\n", "\\n")])
def test_keys_of_both_kinds_and_forms(pem: str) -> None:
    """RSA in either form, Ed25519, and line ends written as two characters are all accepted."""
    assert "PRIVATE KEY" in read(KALSHI_PRIVATE_KEY_CONTENT=pem).private_key_pem


def test_key_from_a_file(tmp_path: Path) -> None:
    """The path of a file serves as well as the text."""
    path = tmp_path / "key.pem"
    path.write_text(PKCS1)

    settings = read(KALSHI_PRIVATE_KEY_CONTENT=None, KALSHI_PRIVATE_KEY_PATH=str(path))

    assert settings.private_key_pem == PKCS1


@pytest.mark.parametrize("pem", [LOCKED, ELLIPTIC, "nonsense", PKCS8[:200]])
def test_unusable_keys(pem: str) -> None:
    """A key that can't sign for this exchange is told apart at the start, not at the first handshake."""
    (problem,) = problems({**GOOD, "KALSHI_PRIVATE_KEY_CONTENT": pem})

    assert problem.startswith("KALSHI_PRIVATE_KEY_CONTENT must hold a PEM private key")


@pytest.mark.parametrize("name", WRONG)
def test_each_wrong_setting_is_one_line(name: str) -> None:
    """One wrong variable: one line that names it, says what it must look like, and repeats no secret."""
    (problem,) = problems({**GOOD, name: WRONG[name]})

    assert problem.startswith(f"{name} ")
    assert "\n" not in problem
    assert "secret" not in problem


def test_all_wrong_settings_at_once() -> None:
    """Everything that is wrong is said in one go, a line for each variable."""
    found = problems({**WRONG, "KALSHI_PRIVATE_KEY_PATH": "/nowhere"})

    assert sorted(line.split(" ", 1)[0] for line in found) == sorted(WRONG)
    assert not any("secretsecret" in line for line in found)


def test_nothing_set() -> None:
    """An empty environment says what is required, and no more: without tickers, markets are discovered."""
    assert [line.split(" ", 1)[0] for line in problems({})] == [
        "KALSHI_API_KEY_ID",
        "KALSHI_PRIVATE_KEY_CONTENT",
        "DATABASE_URL",
    ]


def test_markets_are_discovered_where_none_are_named() -> None:
    """And where discovery is asked for, whatever is named; a list that is asked for has to be there."""
    found = read(RL_MARKET_TICKERS="")
    asked = read(RL_MARKET_MODE="discovery", ORDERBOOK_MARKET_LIMIT="7", RL_DISCOVERY_INTERVAL="2.5")

    assert (found.market_mode, found.market_tickers, found.market_limit) == ("discovery", (), 300)
    assert (asked.market_mode, asked.market_tickers, asked.market_limit) == ("discovery", (), 7)
    assert asked.discovery_interval_s == 2.5
    with pytest.raises(ConfigError) as caught:
        read(RL_MARKET_MODE="config", RL_MARKET_TICKERS="")
    assert "RL_MARKET_TICKERS" in str(caught.value.problems)


@pytest.mark.parametrize(
    "name", ["ORDERBOOK_MARKET_LIMIT", "RL_BATCH_SIZE", "RL_FLUSH_INTERVAL", "PORT", "RL_LOG_LEVEL"]
)
def test_what_was_set_is_repeated(name: str) -> None:
    """Whoever typed it sees what arrived."""
    (problem,) = problems({**GOOD, name: WRONG[name]})

    assert problem.endswith(f", not {WRONG[name]!r}")


def test_what_has_no_effect_is_told() -> None:
    """A misspelt variable, and a second key; variables of other programs are none of our business."""
    assert read(RL_MARKET_TICKER="X", PATH="/bin", KALSHI_WEATHER="fair").warnings == (
        "KALSHI_WEATHER is not known and has no effect",
        "RL_MARKET_TICKER is not known and has no effect: did you mean RL_MARKET_TICKERS?",
    )
    assert read(KALSHI_PRIVATE_KEY_PATH="/nowhere").warnings == (
        "KALSHI_PRIVATE_KEY_PATH has no effect: KALSHI_PRIVATE_KEY_CONTENT is set too, and comes first",
    )
    (discovering,) = read(RL_MARKET_MODE="discovery").warnings
    assert discovering.startswith("RL_MARKET_TICKERS has no effect")
    (configured,) = read(ORDERBOOK_MARKET_LIMIT="9").warnings
    assert configured.startswith("ORDERBOOK_MARKET_LIMIT has no effect")
    assert read().warnings == ()
    for mode in ("", "config"):
        (empty,) = problems({**GOOD, "RL_MARKET_TICKERS": ", ,", "RL_MARKET_MODE": mode})
        assert empty == "RL_MARKET_TICKERS must be tickers separated by commas, not ', ,'"
    assert problems({**GOOD, "DATABASE_URL": "", "RL_FLUSH_INTERVALL": "2"})[1:] == (
        "RL_FLUSH_INTERVALL is not known and has no effect: did you mean RL_FLUSH_INTERVAL?",
    )


def test_settings_do_not_show_secrets() -> None:
    """A settings value may be logged by mistake without harm."""
    shown = repr(read(RL_ADMIN_TOKEN="a-long-enough-token"))

    for secret in ("key-id", "PRIVATE KEY", "word@", "a-long-enough-token"):
        assert secret not in shown


def test_run_refuses_and_starts_nothing(tmp_path: Path) -> None:
    """The command prints the lines on standard error and ends with status 2."""
    result = subprocess.run(
        [sys.executable, "-m", "collector", "run"],
        env={**bare_environ(), **WRONG},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert result.returncode == 2
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == len(WRONG)
    assert "secretsecret" not in result.stderr
    assert list(tmp_path.iterdir()) == []
