"""What the reading commands say of a database that holds no recording."""

from pathlib import Path

import pytest

from tests.recording.recordings import invoke


@pytest.mark.parametrize("command", [("verify",), ("rederive",), ("book", "A", "--at", "now")])
def test_a_database_that_is_not_ours(database_url: str, command: tuple[str, ...]) -> None:
    """It is said what to check, and nothing is made there."""
    result = invoke(database_url, *command)

    assert result.exit_code == 1
    assert (
        "check the database URL and RL_DATABASE_SCHEMA, or let `collector schema` make them" in result.stderr
    )
    assert len(result.stderr.splitlines()) == 1


def test_nothing_recorded_yet(database_url: str) -> None:
    """Reading commands say so; and what is not there is not proved."""
    assert invoke(database_url, "schema").exit_code == 0

    for command, status in (("verify", 1), ("rederive", 0)):
        result = invoke(database_url, command)
        assert result.exit_code == status
        assert "session " not in result.stdout
        assert "holds no sessions yet" in result.stderr


def test_reading_makes_no_database(tmp_path: Path) -> None:
    """A mistyped folder is an error, and stays as it is not."""
    result = invoke(f"embedded:{tmp_path / 'typo'}", "verify")

    assert result.exit_code == 1
    assert f"there is no PostgreSQL of ours in {tmp_path / 'typo'}: check DATABASE_URL" in result.stderr
    assert not (tmp_path / "typo").exists()
