"""Values as people paste them: understood as they are meant, or refused with the variable's name."""

import base64

import pytest
from cryptography.hazmat.primitives import serialization

from collector.config import Settings, read_settings
from collector.postgres._urls import check_database_url, redact
from tests.test_config import ED25519, GOOD, PKCS1, PKCS8, RSA_KEY, problems, read

DER = base64.b64encode(
    RSA_KEY.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
).decode()


@pytest.mark.parametrize(
    "form",
    [
        '"{}"',
        "'{}'",
        "`{}`",
        "\u201c{}\u201d",
        " '{}' ",
        "\ufeff{}",
        "{}\u200b",
        "\u00a0{}\r",
        "{}\r\n",
        "\"'{}'\"",
    ],
)
def test_what_surrounds_a_value_is_removed(form: str) -> None:
    """Quotes that an env file has kept, line ends of Windows, and what a web page brings along."""
    plain: dict[str, str] = {
        **GOOD,
        "KALSHI_ENV": "demo",
        "RL_BATCH_SIZE": "7",
        "RL_FLUSH_INTERVAL": "0.5",
        "RL_ADMIN_TOKEN": "a-token-for-tests",
        "RL_ALLOWED_ORIGINS": "https://example.com",
        "KALSHI_WS_URL": "wss://example.com",
        "RL_SPOOL_DIR": "spool",
        "PORT": "9000",
    }
    expected = read_settings(plain)

    def pasted(name: str) -> Settings:
        return read_settings({**plain, name: form.format(plain[name])})

    assert [pasted(name) for name in plain] == [expected] * len(plain)


@pytest.mark.parametrize(
    "text", ['"A-1","B-2"', "A-1\nB-2\n", "A-1,\r\nB-2", "'A-1', 'B-2'", "\n\nA-1\n\nB-2"]
)
def test_lists_may_have_quotes_and_lines(text: str) -> None:
    """Each ticker may have its own quotes, and a line of its own."""
    assert read(RL_MARKET_TICKERS=text).market_tickers == ("A-1", "B-2")


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ('"key-id', "has a quote at one end only"),
        ("key-id\u201d", "has a quote at one end only"),
        ("key\u200bid", "has an invisible character in it (U+200B)"),
        ("key\u00a0id", "has an invisible character in it (U+00A0)"),
        ("key\nid", "has a line break in it"),
        ("key\x00id", "has an invisible character in it (U+0000)"),
    ],
)
def test_what_nobody_means_is_named(value: str, why: str) -> None:
    """The line names the variable, says what is wrong with it, and does not repeat it."""
    found = [line for line in problems({**GOOD, "KALSHI_API_KEY_ID": value}) if why in line]
    assert len(found) == 1
    assert found[0].startswith("KALSHI_API_KEY_ID has ")
    assert "key" not in found[0].removeprefix("KALSHI_API_KEY_ID")


@pytest.mark.parametrize("pem", [PKCS1, PKCS8, ED25519], ids=["PKCS#1", "PKCS#8", "Ed25519"])
@pytest.mark.parametrize(
    "paste",
    [
        lambda pem: pem.replace("\n", "\\n"),
        lambda pem: pem.replace("\n", "\\\\n"),
        lambda pem: pem.replace("\n", "\\r\\n"),
        lambda pem: pem.replace("\n", "\r\n"),
        lambda pem: pem.replace("\n", "\n\n"),
        lambda pem: pem.replace("\n", " "),
        lambda pem: pem.replace("\n", "\n    "),
        lambda pem: f'"{pem}"',
        lambda pem: f"'{pem.strip()}'",
        lambda pem: f"\ufeff{pem}",
        lambda pem: base64.b64encode(pem.encode()).decode(),
        lambda pem: base64.encodebytes(pem.encode()).decode(),
    ],
)
def test_a_pasted_key_is_understood(pem: str, paste: "type[str]") -> None:
    """Doubled escapes, lost or doubled line breaks, indentation, quotes, and base64 of the whole file."""
    assert read(KALSHI_PRIVATE_KEY_CONTENT=paste(pem)).private_key_pem == pem


def test_a_key_without_its_first_and_last_line_is_understood() -> None:
    """The base64 in between is the key."""
    assert read(KALSHI_PRIVATE_KEY_CONTENT=DER).private_key_pem == PKCS8


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://rec:Secr3t@Pa55@127.0.0.1:5432/rec",
        "postgresql://rec:Secr3t/Pa55@127.0.0.1:5432/rec",
        "postgresql://rec:Secr3t?Pa55@127.0.0.1:5432/rec",
        "postgresql://rec:Secr3t#Pa55@127.0.0.1:5432/rec",
        "postgresql://rec:Secr3t%Pa55@127.0.0.1:5432/rec",
        "postgresql://rec:Secr3t Pa55@127.0.0.1:5432/rec",
        "postgresql://rec:5432/Pa55@127.0.0.1:5432/rec",
        "postgresql://rec:Secr3t\\Pa55@127.0.0.1:port/rec",
        "postgresql://rec:Secr3tPa55@127.0.0.1:99999/rec",
        "postgresql://rec:Secr3tPa55@127.0.0.1:0/rec",
        "postgresql://rec:Secr3tPa55@127.0.0.1/rec?sslmode=enable",
        "postgresql://rec:Secr3tPa55@127.0.0.1/rec?port=many",
        "postgresql://rec:Secr3tPa55@127.0.0.1/rec?connect_timeout=soon",
        "postgresql://rec:Secr3tPa55@127.0.0.1/rec?target_session_attrs=writable",
        "postgresql://rec:Secr3tPa55@127.0.0.1/rec?pgbouncer=true",
        "postgresql://rec:Secr3tPa55@<host>/rec",
        "postgresql://rec:Secr3tPa55@${HOST}/rec",
    ],
)
def test_a_url_that_can_never_work_is_refused_at_the_start(url: str) -> None:
    """Also where libpq would read something else from it, or would find out only when it connects."""
    for name in ("DATABASE_URL", "DATABASE_URL_POOLED"):
        (problem,) = problems({**GOOD, name: url})
        assert problem.startswith(f"{name} must ")
        assert "Secr3t" not in problem
        assert "Pa55" not in problem


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://rec:Secr3t%40Pa55@127.0.0.1:5432/rec",
        "postgres://rec:Secr3t%2FPa55@db.example.com/rec?sslmode=require",
        "postgresql://rec:Secr3t:Pa55@[::1]:5432/rec",
        "postgresql://rec:Secr3tPa55@a:1,b:2/rec?target_session_attrs=read-write",
        "postgresql://rec:Secr3tPa55@%2Fvar%2Frun%2Fpostgresql/rec",
        "postgresql://rec@/rec?host=/var/run/postgresql&port=5433",
        "postgresql:///rec",
        "postgresql://postgres.project:Secr3tPa55@pooler.example.com:6543/postgres",
    ],
)
def test_a_url_that_everybody_reads_the_same_way_is_accepted(url: str) -> None:
    """And shown without its password."""
    assert check_database_url(url) is None
    assert "Pa55" not in redact(url)
