"""The definitions of the messages: what is committed, and that what is sent is what is defined."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from collector.web._book_messages import LiveMessages, connection_text, error_text
from collector.web._jsonschema import schema_text
from collector.web._schema import LiveMessage
from collector.web._stats import stats_text
from tests.web.recorder import delta, new_recorder, running_recorder

COMMITTED = Path(__file__).resolve().parents[2] / "frontend" / "schema" / "dashboard.json"


def test_the_committed_schema_is_what_would_be_printed_now() -> None:
    """The frontend's types are made of the file that `python -m collector.web._jsonschema` prints."""
    printed = subprocess.run(
        [sys.executable, "-m", "collector.web._jsonschema"], check=True, capture_output=True, timeout=60
    )
    assert COMMITTED.read_text("utf-8") == printed.stdout.decode() == schema_text(), (
        "run: python -m collector.web._jsonschema > frontend/schema/dashboard.json"
    )


def definitions() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(schema_text())["$defs"]
    return found


def test_messages_are_told_apart_by_their_type() -> None:
    """The live stream is one of five messages, each with its type as a constant."""
    defined = definitions()
    union = [part["$ref"].rsplit("/", 1)[1] for part in defined["LiveMessage"]["anyOf"]]
    types = {defined[name]["properties"]["type"]["const"] for name in union}
    assert types == {"connection", "orderbook_snapshot", "orderbook_delta", "stats", "error"}
    assert all("type" in defined[name]["required"] for name in union)


def test_every_definition_is_described_and_numbers_are_numbers() -> None:
    """Whoever reads the types learns what each is; prices and sizes are numbers, books objects of numbers."""
    defined = definitions()
    assert [name for name, definition in defined.items() if "description" not in definition] == []
    book, change = defined["BookData"]["properties"], defined["DeltaData"]["properties"]
    assert (book["yes_bids"]["type"], book["yes_bids"]["additionalProperties"]) == (
        "object", {"type": "number"},
    )  # fmt: skip
    assert book["yes_mid_price"]["type"] == ["number", "null"]
    assert (change["price"]["type"], change["new_size"]["type"]) == ("number", "number")


@pytest.mark.parametrize("is_busy", [True, False])
def test_what_is_sent_is_what_is_defined(is_busy: bool) -> None:
    """Messages of a recorder in trouble, and of one that has just started, are read back by the types."""
    recorder = new_recorder("A")
    texts = [connection_text(recorder.state), error_text("go away")]
    if is_busy:
        recorder, session = running_recorder("A")
        batch = recorder.fold(session, delta("A", 2), "not JSON", delta("A", 9))
        messages = LiveMessages(recorder.state)
        texts += [messages.delta(batch.facts[0]), messages.current("A") or ""]  # type: ignore[arg-type]
    texts.append(stats_text(recorder.state, 1))
    for text in texts:
        message = msgspec.json.decode(text, type=LiveMessage, strict=True)
        assert msgspec.json.encode(message).decode() == text
