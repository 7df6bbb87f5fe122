"""Secrets are shown nowhere, whatever the text is that would show them."""

from collections.abc import Generator
from pathlib import Path

import httpx2
import pytest
import structlog

from collector.errors import StoreUnavailable
from collector.observe import get_logger, set_up_logs
from collector.scrubbing import scrub, set_secrets
from tests.service.processes import program
from tests.service.test_processes import run_environ, steady_exchange


@pytest.fixture(autouse=True)
def no_secrets() -> Generator[None]:
    """What one test keeps secret is nothing that the next one should know."""
    yield
    set_secrets(())


def test_a_secret_is_replaced_in_each_of_its_forms() -> None:
    """As it is meant, as it is written in a URL, and where another secret is a part of it."""
    set_secrets(("p@ss/word", "p@ss", ""))
    assert scrub("a p@ss/word b p%40ss%2Fword c p@ss.") == "a [secret] b [secret] c [secret]."


def test_a_secret_that_is_a_common_word_leaves_other_words_alone() -> None:
    """A password may be `postgres`, and a short one can't be searched for."""
    set_secrets(("postgres", "abc"))
    assert scrub("postgresql://postgres:postgres@h abc") == "postgresql://[secret]:[secret]@h abc"


def test_errors_show_no_secret() -> None:
    """From them the reasons of health and pages are made."""
    error = StoreUnavailable("no host Secr3t, tried Secr3t")
    set_secrets(("Secr3t",))
    assert str(error) == "no host [secret], tried [secret]"


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_the_log_shows_no_secret(log_format: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither in a field, nor within one, nor in a traceback."""
    set_up_logs("INFO", "json" if log_format == "json" else "console")
    set_secrets(("Secr3tPa55",))
    logger = get_logger("test")
    logger.info("event", reason="x Secr3tPa55 y", names={"Secr3tPa55": 1}, path=Path("/tmp/Secr3tPa55"))
    try:
        raise ValueError("with Secr3tPa55")
    except ValueError:
        logger.exception("failed")
    written = capsys.readouterr().err
    assert "Secr3t" not in written
    assert written.count("[secret]") >= 4
    structlog.reset_defaults()


def test_a_running_service_shows_no_secret(tmp_path: Path, refusing_port: int) -> None:
    """A server's words repeat user and database, and here the password is equal to both."""
    with steady_exchange(tmp_path, tmp_path / "account.ndjson") as (_, env_file):
        url = f"postgresql://Secr3tPa55:Secr3tPa55@127.0.0.1:{refusing_port}/Secr3tPa55"
        environ = {**run_environ(env_file, url), "RL_ADMIN_TOKEN": "Secr3tTok3nOfTests"}
        with program("run", environ=environ) as collector:
            collector.wait_for_line("database_unavailable")
            pages = [
                httpx2.get(f"http://127.0.0.1:{environ['PORT']}{path}").text
                for path in ("/health", "/health/data", "/rl/status", "/metrics", "/rl-stats")
            ]
            collector.stop()
    assert "127.0.0.1" in pages[0]
    assert "Secr3t" not in "".join((*collector.lines, *pages))
