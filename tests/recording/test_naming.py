"""A session is named by its number, its key, or the beginning of its key; commands print both."""

import json
import uuid

import pytest
import trio

from tests.recording.recordings import TEXTS, at, execute, invoke, write_recording

KEYS = (
    uuid.UUID("1f2e3d4c-0000-4000-8000-000000000001"),
    uuid.UUID("1f2e9999-0000-4000-8000-000000000002"),
    uuid.UUID("00000002-0000-4000-8000-000000000003"),
)


async def verify(url: str, *arguments: str) -> tuple[int, str]:
    result = await trio.to_thread.run_sync(invoke, url, "verify", *arguments)
    return result.exit_code, result.output


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("2", 2),
        ("1f2e3d4c-0000-4000-8000-000000000001", 1),
        ("1f2e3d4c000040008000000000000001", 1),
        ("1F2E3D", 1),
        ("1f2e-9", 2),
        ("00000002", 3),
    ],
)
async def test_a_session_has_several_names(database_url: str, name: str, number: int) -> None:
    """A number comes first; eight digits that are no number of a session may begin a key."""
    for key in KEYS:
        await write_recording(database_url, at(*TEXTS), key=key)
    status, text = await verify(database_url, "--session", name)
    assert (status, text.split(" (")[0]) == (0, f"session {number} {KEYS[number - 1]}")
    _, text = await verify(database_url, "--session", name, "--json")
    report = json.loads(text.splitlines()[0])
    assert (report["session_id"], report["session_key"]) == (number, str(KEYS[number - 1]))


async def test_what_names_no_session_or_several_is_one_line(database_url: str) -> None:
    """With the sessions that it may mean."""
    for key in KEYS:
        await write_recording(database_url, at(*TEXTS), key=key)
    assert await verify(database_url, "--session", "77") == (1, "collector: there is no session 77\n")
    missing = await verify(database_url, "--session", "0000000")
    assert missing == (1, "collector: there is no session 0000000\n"), "the number, not the third key"
    assert await verify(database_url, "--session", "1f2e") == (
        1,
        f"collector: 1f2e may be session 1 ({KEYS[0]}), 2 ({KEYS[1]}): give more of the key\n",
    )
    execute(database_url, "UPDATE rl_orderbook_sessions SET session_key = gen_random_uuid()")
    assert (await verify(database_url, "--session", "1f2e"))[0] == 1


@pytest.mark.parametrize("name", ["xyz", "1f", "-1", "1f2e%", "1 OR 1=1", ""])
async def test_what_can_be_no_name_is_a_wrong_argument(database_url: str, name: str) -> None:
    """Exit status 2, and the database is not asked."""
    status, text = await verify(database_url, "--session", name)
    assert status == 2
    assert "the number of a session" in text
